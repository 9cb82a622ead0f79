"""Whether a well's place on the plate decides what becomes of it, told by untreated wells; and what is known of a well when it does."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from inference.departure.departures import Residuals
from schemas.well import parse_well, row_column

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

REAL = 0.01
ROUNDING = 1e-12
PERMUTATIONS = 999
FEWEST_CONTROLS = 8
FEWEST_IN_A_BLOCK = 3


class Place(StrEnum):
    """What about a place can matter."""

    ROW = "row"
    COLUMN = "column"
    EDGE = "edge"  # the outermost rows and columns that the map uses


@dataclass(frozen=True, eq=False)
class PlaceEffects:
    """What the untreated wells say of places."""

    real: tuple[Place, ...]
    known: Array | None  # (n, real): to be told to the forecast; None where no effect is real
    in_one_block: bool  # all untreated wells fill one rectangle with nothing else in it


NO_PLACE_EFFECTS = PlaceEffects((), None, in_one_block=False)


def place_effects(
    residuals: Residuals, wells: tuple[str, ...], rng: np.random.Generator
) -> PlaceEffects:
    """Test row, column and edge by giving the places of the untreated wells to one another at random.

    As the B-score (Brideau et al., J. Biomol. Screen. 8 (2003) 634) it takes away what rows and columns add; but a dosed plate has no inactive majority, so
    only untreated wells teach it, and too few of them for a median of each row: a slope along rows, one along columns and one step at the edge.
    """
    places = places_of(wells)
    untreated = residuals.untreated
    block = in_one_block(places[:, :2].astype(np.int64), untreated)
    if untreated.sum() < FEWEST_CONTROLS:
        return PlaceEffects((), None, block)
    controls = places[untreated] - places[untreated].mean(axis=0)
    spread = controls.std(axis=0)
    standard = np.divide(controls, spread, out=np.zeros_like(controls), where=spread > 0)
    whitened = residuals.of_wells[untreated] @ residuals.noise.whitening.T
    whitened = whitened - whitened.mean(axis=0)

    def explained(order: npt.NDArray[np.intp]) -> Array:
        return np.asarray(((standard[order].T @ whitened) ** 2).sum(axis=1))

    observed = explained(np.arange(len(standard)))
    drawn = np.array([explained(rng.permutation(len(standard))) for _ in range(PERMUTATIONS)])
    p_values = (1 + (drawn >= observed).sum(axis=0)) / (1 + PERMUTATIONS)
    real = [
        number
        for number in range(len(Place))
        if observed[number] > ROUNDING and p_values[number] <= REAL
    ]
    if not real:
        return PlaceEffects((), None, block)
    # As far apart as the past differs most, so that the forecast's penalty holds them back no more than that.
    widest = float(residuals.space.past.std(axis=0).max()) or 1.0
    known = (places[:, real] - places[untreated][:, real].mean(axis=0)) / spread[real] * widest
    return PlaceEffects(tuple(tuple(Place)[number] for number in real), known, block)


def places_of(wells: tuple[str, ...]) -> Array:
    """Return (n, 3): row, column, and 1 at the edge of these wells, else 0."""
    positions = np.array([row_column(parse_well(well)) for well in wells])
    edge = ((positions == positions.min(axis=0)) | (positions == positions.max(axis=0))).any(axis=1)
    return np.column_stack([positions, edge]).astype(np.float64)


def in_one_block(positions: npt.NDArray[np.int64], untreated: Mask) -> bool:
    """Whether the untreated wells fill one rectangle that holds no other well: then layout and treatment cannot be told apart."""
    if untreated.sum() < FEWEST_IN_A_BLOCK or untreated.all():
        return False
    low, high = positions[untreated].min(axis=0), positions[untreated].max(axis=0)
    inside = ((positions >= low) & (positions <= high)).all(axis=1)
    return bool((inside == untreated).all())
