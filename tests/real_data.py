"""The folder of real images and time courses, which are not part of this repository."""

import os
from pathlib import Path

import pytest

FOLDER = (
    Path(__file__).parents[1] / os.environ.get("SPHERORANK_REAL_DATA", "../shared/data")
).resolve()


def real_data(name: str) -> Path:
    """Return the folder of one data set, or skip the test if it does not exist."""
    folder = FOLDER / name
    if not folder.is_dir():
        pytest.skip(
            f"{folder} does not exist; SPHERORANK_REAL_DATA names the folder with the real data"
        )
    return folder
