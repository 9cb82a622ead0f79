"""List every file below the drop folder with its size and modification time."""

import os
from collections.abc import Iterator
from pathlib import Path

from acquisition.drop_folder.naming import is_ignored
from schemas.errors import SourceGoneError
from schemas.well_image import FileVersion


def list_files(root: Path) -> Iterator[FileVersion]:
    """Yield the version of every file below ``root`` that :func:`is_ignored` does not exclude.

    Links are followed, and each folder is listed once. Folders without read permission and folders
    that were deleted meanwhile are skipped.

    Raises
    ------
    SourceGoneError
        If ``root`` cannot be listed, or a folder in it causes an error of the disk or the network.
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
    """Return the version of a folder entry; None if it is not a readable file."""
    try:
        status = entry.stat()
    except (FileNotFoundError, PermissionError):
        return None  # a broken link, or deleted since the folder was listed
    if not entry.is_file():
        return None
    # Undecodable bytes become text such as \xff, which can be stored. The name is refused later
    # because of its backslash, so the file is never opened.
    printable = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return FileVersion.of(printable, status)
