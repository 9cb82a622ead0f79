"""Run the service for simulated days with many plates and faults, and compare the results.

    python -m benchmarks.soak --hours 72 --seed 1

A virtual robot images several plates a day, of 12 wells on two days each. Its files are late,
written twice, replaced or damaged. Faults are drawn with the seed: the service is killed, the
process of the sockets is killed, the drop folder is away for a while, the disk of the store is full
for a while, a subscriber leaves and returns, and the computer's clock is wrong for a while. The
clock of the service is ``--factor`` times faster than that of this computer.

At the end the store, the files of the rankings and the messages that two subscribers received are
compared with everything the robot wrote. The service is killed in the first quarter only, so that
one process runs through the other three. The median of its memory and the least number of its open
descriptors are compared between the second and the last quarter. The exit code is 1 if anything is
lost, stored twice or missing, or if memory or descriptors have grown.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchmarks.running_service import Subscriber
from benchmarks.soak_clock import Compression
from benchmarks.soak_result import (
    Flatness,
    Received,
    Sample,
    Stored,
    compare_messages,
    compare_store,
    flatness,
)
from benchmarks.soak_robot import Event, Robot, start_of_day
from daemon.retention import Kind
from tests.service_process import ServiceProcess
from tests.small_disk import SmallDisk, small_disk

END_S = 600.0
"""Longest time after the last event until everything is stored, ranked and received."""
_SAMPLE_S = 1.0
_DISK_SIZE = "1g"
_CONFIG = """\
[source]
path = "{drop}"
bits = 16
settle_s = 0.3
poll_s = 0.5
plane_timeout_s = 2.0

[ranking]
method = "departure"
readout_deadline_h = 6
correction_quiet_s = 1800

[publisher]
events = "ipc://{folder}/events"
requests = "ipc://{folder}/requests"
heartbeat_s = 1.0

[output]
min_free_bytes = 1_000_000

[health]
http = ""

[retention]
messages_days = 1
pictures_days = 1
"""


@dataclass(frozen=True)
class CompressedService(ServiceProcess):
    """A service with compressed time, whose drop folder is on another disk than its store."""

    robot_folder: Path
    clock: Path

    @property
    def drop(self) -> Path:
        """The drop folder."""
        return self.robot_folder

    def configure(self, **_sections: str) -> None:
        """Write the configuration file."""
        self.config.write_text(_CONFIG.format(drop=self.drop, folder=self.folder))

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a command of SpheroRank with compressed time."""
        module = [sys.executable, "-m", "benchmarks.soak_clock", str(self.clock)]
        return [*module, *arguments, "--config", str(self.config)]


@dataclass(frozen=True)
class Result:
    """Everything that a run compares and measures."""

    faults: Mapping[str, int]
    unexpected_ends: tuple[int, ...]  # exit codes of the service when it was not killed
    stored: Stored
    received: tuple[Received, ...]
    pruned: Mapping[str, int]  # rows that retention deleted, by kind
    memory: Flatness
    descriptors: Flatness

    @property
    def is_clean(self) -> bool:
        """True if nothing is lost, doubled, foreign or missing, and the service never ended."""
        stored = self.stored
        wrong = (stored.doubled, stored.foreign, stored.doubled_rankings, *self.unexpected_ends)
        of_messages = [
            number
            for each in self.received
            for number in (
                each.missing,
                each.conflicts,
                each.repeated,
                each.doubled,
                each.missing_rankings,
            )
        ]
        is_whole = stored.is_complete and not stored.missing_files
        return is_whole and not any((*wrong, *of_messages))

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        stored = self.stored
        is_skipped = "disk full" not in self.faults
        skipped = "; no full disk, because no file system can be mounted" if is_skipped else ""
        return [
            f"faults: {_counts(self.faults)}{skipped}",
            f"unexpected ends of the service: {list(self.unexpected_ends)}",
            (
                f"images {stored.images}: lost {stored.lost}, stored twice {stored.doubled}, "
                f"foreign {stored.foreign}"
            ),
            (
                f"rankings {stored.rankings}, of them corrections {stored.corrections}: "
                f"plates not ranked {len(stored.unranked)}, "
                f"same inputs twice {stored.doubled_rankings}, "
                f"files missing or different {len(stored.missing_files)}"
            ),
            f"assays {stored.assays}: missing {stored.missing_assays}",
            *(
                f"subscriber {number}: messages {each.messages}, missing {each.missing}, "
                f"conflicts {each.conflicts}, repeated {each.repeated}, doubled {each.doubled}, "
                f"rankings missing {each.missing_rankings}"
                for number, each in enumerate(self.received, 1)
            ),
            f"deleted by retention: {_counts(self.pruned) or 'nothing'}",
            f"alerts: {_counts(self.received[0].alerts)}",
            f"memory in MB: {self.memory.text(1e6)}",
            f"descriptors: {self.descriptors.text(1)}",
            *(f"not ranked: {plate}" for plate in stored.unranked[:10]),
            *(f"missing file: {file}" for file in stored.missing_files[:10]),
        ]


def _counts(numbers: Mapping[str, int]) -> str:
    """Return names with their numbers as text, in alphabetical order."""
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items()))


@dataclass
class Soak:
    """A running soak: the service, the robot, the subscribers and the faults."""

    service: CompressedService
    robot: Robot
    clock: Compression
    disk: SmallDisk | None  # of the store; None if no file system can be mounted
    rng: random.Random
    hours: float
    faults: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    unexpected_ends: list[int] = field(default_factory=list)
    _next_sample_s: float = 0.0

    def __post_init__(self) -> None:
        self.subscribers = (Subscriber(self.service), Subscriber(self.service))
        self._running = ExitStack()
        self._process = self._start()
        self._listening = [ExitStack() for _ in self.subscribers]

    def run(self, events: list[Event]) -> Result:
        """Let every event happen at its hour, wait until all is complete, and stop the service."""
        for number in range(len(self.subscribers)):
            self._join(number)
        for event in sorted(events):
            while self.clock.hour() < event.hour:
                self._watch()
                time.sleep(0.02)
            event.act()
        while self.clock.hour() < self.hours:
            self._watch()
            time.sleep(0.02)
        self._wait(lambda: self._compare().is_complete)
        with self.service.store() as store:
            last = store.last_sequence()
        self._wait(lambda: all(last in each.messages for each in self.subscribers))
        self._stop()
        memory, descriptors = flatness(self.samples, self.hours)
        with self.service.store() as store:
            received = tuple(compare_messages(store, each, last) for each in self.subscribers)
        return Result(
            faults=self.faults + Counter({str(k): n for k, n in self.robot.faults.items()}),
            unexpected_ends=tuple(self.unexpected_ends),
            stored=self._compare(),
            received=received,
            pruned=self._pruned(),
            memory=memory,
            descriptors=descriptors,
        )

    def fault_events(self) -> Iterator[Event]:
        """Yield the events of all faults besides those of single images, in any order."""
        hours = self.hours
        for hour, _ in self._times(hours / 18, 0.05, 0.22, (0, 0)):
            yield Event(hour, "kill", self._kill_service)
        for hour, _ in self._times(hours / 12, 0.1, 0.95, (0, 0)):
            yield Event(hour, "kill of the sockets", self._kill_sockets)
        for hour, end in self._times(hours / 12, 0.1, 0.95, (0.5, 2)):
            yield Event(hour, "share gone", self._hide_folder)
            yield Event(end, "share back", self._show_folder)
        for turn, (hour, end) in enumerate(self._times(hours / 8, 0.05, 0.95, (1, 4))):
            number = turn % len(self.subscribers)
            yield Event(hour, "subscriber leaves", partial(self._leave, number))
            yield Event(end, "subscriber returns", partial(self._join, number))
        for hour, end in self._times(hours / 36, 0.3, 0.9, (1, 2)):
            offset_s = self.rng.choice((-1, 1)) * self.rng.uniform(1200, 3000)
            yield Event(hour, "clock wrong", partial(self._set_clock, offset_s))
            yield Event(end, "clock right", partial(self.clock.set_wrong, self.service.clock, 0.0))
        if self.disk is not None:
            for hour, end in self._times(hours / 24, 0.3, 0.95, (0.5, 1)):
                yield Event(hour, "disk full", partial(self._fill, self.disk))
                yield Event(end, "disk free", self.disk.repair)

    def _times(
        self, number: float, low: float, high: float, duration_h: tuple[float, float]
    ) -> Iterator[tuple[float, float]]:
        """Yield a random begin and end in each of ``number`` equal parts of a part of the run."""
        parts = max(1, round(number))
        size = self.hours * (high - low) / parts
        for part in range(parts):
            duration = min(self.rng.uniform(*duration_h), size / 2)
            begin = self.hours * low + part * size + self.rng.uniform(0, size - duration)
            yield begin, begin + duration

    def _start(self) -> "subprocess.Popen[str]":
        return self._running.enter_context(self.service.running())

    def _kill_service(self) -> None:
        self.faults["service killed"] += 1
        self._running.close()
        self._process = self._start()

    def _kill_sockets(self) -> None:
        """Kill the process that has bound the socket of the requests."""
        for child in psutil.Process(self._process.pid).children():
            with suppress(psutil.Error):
                if any(
                    str(each.laddr).endswith("/requests") for each in child.net_connections("unix")
                ):
                    child.kill()
                    self.faults["sockets killed"] += 1
                    return

    def _hide_folder(self) -> None:
        self.faults["share gone"] += 1
        self.robot.root = self.service.drop.rename(self.service.drop.with_name("away"))

    def _show_folder(self) -> None:
        self.robot.root = self.robot.root.rename(self.service.drop)

    def _leave(self, number: int) -> None:
        self.faults["subscriber left"] += 1
        self._listening[number].close()

    def _join(self, number: int) -> None:
        self._listening[number].enter_context(self.subscribers[number].listening())

    def _set_clock(self, offset_s: float) -> None:
        self.faults["clock wrong"] += 1
        self.clock.set_wrong(self.service.clock, offset_s)

    def _fill(self, disk: SmallDisk) -> None:
        self.faults["disk full"] += 1
        disk.break_down()

    def _watch(self) -> None:
        """Sample the service once a second; start it again, as systemd does, if it has ended."""
        if time.monotonic() < self._next_sample_s:
            return
        self._next_sample_s = time.monotonic() + _SAMPLE_S
        if (code := self._process.poll()) is not None:
            self.unexpected_ends.append(code)
            self._running.close()
            self._process = self._start()
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            memory = process.memory_info().rss
            self.samples.append(Sample(self.clock.hour(), memory, process.num_fds()))

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true, at most END_S; the caller compares again."""
        end_s = time.monotonic() + END_S
        begun_s = time.monotonic()
        while not condition() and time.monotonic() < end_s:
            self._watch()
            time.sleep(max(0.2, 3 * (time.monotonic() - begun_s)))
            begun_s = time.monotonic()

    def _compare(self) -> Stored:
        with self.service.store() as store:
            return compare_store(store, self.service.config, self.robot)

    def _pruned(self) -> Mapping[str, int]:
        """Return the rows that retention deleted, by kind, as the log has them."""
        pruned: Counter[str] = Counter()
        for event in self.service.events("store.pruned"):
            pruned.update({kind: event[kind] for kind in Kind if kind in event})
        return pruned

    def _stop(self) -> None:
        """Stop the service in order, and end the subscribers."""
        self._process.send_signal(signal.SIGTERM)
        if code := self._process.wait(timeout=60):
            self.unexpected_ends.append(code)
        self.close()

    def close(self) -> None:
        """End the service and the subscribers if they still run."""
        for each in (*self._listening, self._running):
            each.close()


def run_soak(folder: Path, *, hours: float, plates_a_day: int, factor: float, seed: int) -> Result:
    """Run a soak in a new folder, and return its Result.

    Parameters
    ----------
    hours
        Simulated hours in which the robot works.
    plates_a_day
        Plates whose first images are taken on one simulated day.
    factor
        Simulated seconds in one second.
    seed
        Seed of the plates and of all faults.
    """
    rng = random.Random(seed)  # noqa: S311 - the faults
    start = start_of_day(datetime.now(UTC) - timedelta(hours=hours))
    drop = folder / "drop"
    drop.mkdir(parents=True)
    with _disk(folder / "disk") as (path, disk):
        clock = Compression(time.time(), start.timestamp(), factor)
        service = CompressedService(path, drop, folder / "clock.json")
        clock.write(service.clock)
        service.configure()
        soak = Soak(service, Robot(drop, start, rng), clock, disk, rng, hours)
        with closing(soak):
            events = [*soak.robot.schedule(hours, plates_a_day, seed), *soak.fault_events()]
            return soak.run(events)


@contextmanager
def _disk(folder: Path) -> Iterator[tuple[Path, SmallDisk | None]]:
    """Yield a folder for the store and its disk; the disk is None if none can be mounted."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(folder, "full", _DISK_SIZE))
        except pytest.skip.Exception:
            yield folder, None
        else:
            yield folder, disk


def main() -> int:
    """Run the soak and print its result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=72.0, help="simulated hours")
    parser.add_argument("--plates", type=int, default=20, help="plates a simulated day")
    parser.add_argument("--factor", type=float, default=240.0, help="simulated seconds in one")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = run_soak(
            Path(folder),
            hours=options.hours,
            plates_a_day=options.plates,
            factor=options.factor,
            seed=options.seed,
        )
    minutes = (time.monotonic() - begun_s) / 60
    print(f"{options.hours:g} simulated hours in {minutes:.1f} minutes")
    print(*result.lines(), sep="\n")
    is_flat = result.memory.is_flat and result.descriptors.is_flat
    return 0 if result.is_clean and is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
