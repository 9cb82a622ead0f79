"""Real images and time courses for tests; a test without its data set is skipped."""

from pathlib import Path

import pytest

from benchmarks.real_data import REAL_DATA


def real_data(name: str) -> Path:
    """Return the folder of one data set, or skip the test if it does not exist."""
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(
            f"{folder} does not exist; SPHERORANK_REAL_DATA names the folder with the real data"
        )
    return folder
