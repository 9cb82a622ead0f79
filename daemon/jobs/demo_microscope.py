"""``spherorank demo --microscope``: the real service drives a virtual microscope over a virtual plate, day after day, until the final ranking."""

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
    Subscriber,
    free_ports,
    refuse_used_folder,
    running,
    show,
)
from daemon.jobs.simulate import simulate_microscope
from schemas.errors import ConfigError, SpheroRankError
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from simulation.world import WorldFile

START_S = 60.0  # for the service to take the microscope
DAY_S = 300.0
_SERVICE = """
[publisher]
events = "tcp://127.0.0.1:{events}"
requests = "tcp://127.0.0.1:{requests}"

[health]
http = ""
"""


def demonstrate(out: Path, seed: int, days: Sequence[int], wells: int, screen: Console) -> None:
    """Image a plate's days one after the other, as soon as each is through the service, and show the final ranking beside the truth.

    Raises
    ------
    ConfigError
        If the folder is not new or empty, the days do not lead to a ranking, or Micro-Manager's core is not installed.
    SpheroRankError
        If a process ends early or something does not come in time.
    """
    if not (min(days) <= DOSED_ON_DAY and READOUT_DAY in days):
        raise ConfigError(
            "--days",
            f"is {', '.join(map(str, days))}; expected day {READOUT_DAY}, and one up to dosing on day {DOSED_ON_DAY}",
        )
    check_installed()
    refuse_used_folder(out)
    world = simulate_microscope(
        out, WorldFile(seed=seed, wells=wells, size_px=SIZE_PX, mechanism=MECHANISM), assay=False
    )
    (plate,) = world.scopes
    config, log_file = out / "spherorank.toml", out / "service.log"
    events, requests = free_ports(2)
    with config.open("a") as file:
        file.write(_SERVICE.format(events=events, requests=requests))
    screen.print(
        f"A virtual microscope stands in {out}/world; the service drives it through Micro-Manager's core and reads what it saves in {out}/archive."
    )
    with log_file.open("w") as log, running(["run", "--config", str(config)], log) as service:
        subscriber = Subscriber(f"tcp://127.0.0.1:{events}", f"tcp://127.0.0.1:{requests}", screen)
        demonstration = _Demonstration(out, plate, wells, service, subscriber)
        demonstration.wait_for_microscope()
        for day in sorted(set(days)):
            world.present(plate, day)
            with running(
                ["acquire", "--plate", plate, "--day", str(day), "--config", str(config)], log
            ) as acquiring:
                demonstration.image(day, acquiring)
        demonstration.wait_for_ranking()
    if subscriber.final is None:
        raise SpheroRankError(
            log_file, "the service ended before the final ranking; the log tells why"
        )
    show(subscriber.final, out, screen)


class _Demonstration:
    """What is waited for between one step and the next, each with a limit."""

    def __init__(
        self,
        out: Path,
        plate: str,
        wells: int,
        service: "subprocess.Popen[bytes]",
        subscriber: Subscriber,
    ) -> None:
        self._out = out
        self._plate = plate
        self._wells = wells
        self._service = service
        self._subscriber = subscriber
        self._requests = open_imaging_requests(out / "microscope")

    def wait_for_microscope(self) -> None:
        """Wait until the service's own process holds the microscope, so that nobody else takes it first."""
        lock = self._out / "microscope" / "lock"
        give_up = time.monotonic() + START_S
        while not (lock.exists() and lock.read_text()):
            self._go_on(give_up, "the service did not take the microscope")
            time.sleep(0.1)

    def image(self, day: int, acquiring: "subprocess.Popen[bytes]") -> None:
        """Follow a day until each of its wells is through the service, and none is to be imaged again."""
        give_up = time.monotonic() + DAY_S

        def is_through() -> bool:
            self._go_on(give_up, f"day {day} was not through the service")
            if acquiring.poll() not in (None, 0):
                raise SpheroRankError(
                    self._out / "service.log",
                    f"plate {self._plate} was not imaged on day {day}; the log tells why",
                )
            seen = sum(seen_on == day for seen_on, _well in self._subscriber.seen)
            is_imaged = acquiring.poll() is not None and not self._requests.pending()
            return seen == self._wells and is_imaged

        self._subscriber.follow(f"day {day}: wells embedded", self._wells, is_through)

    def wait_for_ranking(self) -> None:
        """Follow the service until it publishes the final ranking."""
        give_up = time.monotonic() + DAY_S

        def has_come() -> bool:
            self._go_on(give_up, "no final ranking came")
            return self._subscriber.final is not None

        self._subscriber.follow("ranking", 1, has_come)

    def _go_on(self, give_up: float, problem: str) -> None:
        """Raise :class:`SpheroRankError` when time is over or the service has ended."""
        if self._service.poll() is not None or time.monotonic() > give_up:
            raise SpheroRankError(
                self._out / "service.log",
                f"{problem} in time, or the service ended; the log tells why",
            )
