"""Half a minute of mutated images and names; `python -m benchmarks.fuzz` runs more of them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.fuzz_texts import TextResults, fuzz_maps, fuzz_requests

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mutated_images_and_names_neither_end_nor_hang_the_service() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.fuzz",
            "--seconds",
            "30",
            "--seed",
            "11",
            "--processes",
            "1",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "crashes: 0 []" in done.stdout
    assert "hangs over 10 s: 0 []" in done.stdout


@pytest.mark.parametrize(("fuzz", "count"), [(fuzz_maps, 300), (fuzz_requests, 1500)])
def test_mutated_maps_and_requests_are_read_or_refused(
    fuzz: Callable[[int, int], TextResults], count: int
) -> None:
    found = fuzz(21, count)
    assert found.unexpected == []
    assert found.longest_s < 10.0
    assert len(found.results) > 1  # some are read and some are refused
