"""The time of the service, which does not follow a jump of this computer's clock at once.

A clock that is set forward by a day would let each deadline pass, and a clock that is set back
would delay it. The time of the service therefore advances by a second clock, which cannot be set.
"""

import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.alerts import Alerts
from schemas.messages import AlertKind

JUMP_S = 60.0
"""Smallest difference between the two clocks that is a jump; a smaller one is followed at once."""
STABLE_S = 300.0
"""Time without another jump after which the service follows a synchronised clock forward."""
GRACE_S = 600.0
"""Time after the start in which the synchronisation of the clock may still begin."""

_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_SIZE_OF_TIMEX = 512  # bytes; struct timex has 208


def boot_time_s() -> float:
    """Return the seconds since this computer was started, also those in which it slept.

    On Windows the monotonic clock counts them, too.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def is_synchronised() -> bool | None:
    """Return whether the kernel reports that a time service keeps this computer's clock right.

    None if the operating system does not report it, as on Windows.
    """
    if not sys.platform.startswith("linux"):
        return None
    unchanged = ctypes.create_string_buffer(_SIZE_OF_TIMEX)  # zeros: read the state only
    state: int = ctypes.CDLL(None).adjtimex(unchanged)
    return state != _UNSYNCHRONISED


@dataclass(frozen=True)
class _Jump:
    """A jump forward that the service has followed, in the time of the service."""

    before: datetime
    by: timedelta


class SteadyClock:
    """A clock that starts with the time of this computer's clock and follows its small corrections.

    A jump forward is followed when the computer's clock is synchronised and stable. Any other jump
    is followed at the next start of the service.

    Parameters
    ----------
    wall_s
        Returns the time of this computer's clock, in seconds since 1970.
    steady_s
        Returns seconds since any moment, by a clock that cannot be set.
    is_synchronised
        Returns whether this computer's clock is kept right by a time service; None if that is
        unknown. Then no jump is followed.
    """

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = boot_time_s,
        is_synchronised: Callable[[], bool | None] = is_synchronised,
    ) -> None:
        self._wall_s = wall_s
        self._steady_s = steady_s
        self.is_synchronised = is_synchronised
        self._started_s = steady_s()
        self._offset_s = wall_s() - steady_s()
        self._seen_ahead_s = 0.0
        self._stable_since_s = steady_s()
        self._jumps: list[_Jump] = []

    def now(self) -> datetime:
        """Return the time of the service, in UTC."""
        return datetime.fromtimestamp(self._offset_s + self._steady_s(), tz=UTC)

    def running_s(self) -> float:
        """Return the seconds since this clock was made."""
        return self._steady_s() - self._started_s

    def check(self) -> float:
        """Follow this computer's clock where that is safe; return by how many s it is ahead.

        The result is 0 unless the clock has jumped. It is called every few seconds.
        """
        now_s = self._steady_s()
        ahead_s = self._wall_s() - now_s - self._offset_s
        if abs(ahead_s) <= JUMP_S:
            self._offset_s += ahead_s
            self._seen_ahead_s = 0.0
            return 0.0
        if abs(ahead_s - self._seen_ahead_s) > JUMP_S:
            self._seen_ahead_s, self._stable_since_s = ahead_s, now_s
        is_stable = now_s - self._stable_since_s >= STABLE_S
        if ahead_s > 0 and is_stable and self.is_synchronised():
            self._jumps.append(_Jump(self.now(), timedelta(seconds=ahead_s)))
            self._offset_s += ahead_s
            self._seen_ahead_s = 0.0
            return 0.0
        return ahead_s

    def skipped_since(self, moment: datetime) -> timedelta:
        """Return by how much this clock jumped forward after a moment; that time did not pass."""
        jumps = (jump.by for jump in self._jumps if moment <= jump.before)
        return sum(jumps, start=timedelta())


@dataclass(frozen=True)
class ClockWatch:
    """Raises the alert ``clock`` while this computer's clock cannot be trusted."""

    clock: SteadyClock
    alerts: Alerts

    def check(self) -> None:
        """Raise or clear the alerts about the clock."""
        ahead_s = self.clock.check()
        if ahead_s:
            direction = "forward" if ahead_s > 0 else "back"
            expected = (
                f"followed when the clock has been synchronised and stable for {STABLE_S:.0f} s"
                if ahead_s > 0 and self.clock.is_synchronised() is not None
                else "not followed"
            )
            self.alerts.raise_once(
                AlertKind.CLOCK,
                "jump",
                f"this computer's clock was set {direction} by {abs(ahead_s):.0f} s while the "
                f"service ran; this is {expected}. Until then the service uses its own time, "
                "and a restart follows the clock at once; expected a clock that is right",
            )
        else:
            self.alerts.clear(AlertKind.CLOCK, "jump")
        if self.clock.is_synchronised() is not False:
            self.alerts.clear(AlertKind.CLOCK, "unsynchronised")
        elif self.clock.running_s() > GRACE_S:
            self.alerts.raise_once(
                AlertKind.CLOCK,
                "unsynchronised",
                "no time service keeps this computer's clock right; expected one, such as chrony "
                "or systemd-timesyncd, because culture days and deadlines follow from the time",
            )
