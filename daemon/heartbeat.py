"""Signs of life of the main loop, for the systemd watchdog and for other threads."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


class Stopping(Exception):  # noqa: N818 - not an error: it ends long work after a signal
    """Ends long work after a stop signal; the work is repeated after the next start."""


@dataclass
class LoopClock:
    """The time since the main loop last made progress. Any thread may read it."""

    clock: Callable[[], float] = time.monotonic
    _touched_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._touched_s = self.clock()

    def touch(self) -> None:
        """Record that the main loop makes progress now."""
        self._touched_s = self.clock()

    def age_s(self) -> float:
        """Return the seconds since the main loop last made progress."""
        return self.clock() - self._touched_s


@dataclass(frozen=True)
class Heartbeat:
    """Shows that the main loop is alive, and reports stop signals to long work."""

    loop_clock: LoopClock
    stop_signals: Sequence[int]  # signal handlers append to it
    checks: Sequence[Callable[[], None]]  # each raises the error that ended a part of the service
    notify_systemd: Callable[[str], None]

    @property
    def is_stopping(self) -> bool:
        """True if a stop signal has arrived."""
        return bool(self.stop_signals)

    def beat(self) -> None:
        """Run the checks, and record that the main loop is alive."""
        for check in self.checks:
            check()
        self.loop_clock.touch()
        self.notify_systemd("WATCHDOG=1")

    def tick(self) -> None:
        """Beat during long work; long work calls this every few seconds.

        Raises
        ------
        Stopping
            If a stop signal has arrived.
        """
        self.beat()
        if self.is_stopping:
            raise Stopping

    def wait(self, seconds: float) -> None:
        """Wait for a number of seconds while beating; return early after a stop signal."""
        end_s = time.monotonic() + seconds
        while not self.is_stopping and time.monotonic() < end_s:
            self.beat()
            time.sleep(0.1)
