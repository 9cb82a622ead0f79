"""Write files and folders so that they are complete or absent after a power cut."""

import contextlib
import os
import time
from pathlib import Path

from schemas.errors import OutputError
from schemas.portable_files import replace_file, sync_folder

_ABANDONED_S = 600.0  # no writer needs this long for one file


def write_durably(path: Path, content: bytes) -> None:
    """Write the content of a file to a temporary file, sync it to disk and rename it to ``path``.

    Missing folders are created. Temporary files of processes that ended while they wrote are
    removed from the folder; they are recognised by their age of more than 10 minutes.

    Raises
    ------
    OutputError
        If the disk is full, the folder is not writable, or another program has the file open for
        several seconds (Windows). No temporary file is left then.
    """
    # Two processes may write the same file at once, each by a temporary file of its own.
    temporary = path.with_name(f".{os.getpid()}.{path.name}.part")
    try:
        make_folder(path.parent)
        _remove_abandoned(path.parent)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        replace_file(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # it would take space on a full disk
        raise OutputError(
            path,
            f"cannot be written ({error.strerror}); expected a writable folder with free space",
        ) from error


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of a folder that no process has changed for 10 minutes."""
    for temporary in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if time.time() - temporary.stat().st_mtime > _ABANDONED_S:
                temporary.unlink()


def make_folder(folder: Path) -> None:
    """Create a folder and its parent folders, each synced to disk, unless they exist."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
