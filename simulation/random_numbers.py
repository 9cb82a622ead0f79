"""Random generators of virtual plates: one per purpose, plate, well and day."""

from enum import StrEnum

import numpy as np


class RandomPurpose(StrEnum):
    """Purpose of a stream of random numbers.

    Each purpose has a stream of its own, so that a change in one does not change the others. The
    values are part of the seeds: another value gives other plates and images.
    """

    PLAN = "plan"
    REPLICATE = "replicate"
    ASSAY = "assay"
    LINE = "line"
    SEEDING = "seeding"
    GROWTH = "growth"
    OUTLINE = "outline"
    PIECES = "pieces"
    LITTER = "litter"
    MOVES = "moves"
    IMAGING_CONDITIONS = "bench"
    FLOOR = "floor"
    LIGHT = "light"
    CAMERA = "camera"
    FAULTS = "faults"
    ROBOT = "robot"
    CASE = "case"
    FLUORESCENCE = "fluorescence"
    LABORATORY = "laboratory"


def random_generator(seed: int, purpose: RandomPurpose, *keys: int) -> np.random.Generator:
    """Return the random generator of a seed for one purpose and the keys of a plate, well or day.

    Its numbers do not depend on other generators.
    """
    return np.random.default_rng([seed, *purpose.encode(), *keys])
