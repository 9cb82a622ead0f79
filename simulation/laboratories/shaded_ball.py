"""The renderer of the default virtual plates, in the field and under the optics of a laboratory."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from simulation.kinds import HiddenMechanism
from simulation.laboratories.renderer import DrawnField
from simulation.laboratories.spheroid import Spheroid
from simulation.optics import Optics, Transmission, transmission_of_scene, transmitted_light
from simulation.scene import Floats, draw_scene, tissue_mask
from simulation.tissue import Tissue

_GRAIN_DENSITY = 0.5
"""Optical density of the texture of a :class:`Tissue` with a grain of 1."""


@dataclass(frozen=True)
class ShadedBall:
    """Draws a spheroid as a shaded ball with noise for texture.

    It has no hidden mechanisms.
    """

    @property
    def hidden_mechanisms(self) -> tuple[HiddenMechanism, ...]:
        """Hidden mechanisms that this renderer can draw: none."""
        return ()

    def draw(self, spheroid: Spheroid, size_px: int, optics: Optics) -> DrawnField:
        """Return the DrawnField of a spheroid; see :class:`Renderer`."""
        tissue = tissue_of(spheroid)

        @cache
        def transmission() -> Transmission:
            floor = np.zeros((size_px, size_px), np.float32)
            scene = draw_scene(tissue, size_px)
            return transmission_of_scene(scene, optics, floor, spheroid.field_um / size_px)

        def transmitted(z_um: float) -> Floats:
            return transmitted_light(transmission(), optics, z_um)

        mask = tissue_mask(tissue, size_px) & spheroid.present
        return DrawnField(mask, transmitted)


def tissue_of(spheroid: Spheroid) -> Tissue:
    """Return a Spheroid as the Tissue that the default virtual plates use; it has no lobes."""
    return Tissue(
        seed=spheroid.seed,
        plate_index=spheroid.plate_index,
        well_key=spheroid.well_key,
        day=spheroid.day,
        centre_um=spheroid.centre_um,
        radius_um=spheroid.radius_um,
        opacity=spheroid.opacity * (1 + 0.5 * spheroid.core),
        opacity_power=spheroid.opacity_power * (1 + spheroid.core),
        rim=spheroid.rim,
        grain=spheroid.grain / _GRAIN_DENSITY,
        outline=spheroid.outline,
        roughness=spheroid.roughness,
        lobes=np.empty((0, 3)),
        whole_radius_um=spheroid.whole_radius_um,
        burst=spheroid.burst,
        loose_cells=spheroid.loose_cells,
        debris=spheroid.debris,
        present=spheroid.present,
        field_um=spheroid.field_um,
    )
