"""Image a virtual plate for ten days with a stage that loses steps, and rank it.

    python -m benchmarks.ten_days --seed 1

The real service drives a virtual microscope through Micro-Manager's core, with two fields per well
and a second channel on the readout day. Once a day the stage loses steps on the way to a random
well. The camera records the true place of each frame. The last lines show how each fault was
reported, the images that are not of their wells, and the correlation of the final ranking with the
true kill. ``--no-faults`` does the same without lost steps.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
from scipy.stats import spearmanr

from acquisition.microscope.imaging_requests import open_imaging_requests
from benchmarks.ten_days_devices import HAPPENED, PLANNED, nearest_well, true_places
from daemon.jobs.demo import free_ports, running_command
from daemon.jobs.simulate import write_virtual_microscope
from simulation.kinds import Mechanism
from simulation.plate import READOUT_DAY
from simulation.world import World, WorldFile
from tests.microscope_folder import MicroscopeFolder

DAYS = range(1, READOUT_DAY + 1)
KINDS = ("stalled", "displaced")
CHANNEL = "stain"
START_S, DAY_S, RANKING_S = 120.0, 1800.0, 300.0  # time limits
QUIET_S = 4.0  # without a further image or request; then a day is over
REPORTS = ("well.failed", "well.repeated", "day.halted", "mosaic.failed", "image.requested")
_MICROSCOPE = """
fields = [2, 1]
fields_use = "{fields_use}"
home_stage = true
linger_s = 600
settle_ms = 0
keep_free_bytes = 0
"""
_REST = """
[[source.micromanager.channels]]
name = "{channel}"
preset = "Channel:Dim"
exposure_ms = 20.0
days = "readout"

[ranking]
correction_quiet_s = 3600

[publisher]
events = "tcp://127.0.0.1:{events}"
requests = "tcp://127.0.0.1:{requests}"

[health]
http = ""
"""


@dataclass
class TenDays(MicroscopeFolder):
    """A folder with a virtual microscope whose devices are those of this benchmark."""

    folder: Path
    world: World
    rng: np.random.Generator
    faults: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, arguments: argparse.Namespace) -> "TenDays":
        """Write the virtual microscope, its devices and the configuration of the service."""
        file = WorldFile(
            seed=arguments.seed,
            wells=arguments.wells,
            size_px=arguments.size,
            mechanism=Mechanism.SHRINKING,
        )
        world = write_virtual_microscope(folder, file, assay=False)
        devices = folder / "MMConfig.cfg"
        text = devices.read_text()
        for name, replacement in (("Stage", "LosingStage"), ("Camera", "RecordingCamera")):
            text = text.replace(
                f"simulation.devices,Virtual{name}", f"benchmarks.ten_days_devices,{replacement}"
            )
        devices.write_text(text)
        config, section = folder / "spherorank.toml", "[source.micromanager]\n"
        events, requests = free_ports(2)
        microscope = section + _MICROSCOPE.format(fields_use=arguments.fields_use)
        rest = _REST.format(channel=CHANNEL, events=events, requests=requests)
        config.write_text(config.read_text().replace(section, microscope) + rest)
        return cls(folder, world, np.random.default_rng(arguments.seed))

    def plan_fault(self, day: int) -> None:
        """Plan a lost step on a culture day on the way to a random well."""
        fault = {
            "day": day,
            "well": str(self.rng.choice(self.wells)),
            "kind": str(self.rng.choice(KINDS)),
        }
        (self.world.folder / PLANNED).write_text(json.dumps(fault))
        self.faults.append(fault)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Return the events of the service's log with one of the names, in their order."""
        lines = [
            json.loads(line)
            for log in sorted((self.folder / "logs").glob("*.jsonl"))
            for line in log.read_text().splitlines()
        ]
        return [line for line in lines if line["event"] in names]

    def files(self, day: int) -> list[Path]:
        """Return the image files of a culture day, oldest first."""
        folder = self.folder / "archive" / self.plate / f"day{day:02d}"
        return sorted(folder.glob("[!.]*.ome.tif"), key=lambda path: path.name[4:])

    def ranked_files(self, day: int) -> dict[str, Path]:
        """Return the newest ranked image file of each well on a culture day."""
        return {path.name[:3]: path for path in self.files(day) if path.name.count("_") == 1}


def image_days(lab: TenDays, *, with_faults: bool) -> None:
    """Image the plate day by day with the service, until the final ranking is published."""
    config, log_file = str(lab.folder / "spherorank.toml"), lab.folder / "service.log"
    with (
        log_file.open("w") as log,
        running_command(["run", "--config", config], log) as service,
    ):
        lock = lab.folder / "microscope" / "lock"
        wait_until(lambda: lock.exists() and bool(lock.read_text()), service, START_S)
        for day in DAYS:
            started_s = time.monotonic()
            if with_faults:
                lab.plan_fault(day)
            lab.world.place_plate(lab.plate, day)
            command = ["acquire", "run", lab.plate, "--day", str(day), "--config", config]
            with running_command(command, log) as acquiring:
                wait_until(_DayEnd(lab, day, acquiring), service, DAY_S)
            print_day(lab, day, time.monotonic() - started_s)
        wait_until(lambda: final_ranking(lab) is not None, service, RANKING_S)


@dataclass
class _DayEnd:
    """Returns True once a day's images are all stored and no request is pending."""

    lab: TenDays
    day: int
    acquiring: "subprocess.Popen[bytes]"
    _quiet_since_s: float = field(default_factory=time.monotonic, init=False)
    _seen: int = field(default=-1, init=False)

    def __call__(self) -> bool:
        lab = self.lab
        requests = open_imaging_requests(lab.folder / "microscope")
        of_day = f"day{self.day:02d}-"
        stored = sum(line["visit"].startswith(of_day) for line in lab.events("image.stored"))
        saved = sum(path.name.count("_") == 1 for path in lab.files(self.day))
        ended = self.acquiring.poll() is not None
        if not ended or stored < saved or requests.pending() or saved != self._seen:
            self._seen, self._quiet_since_s = saved, time.monotonic()
        return time.monotonic() - self._quiet_since_s > QUIET_S


def wait_until(
    condition: Callable[[], bool], service: "subprocess.Popen[bytes]", most_s: float
) -> None:
    """Wait until a condition is true; RuntimeError if the service ends or the time is over."""
    end_s = time.monotonic() + most_s
    while not condition():
        if service.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError("the service has ended, or the time is over; see service.log")
        time.sleep(2.0)


def print_day(lab: TenDays, day: int, took_s: float) -> None:
    """Print the images of a day, and the events that report a fault."""
    kinds = Counter(path.name.count("_") for path in lab.files(day))
    print(
        f"day {day}: {len(lab.ranked_files(day))} of {len(lab.wells)} wells saved in "
        f"{kinds[1]} ranked and {kinds[2]} other images, {took_s:.0f} s",
        flush=True,
    )
    for line in lab.events(*REPORTS):
        if line["day"] == day:
            wells = line.get("well") or ",".join(line.get("wells", ()))
            text = line.get("problem") or line.get("reason")
            print(f"    {line['event']} {wells}: {text}", flush=True)


def final_ranking(lab: TenDays) -> dict[str, Any] | None:
    """Return the final ranking of the plate, or None before it is published."""
    path = lab.folder / "rankings" / lab.plate / "latest.json"
    ranking: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return ranking if ranking.get("final") else None


def wrong_places(lab: TenDays) -> tuple[list[str], list[str]]:
    """Return the newest ranked images, and all other images, with a frame of another well."""
    places = {datetime.fromisoformat(at): xy for at, xy in true_places(lab.world.folder).items()}
    newest: list[str] = []
    others: list[str] = []
    for day in DAYS:
        ranked = set(lab.ranked_files(day).values())
        for path in lab.files(day):
            image = ome_types.from_tiff(path).images[0]
            for plane in image.pixels.planes:
                assert image.acquisition_date  # noqa: S101 - SpheroRank wrote the file
                at = image.acquisition_date + timedelta(seconds=plane.delta_t or 0.0)
                if nearest_well(*places[at]) != path.name[:3]:
                    (newest if path in ranked else others).append(f"day {day} {path.name}")
                    break
    return newest, others


def print_results(lab: TenDays) -> None:
    """Print faults and their reports, wrong images, files of the channel, and the correlation."""
    happened_file = lab.world.folder / HAPPENED
    happened = (
        [json.loads(line) for line in happened_file.read_text().splitlines()]
        if (happened_file.exists())
        else []
    )
    for fault in happened:
        reports = [
            f"{line['event']} {line.get('well', '')}"
            for line in lab.events(*REPORTS)
            if line["day"] == fault["day"] and line["event"] != "image.requested"
        ]
        print(
            f"day {fault['day']}: {fault['kind']} on the way from {fault['from']} to "
            f"{fault['well']}: {', '.join(reports) or 'NOT REPORTED'}"
        )
    saved = [len(lab.ranked_files(day)) for day in DAYS]
    newest, others = wrong_places(lab)
    stained = [path for path in lab.files(READOUT_DAY) if CHANNEL in path.name]
    alerts = [line["message"] for line in lab.events("alert.raised")]
    for text in (*newest, *others):
        print(f"image of another well: {text}")
    for alert in alerts:
        print(f"alert: {alert}")
    ranking = final_ranking(lab)
    assert ranking is not None  # noqa: S101 - image_days waits for it
    kills = {plan.well: plan.kill(READOUT_DAY) for plan in lab.world.scopes[lab.plate].plate.wells}
    rows = ranking["treatments"]
    correlation = spearmanr(
        [row["score"] for row in rows],
        [np.mean([kills[well] for well in row["wells"]]) for row in rows],
    ).statistic
    print(f"wells saved per day: {', '.join(map(str, saved))} of {len(lab.wells)}")
    print(f"lost steps: {len(happened)} of {len(lab.faults)} planned")
    print(f"ranked images of another well: {len(newest)}; superseded or other: {len(others)}")
    print(
        f"further channel: {len(stained)} images of {len({path.name[:3] for path in stained})} "
        f"wells, {sum(path.name.count('_') == 1 for path in stained)} ranked"
    )
    print(f"alerts: {len(alerts)}; rejected images: {len(lab.events('image.rejected'))}")
    print(f"Spearman of score and true kill over {len(rows)} treatments: {correlation:.3f}")


def main() -> None:
    """Image and rank the plate in a temporary folder, or in a given one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wells", type=int, default=60)
    parser.add_argument("--size", type=int, default=512, help="side of a frame in pixels")
    parser.add_argument("--fields-use", choices=("mosaic", "largest_tissue"), default="mosaic")
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--out", type=Path, help="a new folder that is kept")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # the service loads the devices
    with tempfile.TemporaryDirectory() as name:
        lab = TenDays.make(arguments.out or Path(name), arguments)
        image_days(lab, with_faults=not arguments.no_faults)
        print_results(lab)


if __name__ == "__main__":
    main()
