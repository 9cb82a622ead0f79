"""Watches over the thread that drives the microscope, from a thread of its own: a driver that hangs must not leave the lamp on for a night.

A signal cannot be seen in Python while the main thread hangs in a driver, so this thread reads the byte that each signal writes into a pipe.
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

LAMP_PATIENCE_S = 5.0
TICK_S = 5.0


class Watchdog:
    """Ends the process, the lamp first, when the microscope's thread stood still for ``stall_s``, or did not end ``grace_s`` after a signal.

    Parameters
    ----------
    stall_s, grace_s
        The patience.
    tell
        Hears ``tick`` while all is well, and the alert before the end.
    end
        Ends the process at once with an exit code.
    parent_fd
        A pipe whose end means that the process that started this one is gone; None: nobody did.
    """

    def __init__(
        self,
        *,
        stall_s: float,
        grace_s: float,
        tell: Callable[..., None],
        end: Callable[[int], NoReturn] = os._exit,
        parent_fd: int | None = None,
    ) -> None:
        self._stall_s = stall_s
        self._grace_s = grace_s
        self._tell = tell
        self._end = end
        self._parent_fd = parent_fd
        self._stepped_s = time.monotonic()
        self._end_at_s = float("inf")
        self.doing = "opening the microscope"
        self.lamp_off: Callable[[], None] = lambda: None  # until there is a microscope

    def start(self) -> None:
        """Watch from now on; called by the main thread, whose signals are listened to."""
        self._signals, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        self.step()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def step(self, doing: str | None = None) -> None:
        """Say that the microscope's thread is alive, and what it begins to do."""
        self._stepped_s = time.monotonic()
        self.doing = doing or self.doing

    def _watch(self) -> None:
        told_s = float("-inf")
        watched = [self._signals] + ([self._parent_fd] if self._parent_fd is not None else [])
        while True:
            for ready in select.select(watched, [], [], min(1.0, self._stall_s / 10))[0]:
                if ready == self._signals:
                    os.read(ready, 64)
                    self._end_at_s = min(self._end_at_s, time.monotonic() + self._grace_s)
                elif not os.read(ready, 64):
                    watched.remove(ready)
                    os.kill(os.getpid(), signal.SIGTERM)
            now_s = time.monotonic()
            if now_s - self._stepped_s > self._stall_s:
                self._give_up(f"stood still for {self._stall_s:g} s while {self.doing}")
            if now_s > self._end_at_s:
                self._give_up(
                    f"did not end within {self._grace_s:g} s of a signal while {self.doing}"
                )
            if now_s - told_s >= TICK_S:
                told_s = now_s
                self._tell("tick")

    def _give_up(self, why: str) -> None:
        is_off = threading.Event()
        threading.Thread(target=self._lamp_off, args=(is_off,), daemon=True).start()
        lamp = (
            "the lamp was switched off"
            if is_off.wait(LAMP_PATIENCE_S)
            else "the lamp may still be on"
        )
        try:
            self._tell(
                "alert",
                kind="microscope",
                cause="stalled",
                message=f"the microscope {why}; {lamp}, and its process ends",
                plate=None,
            )
        finally:
            self._end(ExitCode.MICROSCOPE_STALLED)

    def _lamp_off(self, is_off: threading.Event) -> None:
        with contextlib.suppress(Exception):  # whatever the driver says: the process ends next
            self.lamp_off()
            is_off.set()
