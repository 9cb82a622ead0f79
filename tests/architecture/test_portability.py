"""The product uses no name that Windows lacks, except in the files and for the reasons below."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.posix_names import is_posix_only, posix_only

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "store", "acquisition", "inference", "simulation", "daemon", "training")

OTHERS = {"os": {"kill", "symlink"}, "signal": {"set_wakeup_fd"}}
"""Names that Windows has with another meaning: ``os.kill(pid, 0)`` there ends a process."""
POPEN_KEYWORDS = {"preexec_fn", "start_new_session", "pass_fds", "process_group", "umask"}
PLACES = ("/proc", "/sys/", "/dev/", "ipc://")

RELEVANT = (ast.Import, ast.ImportFrom, ast.Attribute, ast.Call, ast.Constant, ast.Expr)

TESTED_BEFORE = "hasattr finds out whether the system has it"
DRIVES_MICROSCOPE = "the microscope is driven on Linux only"
ALLOWED = {
    "schemas/portable_files.py": {"os.O_DIRECTORY": TESTED_BEFORE},
    "acquisition/drop_folder/regular_files.py": {
        "os.O_NONBLOCK": "0 on Windows, where opening a file waits for nothing",
        "os.set_blocking": "called only where O_NONBLOCK exists",
    },
    "acquisition/drop_folder/folder_identity.py": {
        "/proc/self/mountinfo": "without this file no folder is a mounted share"
    },
    "store/sequence_mark.py": {
        "/proc/sys/kernel/random/boot_id": "without this file every start counts as a power cut"
    },
    "daemon/stop_signals.py": {
        "signal.SIGHUP": "None on Windows",
        "signal.*": "only the signals that the system has",
    },
    "daemon/steady_clock.py": {
        "time.CLOCK_BOOTTIME": TESTED_BEFORE,
        "time.clock_gettime": "called only where CLOCK_BOOTTIME exists",
    },
    "daemon/wiring/service.py": {"os.sched_getaffinity": TESTED_BEFORE},
    "daemon/health.py": {
        "socket.AF_UNIX": "used only with an address of systemd",
        "socket.SOCK_CLOEXEC": "used only with an address of systemd",
    },
    "daemon/child_processes.py": {
        "resource": "imported where the limits are set; without the module there are no limits"
    },
    "daemon/crash_examination.py": {
        "/proc/self/oom_score_adj": "an OSError of this write is ignored",
    },
    "daemon/microscope/driver_watchdog.py": {
        "os.kill": DRIVES_MICROSCOPE,
        "os.set_blocking": DRIVES_MICROSCOPE,
        "signal.set_wakeup_fd": DRIVES_MICROSCOPE,
    },
    "daemon/microscope/supervised_process.py": {"start_new_session": DRIVES_MICROSCOPE},
}


@cache
def trees(*packages: str) -> dict[str, ast.Module]:
    """Return the syntax tree of each file of some packages, by its path in the repository."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for package in packages
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def found_in(tree: ast.Module) -> set[str]:
    """Return the names, keywords and places in a syntax tree that are not those of Windows."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, RELEVANT)]
    imports = [node for node in nodes if isinstance(node, ast.Import)]
    modules = {each.asname or each.name: each.name for node in imports for each in node.names}
    texts = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    names = {name for node in nodes for name in names_at(node, modules)}
    places = {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and id(node) not in texts and is_place(node.value)
    }
    return names | places


def is_place(value: object) -> bool:
    return isinstance(value, str) and value.startswith(PLACES)


def names_at(node: ast.AST, modules: dict[str, str]) -> Iterator[str]:
    """Yield the names and keywords of one node; ``modules`` has each module by its local name."""
    match node:
        case ast.Import(names=names):
            yield from (each.name for each in names if is_posix_only(each.name))
        case ast.ImportFrom(module=str(module), names=names):
            yield from ([module] if is_posix_only(module) else [])
            yield from (f"{module}.{each.name}" for each in names if is_missing(module, each.name))
        case ast.Attribute(value=ast.Name(id=local), attr=name) if local in modules:
            yield from attribute_of(modules[local], name)
        case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[ast.Name(id=local), name, *_]):
            text = str(name.value) if isinstance(name, ast.Constant) else "*"
            yield from attribute_of(modules[local], text) if local in modules else ()
        case ast.Call(keywords=keywords):
            yield from (each.arg for each in keywords if each.arg in POPEN_KEYWORDS)


def attribute_of(module: str, name: str) -> Iterator[str]:
    """Yield the name of an attribute that Windows lacks in a module that Windows has."""
    if not is_posix_only(module) and (name == "*" or is_missing(module, name)):
        yield f"{module}.{name}"


def is_missing(module: str, name: str) -> bool:
    return name in posix_only(module) or name in OTHERS.get(module, ())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fcntl\nfcntl.flock(3, fcntl.LOCK_EX)", {"fcntl"}),
        ("from fcntl import flock", {"fcntl", "fcntl.flock"}),
        ("from os import pread as read_at", {"os.pread"}),
        ("import os as system\nsystem.O_DIRECTORY", {"os.O_DIRECTORY"}),
        ('import os\ngetattr(os, "fork")()', {"os.fork"}),
        ("import signal\ngetattr(signal, name)", {"signal.*"}),
        ("import signal\nsignal.set_wakeup_fd(3)", {"signal.set_wakeup_fd"}),
        ("import errno\nerrno.EREMOTEIO", {"errno.EREMOTEIO"}),
        ("subprocess.Popen([], preexec_fn=end)", {"preexec_fn"}),
        ('Path("/proc/self/statm")', {"/proc/self/statm"}),
        ('"""Read ``/proc``."""\nimport os, signal\nos.read(3, 1)\nsignal.SIGTERM', set()),
    ],
)
def test_names_that_windows_lacks_are_found(source: str, found: set[str]) -> None:
    assert found_in(ast.parse(source)) == found


def test_each_name_that_windows_lacks_has_a_reason_in_its_file() -> None:
    found = {path: names for path, tree in trees(*PACKAGES).items() if (names := found_in(tree))}
    assert found == {path: set(reasons) for path, reasons in ALLOWED.items()}


def test_text_files_of_the_service_are_opened_with_an_encoding() -> None:
    without = {
        f"{path}:{node.lineno}"
        for path, tree in trees(*PACKAGES).items()
        if not path.startswith("training/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and opens_text_without_encoding(node)
    }
    assert not without


def opens_text_without_encoding(call: ast.Call) -> bool:
    """Return whether a call opens, reads or writes a text file in the encoding of the system."""
    if {"encoding", "opener"} & {keyword.arg for keyword in call.keywords}:
        return False
    match call.func:
        case ast.Attribute(attr="read_text" | "write_text"):
            return True
        case ast.Attribute(attr="open", value=ast.Name(id="os" | "tarfile" | "archive" | "Image")):
            return False
        case ast.Attribute(attr="open"):
            mode = call.args[:1]
        case ast.Name(id="open"):
            mode = call.args[1:2]
        case _:
            return False
    return all(isinstance(each, ast.Constant) and "b" not in str(each.value) for each in mode)
