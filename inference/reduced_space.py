"""From the features of all wells to the few directions in which wells differ, found without looking at who was treated."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import ProfileError
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]

WELLS_PER_COMPONENT = 5
"""So many wells tell one direction from noise."""
FEWEST_COMPONENTS = 3
MOST_NON_FINITE = 0.05
"""A feature with a larger share of non-finite values is dropped, as pycytominer does; fewer are filled with the day's median."""
LARGEST = 1e100
"""A value beyond, whose square would no longer be a number, counts as missing, as NaN and infinity do."""
LEAST_SPREAD = 0.1
"""Of a feature's standard deviation: the floor of its robust spread, which is 0 where most wells have one value."""
ROUNDING = 1e-12
FARTHEST = 20.0
"""Features are held within this many robust spreads, so that one wild value cannot turn the space towards itself."""


@dataclass(frozen=True, eq=False)
class ReducedSpace:
    """The past and the readout of n wells in the same K directions; both are deviations from the wells' median of a day."""

    past: Array  # (n, K)
    readout: Array  # (n, K)
    notes: tuple[str, ...]


def reduce(trajectories: Trajectories, wells: npt.NDArray[np.bool_], before: tuple[int, ...], day: int) -> ReducedSpace:
    """Return the chosen wells' last image of the days ``before`` and their image of ``day`` in the principal directions of both.

    A well's past is how it differed from all wells on the last day it was seen: before dosing all wells are alike, so days need not be even.

    Raises
    ------
    ProfileError
        If no feature varies.
    """
    past = _last_seen([_from_median(trajectories.on(earlier)[wells]) for earlier in before])
    rows = np.concatenate([past, _from_median(trajectories.on(day)[wells])])
    rows, kept, notes = _finite(rows, trajectories)
    scaled = _scaled(rows, kept[: trajectories.embedding_dimension].sum(), trajectories.embedding_weight)
    if not scaled.any():
        raise ProfileError(trajectories.plate, f"none of {rows.shape[1]} features varies between wells; expected at least one that does")
    components = _principal(scaled, max(FEWEST_COMPONENTS, len(past) // WELLS_PER_COMPONENT))
    return ReducedSpace(components[: len(past)], components[len(past) :], notes)


def usable(features: Array) -> npt.NDArray[np.bool_]:
    """Return (N,): which rows of (N, D) have at least half as many usable values as the fullest row; none where no row has any."""
    counts = (np.abs(features) < LARGEST).sum(axis=1)
    return np.asarray(counts >= max(1.0, counts.max(initial=0) / 2))


def _from_median(features: Array) -> Array:
    finite = np.where(np.abs(features) < LARGEST, features, np.nan)
    seen = usable(features)
    finite[~seen] = np.nan
    if np.isfinite(finite[seen]).all():  # the common case, and many times faster than nanmedian
        return np.asarray(finite - np.median(finite[seen], axis=0))
    some = np.isfinite(finite).any(axis=0)
    finite[:, some] -= np.nanmedian(finite[:, some], axis=0)
    return finite


def _last_seen(days: list[Array]) -> Array:
    """Return (n, D): each well's row of the last of these days on which it was seen."""
    last = days[0].copy()
    for features in days[1:]:
        seen = np.isfinite(features).any(axis=1)  # an unusable row is all NaN by now
        last[seen] = features[seen]
    return last


def _finite(rows: Array, trajectories: Trajectories) -> tuple[Array, npt.NDArray[np.bool_], tuple[str, ...]]:
    """Drop features that are often not finite, saying which stay; fill the rest with 0, the median of their day."""
    missing = ~np.isfinite(rows)
    if not missing.any():
        return rows, np.ones(rows.shape[1], dtype=bool), ()
    dropped = missing.mean(axis=0) > MOST_NON_FINITE
    names = [name for name, gone in zip(trajectories.feature_names, dropped, strict=True) if gone]
    notes = [f"{len(names)} features were not used, more than {MOST_NON_FINITE:.0%} of their values are missing: {', '.join(names)}."] if names else []
    if filled := int(missing[:, ~dropped].sum()):
        notes.append(f"{filled} missing values were taken to be like the median well of their day.")
    return np.where(missing, 0.0, rows)[:, ~dropped], ~dropped, tuple(notes)


def _scaled(rows: Array, embedded: int, embedding_weight: float) -> Array:
    """Put an embedding, the first ``embedded`` columns, and measures on one scale; columns that do not vary are left out.

    Where both are there, a row of the embedding is as long as one of the measures, in the median over rows, times its weight.
    """
    embedding, measures = _in_one_unit(_varying(rows[:, :embedded])), _in_own_units(_varying(rows[:, embedded:]))
    if embedding.size and measures.size:
        embedding *= embedding_weight * _length(measures) / _length(embedding)
    return np.concatenate([embedding, measures], axis=1)


def _varying(rows: Array) -> Array:
    return np.asarray(rows[:, rows.std(axis=0) > ROUNDING * np.abs(rows).max(axis=0, initial=0.0)])


def _in_one_unit(rows: Array) -> Array:
    """Divide an embedding by its mean spread, which leaves its features as they are to one another.

    An embedding has many features that are zero in nearly all images: scaled one by one, their noise would outweigh all that matters.
    """
    return np.asarray(rows / np.sqrt(rows.var(axis=0).mean())) if rows.size else rows


def _in_own_units(rows: Array) -> Array:
    """Divide each feature by its robust spread."""
    spread = np.maximum(1.4826 * np.median(np.abs(rows), axis=0), LEAST_SPREAD * rows.std(axis=0))
    return np.asarray(np.clip(rows / spread, -FARTHEST, FARTHEST))


def _length(rows: Array) -> float:
    """Return the median length of rows: one that the many wells with little change decide, not the few with much; with a floor for a median of 0."""
    squared = (rows**2).sum(axis=1)
    return float(max(np.sqrt(np.median(squared)), LEAST_SPREAD * np.sqrt(squared.mean())))


def _principal(rows: Array, most: int) -> Array:
    """Return (rows, K ≤ most): principal components, by the smaller of the two Gram matrices."""
    centred = rows - rows.mean(axis=0)
    if rows.shape[0] < rows.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        components = vectors * np.sqrt(np.maximum(values, 0))
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        components = centred @ vectors
    kept = np.flatnonzero(values > 1e-9 * values[-1])[::-1][:most]
    return np.asarray(components[:, kept])
