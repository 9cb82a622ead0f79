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
from dataclasses import dataclass
from typing import NoReturn

from acquisition.ports import ImagingStoppedError
from schemas.exit_codes import ExitCode

LAMP_OFF_TIMEOUT_S = 5.0
TICK_S = 5.0  # interval of the event ``tick``
MAX_STOP_STEP_S = 60.0
"""The longest time in seconds that a step may take after a signal; no exposure is longer."""

_STEP_ALLOWANCE_S = 5.0  # for the readout of a camera


@dataclass(frozen=True)
class _Step:
    """The step in which the main thread is."""

    name: str  # empty between the steps of devices
    expected_s: float
    began_s: float  # of the monotonic clock


class Watchdog:
    """Ends the process, with the lamp off, when the main thread hangs.

    The process ends when a step takes ``stall_s`` longer than expected. After a signal, no step is
    begun once ``grace_s`` have passed, and the process ends if the present step does not end in its
    expected time.

    Parameters
    ----------
    stall_s
        The longest time in seconds without progress, beyond the expected time of the present step.
    grace_s
        The time in seconds from a signal to the end of the process; a step that is expected to take
        longer is finished.
    emit
        Is called with the event ``tick`` and the present activity every few seconds, and with an
        alert before the end.
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
        self._step = _Step("", 0.0, time.monotonic())
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
        self._activity = activity or self._activity
        self._step = _Step("", 0.0, time.monotonic())

    def begin_step(self, step: str, expected_s: float) -> None:
        """Record that a step of the present activity begins, and its longest expected time.

        Parameters
        ----------
        step
            A device and its action, such as ``camera Camera: exposure of 9.3 s, plane 2 of 3``.
        expected_s
            The longest expected time in seconds.

        Raises
        ------
        ImagingStoppedError
            If a signal arrived more than ``grace_s`` ago. Then the process has ``grace_s`` to end.
        """
        now_s = time.monotonic()
        self._step = _Step(step, expected_s, now_s)
        if now_s > self._end_at_s:
            self._end_at_s = now_s + self._grace_s
            raise ImagingStoppedError(f"a signal ended the imaging before {step}")

    @property
    def activity(self) -> str:
        """The present activity and its step, such as ``well B03 …: camera Camera: exposure …``."""
        return _join(self._activity, self._step)

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
            step = self._step  # the main thread may replace it
            taken_s = now_s - step.began_s
            if taken_s > self._stall_s + step.expected_s:
                self._give_up(f"made no progress for {taken_s:.0f} s", step)
            if now_s > self._end_at_s and taken_s > _extra_grace_s(step):
                self._give_up(f"did not end within {self._grace_s:g} s after a signal", step)
            if now_s - last_tick_s >= TICK_S:
                last_tick_s = now_s
                self._emit("tick", activity=self.activity)

    def _give_up(self, reason: str, step: _Step) -> None:
        """Switch the lamp off, emit an alert with the reason and the step, and end the process."""
        limits = f"stall_s = {self._stall_s:g}"
        if step.name:
            limits = f"expected within {step.expected_s:g} s, {limits}"
        where = _join(self._activity, step)
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
                message=f"the imaging process {reason}: {where} ({limits}); {lamp}, "
                "and the process ends",
                plate=None,
            )
        finally:
            self._end(ExitCode.STALLED)

    def _switch_lamp_off(self, is_off: threading.Event) -> None:
        """Switch the lamp off and set the event, unless the driver fails."""
        with contextlib.suppress(Exception):  # the alert says that the lamp may still be on
            self._lamp_off()
            is_off.set()


def _extra_grace_s(step: _Step) -> float:
    """Return the time in seconds from the beginning of a step to its end, if a signal arrived."""
    return min(step.expected_s, MAX_STOP_STEP_S) + _STEP_ALLOWANCE_S if step.name else 0.0


def _join(activity: str, step: _Step) -> str:
    """Return an activity and its step as one text."""
    return f"{activity}: {step.name}" if step.name else activity
