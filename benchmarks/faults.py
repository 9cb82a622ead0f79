"""Kill the service at random moments while a robot writes plates, and compare with a quiet run.

    python -m benchmarks.faults --kills 500 --plates 6 --seed 1

Before each kill the robot continues to write, the service starts, and after a random time between
zero and two and a half starts the process gets SIGKILL. Two subscribers receive all messages, with
a replay after each gap. A last start without a kill ingests the remaining images. A second service
that is never killed ranks the same plates for comparison. SIGINT (Ctrl-C) ends the kills early; the
result is then that of the kills so far.

The command prints the number of observations that are lost or stored twice, the rankings that
differ or are missing, and for each subscriber the messages that are missing or that have a sequence
number of another message. Its exit code is 1 if one of these numbers is not zero.

``python -m benchmarks.hostile_clients`` measures attacks on the sockets, and
``python -m benchmarks.store_faults`` damaged files of the store.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.running_service import Subscriber, copy_files
from schemas.ranking import Ranking, TreatmentTable
from simulation.kinds import Mechanism
from simulation.microscope import virtual_microscopes
from simulation.robot import write_plates
from tests.service_process import DAYS, ServiceProcess
from tests.small_plates import with_few_wells

STARTS = 2.5  # latest kill, in durations of a start
END_S = 600.0  # limit of the last run


@dataclass(frozen=True)
class Result:
    """Differences between the service that was killed and the one that was not."""

    kills: int
    images: int
    rankings: int
    lost: int  # observations
    doubled: int
    differing: int  # rankings of a plate and day that are missing or differ
    missing_messages: tuple[int, ...]  # of each subscriber
    conflicts: tuple[int, ...]  # of each subscriber: numbers with two different messages

    @property
    def is_clean(self) -> bool:
        """True if nothing is lost, doubled or different."""
        numbers = (self.lost, self.doubled, self.differing)
        return not any((*numbers, *self.missing_messages, *self.conflicts))


def run_quietly(folder: Path, drop: Path) -> ServiceProcess:
    """Return a service in a new folder that has ranked the plates of a drop folder."""
    quiet = make_service(folder)
    shutil.copytree(drop, quiet.drop, dirs_exist_ok=True)
    done = quiet.run_once()
    if done.returncode:
        raise RuntimeError(f"the service without kills failed: {done.stderr[-2000:]}")
    return quiet


def run_campaign(
    quiet: ServiceProcess,
    folder: Path,
    *,
    kills: int,
    seed: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Kill a service while the files of a drop folder arrive, and return the Result.

    Parameters
    ----------
    quiet
        A service that has ranked the plates without a kill. A robot writes the files of its drop
        folder again: the plate maps first, then the images day by day.
    folder
        A new folder for the service that is killed.
    kills
        Number of kills.
    seed
        Seed of the times of the kills.
    should_stop
        Whether the kills end before this number.
    """
    killed = make_service(folder)
    subscribers = (Subscriber(killed), Subscriber(killed))
    with subscribers[0].listening(), subscribers[1].listening():
        done = kill_repeatedly(killed, quiet.drop, kills=kills, seed=seed, should_stop=should_stop)
        expected = newest(quiet)
        with killed.running():
            killed.wait_for(lambda: is_complete(killed, expected), END_S)
            # Messages that are stored later, such as the one at the end of the service, reach the
            # subscribers after the next start only.
            sent = {sequence for sequence, _ in messages_of(killed)}
            killed.wait_for(
                lambda: all(max(sent) in subscriber.messages for subscriber in subscribers), END_S
            )
    return compare(killed, quiet, subscribers, sent=sent, kills=done)


def make_service(folder: Path) -> ServiceProcess:
    """Return a service that is not started, with an empty drop folder."""
    folder.mkdir(parents=True)
    service = ServiceProcess(folder)
    service.drop.mkdir()
    service.configure()
    return service


def kill_repeatedly(
    service: ServiceProcess,
    drop: Path,
    *,
    kills: int,
    seed: int,
    should_stop: Callable[[], bool],
) -> int:
    """Kill the service at random moments while the robot writes the files.

    The number of kills is returned.

    Parameters are those of :func:`run_campaign`; ``drop`` has the files that the robot writes.
    """
    rng = random.Random(seed)  # noqa: S311 - the moments of the kills
    files = sorted(
        (path for path in drop.rglob("*") if path.is_file()),
        key=lambda path: (path.suffix == ".tif", path.parent.name, path),
    )
    start_s = 0.0
    for kill in range(kills):
        if should_stop():
            copy_files(service, drop, files[len(files) * kill // kills :])
            return kill
        batch = files[len(files) * kill // kills : len(files) * (kill + 1) // kills]
        begun, begun_at = time.monotonic(), datetime.now(UTC)
        with service.running() as process:
            if not kill:
                service.wait_for(lambda: service.events("service.started"), END_S)
                start_s = start_duration_s(service, begun_at)
            end = begun + rng.uniform(0, STARTS * start_s)
            for file in batch:
                copy_files(service, drop, [file])
                time.sleep(max(0.0, end - time.monotonic()) / (2 * len(batch)))
            time.sleep(max(0.0, end - time.monotonic()))
            process.kill()
            process.wait()
        start_s = start_duration_s(service, begun_at) or start_s
    return kills


def start_duration_s(service: ServiceProcess, begun_at: datetime) -> float:
    """Return the duration of a start, which depends on the load; 0 if it had not ended."""
    started_at = datetime.fromisoformat(service.events("service.started")[-1]["timestamp"])
    return max(0.0, (started_at - begun_at).total_seconds())


def newest(service: ServiceProcess) -> dict[tuple[str, int], Ranking]:
    """Return the newest ranking by plate and day."""
    with service.store() as store:
        return {
            (plate, ranking.day): ranking
            for plate in store.plates()
            for ranking in store.rankings(plate)
        }


def is_complete(service: ServiceProcess, expected: dict[tuple[str, int], Ranking]) -> bool:
    """Return whether the newest rankings of a service have the tables of the expected ones."""
    return {key: table(each) for key, each in newest(service).items()} == {
        key: table(each) for key, each in expected.items()
    }


def table(ranking: Ranking) -> dict[str, object]:
    """Return the treatments, wells and quality of a ranking."""
    return ranking.model_dump(include=set(TreatmentTable.model_fields))


def observed(service: ServiceProcess) -> Counter[tuple[str, str, int, str]]:
    """Return the number of stored images by plate, well, day and digest of the pixels."""
    with service.store() as store:
        return Counter(
            (image.key.plate, image.key.well, image.day, image.pixel_digest)
            for plate in store.plates()
            for image in store.arrived(plate)
        )


def messages_of(service: ServiceProcess) -> list[tuple[int, str]]:
    """Return sequence number and topic of each stored message, oldest first."""
    with service.store() as store:
        return [(each.sequence, each.topic) for each in store.messages_after(0, limit=1_000_000)]


def compare(
    killed: ServiceProcess,
    quiet: ServiceProcess,
    subscribers: Sequence[Subscriber],
    *,
    sent: Collection[int],
    kills: int,
) -> Result:
    """Return the differences between the service that was killed and the quiet one.

    ``sent`` has the sequence numbers of the messages that each subscriber must have received.
    """
    expected, found = observed(quiet), observed(killed)
    rankings, tables = newest(killed), newest(quiet)
    return Result(
        kills=kills,
        images=expected.total(),
        rankings=len(tables),
        lost=(expected - found).total(),
        doubled=(found - expected).total(),
        differing=sum(
            key not in rankings or table(rankings[key]) != table(each)
            for key, each in tables.items()
        ),
        missing_messages=tuple(len(set(sent) - each.messages.keys()) for each in subscribers),
        conflicts=tuple(each.conflicts for each in subscribers),
    )


def write_small_plates(out: Path, plates: int, seed: int) -> Path:
    """Write virtual plates of 18 wells on three days, and return their drop folder."""
    scopes = [
        with_few_wells(scope, untreated=7, single_dose=2, treatments=3)
        for scope in virtual_microscopes(plates, seed, 96, mechanism=Mechanism.SHRINKING)
    ]
    write_plates(out, scopes, days=DAYS)
    return out / "drop"


def main() -> int:
    """Run the campaign and print its result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--plates", type=int, default=6, help="of 54 images each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signals: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: signals.append(number))
    with tempfile.TemporaryDirectory() as folder:
        drop = write_small_plates(Path(folder) / "plates", options.plates, options.seed)
        quiet = run_quietly(Path(folder) / "quiet", drop)
        begun = time.monotonic()
        result = run_campaign(
            quiet,
            Path(folder) / "killed",
            kills=options.kills,
            seed=options.seed,
            should_stop=lambda: bool(signals),
        )
        minutes = (time.monotonic() - begun) / 60
    print(
        f"{result.kills} kills in {minutes:.0f} minutes, {result.images} images, "
        f"{result.rankings} rankings\n"
        f"observations lost {result.lost}, stored twice {result.doubled}\n"
        f"rankings missing or different {result.differing}\n"
        f"messages missing at the subscribers {result.missing_messages}, "
        f"numbers with two messages {result.conflicts}"
    )
    return 0 if result.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
