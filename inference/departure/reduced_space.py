"""Reduction of the features of a plate to the few directions in which its wells differ.

The directions do not depend on which wells were treated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, starmap

import numpy as np

from inference.departure.metrics import block_diagonal
from inference.ports import EarlierWells, SequenceModel
from schemas.arrays import BoolArray, Float64Array
from schemas.errors import ProfileError
from schemas.trajectory import Trajectories

WELLS_PER_COMPONENT = 5
"""Number of wells per direction that is kept."""
MIN_COMPONENTS = 3
"""Smallest number of directions, where so many exist."""
MAX_NON_FINITE_SHARE = 0.05
"""Features with a larger fraction of non-finite values are dropped, as in pycytominer; other
missing values are replaced by the day's median.
"""
MAX_ABSOLUTE_VALUE = 1e100
"""Larger values count as missing, like NaN and infinity, because their squares overflow."""
MIN_SPREAD_SHARE = 0.1
"""Smallest robust standard deviation as a fraction of the standard deviation; it would be 0 if most
wells have the same value.
"""
ROUNDING_ERROR = 1e-12
"""Relative size of numerical rounding errors."""
CLIP_SPREADS = 20.0
"""Measures are clipped to this number of robust standard deviations, so that single extreme values
do not determine the directions.
"""
MIN_EARLIER_WELLS = 3
"""Smallest number of untreated wells of an earlier plate that is used."""
MAX_OTHER_PLATES = 24
"""Largest number of other plates whose untreated wells are used; more do not improve
the accuracy.
"""


@dataclass(frozen=True, eq=False)
class ReducedPlate:
    """Positions of n wells in K principal directions, before dosing and on each later day.

    Positions after dosing include the change of the median well since dosing.
    """

    past: Float64Array
    """(n, K) differences from the median well on the last imaged day up to dosing, or in the
    readout that a sequence model predicts.
    """
    after: Float64Array
    """(n, T, K) positions on each day after dosing, the readout last. A well without an image of a
    day keeps its previous difference from the median well.
    """
    earlier: tuple[EarlierWells, ...]
    """Untreated wells of other plates in the same directions."""
    notes: tuple[str, ...]
    embedded: int = 0
    """Number of directions, from the first, that are those of the embedding."""
    latest: Float64Array | None = None
    """(n, K) differences from the median well in the readout that a sequence model predicts from
    all days before it; None if it predicts from the days up to dosing alone.
    """

    @property
    def parts(self) -> tuple[slice, ...]:
        """Directions of each kind of features: of the embedding, then of the measures."""
        borders = dict.fromkeys((0, self.embedded, self.past.shape[1]))
        return tuple(starmap(slice, pairwise(borders)))

    @property
    def readout(self) -> Float64Array:
        """(n, K) positions on the readout day."""
        return self.after[:, -1]

    def last_part(self) -> "ReducedPlate":
        """Return the plate in the directions of the measures, or of an embedding that is alone."""
        part = self.parts[-1]
        earlier = tuple(
            replace(each, past=each.past[:, part], readout=each.readout[:, part])
            for each in self.earlier
        )
        return replace(
            self,
            past=self.past[:, part],
            after=self.after[:, :, part],
            earlier=earlier,
            embedded=0,
            latest=None if self.latest is None else self.latest[:, part],
        )


@dataclass(frozen=True, eq=False)
class _Projection:
    """Projection of rows of D features onto K directions."""

    kept: BoolArray
    """(D,): features that are used."""
    factors: Float64Array
    """(kept,): 1 / standard deviation; 0 for features that do not vary."""
    embedded: int
    """Number of kept features, from the first, that are an embedding."""
    directions: Float64Array  # (kept, K): those of the embedding, then those of the measures
    embedded_directions: int
    """Number of directions, from the first, that are those of the embedding."""
    centre: Float64Array  # (K,) mean of the projected rows of the fit

    def project(self, rows: Float64Array) -> Float64Array:
        """Return (…, K) projections of differences (…, D); missing differences count as 0."""
        return (
            _scale(
                np.nan_to_num(rows[..., self.kept], nan=0.0, posinf=0.0, neginf=0.0),
                self.factors,
                self.embedded,
            )
            @ self.directions
        )

    def position(self, rows: Float64Array) -> Float64Array:
        """Return (…, K) positions of rows (…, D) relative to the centre."""
        return np.asarray(self.project(rows) - self.centre)

    def project_unclipped(self, row: Float64Array) -> Float64Array:
        """Return the (K,) position of a difference (D,) of all wells together, without clipping."""
        return np.asarray((np.nan_to_num(row[self.kept]) * self.factors) @ self.directions)


def reduce_plate(
    trajectories: Trajectories,
    wells: BoolArray,
    before: Sequence[int],
    after: Sequence[int],
    others: Sequence[Trajectories] = (),
    sequence_model: SequenceModel | None = None,
    *,
    with_latest: bool = False,
) -> ReducedPlate:
    """Reduce Trajectories of masked wells (N,) on days before and after dosing to a ReducedPlate.

    The positions are in K principal directions of the differences between wells before dosing and
    on the readout day. The embedding and the measures have directions of their own. Differences are
    taken from the median well of each day, so that wells may be imaged on different days before
    dosing.

    Parameters
    ----------
    wells
        (N,), True for the n chosen wells.
    before, after
        Imaged days up to dosing, and after it up to the readout day.
    others
        Other plates with the same days and features, whose untreated wells are reduced as well.
    sequence_model
        Model whose prediction of the readout replaces the last image up to dosing.
    with_latest
        Add the prediction of the sequence model from all days before the readout.

    Raises
    ------
    ProfileError
        If no feature varies, another plate has other features, or the sequence model does not
        fit the plate.
    """
    _check_comparable(trajectories, others)
    past = _pre_readout_differences(trajectories, wells, before, after[-1], sequence_model)
    differences = [_differences_from_median(trajectories.on(day)[wells]) for day in after]
    projection, notes = _fit_projection(
        np.concatenate([past, differences[-1]]), len(past), trajectories
    )
    origin = _last_pre_dose_median(trajectories, wells, before)
    positions, last = [], past
    for day, difference in zip(after, differences, strict=True):
        last = np.where(np.asarray(np.isfinite(difference).any(axis=1))[:, None], difference, last)
        shift = projection.project_unclipped(_median(trajectories.on(day)[wells]) - origin)
        positions.append(projection.position(last) + shift)
    own = projection.position(past)
    earlier = (
        _earlier_wells(other, before, after[-1], projection, own, sequence_model)
        for other in others
    )
    latest = None
    if sequence_model is not None and with_latest:
        days = [*before, *after[:-1]]
        latest = projection.position(
            _pre_readout_differences(trajectories, wells, days, after[-1], sequence_model)
        )
    return ReducedPlate(
        own,
        np.stack(positions, axis=1),
        tuple(filter(None, earlier)),
        notes,
        projection.embedded_directions,
        latest,
    )


def _fit_projection(
    rows: Float64Array, wells: int, trajectories: Trajectories
) -> tuple[_Projection, tuple[str, ...]]:
    """Return the projection fitted to rows of differences, and notes about missing values.

    Parameters
    ----------
    rows
        (2 n, D) differences before dosing and on the readout day.
    wells
        Number of wells n.
    trajectories
        The plate, for names and kinds of the features.
    """
    rows, kept, notes = _drop_incomplete_features(rows, trajectories)
    embedded = int(kept[: trajectories.embedding_dimension].sum())
    factors = _scale_factors(rows, embedded)
    if not factors.any():
        problem = (
            f"none of {rows.shape[1]} features varies between wells; "
            "expected at least one that does"
        )
        raise ProfileError(trajectories.plate, "; ".join([problem, *notes]))
    scaled = _scale(rows, factors, embedded)
    max_count = max(MIN_COMPONENTS, wells // WELLS_PER_COMPONENT)
    of_embedding = _principal_directions(scaled[:, :embedded], max_count)
    of_measures = _principal_directions(scaled[:, embedded:], max_count)
    directions = block_diagonal(of_embedding, of_measures)
    centre = scaled.mean(axis=0) @ directions
    return _Projection(kept, factors, embedded, directions, of_embedding.shape[1], centre), notes


def _last_pre_dose_median(
    trajectories: Trajectories, wells: BoolArray, before: Sequence[int]
) -> Float64Array:
    """Return the (D,) median of the chosen wells on the last day up to dosing with images."""
    features = (trajectories.on(day)[wells] for day in reversed(before))
    return _median(next(rows for rows in features if usable_rows(rows).any()))


def usable_rows(features: Float64Array) -> BoolArray:
    """Return (N,): True for rows of (N, D) with at least half the usable values of the fullest row.

    No row is usable if no row has a usable value.
    """
    counts = (np.abs(features) < MAX_ABSOLUTE_VALUE).sum(axis=1)
    return np.asarray(counts >= max(1.0, counts.max(initial=0) / 2))


def _check_comparable(trajectories: Trajectories, others: Sequence[Trajectories]) -> None:
    """Raise ProfileError if another plate has another encoder, method or other features."""
    for other in others:
        if other.encoder_id != trajectories.encoder_id:
            expected = f"expected {trajectories.encoder_id!r} as plate {trajectories.plate} has"
            raise ProfileError(
                other.plate, f"has features of the encoder {other.encoder_id!r}; {expected}"
            )
        if other.measured_by != trajectories.measured_by:
            expected = f"expected {trajectories.measured_by!r} as plate {trajectories.plate} has"
            raise ProfileError(
                other.plate, f"has measures by the method {other.measured_by!r}; {expected}"
            )
        if other.feature_names != trajectories.feature_names:
            raise ProfileError(
                other.plate,
                f"has other features than plate {trajectories.plate}; "
                f"expected the same {len(trajectories.feature_names)}",
            )


def _pre_readout_differences(
    trajectories: Trajectories,
    wells: BoolArray,
    before: Sequence[int],
    day: int,
    sequence_model: SequenceModel | None,
) -> Float64Array:
    """Return (n, D) differences from the median well in the last image of the days ``before``.

    With a sequence model, the differences are those in its predictions for ``day``.
    """
    if sequence_model is not None:
        return _differences_from_median(sequence_model.predict(trajectories, before, day)[wells])
    return _last_imaged(
        [_differences_from_median(trajectories.on(earlier)[wells]) for earlier in before]
    )


def _earlier_wells(
    other: Trajectories,
    before: Sequence[int],
    day: int,
    projection: _Projection,
    own: Float64Array,
    sequence_model: SequenceModel | None,
) -> EarlierWells | None:
    """Return the centred untreated wells of another plate, or None if they cannot be used.

    They cannot be used if an image day is missing, they are too few, or their variation is not
    similar to that of this plate's wells (n, K) ``own``.
    """
    days = [earlier for earlier in before if earlier in other.days]
    if (
        not days
        or day not in other.days
        or (sequence_model is not None and not set(sequence_model.days) <= set(days))
    ):
        return None
    untreated = other.untreated()
    if untreated.sum() < MIN_EARLIER_WELLS:
        return None
    past = _pre_readout_differences(other, untreated, days, day, sequence_model)
    readout = _differences_from_median(other.on(day)[untreated])
    imaged = np.isfinite(past).any(axis=1) & np.isfinite(readout).any(axis=1)
    if imaged.sum() < MIN_EARLIER_WELLS:
        return None
    past, readout = projection.project(past[imaged]), projection.project(readout[imaged])
    past = past - past.mean(axis=0)
    similarity = _similarity(past, own)
    return (
        EarlierWells(past, readout - readout.mean(axis=0), similarity) if similarity > 0 else None
    )


def _similarity(one: Float64Array, other: Float64Array) -> float:
    """Return the similarity, 0…1, of the pre-dose variation of wells (m, K) and wells (n, K).

    It is the cosine between the covariances times a factor for their sizes, which is 1 for equal
    variances and 0.6 for twofold variances.
    """
    covariances = [rows.T @ rows / len(rows) for rows in (one, other - other.mean(axis=0))]
    extents = [float(np.trace(covariance)) for covariance in covariances]
    if min(extents) <= 0:
        return 0.0
    one, other = (
        covariance / extent for covariance, extent in zip(covariances, extents, strict=True)
    )
    shape = float((one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other)))
    return float(shape * np.exp(-0.5 * np.log2(extents[0] / extents[1]) ** 2))


def _median(features: Float64Array) -> Float64Array:
    """Return the (D,) median of the usable wells, NaN for features without a value."""
    finite = _usable_values(features)
    # This is the frequent case, and median is much faster than nanmedian.
    if np.isfinite(finite).all():
        return np.asarray(np.median(finite, axis=0))
    some = np.isfinite(finite).any(axis=0)
    median = np.full(features.shape[1], np.nan)
    median[some] = np.nanmedian(finite[:, some], axis=0)
    return median


def _usable_values(features: Float64Array) -> Float64Array:
    """Return (n, D) features with NaN in place of unusable values and rows."""
    usable = (np.abs(features) < MAX_ABSOLUTE_VALUE) & usable_rows(features)[:, None]
    return np.where(usable, features, np.nan)


def _differences_from_median(features: Float64Array) -> Float64Array:
    """Return (n, D) differences of the wells from the median well."""
    finite = _usable_values(features)
    return np.asarray(finite - _median(features))


def _last_imaged(days: list[Float64Array]) -> Float64Array:
    """Return (n, D): the row of each well on the last of the days on which it has an image."""
    last = days[0].copy()
    for features in days[1:]:
        imaged = np.isfinite(features).any(axis=1)  # unusable rows are already NaN
        last[imaged] = features[imaged]
    return last


def _drop_incomplete_features(
    rows: Float64Array, trajectories: Trajectories
) -> tuple[Float64Array, BoolArray, tuple[str, ...]]:
    """Return the rows without often missing features, a mask (D,) of the kept features, and notes.

    Remaining missing differences are replaced by 0, the median of their day.
    """
    missing = ~np.isfinite(rows)
    if not missing.any():
        return rows, np.ones(rows.shape[1], dtype=bool), ()
    dropped = missing.mean(axis=0) > MAX_NON_FINITE_SHARE
    names = [
        name
        for name, is_dropped in zip(trajectories.feature_names, dropped, strict=True)
        if is_dropped
    ]
    notes = []
    if names:
        notes.append(
            f"{len(names)} features were not used because more than {MAX_NON_FINITE_SHARE:.0%} "
            f"of their values are missing: {', '.join(names)}."
        )
    if filled := int(missing[:, ~dropped].sum()):
        notes.append(f"{filled} missing values were replaced by the median of their day.")
    return np.where(missing, 0.0, rows)[:, ~dropped], ~dropped, tuple(notes)


def _scale_factors(rows: Float64Array, embedded: int) -> Float64Array:
    """Return (D,) factors that bring the embedding and the measures to one scale.

    The first ``embedded`` columns are the embedding. All its features are divided by their common
    standard deviation: many features are 0 in nearly all images, and scaling them one by one would
    amplify their noise. Measures are divided by their own robust standard deviation. If both exist,
    the median length of the embedding's rows equals that of the measures. Columns that do not vary
    have the factor 0.
    """
    varies = np.asarray(rows.std(axis=0) > ROUNDING_ERROR * np.abs(rows).max(axis=0, initial=0.0))
    robust = np.maximum(
        1.4826 * np.median(np.abs(rows), axis=0), MIN_SPREAD_SHARE * rows.std(axis=0)
    )
    factors = np.divide(1.0, robust, out=np.zeros_like(robust), where=varies)
    if varies[:embedded].any():
        of_embedding = rows[:, :embedded][:, varies[:embedded]]
        factors[:embedded] = np.where(
            varies[:embedded], 1 / np.sqrt(of_embedding.var(axis=0).mean()), 0.0
        )
        if varies[embedded:].any():
            scaled = _scale(rows, factors, embedded)
            factors[:embedded] *= _median_length(scaled[:, embedded:]) / _median_length(
                scaled[:, :embedded]
            )
    return np.asarray(factors)


def _scale(rows: Float64Array, factors: Float64Array, embedded: int) -> Float64Array:
    """Return rows times factors, with the measures clipped to :data:`CLIP_SPREADS`."""
    scaled = rows * factors
    np.clip(scaled[..., embedded:], -CLIP_SPREADS, CLIP_SPREADS, out=scaled[..., embedded:])
    return np.asarray(scaled)


def _median_length(rows: Float64Array) -> float:
    """Return the median length of rows (n, D), with a lower limit where the median is 0.

    The median is determined by the many wells with small changes, not by the few with large
    changes.
    """
    squared = (rows**2).sum(axis=1)
    return float(max(np.sqrt(np.median(squared)), MIN_SPREAD_SHARE * np.sqrt(squared.mean())))


def _principal_directions(rows: Float64Array, max_count: int) -> Float64Array:
    """Return (D, K) principal directions of rows (n, D), with K ≤ ``max_count``.

    They are computed from the smaller of the two Gram matrices. K is 0 if no feature varies.
    """
    centred = rows - rows.mean(axis=0)
    if rows.shape[0] < rows.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        directions = centred.T @ (vectors / np.sqrt(np.maximum(values, np.finfo(float).tiny)))
    else:
        values, directions = np.linalg.eigh(centred.T @ centred)
    kept = np.flatnonzero(values > 1e-9 * values.max(initial=0.0))[::-1][:max_count]
    return np.asarray(directions[:, kept])
