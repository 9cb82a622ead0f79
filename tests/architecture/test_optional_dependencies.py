"""Tests run on a machine without an optional dependency, and the summary says which are skipped."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MODULES, markers_of_file

ROOT = Path(__file__).parents[2]

HIDE_MODULES = """
import sys

class HiddenModules:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HIDDEN = {"torch"}
sys.meta_path.insert(0, HiddenModules())
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_without_torch_its_test_files_are_skipped_with_their_number_and_the_reason(
    tmp_path: Path, processes: str
) -> None:
    (tmp_path / "hide_modules.py").write_text(HIDE_MODULES)
    folder = ROOT / "tests" / "unit" / "training" / "objectives"
    objectives = [folder / f"test_{name}.py" for name in ("byol", "simclr", "vicreg")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "hide_modules", "-p", "no:cacheprovider"),
            *("-n", processes, *objectives, ROOT / "tests/unit/schemas/test_scale.py"),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(
        rf"SKIPPED \[{len(objectives)}\] .*whole test file: "
        "needs train: the module torch is not installed",
        done.stdout,
    )
    assert re.search(rf"\d+ passed, {len(objectives)} skipped", done.stdout)


def test_the_marker_of_one_test_skips_it_before_its_fixtures_are_made(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "hide_modules.py").write_text(HIDE_MODULES)
    (tmp_path / "test_one.py").write_text(
        """
import pytest

@pytest.fixture
def network():
    import torch

@pytest.mark.train
def test_with_torch(network):
    pass

@pytest.mark.parametrize("kind", ["a", pytest.param("b", marks=pytest.mark.train)])
def test_a_case_with_torch(kind, request):
    if kind == "b":
        request.getfixturevalue("network")
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "hide_modules", "-rs", "-c", "/dev/null", tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed, 2 skipped" in done.stdout
    assert "needs train: the module torch is not installed" in done.stdout


def test_the_markers_of_a_file_are_read_without_importing_it(tmp_path: Path) -> None:
    file = tmp_path / "test_file.py"
    file.write_text("import nothing_like_it\npytestmark = [pytest.mark.train, pytest.mark.slow]\n")
    assert markers_of_file(file) == {"train", "slow"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_test_file_is_collected_without_any_optional_module(tmp_path: Path) -> None:
    optional = {module for modules in MODULES.values() for module in modules}
    (tmp_path / "hide_modules.py").write_text(HIDE_MODULES.replace('{"torch"}', repr(optional)))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "hide_modules", "-p", "no:cacheprovider"),
            *("--collect-only", "-q", "-n", "0", ROOT / "tests"),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-5000:]
