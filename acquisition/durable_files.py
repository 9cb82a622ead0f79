"""Files that appear whole or not at all, and stay after a power cut."""

import contextlib
import os
from pathlib import Path

from schemas.errors import OutputError


def write_durably(path: Path, content: bytes) -> None:
    """Write beside, sync and rename into place; folders that are missing are made.

    Raises
    ------
    OutputError
        If the disk is full or the folder not writable; nothing is left behind then.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        make_folder(path.parent)
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(
                missing_ok=True
            )  # a half-written file would only hold space on a full disk
        raise OutputError(
            path,
            f"cannot be written ({error.strerror}); expected a writable folder with free space",
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that each is still there after a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
