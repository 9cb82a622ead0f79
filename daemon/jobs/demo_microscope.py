"""Work of ``spherorank demo --microscope``: the real service drives a virtual microscope."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from acquisition.microscope.imaging_requests import open_imaging_requests
from acquisition.microscope.settings import check_installed
from daemon.jobs.demo import (
    MECHANISM,
    SIZE_PX,
    DemoSubscriber,
    check_is_new_or_empty,
    free_ports,
    print_ranking_beside_truth,
    running_command,
)
from daemon.jobs.simulate import write_virtual_microscope
from schemas.errors import ConfigError, SpheroRankError
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from simulation.world import WorldFile

START_S = 60.0  # until the service has opened the microscope
DAY_S = 300.0  # until all images of one day are embedded
_SERVICE = """
[ranking]
correction_quiet_s = 600  # the plate was seeded long ago, and its days follow within minutes

[publisher]
events = "tcp://127.0.0.1:{events}"
requests = "tcp://127.0.0.1:{requests}"

[health]
http = ""
"""


def run_microscope_demo(
    out: Path, seed: int, days: Sequence[int], wells: int, screen: Console
) -> None:
    """Image a virtual plate of a seed in folder ``out`` day by day, and print its final ranking.

    The true kill of each treatment is printed with it.

    Each day starts as soon as the service has embedded all images of the day before.

    Parameters
    ----------
    out
        The folder to write; it must be new or empty.
    seed
        Seed of the virtual plate.
    days
        The culture days that are imaged.
    wells
        Number of wells of the plate, 12 to 60.

    Raises
    ------
    ConfigError
        If the folder is not new or empty, the days do not lead to a ranking, or the extra
        ``micromanager`` is not installed.
    SpheroRankError
        If a process ends early or a time limit passes.
    """
    if not (min(days) <= DOSED_ON_DAY and READOUT_DAY in days):
        raise ConfigError(
            "--days",
            f"is {', '.join(map(str, days))}; "
            f"expected day {READOUT_DAY}, and one up to dosing on day {DOSED_ON_DAY}",
        )
    check_installed()
    check_is_new_or_empty(out)
    world = write_virtual_microscope(
        out, WorldFile(seed=seed, wells=wells, size_px=SIZE_PX, mechanism=MECHANISM), assay=False
    )
    (plate,) = world.scopes
    config, log_file = out / "spherorank.toml", out / "service.log"
    events, requests = free_ports(2)
    with config.open("a", encoding="utf-8") as file:
        file.write(_SERVICE.format(events=events, requests=requests))
    screen.print(
        f"A virtual microscope is simulated in {out}/world. The service drives it through "
        f"Micro-Manager and reads the images that it saves in {out}/archive."
    )
    with (
        log_file.open("w", encoding="utf-8") as log,
        running_command(["run", "--config", str(config)], log) as service,
    ):
        subscriber = DemoSubscriber(
            f"tcp://127.0.0.1:{events}", f"tcp://127.0.0.1:{requests}", screen
        )
        steps = _DemoSteps(out, plate, wells, service, subscriber)
        steps.wait_for_microscope()
        for day in sorted(set(days)):
            world.place_plate(plate, day)
            command = ["acquire", "run", plate, "--day", str(day), "--config", str(config)]
            with running_command(command, log) as acquiring:
                steps.wait_for_day(day, acquiring)
        steps.wait_for_ranking()
    if subscriber.final is None:
        raise SpheroRankError(log_file, "shows why the service ended before the final ranking")
    print_ranking_beside_truth(subscriber.final, out, screen)


class _DemoSteps:
    """Waits for the end of each step of the demonstration, each with a time limit."""

    def __init__(
        self,
        out: Path,
        plate: str,
        wells: int,
        service: "subprocess.Popen[bytes]",
        subscriber: DemoSubscriber,
    ) -> None:
        self._out = out
        self._plate = plate
        self._wells = wells
        self._service = service
        self._subscriber = subscriber
        self._requests = open_imaging_requests(out / "microscope")

    def wait_for_microscope(self) -> None:
        """Wait until the service has locked the microscope, so that no other process opens it."""
        lock = self._out / "microscope" / "lock"
        end_s = time.monotonic() + START_S
        while not (lock.exists() and lock.read_text(encoding="utf-8")):
            self._check_time_and_service(end_s, "the service has not opened the microscope")
            time.sleep(0.1)

    def wait_for_day(self, day: int, acquiring: "subprocess.Popen[bytes]") -> None:
        """Follow the service until it has embedded each well of a day and no request is open."""
        end_s = time.monotonic() + DAY_S

        def is_done() -> bool:
            self._check_time_and_service(end_s, f"day {day} is not embedded")
            if acquiring.poll() not in (None, 0):
                raise SpheroRankError(
                    self._out / "service.log",
                    f"shows why plate {self._plate} was not imaged on day {day}",
                )
            embedded = sum(of_day == day for of_day, _well in self._subscriber.embedded)
            is_imaged = acquiring.poll() is not None and not self._requests.pending()
            return embedded == self._wells and is_imaged

        self._subscriber.follow(f"day {day}: wells embedded", self._wells, is_done)

    def wait_for_ranking(self) -> None:
        """Follow the service until it publishes the final ranking."""
        end_s = time.monotonic() + DAY_S

        def is_published() -> bool:
            self._check_time_and_service(end_s, "the final ranking is not published")
            return self._subscriber.final is not None

        self._subscriber.follow("ranking", 1, is_published)

    def _check_time_and_service(self, end_s: float, problem: str) -> None:
        """Raise :class:`SpheroRankError` if the time is over or the service has ended."""
        if self._service.poll() is not None or time.monotonic() > end_s:
            raise SpheroRankError(
                self._out / "service.log",
                f"shows why {problem} in time, or why the service ended",
            )
