"""The measures of the images of one plate as trajectories of wells, and how well they fit.

The tissue of a well changes little from one day to the next, and wells of one treatment change
alike. An image that is filed under a wrong well, day or plate breaks the trajectory of its well.
The change of a well between two imaged days is compared with the median change of the wells of its
label; after dosing, untreated wells and each treatment have their own median. Differences are in
units of their scatter, and follow a multivariate t distribution, whose long tails allow for wrong
outlines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.arrays import BoolArray, Float64Array, IndexArray
from training.data.crops import PlateCrops

MIN_WELLS = 3
"""Smallest number of wells for a median change of their own."""
MIN_IMAGED_WELLS = 8
"""Smallest number of wells with images of two days for which trajectories are examined."""
FREEDOM = 4.0
CLIP = 3.0
"""Largest difference, in robust standard deviations, when correlations are estimated."""
SHRINKAGE = 0.2
"""Weight of the unit matrix in the estimated correlations."""
RELATIVE_FLOOR = 0.05
"""Smallest scatter of a measure, as a share of its scatter over all images."""


@dataclass(frozen=True, eq=False)
class PlateTrajectories:
    """The measures of N wells on T days, with a model of their changes and of their values."""

    plate: str
    wells: tuple[str, ...]  # N
    days: tuple[int, ...]  # T, ascending
    values: Float64Array  # (N, T, K); NaN without an image or measures
    label: IndexArray  # (N,)
    calm: BoolArray  # (T,): days on which no treatment acts yet
    centres: Float64Array  # (N, T, K): typical value of a well's label on each day
    whitening: tuple[Float64Array, Float64Array]  # (K, K) of a change: calm, and under treatment
    value_whitening: tuple[Float64Array, Float64Array]  # the same of a value

    def log_likelihood(self, well: int, values: Float64Array) -> float:
        """Return the log likelihood of values (T, K) of a well, up to a constant.

        It is the sum of one term for each value and one for each change between imaged days.
        """
        days = np.flatnonzero(np.isfinite(values).all(axis=1))
        total = 0.0
        for place, day in enumerate(days):
            is_treated = int(not self._is_calm(well, int(day)))
            difference = values[day] - self.centres[well, day]
            total += _log_t(difference @ self.value_whitening[is_treated])
            if place:
                before = days[place - 1]
                change = difference - (values[before] - self.centres[well, before])
                gap = np.sqrt(day - before)
                total += _log_t(change @ self.whitening[is_treated] / gap)
        return total

    def log_density_at(self, distance: float) -> float:
        """Return the log density where each measure is at a distance in standard deviations."""
        return _log_t(np.full(self.values.shape[2], distance))

    def _is_calm(self, well: int, day: int) -> bool:
        return bool(self.calm[day]) or self.label[well] == 0


def plate_trajectories(plate: PlateCrops) -> PlateTrajectories | None:
    """Return the PlateTrajectories of a plate, or None if too few wells have two days.

    If the dosing day is unknown, wells with different labels are compared separately on all days.
    """
    names = tuple(dict.fromkeys(plate.wells))
    days = tuple(sorted({int(day) for day in plate.days if day > 0}))
    values = np.full((len(names), len(days), plate.measures.shape[1]), np.nan)
    for row, (well, day) in enumerate(zip(plate.wells, plate.days, strict=True)):
        if day > 0 and np.isfinite(plate.measures[row]).all():
            values[names.index(well), days.index(int(day))] = plate.measures[row]
    imaged = np.isfinite(values).all(axis=2)
    if (imaged.sum(axis=1) > 1).sum() < MIN_IMAGED_WELLS:
        return None
    label = _labels(plate, names)
    calm = np.array([0 < day <= plate.dosed_on_day for day in days])
    centres = _centres(values, label, calm)
    scale = _robust_spread(values.reshape(-1, values.shape[2]))
    is_calm = calm[None] | (label == 0)[:, None]  # (N, T)
    differences = values - centres
    changes = np.diff(differences, axis=1)
    return PlateTrajectories(
        plate.plate,
        names,
        days,
        values,
        label,
        calm,
        centres,
        _both_whitenings(changes, is_calm[:, 1:], scale),
        _both_whitenings(differences, is_calm, scale),
    )


def _labels(plate: PlateCrops, wells: Sequence[str]) -> IndexArray:
    """Return the number of the label of each well; 0 for untreated and unlabelled wells."""
    of_well = {
        well: "" if group in ("", "untreated") else f"{group} {treatment}"
        for well, group, treatment in zip(plate.wells, plate.groups, plate.treatments, strict=True)
    }
    names = ["", *sorted(set(of_well.values()) - {""})]
    return np.array([names.index(of_well[well]) for well in wells])


def _centres(values: Float64Array, label: IndexArray, calm: BoolArray) -> Float64Array:
    """Return the median of the wells of a label on each day, (N, T, K).

    On calm days it is the median of all wells, and so it is for labels of fewer than
    :data:`MIN_WELLS` wells with an image.
    """
    centres = np.empty_like(values)
    for day in range(values.shape[1]):
        if not np.isfinite(values[:, day]).any():
            centres[:, day] = 0.0
            continue
        of_all = np.nanmedian(values[:, day], axis=0)
        centres[:, day] = of_all
        if calm[day]:
            continue
        for one in np.unique(label):
            members = values[label == one, day]
            if np.isfinite(members).all(axis=1).sum() >= MIN_WELLS:
                centres[label == one, day] = np.nanmedian(members, axis=0)
    return centres


def _both_whitenings(
    differences: Float64Array, is_calm: BoolArray, scale: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the whitening matrices (K, K) of calm differences, and of those under treatment."""
    known = np.isfinite(differences).all(axis=2)
    calm = differences[known & is_calm]
    treated = differences[known & ~is_calm]
    of_calm = _whitening(calm if len(calm) >= MIN_IMAGED_WELLS else differences[known], scale)
    of_treated = _whitening(treated, scale) if len(treated) >= MIN_IMAGED_WELLS else of_calm
    return of_calm, of_treated


def _whitening(rows: Float64Array, scale: Float64Array) -> Float64Array:
    """Return W (K, K) so that rows @ W have about unit variance and no correlation."""
    spread = np.maximum(_robust_spread(rows), RELATIVE_FLOOR * scale)
    units = np.clip(rows / spread, -CLIP, CLIP)
    correlation = (units.T @ units) / len(units)
    correlation = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(spread))
    root = np.linalg.cholesky(np.linalg.inv(correlation))
    # The log determinant is left out: every image has the same number of terms of each kind.
    whitening: Float64Array = root / spread[:, None]
    return whitening


def _robust_spread(rows: Float64Array) -> Float64Array:
    """Return 1.4826 × the median absolute deviation of each column, at least 1e-6."""
    centre = np.nanmedian(rows, axis=0)
    return np.maximum(1.4826 * np.nanmedian(np.abs(rows - centre), axis=0), 1e-6)


def _log_t(units: Float64Array) -> float:
    """Return the log density of a multivariate t at a whitened (K,), up to a constant."""
    count = len(units)
    return float(-(FREEDOM + count) / 2 * np.log1p(units @ units / FREEDOM))
