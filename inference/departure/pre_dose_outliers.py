"""Which wells were unlike their fellows before dosing, when all wells were alike: what becomes of them says nothing of a drug."""

import numpy as np
import numpy.typing as npt
from scipy.stats import f as f_distribution

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FALSE_WELLS_A_PLATE = 1e-3
"""Expected of a plate of normal wells at the limit;"""
FARTHEST = 3.0
"""real ones have longer tails: only wells this many times as far are left out."""
MOST_SHARE = 0.1
"""More unlike wells than this are no exceptions: the plate is uneven, and all stay."""
FEWEST_WELLS = 12
ROUNDING = 1e-12


def unlike(past: Array) -> tuple[Mask, Array]:
    """Return (n,) which wells lie too far from all others before dosing, and (n,) how far, in units of the limit for normal wells.

    The squared distance of one well from n − 1 others in K directions, in units of their covariance, is F-distributed for normal wells (Hotelling's T² of
    one new observation). Each well is left out of what it is held against; those found are taken away and the others looked at again.
    """
    out = np.zeros(len(past), dtype=bool)
    for _ in range(
        int(MOST_SHARE * len(past)) + 1
    ):  # one more than may be left out shows that they are no exceptions
        distances = _distances(past, ~out)
        worst = int(np.where(out, -np.inf, distances).argmax())
        if distances[worst] <= FARTHEST or len(past) < FEWEST_WELLS:
            break
        out[worst] = True
    return (out if out.mean() <= MOST_SHARE else np.zeros_like(out)), distances


def _distances(past: Array, fellows: Mask) -> Array:
    """Return (n,): how far each well is from the fellows other than itself, in units of the limit."""
    count = int(fellows.sum()) - 1
    k = min(past.shape[1], count // 3)
    rows = past[:, :k]
    limit = (
        float(f_distribution.isf(FALSE_WELLS_A_PLATE / len(past), k, count - k))
        * k
        * (count**2 - 1)
        / (count * (count - k))
    )
    floor = (
        ROUNDING * float(rows.var(axis=0).sum()) or 1.0
    )  # fellows that are all equal have no covariance
    squared = np.empty(len(rows))
    for well in range(len(rows)):
        others = rows[fellows & (np.arange(len(rows)) != well)]
        centred = others - others.mean(axis=0)
        away = rows[well] - others.mean(axis=0)
        covariance = centred.T @ centred / (len(others) - 1)
        squared[well] = float(
            away
            @ np.linalg.solve(covariance + (1e-6 * np.trace(covariance) + floor) * np.eye(k), away)
        )
    return np.asarray(np.sqrt(squared / limit))
