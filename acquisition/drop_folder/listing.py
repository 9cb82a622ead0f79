"""The listing of the drop folder, which is the truth: every file below it with its size and time of change."""

import os
from collections.abc import Iterator
from pathlib import Path

from acquisition.drop_folder.naming import is_ignored
from schemas.errors import SourceGoneError
from schemas.well_image import FileVersion


def list_files(root: Path) -> Iterator[FileVersion]:
    """Yield every file below ``root`` that is not hidden or temporary; links are followed, each folder is entered once.

    Raises
    ------
    SourceGoneError
        If the folder cannot be listed. A folder inside it that we may not enter is passed over; one that vanished meanwhile too.
    """
    entered: set[tuple[int, int]] = set()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if is_ignored(path):
                        continue
                    if entry.is_dir():
                        folders.append(path)
                    elif version := _version(path, entry):
                        yield version
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            if not folder:
                raise SourceGoneError(
                    root, f"{error.strerror}; expected the drop folder"
                ) from error
        except OSError as error:
            raise SourceGoneError(root / folder, f"cannot be listed: {error.strerror}") from error


def _version(path: str, entry: os.DirEntry[str]) -> FileVersion | None:
    try:
        status = entry.stat()
    except (FileNotFoundError, PermissionError):
        return None  # a link to nowhere, or gone since the folder was read
    if not entry.is_file():
        return None
    # Undecodable bytes become \xff text, which can be stored and shown; such a name is refused, never opened.
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return FileVersion(shown, status.st_size, status.st_mtime_ns)
