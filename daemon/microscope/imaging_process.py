"""The process that drives the microscope: ``spherorank acquire serve``.

It is separate from the service because camera drivers can end a process in ways that Python cannot
catch, even while the process exits. For the same reason it leaves by :func:`os._exit` once
everything is closed and written.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NoReturn, TextIO

from rich.console import Console

from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.plate_loaders import (
    CommandLoader,
    FileLoader,
    KeepWaiting,
    ManualLoader,
    PlateLoader,
)
from daemon.config import Config, microscope_settings
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.driving_process import micromanager_section
from daemon.microscope.imaging_loop import ImagingLoop
from daemon.microscope.imaging_loop_builder import build_imaging_loop
from daemon.microscope.microscope_access import (
    lock_microscope,
    opened_microscope,
)
from schemas.errors import SpheroRankError
from schemas.exit_codes import exit_code_of

GRACE_S = 20.0  # after a signal, so that the current well can be finished; see Watchdog

Emit = Callable[..., None]  # is called with the name and fields of each event


def run_and_exit(action: Callable[[], int], errors: Console) -> NoReturn:
    """Run an action and end the process with its exit code; print its error, if it raises one."""
    try:
        code = action()
    except SpheroRankError as error:
        errors.print(*str(error).split("\n"), sep="\n", soft_wrap=True)
        code = exit_code_of(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the reader may have ended
            stream.flush()
    os._exit(code)


def serve(config: Config, stop_signals: list[int]) -> int:
    """Image due days and requests until a signal or the end of stdin; return the exit code.

    Events go to stdout as JSON lines. The service is the parent process; its end closes stdin.
    """
    emit = partial(_emit_json, sys.stdout)
    with opened_imaging_loop(config, stop_signals, emit, parent_fd=sys.stdin.fileno()) as loop:
        loop.serve()
    return 0


@contextmanager
def opened_imaging_loop(
    config: Config, stop_signals: list[int], emit: Emit, *, parent_fd: int | None
) -> Iterator[ImagingLoop]:
    """Context manager that opens the microscope under a watchdog and yields its imaging loop.

    Parameters
    ----------
    stop_signals
        Receives the numbers of signals.
    parent_fd
        A pipe that closes when the parent process ends; None without a parent.

    Raises
    ------
    MicroscopeBusyError
        If another process drives the microscope.
    """
    section, settings = micromanager_section(config), microscope_settings(config)
    scope: MicroManager | None = None

    def switch_lamp_off() -> None:
        if scope is not None:
            scope.lamp_off()

    watchdog = Watchdog(
        stall_s=settings.stall_s,
        grace_s=GRACE_S,
        emit=emit,
        lamp_off=switch_lamp_off,
        parent_fd=parent_fd,
    )
    pauses = _Pauses(watchdog, stop_signals)
    with ExitStack() as stack:
        stack.enter_context(lock_microscope(config))
        watchdog.start()  # not before: a process that waits for the lock reports no progress
        scope = stack.enter_context(opened_microscope(config, watchdog.begin_step))
        yield build_imaging_loop(
            scope=scope,
            settings=settings,
            section=section,
            archive=config.source.path,
            loader=plate_loader(config, pauses.may_continue),
            watchdog=watchdog,
            emit=emit,
            stop_signals=stop_signals,
            wait=pauses.wait,
            clock=lambda: datetime.now().astimezone(),
            elapsed_s=time.monotonic,
        )


def plate_loader(config: Config, keep_waiting: KeepWaiting) -> PlateLoader:
    """Return the PlateLoader that the configuration's ``source.micromanager.present`` selects.

    Raises
    ------
    ConfigError
        If the setting is a command without ``{plate}``.
    """
    section = micromanager_section(config)
    match section.present:
        case "always":
            return ManualLoader()
        case "ready_file":
            return FileLoader(config.source.path, section.present_timeout_s, keep_waiting)
        case command:
            return CommandLoader(command, section.present_timeout_s, keep_waiting)


@dataclass(frozen=True)
class _Pauses:
    """Pauses of the main thread that a signal ends and the watchdog counts as progress."""

    watchdog: Watchdog
    stop_signals: list[int]

    def may_continue(self) -> bool:
        """Report progress and return whether no signal has arrived."""
        self.watchdog.report_progress()
        return not self.stop_signals

    def wait(self, seconds: float) -> None:
        """Wait for a number of seconds, or until a signal arrives."""
        end_s = time.monotonic() + seconds
        while self.may_continue() and time.monotonic() < end_s:
            time.sleep(min(0.1, seconds))


def _emit_json(out: TextIO, event: str, **fields: object) -> None:
    """Write an event as one JSON line; several threads may call this."""
    with contextlib.suppress(BrokenPipeError):  # the service has ended; the watchdog notices it
        out.write(json.dumps({"event": event, **fields}, default=str) + "\n")
        out.flush()
