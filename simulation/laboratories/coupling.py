"""Random coupling of the kill of a treatment to the appearance of the tissue.

A visible mechanism changes size, density, texture, outline and debris, in each laboratory by other
amounts. A hidden mechanism changes only the order of the texture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from simulation.kinds import DeathMechanism, HiddenMechanism, Mechanism
from simulation.laboratories.spheroid import Spheroid
from simulation.random_numbers import RandomPurpose

_LEVEL_SCATTER = 0.03
"""Standard deviation between wells of the order of the texture, which is 0 to 1."""


@dataclass(frozen=True)
class Response:
    """Change of the appearance at a kill of 1; a smaller kill changes it in proportion."""

    loss: float  # share of the volume that is lost
    opacity: float = 0.0  # change of the natural logarithm of the optical density
    grain: float = 0.0  # change of the natural logarithm of the amplitude of the texture
    core: float = 0.0  # additional relative density of the core
    outline: float = 0.0  # additional amplitude
    roughness: float = 0.0  # additional amplitude
    burst: float = 0.0  # 0…1
    loose_cells: float = 0.0  # additional number
    debris: float = 0.0  # additional number


_RANGES: dict[Mechanism, dict[str, tuple[float, float]]] = {
    Mechanism.SHRINKING: {
        "loss": (0.75, 1.0),
        "opacity": (-0.1, 0.5),
        "grain": (-0.5, 0.5),
        "core": (0.0, 0.3),
        "roughness": (0.0, 0.10),
        "loose_cells": (0, 100),
        "debris": (20, 180),
    },
    Mechanism.BURSTING: {
        "loss": (0.6, 0.9),
        "opacity": (-0.4, 0.1),
        "grain": (-0.3, 0.5),
        "outline": (0.03, 0.18),
        "roughness": (0.05, 0.25),
        "burst": (0.7, 1.0),
        "loose_cells": (60, 220),
        "debris": (60, 220),
    },
    Mechanism.IN_PLACE: {
        "loss": (0.0, 0.4),
        "opacity": (-0.9, 0.9),
        "grain": (0.1, 0.9),
        "core": (0.0, 0.8),
        "roughness": (0.0, 0.12),
        "debris": (0, 80),
    },
    Mechanism.GROWTH_ARREST: {
        "loss": (1.0, 1.0),
        "opacity": (0.1, 0.6),
        "grain": (-0.9, 0.0),
        "outline": (-0.03, 0.0),
        "debris": (0, 30),
    },
}
"""Ranges of the random response of a laboratory to each visible mechanism."""


@dataclass(frozen=True)
class Coupling:
    """Effect of the kill on the appearance, in one laboratory."""

    responses: Mapping[Mechanism, Response]
    powers: Mapping[DeathMechanism, float]  # exponent of the kill, of each mechanism
    base: Mapping[HiddenMechanism, float]  # order of the texture of untreated tissue

    def apply(self, spheroid: Spheroid, mechanism: DeathMechanism | None, kill: float) -> Spheroid:
        """Return an untreated Spheroid changed by a kill, 0…1, with a mechanism.

        The order of the texture varies between wells.
        """
        strength = kill ** self.powers[mechanism] if mechanism is not None else 0.0
        order = self._order(spheroid, mechanism, strength)
        if not isinstance(mechanism, Mechanism):
            return replace(spheroid, order=order)
        response = self.responses[mechanism]
        remaining = 1 - response.loss * kill
        return replace(
            spheroid,
            order=order,
            radius_um=spheroid.radius_um * remaining ** (1 / 3),
            opacity=spheroid.opacity * float(np.exp(response.opacity * strength)),
            grain=spheroid.grain * float(np.exp(response.grain * strength)),
            core=max(spheroid.core + response.core * strength, 0.0),
            outline=max(spheroid.outline + response.outline * strength, 0.005),
            roughness=spheroid.roughness + response.roughness * strength,
            burst=response.burst * strength,
            loose_cells=spheroid.loose_cells + int(response.loose_cells * strength),
            debris=spheroid.debris + int(response.debris * strength),
        )

    def _order(
        self, spheroid: Spheroid, mechanism: DeathMechanism | None, strength: float
    ) -> dict[HiddenMechanism, float]:
        """Return the order of the texture, 0…1, of a well whose mechanism has a strength, 0…1."""
        scatter = spheroid.generator(RandomPurpose.GROWTH, 1).normal(
            0, _LEVEL_SCATTER, len(HiddenMechanism)
        )
        return {
            hidden: float(
                np.clip(base + (1 - base) * strength * (mechanism is hidden) + deviation, 0.0, 1.0)
            )
            for (hidden, base), deviation in zip(self.base.items(), scatter, strict=True)
        }


def draw_coupling(rng: np.random.Generator) -> Coupling:
    """Return a random Coupling."""
    responses = {
        mechanism: Response(**{name: float(rng.uniform(*ends)) for name, ends in ranges.items()})
        for mechanism, ranges in _RANGES.items()
    }
    mechanisms: tuple[DeathMechanism, ...] = (*Mechanism, *HiddenMechanism)
    return Coupling(
        responses=responses,
        powers={mechanism: float(rng.uniform(0.7, 1.3)) for mechanism in mechanisms},
        base={hidden: float(rng.uniform(0.0, 0.12)) for hidden in HiddenMechanism},
    )
