"""Open files of the drop folder without ever waiting for a pipe, a device or a socket."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # Windows has neither this flag nor pipes in folders


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading its bytes.

    The opening of a named pipe would wait for a writer, and that of a device may act on it.

    Raises
    ------
    FileNotFoundError
        If there is no regular file at the path; the next listing leaves it out.
    OSError
        If the file cannot be opened.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - Path.open has no opener; the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFoundError(errno.ENOENT, "is no regular file", str(path))
    if _NO_WAIT:
        os.set_blocking(file.fileno(), True)
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | _NO_WAIT)


def link_problem(folder: Path, path: str) -> str | None:
    """Return why a link at a path below a folder is not followed; None if it stays in the folder.

    Parameters
    ----------
    folder
        The drop folder with all links resolved.
    path
        The path of the link, relative to the folder.
    """
    target = Path(os.path.realpath(folder / path))
    if target.is_relative_to(folder):
        return None
    return f"is a link to {target}, outside of the drop folder; expected a file or folder in it"
