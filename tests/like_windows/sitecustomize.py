"""Start hook of Python that makes Linux look like Windows to the code of SpheroRank.

A process runs it at its start, before any other module, if this folder is in PYTHONPATH. The code
of SpheroRank then finds no name, module or folder of the system that Windows lacks, and its file
operations fail where Windows refuses them. The standard library and other libraries are unchanged.

The file ``hidden.json`` in the folder of the variable LIKE_WINDOWS has the hidden names by module
and the folders of SpheroRank. Each name that was looked for is appended to ``missed.txt`` there.
"""

import builtins
import errno
import fcntl
import importlib
import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

FOLDER = Path(os.environ["LIKE_WINDOWS"])
SETTINGS = json.loads((FOLDER / "hidden.json").read_text())
HIDDEN_MODULES = frozenset(SETTINGS["modules"])
OUR_FILES = (*SETTINGS["code"], "<string>")
OUR_DATA = SETTINGS["data"]

WRONG_NAME = re.compile(
    r'[<>:"|?*\\\x00-\x1f]|[ .]$|^(?:CON|PRN|AUX|NUL|COM\d|LPT\d)(?:\.|$)', re.IGNORECASE
)
SYSTEM_FOLDERS = ("/proc/", "/sys/", "/dev/")

original_import = builtins.__import__
original_fsync = os.fsync
scanned: set[str] = set()  # files that a virus scanner has read


def is_ours(depth: int) -> bool:
    """Return whether the code at a depth of the call stack is code of SpheroRank."""
    return sys._getframe(depth + 1).f_code.co_filename.startswith(OUR_FILES)


def note(name: str) -> None:
    with (FOLDER / "missed.txt").open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")


def hide(module_name: str, names: list[str]) -> None:
    module = importlib.import_module(module_name)
    hidden = {name: vars(module).pop(name) for name in names if name in vars(module)}

    def find(name: str) -> object:
        if name in hidden and not is_ours(1):
            return hidden[name]
        if name in hidden:
            note(f"{module_name}.{name}")
        raise AttributeError(f"module {module_name!r} has no attribute {name!r}")

    module.__getattr__ = find  # type: ignore[method-assign]


def import_module(name: str, *arguments: object, **keywords: object) -> object:
    if name.partition(".")[0] in HIDDEN_MODULES and is_ours(1):
        note(name)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return original_import(name, *arguments, **keywords)  # type: ignore[arg-type]


def fsync(file: int) -> None:
    if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    original_fsync(file)


def is_open(path: str) -> bool:
    """Return whether this process has a file open."""
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the file of the listing itself is closed meanwhile
            if str(number.readlink()) == path:
                return True
    return False


def check_name(path: str) -> None:
    if any(WRONG_NAME.search(part) for part in path.removeprefix(OUR_DATA).split("/")):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)


def check_file_operation(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse an operation on a file where Windows refuses it."""
    if event == "open" and isinstance(arguments[0], str):
        check_open(arguments[0], arguments[2])
    elif event in ("os.rename", "os.remove", "os.mkdir"):
        paths = [os.fspath(each) for each in arguments[: 2 if event == "os.rename" else 1]]  # type: ignore[call-overload]
        if paths[-1].startswith(OUR_DATA):
            check_change(event, paths)


def check_open(path: str, flags: object) -> None:
    """Refuse folders of the system, files with names that Windows does not allow, and folders."""
    if path.startswith(SYSTEM_FOLDERS) and path != os.devnull and is_opened_by_us():
        note(path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if path.startswith(OUR_DATA):
        if isinstance(flags, int) and flags & os.O_CREAT:
            check_name(path)
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def check_change(event: str, paths: list[str]) -> None:
    """Refuse to remove, rename or replace an open file; a virus scanner opens each file once."""
    check_name(paths[-1])
    is_replaced = event == "os.rename" and Path(paths[1]).exists()
    is_scanned = is_replaced and paths[1] not in scanned
    if is_scanned:
        scanned.add(paths[1])
    if is_scanned or any(map(is_open, paths)):
        note(event)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), paths[-1])


def is_opened_by_us() -> bool:
    """Return whether code of SpheroRank opens a file, itself or by a module of the library."""
    frame = sys._getframe(3)
    while frame is not None and frame.f_code.co_filename.endswith("pathlib.py"):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(OUR_FILES)


for module_name, names in SETTINGS["names"].items():
    hide(module_name, names)
builtins.__import__ = import_module
os.fsync = fsync
sys.addaudithook(check_file_operation)
