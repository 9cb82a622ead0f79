"""A watchdog thread for the process that drives the microscope.

A driver that hangs must not leave the lamp on overnight. While the main thread hangs in a driver,
Python runs no signal handler, so this thread reads the byte that each signal writes into a pipe.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from schemas.exit_codes import ExitCode

LAMP_OFF_TIMEOUT_S = 5.0
TICK_S = 5.0  # interval of the event ``tick``


class Watchdog:
    """Ends the process, with the lamp off, when the main thread hangs.

    The process ends when the main thread reports no progress for ``stall_s``, or when it does not
    end within ``grace_s`` after a signal.

    Parameters
    ----------
    stall_s
        The longest time in seconds without progress.
    grace_s
        The longest time in seconds from a signal to the end of the process.
    emit
        Is called with the event ``tick`` every few seconds, and with an alert before the end.
    lamp_off
        Switches the lamp off; called from another thread, also before the microscope is open.
    end
        Ends the process at once with an exit code.
    parent_fd
        A pipe that closes when the parent process ends; then this process receives SIGTERM. None:
        there is no parent to wait for.
    """

    def __init__(
        self,
        *,
        stall_s: float,
        grace_s: float,
        emit: Callable[..., None],
        lamp_off: Callable[[], None],
        end: Callable[[int], NoReturn] = os._exit,
        parent_fd: int | None = None,
    ) -> None:
        self._stall_s = stall_s
        self._grace_s = grace_s
        self._emit = emit
        self._lamp_off = lamp_off
        self._end = end
        self._parent_fd = parent_fd
        self._progress_s = time.monotonic()
        self._end_at_s = float("inf")
        self._activity = "opening the microscope"

    def start(self) -> None:
        """Start to watch; call this from the main thread, which receives the signals."""
        signals, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        self.report_progress()
        threading.Thread(target=self._watch, args=(signals,), name="watchdog", daemon=True).start()

    def report_progress(self, activity: str | None = None) -> None:
        """Record that the main thread makes progress, and the name of its next activity."""
        self._progress_s = time.monotonic()
        self._activity = activity or self._activity

    def _watch(self, signals: int) -> None:
        """Check for signals, the parent's end and a stall, for ever."""
        last_tick_s = float("-inf")
        watched = [signals] + ([self._parent_fd] if self._parent_fd is not None else [])
        while True:
            for ready in select.select(watched, [], [], min(1.0, self._stall_s / 10))[0]:
                if ready == signals:
                    os.read(ready, 64)
                    self._end_at_s = min(self._end_at_s, time.monotonic() + self._grace_s)
                elif not os.read(ready, 64):
                    watched.remove(ready)
                    os.kill(os.getpid(), signal.SIGTERM)
            now_s = time.monotonic()
            if now_s - self._progress_s > self._stall_s:
                self._give_up(f"made no progress for {self._stall_s:g} s while {self._activity}")
            if now_s > self._end_at_s:
                self._give_up(
                    f"did not end within {self._grace_s:g} s after a signal while {self._activity}"
                )
            if now_s - last_tick_s >= TICK_S:
                last_tick_s = now_s
                self._emit("tick")

    def _give_up(self, reason: str) -> None:
        """Switch the lamp off, emit an alert with the reason, and end the process."""
        is_off = threading.Event()
        threading.Thread(target=self._switch_lamp_off, args=(is_off,), daemon=True).start()
        lamp = (
            "the lamp was switched off"
            if is_off.wait(LAMP_OFF_TIMEOUT_S)
            else "the lamp may still be on"
        )
        try:
            self._emit(
                "alert",
                kind="microscope",
                cause="stalled",
                message=f"the imaging process {reason}; {lamp}, and the process ends",
                plate=None,
            )
        finally:
            self._end(ExitCode.MICROSCOPE_STALLED)

    def _switch_lamp_off(self, is_off: threading.Event) -> None:
        """Switch the lamp off and set the event, unless the driver fails."""
        with contextlib.suppress(Exception):  # the alert says that the lamp may still be on
            self._lamp_off()
            is_off.set()
