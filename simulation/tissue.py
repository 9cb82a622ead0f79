"""Simulates the tissue of a virtual well on a culture day: growth, then the effect of the kill.

Lengths are in micrometres.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simulation.kinds import Mechanism
from simulation.plate import VirtualPlate, WellPlan
from simulation.random_numbers import RandomPurpose, random_generator

FIELD_UM = 1395.0
"""Side of the square field of view."""
_MAX_OFF_CENTRE_UM = 110.0
_IN_PLACE_LOSS = 0.3  # share of the volume that is lost if all cells die in place


@dataclass(frozen=True)
class CellLine:
    """Properties of the tissue of one plate.

    They differ much between cell lines and patients and little between the wells of a plate.
    """

    opacity: float  # natural-log optical density through the centre
    opacity_power: (
        float  # exponent of the thickness: 1 for a solid ball, less for a flatter profile
    )
    rim: float  # darkness of the steep edge
    grain: float  # amplitude of the texture inside the body
    outline: float  # amplitude of the deviations from a round outline
    lobes: float  # mean number
    loose_cells: float  # mean number
    debris: float  # mean number


@dataclass(frozen=True, eq=False)
class Tissue:
    """State of the tissue of one well on one day.

    The random numbers of a well are the same on every day, so that its shape persists.
    """

    seed: int
    plate_index: int
    well_key: int
    day: int
    centre_um: tuple[float, float]  # x, y from the centre of the field
    radius_um: float
    opacity: float  # this and the next four as in CellLine
    opacity_power: float
    rim: float
    grain: float
    outline: float
    roughness: float  # amplitude of the edge's deviations at the scale of cells
    lobes: npt.NDArray[np.float64]  # (n, 3): x, y, radius in units of radius_um
    whole_radius_um: float  # radius without treatment
    burst: float  # 0 = intact, 1 = all cells spilled
    loose_cells: int  # number
    debris: int  # number of specks
    present: bool = True  # false for an empty well
    field_um: float = FIELD_UM  # side of the square field of view


def choose_cell_line(plate: VirtualPlate) -> CellLine:
    """Return the random CellLine of a VirtualPlate, given by its seed and index."""
    rng = random_generator(plate.seed, RandomPurpose.LINE, plate.index)
    return CellLine(
        opacity=float(np.exp(rng.uniform(np.log(0.4), np.log(2.4)))),
        opacity_power=float(rng.uniform(0.4, 1.0)),
        rim=float(rng.uniform(0.6, 1.8)),
        grain=float(rng.uniform(0.1, 0.35)),
        outline=float(rng.uniform(0.02, 0.08)),
        lobes=float(2 * rng.random() ** 3),
        loose_cells=float(rng.uniform(8, 60)),
        debris=float(rng.uniform(5, 35)),
    )


def simulate_tissue(plate: VirtualPlate, plan: WellPlan, day: int, line: CellLine) -> Tissue:
    """Return the Tissue of a planned well on a culture day, from its plate's cell line.

    The tissue grows as if untreated and is then changed by the kill of the day.
    """
    rng = random_generator(plate.seed, RandomPurpose.GROWTH, plate.index, plan.key)
    size, pace, opacity, grain, outline, litter = np.exp(  # factors of this well
        rng.normal(0, (plate.growth.spread, 0.06, 0.06, 0.08, 0.2, 0.15))
    )
    lobes = _lobes(rng, line.lobes)
    home = rng.normal(0, 40, 2)
    drift = random_generator(plate.seed, RandomPurpose.MOVES, plate.index, plan.key, day).normal(
        0, 7, 2
    )
    off_centre = home + drift
    off_centre *= min(1.0, _MAX_OFF_CENTRE_UM / float(np.hypot(*off_centre)))
    looseness = float(np.exp(-(day - 1) / 1.2))  # seeded cells aggregate in the first days
    radius = plate.growth.radius_um(day, float(pace)) * float(size) * plate.place_factor(plan)
    untreated = Tissue(
        seed=plate.seed,
        plate_index=plate.index,
        well_key=plan.key,
        day=day,
        centre_um=(float(off_centre[0]), float(off_centre[1])),
        radius_um=radius,
        opacity=line.opacity * opacity * (1 - 0.6 * looseness),
        opacity_power=line.opacity_power,
        rim=line.rim * (1 - 0.7 * looseness),
        grain=line.grain * grain * (1 + looseness),
        outline=line.outline * outline + 0.15 * looseness,
        roughness=0.05 + 0.3 * looseness,
        lobes=lobes,
        whole_radius_um=radius,
        burst=0.0,
        loose_cells=int(line.loose_cells * litter * (1 + 4 * looseness)),
        debris=int(line.debris * litter * (0.6 + 0.06 * day)),
    )
    return untreated if plan.mechanism is None else _apply_kill(untreated, plan, plan.kill(day))


def _lobes(rng: np.random.Generator, mean: float) -> npt.NDArray[np.float64]:
    """Return random lobes, (n, 3): x, y and radius relative to the body; ``mean`` is of n."""
    count = rng.poisson(mean)
    angle, distance, radius = (
        rng.uniform(0, 2 * np.pi, count),
        0.8 + 0.35 * rng.random(count) ** 3,
        rng.uniform(0.15, 0.35, count),
    )
    return np.stack([distance * np.cos(angle), distance * np.sin(angle), radius], axis=1)


def _apply_kill(tissue: Tissue, plan: WellPlan, kill: float) -> Tissue:
    """Return a tissue changed by a kill, 0…1, with the death mechanism of its well."""
    match plan.mechanism:
        case Mechanism.SHRINKING:
            return replace(
                tissue,
                radius_um=tissue.radius_um * (1 - kill) ** (1 / 3),
                opacity=tissue.opacity * (1 + 0.3 * kill),
                roughness=tissue.roughness + 0.06 * kill,
                loose_cells=tissue.loose_cells + int(60 * kill),
                debris=tissue.debris + int(120 * kill),
            )
        case Mechanism.BURSTING:
            return replace(
                tissue,
                radius_um=tissue.radius_um * (1 - 0.9 * kill) ** (1 / 3),
                opacity=tissue.opacity * (1 - 0.25 * kill),
                outline=tissue.outline + 0.15 * kill,
                roughness=tissue.roughness + 0.25 * kill,
                burst=kill,
                loose_cells=tissue.loose_cells + int(150 * kill),
                debris=tissue.debris + int(150 * kill),
            )
        case Mechanism.IN_PLACE:
            return replace(
                tissue,
                radius_um=tissue.radius_um * (1 - _IN_PLACE_LOSS * kill) ** (1 / 3),
                opacity=_opacity_of_dead(tissue.opacity, kill, darkens=plan.darkens),
                grain=tissue.grain * (1 + 1.5 * kill),
                roughness=tissue.roughness + 0.08 * kill,
                debris=tissue.debris + int(40 * kill),
            )
        case _:
            return replace(
                tissue,
                radius_um=tissue.radius_um * (1 - kill) ** (1 / 3),
                # Resting tissue packs more closely and is smoother.
                opacity=tissue.opacity * (1 + 0.7 * kill),
                grain=tissue.grain * (1 - 0.6 * kill),
                outline=tissue.outline * (1 - 0.5 * kill),
                debris=tissue.debris + int(20 * kill),
            )


def _opacity_of_dead(opacity: float, kill: float, *, darkens: bool) -> float:
    """Return the optical density of tissue after a kill in place, from its density before.

    Very dark tissue becomes paler and very pale tissue becomes darker, whatever ``darkens`` is.
    """
    before = float(np.exp(-opacity))  # transmitted share of the light
    darkens = before > 0.6 or (darkens and before > 0.3)  # noqa: PLR2004 - transmitted shares
    after = before * (1 - 0.65 * kill) if darkens else before + (1 - before) * 0.6 * kill
    return -float(np.log(after))
