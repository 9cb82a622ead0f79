"""Detection of wells whose tissue differed from all other wells before dosing.

Such wells say nothing about the effect of a treatment.
"""

import numpy as np
from scipy.special import fdtri

from schemas.arrays import BoolArray, Float64Array

EXPECTED_FALSE_OUTLIERS = 1e-3
"""Expected number of wells above the limit on a plate with normally distributed wells."""
OUTLIER_FACTOR = 3.0
"""Factor above the limit at which a well is an outlier, because real wells have longer tails."""
MAX_OUTLIER_SHARE = 0.1
"""Largest fraction of outliers; with more, the plate is uneven and no well is an outlier."""
MIN_WELLS = 12
"""Smallest number of wells for the test."""
ROUNDING_ERROR = 1e-12
"""Relative size of numerical rounding errors."""


def find_pre_dose_outliers(past: Float64Array) -> tuple[BoolArray, Float64Array]:
    """Return (mask of outliers (n,), distances from the other wells (n,)) of past positions (n, K).

    The squared distance of one well from n − 1 others in K directions, in units of their
    covariance, is F-distributed for normally distributed wells (Hotelling's T² of one new
    observation). Distances are in units of the limit of this distribution. A well is not part of
    its own reference. The farthest outlier is removed and the distances are computed again.

    Parameters
    ----------
    past
        (n, K) positions before dosing.
    """
    outliers = np.zeros(len(past), dtype=bool)
    # One outlier more than the largest fraction shows that the plate is uneven.
    for _ in range(int(MAX_OUTLIER_SHARE * len(past)) + 1):
        distances = _distances(past, ~outliers)
        worst = int(np.where(outliers, -np.inf, distances).argmax())
        if distances[worst] <= OUTLIER_FACTOR or len(past) < MIN_WELLS:
            break
        outliers[worst] = True
    if outliers.mean() > MAX_OUTLIER_SHARE:
        outliers = np.zeros_like(outliers)
    return outliers, distances


def _distances(past: Float64Array, reference: BoolArray) -> Float64Array:
    """Return (n,) distances of wells from the reference wells, in units of the limit.

    Parameters
    ----------
    past
        (n, K) positions before dosing.
    reference
        (n,), True for wells that are no outliers; a well is not part of its own reference.
    """
    count = int(reference.sum()) - 1
    k = min(past.shape[1], count // 3)
    rows = past[:, :k]
    limit = (
        float(fdtri(k, count - k, 1 - EXPECTED_FALSE_OUTLIERS / len(past)))
        * k
        * (count**2 - 1)
        / (count * (count - k))
    )
    floor = ROUNDING_ERROR * float(rows.var(axis=0).sum()) or 1.0  # equal wells have no covariance
    squared = np.empty(len(rows))
    for well in range(len(rows)):
        others = rows[reference & (np.arange(len(rows)) != well)]
        centred = others - others.mean(axis=0)
        difference = rows[well] - others.mean(axis=0)
        covariance = centred.T @ centred / (len(others) - 1)
        squared[well] = float(
            difference
            @ np.linalg.solve(
                covariance + (1e-6 * np.trace(covariance) + floor) * np.eye(k), difference
            )
        )
    return np.asarray(np.sqrt(squared / limit))
