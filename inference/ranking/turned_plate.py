"""Detection of plates that were turned or mirrored against their plate map.

Wells of one label are similar. On a turned plate, this holds for the labels of the turned map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.departure.residuals import Residuals
from schemas.arrays import Float64Array, IndexArray
from schemas.ranking import LabelDoubt
from schemas.well import PLATE_SHAPES, is_well, parse_well, row_column

ROUNDING_ERROR = 1e-12
"""Smallest sum of squares, to avoid the logarithm of 0."""
ACCEPTED_PROBABILITY = 0.5
"""Smallest probability at which a turned plate is reported."""
MIN_MAPPED_SHARE = 0.8
"""Smallest fraction of wells that have a label after the plate is turned."""
MAPPED_ORIENTATION = "the plate as mapped"
"""Name of the orientation in the plate map."""


@dataclass(frozen=True)
class _Orientation:
    """An orientation of a plate that differs from the plate map."""

    name: str
    reverse_rows: bool
    reverse_columns: bool
    prior: float
    """Prior fraction of plates with this orientation."""


ORIENTATIONS = (
    _Orientation("turned by 180°", reverse_rows=True, reverse_columns=True, prior=1e-3),
    _Orientation(
        "mirrored, its columns in reverse", reverse_rows=False, reverse_columns=True, prior=1e-4
    ),  # no plate fits a holder mirrored, but a map can be written mirrored
    _Orientation(
        "mirrored, its rows in reverse", reverse_rows=True, reverse_columns=False, prior=1e-4
    ),
)


def find_turned_plate(
    residuals: Residuals, wells: Sequence[str], labels: IndexArray
) -> LabelDoubt | None:
    """Return a LabelDoubt if Residuals, well names and labels show a turned plate, else None.

    The result is None if wells have no positions. Forecast and scale are trained on all wells and
    do not depend on the labels.

    Parameters
    ----------
    residuals
        Residuals of n wells.
    wells
        Names of these wells.
    labels
        (n,) number of the label of each well.
    """
    if not all(map(is_well, wells)):
        return None
    all_wells = np.ones(len(wells), dtype=bool)
    residual = _standardise(residuals.fitted_on(all_wells))
    candidates, log_odds = [], []
    for orientation, source in _orientations([row_column(parse_well(well)) for well in wells]):
        is_mapped = source >= 0
        if is_mapped.mean() < MIN_MAPPED_SHARE:
            continue
        read, given = labels[source[is_mapped]], labels[is_mapped]
        candidates.append((orientation, is_mapped, read != given))
        log_odds.append(
            np.log(orientation.prior)
            + _evidence(residual[is_mapped], read)
            - _evidence(residual[is_mapped], given)
        )
    if not candidates:
        return None
    best = int(np.argmax(log_odds))
    probability = float(np.exp(log_odds[best] - np.logaddexp(0.0, np.logaddexp.reduce(log_odds))))
    if probability < ACCEPTED_PROBABILITY:
        return None
    orientation, is_mapped, moved = candidates[best]
    return LabelDoubt(
        wells=tuple(np.array(wells)[is_mapped][moved].tolist()),
        said=MAPPED_ORIENTATION,
        seems=orientation.name,
        probability=probability,
    )


def _orientations(positions: Sequence[tuple[int, int]]) -> list[tuple[_Orientation, IndexArray]]:
    """Return the orientations of every plate size with the index (n,) of the well at each position.

    The index of a position in the turned plate is -1 where no well was in the map.
    """
    well_at = {position: number for number, position in enumerate(positions)}
    rows, columns = np.array(positions).max(axis=0)
    found = []
    for height, width in PLATE_SHAPES.values():
        if rows > height or columns > width:
            continue
        for orientation in ORIENTATIONS:
            moved = [
                (
                    height + 1 - row if orientation.reverse_rows else row,
                    width + 1 - column if orientation.reverse_columns else column,
                )
                for row, column in positions
            ]
            found.append((orientation, np.array([well_at.get(position, -1) for position in moved])))
    return found


def _standardise(residual: Float64Array) -> Float64Array:
    """Return (n, K) residuals in uncorrelated directions, with compressed outliers."""
    centred = residual - np.median(residual, axis=0)
    spread = 1.4826 * np.median(np.abs(centred), axis=0)
    compressed = np.arcsinh(
        np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    )
    compressed = compressed - compressed.mean(axis=0)
    left, values, _ = np.linalg.svd(compressed, full_matrices=False)
    return np.asarray(left[:, values > 1e-6 * values[0]] * np.sqrt(len(residual)))


def _evidence(rows: Float64Array, labels: IndexArray) -> float:
    """Return the log evidence of labels (n,) for rows (n, K), from a one-way layout per direction.

    The variance between labels has its most probable value in each direction.
    """
    n = len(rows)
    centred = rows - rows.mean(axis=0)
    member = (labels[:, None] == np.unique(labels)).astype(np.float64)
    count = member.sum(axis=0)
    between_freedom, within_freedom = len(count) - 1, n - len(count)
    if not between_freedom or not within_freedom:
        return 0.0
    between = np.maximum(
        ((member.T @ centred) ** 2 / count[:, None]).sum(axis=0), ROUNDING_ERROR
    )  # (K,)
    within = np.maximum((centred**2).sum(axis=0) - between, ROUNDING_ERROR)
    separate = between_freedom * np.log(between / between_freedom) + within_freedom * np.log(
        within / within_freedom
    )
    equal = (between_freedom + within_freedom) * np.log(
        (between + within) / (between_freedom + within_freedom)
    )
    return float(
        -np.where(between / between_freedom > within / within_freedom, separate, equal).sum() / 2
    )
