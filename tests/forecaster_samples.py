"""Plates with linear trajectories, and settings of a short training, for tests of forecasters.

Needs torch.
"""

from pathlib import Path

import numpy as np

from schemas.plate_map import Group
from schemas.trajectory import Trajectories
from training.forecaster.config import (
    ForecasterModelSection,
    ForecasterRunSection,
    ForecasterTrainingConfig,
)

DAYS = (5, 6, 7, 8, 9, 10)
WIDTH = 4
NAMES = tuple(f"feature_{number}" for number in range(WIDTH))


def linear_plate(seed: int, wells: int = 14, *, treated: int = 0) -> Trajectories:
    """Return a plate whose wells have linear trajectories; those of treated wells jump."""
    rng = np.random.default_rng(seed)
    start, speed = rng.normal(0, 0.3, (wells, 1, WIDTH)), rng.normal(0, 0.5, (wells, 1, WIDTH))
    since = (np.array(DAYS) - 5.0)[None, :, None]
    features = 10 + start + speed * since + rng.normal(0, 0.05, (wells, len(DAYS), WIDTH))
    features[wells - treated :, 3:] += 1e3
    groups = (Group.UNTREATED,) * (wells - treated) + (Group.SCREENING,) * treated
    names = tuple(f"W{number:02d}" for number in range(wells))
    return Trajectories(
        f"P{seed}",
        names,
        groups,
        ("",) * (wells - treated) + ("drug:1 uM",) * treated,
        DAYS,
        features,
        NAMES,
    )


def forecaster_settings(out: Path, **run: object) -> ForecasterTrainingConfig:
    """Return a training of a small network for 20 epochs, with changes to its ``[run]``."""
    fields = {
        "epochs": 20,
        "patience": 20,
        "plates_at_once": 1,
        "learning_rate": 0.02,
        "accelerator": "cpu",
    } | run
    return ForecasterTrainingConfig(
        model=ForecasterModelSection(hidden=12), run=ForecasterRunSection(out=out, **fields)
    )  # type: ignore[arg-type] # mypy joins the types of the values


PLATES = [linear_plate(seed) for seed in range(8)]


def ignore_progress(_text: str) -> None:
    """Ignore the progress."""
