"""Whether a whole plate was turned or mirrored: whether labels read that way gather alike wells, and the labels as given do not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.departure.departures import Residuals
from schemas.ranking import LabelDoubt
from schemas.well import PLATE_SHAPES, is_well, parse_well, row_column

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

ROUNDING = 1e-12
BELIEVED = 0.5
LEAST_MAPPED = 0.8
"""Of the wells: fewer that lie on another one of the map once the plate is turned say nothing of all."""
AS_MAPPED = "the plate as mapped"


@dataclass(frozen=True)
class _Way:
    """How a map and its plate can differ."""

    name: str
    rows: bool  # run the other way
    columns: bool
    plates: float  # of all plates, before anything is seen


WAYS = (
    _Way("turned by 180°", rows=True, columns=True, plates=1e-3),
    _Way(
        "mirrored, its columns in reverse", rows=False, columns=True, plates=1e-4
    ),  # no plate fits a holder so, but a map can be written so
    _Way("mirrored, its rows in reverse", rows=True, columns=False, plates=1e-4),
)


def turned(residuals: Residuals, wells: Sequence[str], labels: Labels) -> LabelDoubt | None:
    """Return the way in which a plate was turned, if that is believed; None where wells have no positions.

    Labels (n,) number what each of the residuals' wells is said to be. Nothing that this rests on knows them: forecast and scale are learned from all wells.
    """
    if not all(map(is_well, wells)):
        return None
    teachers = np.ones(len(wells), dtype=bool)
    residual = _standardised(residuals.learned_from(teachers))
    ways, weights = [], []
    for way, source in _readings([row_column(parse_well(well)) for well in wells]):
        on_map = source >= 0
        if on_map.mean() < LEAST_MAPPED:
            continue
        read, given = labels[source[on_map]], labels[on_map]
        ways.append((way, on_map, read != given))
        weights.append(
            np.log(way.plates)
            + _evidence(residual[on_map], read)
            - _evidence(residual[on_map], given)
        )
    if not ways:
        return None
    best = int(np.argmax(weights))
    probability = float(np.exp(weights[best] - np.logaddexp(0.0, np.logaddexp.reduce(weights))))
    if probability < BELIEVED:
        return None
    way, on_map, moved = ways[best]
    return LabelDoubt(
        wells=tuple(np.array(wells)[on_map][moved].tolist()),
        said=AS_MAPPED,
        seems=way.name,
        probability=probability,
    )


def _readings(positions: Sequence[tuple[int, int]]) -> list[tuple[_Way, npt.NDArray[np.intp]]]:
    """Return each way a plate of every usual size that has these positions can be turned, with the well (n,) whose label each then has; -1 for none."""
    place = {position: number for number, position in enumerate(positions)}
    rows, columns = np.array(positions).max(axis=0)
    readings = []
    for high, wide in PLATE_SHAPES.values():
        if rows > high or columns > wide:
            continue
        for way in WAYS:
            there = [
                (high + 1 - row if way.rows else row, wide + 1 - column if way.columns else column)
                for row, column in positions
            ]
            readings.append((way, np.array([place.get(position, -1) for position in there])))
    return readings


def _standardised(residual: Array) -> Array:
    """Return (n, K): the residuals in directions that do not vary together, far ones drawn in so that few cannot decide for all."""
    centred = residual - np.median(residual, axis=0)
    spread = 1.4826 * np.median(np.abs(centred), axis=0)
    drawn_in = np.arcsinh(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0))
    drawn_in = drawn_in - drawn_in.mean(axis=0)
    left, values, _ = np.linalg.svd(drawn_in, full_matrices=False)
    return np.asarray(left[:, values > 1e-6 * values[0]] * np.sqrt(len(residual)))


def _evidence(rows: Array, labels: Labels) -> float:
    """Return the log density of rows (n, K) where in each direction the means of labels vary by the most probable amount: a one-way layout in each."""
    n = len(rows)
    centred = rows - rows.mean(axis=0)
    member = (labels[:, None] == np.unique(labels)).astype(np.float64)
    count = member.sum(axis=0)
    of_groups, of_wells = len(count) - 1, n - len(count)
    if not of_groups or not of_wells:
        return 0.0
    between = np.maximum(((member.T @ centred) ** 2 / count[:, None]).sum(axis=0), ROUNDING)  # (K,)
    within = np.maximum((centred**2).sum(axis=0) - between, ROUNDING)
    apart = of_groups * np.log(between / of_groups) + of_wells * np.log(within / of_wells)
    alike = (of_groups + of_wells) * np.log((between + within) / (of_groups + of_wells))
    return float(-np.where(between / of_groups > within / of_wells, apart, alike).sum() / 2)
