"""State of the tissue of one well, as all renderers of the laboratories receive it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulation.kinds import HiddenMechanism
from simulation.random_numbers import RandomPurpose, random_generator


@dataclass(frozen=True, eq=False)
class Spheroid:
    """Tissue of one well on one day: its appearance, which every renderer draws in its own way.

    Lengths are in µm. The random numbers of a well are the same on every day, so that its shape
    persists.
    """

    seed: int
    plate_index: int
    well_key: int
    day: int
    field_um: float  # side of the square field of view
    centre_um: tuple[float, float]  # x, y from the centre of the field
    radius_um: float
    whole_radius_um: float  # radius without treatment
    opacity: float  # natural-log optical density through the centre
    opacity_power: (
        float  # exponent of the thickness: 1 for a solid ball, less for a flatter profile
    )
    rim: float  # darkness of the steep edge
    core: float  # additional relative density of the core
    grain: float  # standard deviation of the texture, natural-log optical density
    coarseness: float  # factor of the texture at the scale of groups of cells
    outline: float  # amplitude of the deviations from a round outline
    roughness: float  # amplitude of the deviations of the edge at the scale of cells
    burst: float  # 0 = intact, 1 = all cells spilled
    loose_cells: int  # number
    debris: int  # number of specks
    order: Mapping[HiddenMechanism, float]  # 0…1: how far the texture has changed in each way
    present: bool = True  # false for an empty well

    def generator(self, purpose: RandomPurpose, *keys: int) -> np.random.Generator:
        """Return the random generator of this well for a purpose; it is the same on every day."""
        return random_generator(self.seed, purpose, self.plate_index, self.well_key, *keys)
