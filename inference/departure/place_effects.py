"""Effects of the position on the plate (row, column, edge) on the tissue of untreated wells."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from inference.departure.residuals import Residuals
from schemas.arrays import BoolArray, Float64Array, IndexArray, Int64Array
from schemas.well import parse_well, row_column

SIGNIFICANCE_LEVEL = 0.01
"""Largest p-value of a position effect that is corrected."""
ROUNDING_ERROR = 1e-12
"""Relative size of numerical rounding errors."""
PERMUTATIONS = 999
"""Number of random permutations of the untreated wells."""
MIN_UNTREATED = 8
"""Smallest number of untreated wells for the test."""
MIN_BLOCK_WELLS = 3
"""Smallest number of untreated wells that form a block."""


class PositionFactor(StrEnum):
    """Property of a well's position that may influence its tissue."""

    ROW = "row"
    COLUMN = "column"
    EDGE = "edge"
    """The outermost rows and columns of the plate map."""


@dataclass(frozen=True, eq=False)
class PlaceEffects:
    """Significant position effects of a plate, with their covariates (n, factors) or None."""

    significant: tuple[PositionFactor, ...]
    """Significant factors."""
    covariates: Float64Array | None
    """(n, significant factors) covariates for the forecast; None without a significant factor."""
    in_one_block: bool
    """True if all untreated wells form one rectangle without other wells."""


NO_PLACE_EFFECTS = PlaceEffects((), None, in_one_block=False)


def find_place_effects(
    residuals: Residuals, wells: tuple[str, ...], rng: np.random.Generator
) -> PlaceEffects:
    """Return the PlaceEffects in Residuals of named wells, tested by random permutations.

    Row, column and edge are tested by permuting the positions of the untreated wells.

    Like the B-score (Brideau et al., J. Biomol. Screen. 8 (2003) 634), this corrects for rows and
    columns. But a dosed plate has no inactive majority, so only untreated wells are used. They are
    too few for a median of each row, so the model has one slope along rows, one slope along columns
    and one step at the edge.

    Parameters
    ----------
    residuals
        Residuals of n wells.
    wells
        Names of these n wells.
    rng
        Random generator of the permutations.
    """
    places = position_factors(wells)
    untreated = residuals.untreated
    block = in_one_block(places[:, :2].astype(np.int64), untreated)
    if untreated.sum() < MIN_UNTREATED:
        return PlaceEffects((), None, block)
    centred = places[untreated] - places[untreated].mean(axis=0)
    spread = centred.std(axis=0)
    standard = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    whitened = residuals.of_all_wells[untreated] @ residuals.noise.whitening.T
    significant = _significant_factors(standard, whitened - whitened.mean(axis=0), rng)
    if not significant:
        return PlaceEffects((), None, block)
    # Scaled like the widest direction of the past, so that the penalty of the forecast shrinks the
    # covariates no more than that direction.
    widest = float(residuals.reduced.past.std(axis=0).max()) or 1.0
    covariates = (
        (places[:, significant] - places[untreated][:, significant].mean(axis=0))
        / spread[significant]
        * widest
    )
    return PlaceEffects(
        tuple(tuple(PositionFactor)[number] for number in significant), covariates, block
    )


def _significant_factors(
    factors: Float64Array, residual: Float64Array, rng: np.random.Generator
) -> list[int]:
    """Return the indices of the factors that explain residuals significantly.

    Parameters
    ----------
    factors
        (n, F) standardised factors of untreated wells.
    residual
        (n, K) centred and whitened residuals of these wells.
    rng
        Random generator of the permutations.
    """

    def explained_squares(order: IndexArray) -> Float64Array:
        return np.asarray(((factors[order].T @ residual) ** 2).sum(axis=1))

    observed = explained_squares(np.arange(len(factors)))
    permuted = np.array(
        [explained_squares(rng.permutation(len(factors))) for _ in range(PERMUTATIONS)]
    )
    p_values = (1 + (permuted >= observed).sum(axis=0)) / (1 + PERMUTATIONS)
    significant = (observed > ROUNDING_ERROR) & (p_values <= SIGNIFICANCE_LEVEL)
    return np.flatnonzero(significant).tolist()


def position_factors(wells: tuple[str, ...]) -> Float64Array:
    """Return (n, 3) for n well names: row, column, and 1 at the edge of these wells, else 0."""
    positions = np.array([row_column(parse_well(well)) for well in wells])
    edge = ((positions == positions.min(axis=0)) | (positions == positions.max(axis=0))).any(axis=1)
    return np.column_stack([positions, edge]).astype(np.float64)


def in_one_block(positions: Int64Array, untreated: BoolArray) -> bool:
    """Return True if untreated wells (n,) at positions (n, 2) form a rectangle without other wells.

    Effects of position and of treatment can then not be distinguished.

    Parameters
    ----------
    positions
        (n, 2) row and column of each well.
    untreated
        (n,), True for untreated wells.
    """
    if untreated.sum() < MIN_BLOCK_WELLS or untreated.all():
        return False
    low, high = positions[untreated].min(axis=0), positions[untreated].max(axis=0)
    inside = ((positions >= low) & (positions <= high)).all(axis=1)
    return bool((inside == untreated).all())
