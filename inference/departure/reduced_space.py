"""From the features of all wells to the few directions in which wells differ, found without looking at who was treated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.ports import Earlier, SequenceModel
from schemas.errors import ProfileError
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

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
FEWEST_EARLIER = 3
"""An earlier plate with fewer untreated wells tells too little of how they vary."""
MOST_OTHERS = 24
"""A ranking uses the untreated wells of at most this many other plates; more add no accuracy."""


@dataclass(frozen=True, eq=False)
class ReducedSpace:
    """Where n wells were, in K directions, from before dosing to the readout; all positions are seen from the median well before dosing."""

    past: Array  # (n, K): on the last day up to dosing on which the well was seen, or as a model foresaw its readout, as it differed from the median well
    after: Array  # (n, T, K): on each day after dosing, the readout last; a day on which a well was not seen repeats how it differed before
    earlier: tuple[Earlier, ...]  # the untreated wells of other plates in the same directions
    notes: tuple[str, ...]

    @property
    def readout(self) -> Array:
        """(n, K)."""
        return self.after[:, -1]


@dataclass(frozen=True, eq=False)
class _Directions:
    """How a row of features becomes K coordinates."""

    kept: Mask  # (D,): features that are used
    factors: Array  # (kept,): 1 / spread; 0 for a feature that does not vary
    embedded: int  # so many of the kept ones, from the first, are an embedding
    turn: Array  # (kept, K)

    def of(self, rows: Array) -> Array:
        """Return (…, K) of rows (…, D) of differences; what is not finite counts as no difference."""
        return (
            _scaled(
                np.nan_to_num(rows[..., self.kept], nan=0.0, posinf=0.0, neginf=0.0),
                self.factors,
                self.embedded,
            )
            @ self.turn
        )


def reduce(
    trajectories: Trajectories,
    wells: Mask,
    before: Sequence[int],
    after: Sequence[int],
    others: Sequence[Trajectories] = (),
    foresight: SequenceModel | None = None,
) -> ReducedSpace:
    """Return where the chosen wells were, in the principal directions of how they differed before dosing and on the last of the days ``after``.

    A well's past is how it differed from all wells on the last day it was seen: before dosing all wells are alike, so days need not be even.
    Of the other plates, which have the same days and features, the untreated wells are taken along.
    A sequence model's forecast takes the place of the last image seen; how far that is right, untreated wells tell as they do of the image.

    Raises
    ------
    ProfileError
        If no feature varies, another plate has other features, or the sequence model does not fit the plate.
    """
    _check_comparable(trajectories, others)
    past = _past(trajectories, wells, before, after[-1], foresight)
    differences = [_from_median(trajectories.on(day)[wells]) for day in after]
    rows, kept, notes = _finite(np.concatenate([past, differences[-1]]), trajectories)
    embedded = int(kept[: trajectories.embedding_dimension].sum())
    factors = _factors(rows, embedded, trajectories.embedding_weight)
    if not factors.any():
        said = "; ".join(
            [
                f"none of {rows.shape[1]} features varies between wells; expected at least one that does",
                *notes,
            ]
        )
        raise ProfileError(trajectories.plate, said)
    turn = _principal(
        _scaled(rows, factors, embedded), max(FEWEST_COMPONENTS, len(past) // WELLS_PER_COMPONENT)
    )
    directions = _Directions(kept, factors, embedded, turn)
    centre = _scaled(rows, factors, embedded).mean(axis=0) @ turn
    origin = _median(
        next(rows for day in reversed(before) if usable(rows := trajectories.on(day)[wells]).any())
    )
    positions, last = [], past
    for day, difference in zip(after, differences, strict=True):
        last = np.where(np.asarray(np.isfinite(difference).any(axis=1))[:, None], difference, last)
        moved = _unclipped(_median(trajectories.on(day)[wells]) - origin, directions)
        positions.append(directions.of(last) - centre + moved)
    own = directions.of(past) - centre
    earlier = tuple(
        one
        for other in others
        if (one := _earlier(other, before, after[-1], directions, own, foresight)) is not None
    )
    return ReducedSpace(own, np.stack(positions, axis=1), earlier, notes)


def usable(features: Array) -> Mask:
    """Return (N,): which rows of (N, D) have at least half as many usable values as the fullest row; none where no row has any."""
    counts = (np.abs(features) < LARGEST).sum(axis=1)
    return np.asarray(counts >= max(1.0, counts.max(initial=0) / 2))


def _check_comparable(trajectories: Trajectories, others: Sequence[Trajectories]) -> None:
    for other in others:
        if other.encoder_id != trajectories.encoder_id:
            expected = f"expected {trajectories.encoder_id!r} as plate {trajectories.plate} has"
            raise ProfileError(
                other.plate, f"has features of the encoder {other.encoder_id!r}; {expected}"
            )
        if other.feature_names != trajectories.feature_names:
            raise ProfileError(
                other.plate,
                f"has other features than plate {trajectories.plate}; expected the same {len(trajectories.feature_names)}",
            )


def _past(
    trajectories: Trajectories,
    wells: Mask,
    before: Sequence[int],
    day: int,
    foresight: SequenceModel | None,
) -> Array:
    """Return (n, D): how the chosen wells differed when they were last seen before dosing, or in what a model foresees of the day from there."""
    if foresight is not None:
        return _from_median(foresight.foresee(trajectories, before, day)[wells])
    return _last_seen([_from_median(trajectories.on(earlier)[wells]) for earlier in before])


def _earlier(
    other: Trajectories,
    before: Sequence[int],
    day: int,
    directions: _Directions,
    own: Array,
    foresight: SequenceModel | None,
) -> Earlier | None:
    """Return the untreated wells of another plate as they differ from their own mean, None where they are too few or nothing like this plate's."""
    days = [earlier for earlier in before if earlier in other.days]
    if (
        not days
        or day not in other.days
        or (foresight is not None and not set(foresight.days) <= set(days))
    ):
        return None
    untreated = other.untreated()
    if untreated.sum() < FEWEST_EARLIER:
        return None
    past = _past(other, untreated, days, day, foresight)
    readout = _from_median(other.on(day)[untreated])
    seen = np.isfinite(past).any(axis=1) & np.isfinite(readout).any(axis=1)
    if seen.sum() < FEWEST_EARLIER:
        return None
    past, readout = directions.of(past[seen]), directions.of(readout[seen])
    past = past - past.mean(axis=0)
    likeness = _likeness(past, own)
    return Earlier(past, readout - readout.mean(axis=0), likeness) if likeness > 0 else None


def _likeness(one: Array, other: Array) -> float:
    """Return 0…1: how alike wells of two plates varied before dosing, in shape (cosine of the covariances) and extent (1 where equal, 0.6 at twofold)."""
    covariances = [rows.T @ rows / len(rows) for rows in (one, other - other.mean(axis=0))]
    extents = [float(np.trace(covariance)) for covariance in covariances]
    if min(extents) <= 0:
        return 0.0
    one, other = (
        covariance / extent for covariance, extent in zip(covariances, extents, strict=True)
    )
    shape = float((one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other)))
    return float(shape * np.exp(-0.5 * np.log2(extents[0] / extents[1]) ** 2))


def _median(features: Array) -> Array:
    """Return (D,): the median usable well, NaN where no well has the feature."""
    finite = np.where((np.abs(features) < LARGEST) & usable(features)[:, None], features, np.nan)
    if np.isfinite(finite).all():  # the common case, and many times faster than nanmedian
        return np.asarray(np.median(finite, axis=0))
    some = np.isfinite(finite).any(axis=0)
    median = np.full(features.shape[1], np.nan)
    median[some] = np.nanmedian(finite[:, some], axis=0)
    return median


def _from_median(features: Array) -> Array:
    finite = np.where((np.abs(features) < LARGEST) & usable(features)[:, None], features, np.nan)
    return np.asarray(finite - _median(features))


def _last_seen(days: list[Array]) -> Array:
    """Return (n, D): each well's row of the last of these days on which it was seen."""
    last = days[0].copy()
    for features in days[1:]:
        seen = np.isfinite(features).any(axis=1)  # an unusable row is all NaN by now
        last[seen] = features[seen]
    return last


def _finite(rows: Array, trajectories: Trajectories) -> tuple[Array, Mask, tuple[str, ...]]:
    """Drop features that are often not finite, saying which stay; fill the rest with 0, the median of their day."""
    missing = ~np.isfinite(rows)
    if not missing.any():
        return rows, np.ones(rows.shape[1], dtype=bool), ()
    dropped = missing.mean(axis=0) > MOST_NON_FINITE
    names = [name for name, gone in zip(trajectories.feature_names, dropped, strict=True) if gone]
    notes = (
        [
            f"{len(names)} features were not used, more than {MOST_NON_FINITE:.0%} of their values are missing: {', '.join(names)}."
        ]
        if names
        else []
    )
    if filled := int(missing[:, ~dropped].sum()):
        notes.append(f"{filled} missing values were taken to be like the median well of their day.")
    return np.where(missing, 0.0, rows)[:, ~dropped], ~dropped, tuple(notes)


def _factors(rows: Array, embedded: int, embedding_weight: float) -> Array:
    """Return (D,): what puts an embedding, the first ``embedded`` columns, and measures on one scale; 0 for columns that do not vary.

    An embedding is divided by its mean spread, which leaves its features as they are to one another: it has many features that are zero in nearly all
    images, and scaled one by one, their noise would outweigh all that matters. Measures are each divided by their robust spread.
    Where both are there, a row of the embedding is as long as one of the measures, in the median over rows, times its weight.
    """
    varies = np.asarray(rows.std(axis=0) > ROUNDING * np.abs(rows).max(axis=0, initial=0.0))
    robust = np.maximum(1.4826 * np.median(np.abs(rows), axis=0), LEAST_SPREAD * rows.std(axis=0))
    factors = np.divide(1.0, robust, out=np.zeros_like(robust), where=varies)
    if varies[:embedded].any():
        of_embedding = rows[:, :embedded][:, varies[:embedded]]
        factors[:embedded] = np.where(
            varies[:embedded], 1 / np.sqrt(of_embedding.var(axis=0).mean()), 0.0
        )
        if varies[embedded:].any():
            scaled = _scaled(rows, factors, embedded)
            factors[:embedded] *= (
                embedding_weight * _length(scaled[:, embedded:]) / _length(scaled[:, :embedded])
            )
    return np.asarray(factors)


def _scaled(rows: Array, factors: Array, embedded: int) -> Array:
    scaled = rows * factors
    np.clip(scaled[..., embedded:], -FARTHEST, FARTHEST, out=scaled[..., embedded:])
    return np.asarray(scaled)


def _unclipped(row: Array, directions: _Directions) -> Array:
    """Return (K,) of how all wells moved together, which may be far."""
    return np.asarray((np.nan_to_num(row[directions.kept]) * directions.factors) @ directions.turn)


def _length(rows: Array) -> float:
    """Return the median length of rows: one that the many wells with little change decide, not the few with much; with a floor for a median of 0."""
    squared = (rows**2).sum(axis=1)
    return float(max(np.sqrt(np.median(squared)), LEAST_SPREAD * np.sqrt(squared.mean())))


def _principal(rows: Array, most: int) -> Array:
    """Return (columns, K ≤ most): the principal directions of rows, by the smaller of the two Gram matrices."""
    centred = rows - rows.mean(axis=0)
    if rows.shape[0] < rows.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        directions = centred.T @ (vectors / np.sqrt(np.maximum(values, np.finfo(float).tiny)))
    else:
        values, directions = np.linalg.eigh(centred.T @ centred)
    kept = np.flatnonzero(values > 1e-9 * values[-1])[::-1][:most]
    return np.asarray(directions[:, kept])
