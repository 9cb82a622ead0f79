"""Contract of the renderers of simulated laboratories."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simulation.kinds import HiddenMechanism
from simulation.laboratories.spheroid import Spheroid
from simulation.optics import Optics
from simulation.scene import Floats


@dataclass(frozen=True, eq=False)
class DrawnField:
    """Field of view with a spheroid; maps are (size_px, size_px)."""

    mask: npt.NDArray[np.bool_]  # body and spilled clumps, without single cells
    transmitted: Callable[[float], Floats]
    """Returns the share of the light that passes with the focus at a height in µm above the centre
    of the tissue."""


class Renderer(Protocol):
    """Draws the field of view of a spheroid; its attributes are properties of a laboratory."""

    @property
    def hidden_mechanisms(self) -> tuple[HiddenMechanism, ...]:
        """Hidden mechanisms that this renderer can draw."""
        ...

    def draw(self, spheroid: Spheroid, size_px: int, optics: Optics) -> DrawnField:
        """Return the DrawnField of a spheroid in a square field with a side of ``size_px`` pixels.

        The microscope calls it once for each well image, and then ``transmitted`` for each plane.
        Equal arguments give equal pixels. For the truth alone only the mask is used.
        """
        ...
