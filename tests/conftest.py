"""Skip every test file and test whose optional dependency is missing, with the reason.

A marker names the dependency, for example ``pytestmark = pytest.mark.train``. A file marked by its
``pytestmark`` is not imported without the dependency, so it imports torch at its top like any
other module. Pytest's summary counts the skipped files by reason.

The numeric libraries compute in one thread in the tests and in the processes that they start.
Python writes its bytecode files, even if the environment forbids it.
"""

import ast
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql_server import server_programs

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    # The libraries read the variables when they are imported. Several test processes run at the
    # same time, and threads of one process that wait for each other use the cores of the others.
    os.environ.setdefault(variable, "1")

# The tests start several hundred processes. Without bytecode files, each of them compiles all
# modules of this repository again, which is a quarter of the start of the service.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

MODULES = {
    "train": (
        "torch",
        "torchvision",
        "timm",
        "lightly",
        "pytorch_lightning",
        "onnx",
        "onnxscript",
    ),
    "micromanager": ("pymmcore_plus", "useq", "ome_types"),
    "export": ("anndata",),
    "postgresql": ("psycopg",),
    "synfit": ("synfit",),
    "copairs": ("copairs",),
}
"""The modules that the tests with a marker import."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the optional dependencies."""
    for marker, modules in MODULES.items():
        config.addinivalue_line("markers", f"{marker}: needs {', '.join(modules)}")


@functools.cache
def missing_dependency(marker: str) -> str | None:
    """Return why the tests with a marker cannot run on this machine, or None if they can."""
    for module in MODULES[marker]:
        if not is_importable(module):
            return f"needs {marker}: the module {module} is not installed"
    if marker == "postgresql" and server_programs() is None:
        return f"needs {marker}: initdb and pg_ctl are not installed (Debian package postgresql)"
    return None


def is_importable(module: str) -> bool:
    """Return whether Python finds a top-level module, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def markers_of_file(path: Path) -> set[str]:
    """Return the names of the markers in the ``pytestmark`` of a test file that is not imported."""
    statements = ast.parse(path.read_bytes(), path).body
    values = [
        statement.value
        for statement in statements
        if isinstance(statement, ast.Assign)
        and any(
            isinstance(name, ast.Name) and name.id == "pytestmark" for name in statement.targets
        )
    ]
    return {
        node.attr
        for value in values
        for node in ast.walk(value)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "mark"
    }


class SkippedFile(pytest.File):
    """A test file that is not imported, because its optional dependency is missing."""

    reason: str

    def collect(self) -> Iterator[pytest.Item]:
        """Yield one test in place of the tests of the file."""
        # A test, not a skipped collection: pytest-xdist reports equal collection skips only once.
        item = SkippedTests.from_parent(self, name="all tests")
        item.reason = self.reason
        yield item


class SkippedTests(pytest.Item):
    """All tests of a file that is not imported."""

    reason: str

    def runtest(self) -> None:
        """Skip."""
        pytest.skip(f"whole test file: {self.reason}")


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Return a skipped file in place of a test file whose optional dependency is missing."""
    for marker in sorted(markers_of_file(module_path) & MODULES.keys()):
        reason = missing_dependency(marker)
        if reason is not None:
            file = SkippedFile.from_parent(parent, path=module_path)
            file.reason = reason
            file.add_marker(marker)
            return file
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip one test whose optional dependency is missing, before any of its fixtures is made."""
    for mark in item.iter_markers():
        reason = missing_dependency(mark.name) if mark.name in MODULES else None
        if reason is not None and not isinstance(item, SkippedTests):
            pytest.skip(reason)
