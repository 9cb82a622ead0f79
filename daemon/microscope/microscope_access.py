"""Open the microscope for one process at a time, guarded by a lock file."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from acquisition.microscope.micromanager import MicroManager
from acquisition.ports import BeginStep, ignore_step
from daemon.config import Config, microscope_settings
from daemon.microscope.driving_process import micromanager_section
from schemas.errors import MicroscopeError, OutputError
from schemas.portable_files import open_lock_file, read_holder, try_lock, write_holder


class MicroscopeBusyError(MicroscopeError):
    """Another process drives the microscope."""


@contextmanager
def locked_microscope(config: Config) -> Iterator[MicroManager]:
    """Context manager that locks and opens the microscope, yields it, and closes it, lamp off.

    Raises
    ------
    MicroscopeBusyError
        If another process drives the microscope.
    ConfigError
        If the hardware configuration cannot be loaded or is incomplete.
    """
    with lock_microscope(config), opened_microscope(config) as scope:
        yield scope


@contextmanager
def opened_microscope(
    config: Config, begin_step: BeginStep = ignore_step
) -> Iterator[MicroManager]:
    """Context manager that opens the microscope without a lock and yields it.

    The microscope is closed, with the lamp off, at the end of the block.

    Parameters
    ----------
    begin_step
        Is called before each step of a device.
    """
    scope = MicroManager(
        microscope_settings(config), lambda: datetime.now().astimezone(), begin_step
    )
    try:
        yield scope
    finally:
        scope.close()


@contextmanager
def lock_microscope(config: Config) -> Iterator[None]:
    """Context manager that holds the lock file of the microscope; it yields None.

    The operating system releases the lock when the process ends, also after a crash.

    Raises
    ------
    MicroscopeBusyError
        If another process holds the lock.
    OutputError
        If the lock file cannot be made.
    """
    path = micromanager_section(config).state / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_lock_file(path)
    except OSError as error:
        raise OutputError(
            path,
            f"cannot be written ({error.strerror}); expected a folder that this user may write to",
        ) from error
    with file:
        if not try_lock(file):
            holder = read_holder(path).strip() or "unknown"
            raise MicroscopeBusyError("the microscope", f"is driven by process {holder}")
        with contextlib.suppress(OSError):  # on a full disk the process id is missing, not the lock
            write_holder(file, str(os.getpid()))
        yield
