"""Every figure in README and docs has a command in benchmarks/: at least it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if path.stem != "__init__"
)


@pytest.mark.train
def test_every_benchmark_finds_all_that_it_imports() -> None:
    assert BENCHMARKS
    told = (
        "import importlib, sys\nfor name in sys.argv[1:]:\n    print(name, flush=True)\n"
        "    importlib.import_module(f'benchmarks.{name}')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", told, *BENCHMARKS],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout.split()[-1]}: {ended.stderr}"
