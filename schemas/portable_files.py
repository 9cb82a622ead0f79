"""Lock, replace and sync files in the same way on Linux and on Windows."""

import errno
import os
import time
from io import FileIO
from pathlib import Path

from filelock import lock_descriptor

REPLACE_WAIT_S = 5.0
"""Longest wait for a program that has a file open which is to be replaced."""

_POLL_S = 0.05
_LOCK_POLL_S = 0.001
_HOLDER_AT = 1  # bytes; Windows lets no other process read byte 0 of a locked file
_HOLDER_BYTES = 1000


def open_lock_file(path: Path) -> FileIO:
    """Open a lock file, which is made if it does not exist; :func:`try_lock` locks it.

    The lock is released when the file is closed or the process ends, also after a crash.
    """
    return path.open("a+b", buffering=0)


def try_lock(file: FileIO) -> bool:
    """Lock an open file for this process alone; return False if another process has locked it.

    Raises
    ------
    OSError
        If the file system has no locks.
    """
    return lock_descriptor(file.fileno(), blocking=False)


def wait_for_lock(file: FileIO) -> None:
    """Lock an open file for this process alone, after the lock of another process."""
    lock_descriptor(file.fileno(), poll_interval=_LOCK_POLL_S)


def write_holder(file: FileIO, holder: str) -> None:
    """Replace the content of a lock file, which names the process that holds the lock."""
    file.truncate(0)
    file.write(b" " * _HOLDER_AT + holder.encode())


def read_holder(path: Path) -> str:
    """Return the name of the last process that locked a lock file; empty if it has written none."""
    with path.open("rb", buffering=0) as file:
        file.seek(_HOLDER_AT)
        return file.read(_HOLDER_BYTES).decode(errors="replace")


def replace_file(source: Path, target: Path, *, wait_s: float = REPLACE_WAIT_S) -> None:
    """Rename a file to a name that another file may have, which is then replaced.

    Windows refuses to replace a file that a program has open, for example a viewer, a backup or a
    virus scanner. The replacement is tried again until it succeeds or ``wait_s`` is over.

    Raises
    ------
    OSError
        If the file cannot be replaced. Both files are unchanged then.
    """
    end_s = time.monotonic() + wait_s
    while True:
        try:
            source.replace(target)
        except PermissionError as error:
            if time.monotonic() >= end_s:
                raise PermissionError(
                    error.errno or errno.EACCES,
                    "is open in another program, or this user may not replace it",
                    str(target),
                ) from error
            time.sleep(_POLL_S)
        else:
            return


def sync_folder(folder: Path) -> None:
    """Sync the file names of a folder to disk.

    Windows cannot sync a folder. The log of its file system keeps the names consistent.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
