"""Wait until a stage or focus drive has arrived and does not oscillate any more."""

import time
from collections.abc import Callable

from schemas.errors import MicroscopeError

BUSY_POLL_S = 0.005  # between two observations of a device
_QUIET_OBSERVATIONS = 2  # a device may report "not busy" once before it begins to move


def wait_until_settled(
    device: str,
    wait: Callable[[], None],
    is_busy: Callable[[], bool],
    *,
    timeout_s: float,
    settle_ms: float,
) -> None:
    """Wait until a device was not busy twice in a row, and then for the settling time.

    Parameters
    ----------
    device
        The device for error messages, such as ``stage XY``.
    wait
        Returns as soon as the device was not busy once.
    is_busy
        Returns whether the device is busy.
    timeout_s
        The longest time in seconds until the device is not busy.
    settle_ms
        The pause in ms after the arrival.

    Raises
    ------
    MicroscopeError
        If the device is still busy after ``timeout_s``.
    """
    end_s = time.monotonic() + timeout_s
    wait()
    quiet = 0
    while quiet < _QUIET_OBSERVATIONS:
        time.sleep(BUSY_POLL_S)
        quiet = 0 if is_busy() else quiet + 1
        if time.monotonic() > end_s:
            raise MicroscopeError(
                device, f"is still moving after {timeout_s:g} s; expected its arrival in timeout_s"
            )
    time.sleep(settle_ms / 1000)
