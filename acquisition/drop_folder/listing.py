"""List every file below the drop folder with its size and modification time."""

import os
import sys
from collections.abc import Callable, Container, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from acquisition.drop_folder.naming import is_ignored
from acquisition.drop_folder.regular_files import link_problem
from schemas.errors import SourceGoneError
from schemas.well_image import FileVersion


@dataclass
class ListedEntries:
    """Skipped folders and links that a listing has met."""

    skipped: set[str] = field(default_factory=set)  # the skipped folders that exist
    has_link: bool = False


def list_files(  # noqa: C901 - one loop with the errors of each system call
    root: Path,
    *,
    progress: Callable[[], None] = lambda: None,
    outside: MutableMapping[str, str] | None = None,
    start: str = "",
    skipped: Container[str] = (),
    found: ListedEntries | None = None,
) -> Iterator[FileVersion]:
    """Yield the version of every file below ``root`` that :func:`is_ignored` does not exclude.

    Links are followed, and each folder is listed once. Folders without read permission and folders
    that were deleted meanwhile are skipped, and so are pipes, devices and sockets.

    Parameters
    ----------
    root
        The drop folder.
    progress
        Called whenever the file system has answered.
    outside
        Receives the problem of each link that leads out of ``root``, by path. Such links are not
        followed then; ``root`` itself may be a link. None: they are followed.
    start
        The folder below ``root`` of which the files are listed.
    skipped
        Folders that are not listed.
    found
        Receives the skipped folders that exist, and whether there is any link.

    Raises
    ------
    SourceGoneError
        If ``root`` cannot be listed, or a folder in it causes an error of the disk or the network.
    """
    entered: set[tuple[int, int]] = set()
    resolved = Path(os.path.realpath(root))
    folders = [start]
    found = found if found is not None else ListedEntries()
    while folders:
        folder = folders.pop()
        try:
            status = (root / folder).stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    progress()
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if is_ignored(path):
                        continue
                    found.has_link |= entry.is_symlink()
                    if outside is not None and _leads_out(entry, resolved, path, outside):
                        continue
                    if entry.is_dir():
                        if path in skipped:
                            found.skipped.add(path)
                        else:
                            folders.append(path)
                    elif version := _version(path, entry):
                        yield version
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            if not folder or not root.is_dir():  # Windows reports a share that is gone in this way
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
    return FileVersion.of(_printable(path), status)


def _leads_out(
    entry: os.DirEntry[str], root: Path, path: str, outside: MutableMapping[str, str]
) -> bool:
    """Return whether an entry is a link out of ``root``, and add its problem to ``outside``."""
    problem = link_problem(root, path) if entry.is_symlink() else None
    if problem is not None:
        outside[_printable(path)] = problem
    return problem is not None


def _printable(path: str) -> str:
    r"""Return a path whose undecodable bytes are text such as \xff, which can be stored.

    The name is refused later because of its backslash, so the file is never opened.
    """
    if path.isascii():
        return path
    errors = sys.getfilesystemencodeerrors()
    return path.encode("utf-8", errors).decode("utf-8", "backslashreplace")
