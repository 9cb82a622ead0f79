"""Files whose opening fails with an input/output error, as on a disk that fails."""

import errno
import os
import sys
from pathlib import Path

_failing: set[str] = set()


def let_reading_fail(path: Path) -> None:
    """Create a file whose opening in this process fails until it is replaced."""
    path.touch(mode=0o000)
    if not _failing:
        sys.addaudithook(_fail)  # an audit hook stays until the process ends
    _failing.add(str(path))


def _fail(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or str(arguments[0]) not in _failing:
        return
    path = str(arguments[0])
    if os.path.exists(path) and not os.stat(path).st_mode & 0o777:  # noqa: PTH110, PTH116 - Path would cause more events
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)
