"""Comparison of a service after ``python -m benchmarks.soak`` with everything the robot wrote."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.running_service import Subscriber
from benchmarks.soak_robot import Robot
from daemon.alerts import Alerts
from daemon.config import load_config
from daemon.wiring.rankings import open_days
from daemon.wiring.service_clock import now
from inference.bundle import load_bundle
from schemas.messages import TOPIC_PREFIX
from schemas.ranking import Ranking
from store.sql_store import SqlStore

MOST_GROWTH = 1.05
"""Largest ratio of the fourth quarter of the run to the second, for memory and descriptors."""
_PARTS = (".json", ".csv", "-wells.csv", ".html")  # ends of the names of a ranking's files
_VERSION = ("plate", "run", "well", "visit", "version")  # of an image, in a message about it
_ALL = 10_000_000  # messages


@dataclass(frozen=True)
class Sample:
    """Memory and open files of the main process of the service at one moment."""

    hour: float
    memory_bytes: int
    descriptors: int


@dataclass(frozen=True)
class Stored:
    """Differences between the store and the files, and the files that the robot wrote."""

    images: int  # that the robot wrote, by plate, well and day
    lost: int  # images whose last pixels are not the newest stored version
    doubled: int  # pixels that are stored more than once
    foreign: int  # complete stored images that the robot did not write
    rankings: int
    corrections: int  # rankings that replace an earlier revision
    unranked: tuple[str, ...]  # imaged plates without a final ranking of all their images
    doubled_rankings: int  # two revisions of a day with the same inputs
    missing_files: tuple[str, ...]  # of rankings, or with another content
    assays: int
    missing_assays: int

    @property
    def is_complete(self) -> bool:
        """True if every image is stored and every plate that was read out is ranked."""
        return not (self.lost or self.unranked or self.missing_assays)


@dataclass(frozen=True)
class Received:
    """Differences between the stored messages and those that one subscriber received."""

    messages: int
    missing: int
    conflicts: int  # sequence numbers with two different messages
    repeated: int  # messages that were passed on twice
    doubled: int  # messages about the same version of an image or the same revision of a ranking
    missing_rankings: int
    alerts: Mapping[str, int]  # received alerts by kind


@dataclass(frozen=True)
class Flatness:
    """One quantity in the second and the last quarter of a run."""

    second: float
    last: float

    @property
    def ratio(self) -> float:
        """The last quarter divided by the second."""
        return self.last / self.second

    def text(self, unit: float) -> str:
        """Return both values in a unit, and their ratio, as text."""
        return (
            f"second quarter {self.second / unit:.1f}, last {self.last / unit:.1f}, "
            f"ratio {self.ratio:.3f}"
        )

    @property
    def is_flat(self) -> bool:
        """True if the quantity has not grown."""
        return self.ratio <= MOST_GROWTH


def flatness(samples: Sequence[Sample], hours: float) -> tuple[Flatness, Flatness]:
    """Return the Flatness of the median memory in bytes, and of the least number of descriptors.

    The least number leaves out files that are open for a moment, such as a folder that is listed.
    """

    def quarter(number: int) -> list[Sample]:
        return [each for each in samples if number - 1 <= 4 * each.hour / hours < number]

    second, last = quarter(2), quarter(4)
    return (
        Flatness(median(s.memory_bytes for s in second), median(s.memory_bytes for s in last)),
        Flatness(min(s.descriptors for s in second), min(s.descriptors for s in last)),
    )


def compare_store(store: SqlStore, config_file: Path, robot: Robot) -> Stored:
    """Return the differences between a store with its files, and the record of a robot."""
    images = [image for plate in store.plates() for image in store.arrived(plate)]
    found = Counter((each.key.plate, each.key.well, each.day, each.pixel_digest) for each in images)
    newest: dict[tuple[str, str, int], str] = {}
    foreign = 0
    for image in sorted(images, key=lambda each: each.version):
        if image.complete:
            key = (image.key.plate, image.key.well, image.day)
            newest[key] = image.pixel_digest
            foreign += image.pixel_digest not in robot.written[key]
    written = {key: digests[-1] for key, digests in robot.written.items() if digests}
    rankings = [each for plate in store.plates() for each in store.rankings(plate)]
    inputs = Counter(
        (each.plate, each.run, each.day, each.final, each.inputs_digest) for each in rankings
    )
    assayed = {each.plate for each in store.assays()}
    return Stored(
        images=len(written),
        lost=sum(newest.get(key) != digest for key, digest in written.items()),
        doubled=sum(number - 1 for number in found.values()),
        foreign=foreign,
        rankings=len(rankings),
        corrections=sum(each.replaces is not None for each in rankings),
        unranked=tuple(_unranked(store, config_file, robot)),
        doubled_rankings=sum(number - 1 for number in inputs.values()),
        missing_files=tuple(_missing_files(rankings, load_config(config_file).output.rankings)),
        assays=len(robot.assayed),
        missing_assays=len(robot.assayed - assayed),
    )


def _unranked(store: SqlStore, config_file: Path, robot: Robot) -> list[str]:
    """Return the plates with readout images whose final ranking does not use every image."""
    config = load_config(config_file)
    card = load_bundle(config.encoder.bundle).card
    days = open_days(config, store, card, Alerts(store, now)).due_days
    found = []
    for plate in sorted(robot.read_out):
        plate_map = store.plate_map(plate)
        progress = days.progress(plate_map) if plate_map is not None else None
        if progress is None or not progress.has_final or progress.unranked:
            found.append(plate)
    return found


def _missing_files(rankings: Sequence[Ranking], folder: Path) -> list[str]:
    """Return the files of rankings that are missing, or that have another content."""
    latest: dict[str, Ranking] = {}
    missing = []
    for ranking in sorted(rankings, key=lambda each: each.order):
        latest[ranking.plate] = ranking
        of_plate = folder / ranking.plate
        missing += [
            f"{ranking.plate}/{ranking.name}{part}"
            for part in _PARTS
            if not (of_plate / f"{ranking.name}{part}").is_file()
        ]
        if not _holds(of_plate / f"{ranking.name}.json", ranking):
            missing.append(f"{ranking.plate}/{ranking.name}.json")
    missing += [
        f"{plate}/latest.json"
        for plate, ranking in latest.items()
        if not _holds(folder / plate / "latest.json", ranking)
    ]
    return missing


def _holds(file: Path, ranking: Ranking) -> bool:
    """Return whether a JSON file has a ranking."""
    return file.is_file() and Ranking.model_validate_json(file.read_text()) == ranking


def compare_messages(store: SqlStore, subscriber: Subscriber, last: int) -> Received:
    """Return the differences between the stored messages up to a number and the received ones."""
    sent = {each.sequence: each.topic for each in store.messages_after(0, limit=_ALL)}
    expected = {sequence for sequence in sent if sequence <= last}
    versions: Counter[tuple[object, ...]] = Counter()
    ranked: Counter[tuple[str, int, int]] = Counter()
    alerts: Counter[str] = Counter()
    for message in subscriber.messages.values():
        data = message.body["data"]
        match message.topic.removeprefix(f"{TOPIC_PREFIX}.").partition(".")[0]:
            case "observation":
                versions[tuple(data[name] for name in _VERSION)] += 1
            case "ranking":
                ranked[data["plate"], data["day"], data["revision"]] += 1
            case "alert":
                alerts[data["kind"]] += 1
    rankings = {
        (each.plate, each.day, each.revision)
        for plate in store.plates()
        for each in store.rankings(plate)
    }
    return Received(
        messages=len(subscriber.messages),
        missing=len(expected - subscriber.messages.keys()),
        conflicts=subscriber.conflicts,
        repeated=subscriber.repeated,
        doubled=sum(number - 1 for number in (*versions.values(), *ranked.values())),
        missing_rankings=len(rankings - ranked.keys()),
        alerts=alerts,
    )
