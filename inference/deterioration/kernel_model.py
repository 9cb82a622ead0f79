"""Kernel regression of deterioration on measures and a whitened embedding.

The kernel is a non-negative sum of a kernel of the measures and a kernel of the embedding. The
weights of the sum are equal unless others have a clearly smaller error on left-out plates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from inference.deterioration.models import Predictor
from schemas.arrays import Float64Array, IndexArray, Int64Array

EMBEDDING_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Candidate weights of the kernel of the embedding; the rest is that of the measures."""
WIDTHS = (1.0, 4.0)
"""Candidate squared widths of the narrow kernels, in units of the median squared distance."""
BROAD_WIDTH, BROAD_SHARE = 16.0, 0.7
"""Squared width of the broad kernels relative to the narrow ones, and their weight."""
STRENGTHS = (0.01, 0.1, 1.0)
"""Candidate penalties."""
LENGTH_WEIGHT = 0.3
"""Weight of the linear kernel of the length of a difference from untreated wells, relative to the
weight of the Gaussian kernels. It was chosen on simulated laboratories with the seeds 8500 to 8511.
"""
CLIP_DEVIATIONS = 5.0
"""Standardised measures are clipped to this number of standard deviations."""
EQUAL_SHARE = 0.5
"""Weight of the kernel of the embedding that is used unless another is clearly better."""
MAX_PLATES_FOR_CHOICE = 8
"""Largest number of plates on which the parameters are selected; the fit uses all plates."""


@dataclass(frozen=True, eq=False)
class KernelModel:
    """Kernel ridge regression with a kernel of each kind of features.

    A kernel has Gaussian parts, which compare wells, and a linear part of the length of a well's
    difference from the untreated wells. The length orders wells whose treatment changes the tissue
    in a way that no well of the fit shows, as the departure does.

    Errors of left-out plates have a closed form: Rasmussen and Williams, *Gaussian Processes for
    Machine Learning*, 2006, section 5.4.2, for sets of wells.
    """

    embedded: int
    """Number of features, from the last, that are a whitened embedding."""
    replicates: Int64Array | None = None
    """(n,) number of the treatment of each well of the fit. The treatments of a single plate are
    left out in turn, because an embedding that only recognises replicates would predict wells that
    are left out one by one. None leaves out one well at a time.
    """

    def fit(
        self, features: Float64Array, percent: Float64Array, plates: Int64Array, seed: int
    ) -> Predictor:
        """Train with a seed on features (n, F), percent (n,), plates (n,); return a predictor.

        See :meth:`inference.deterioration.models.DeteriorationModel.fit`.
        """
        split = features.shape[1] - self.embedded
        kinds = [
            _Kind.fit(features[:, :split], standardise=True),
            _Kind.fit(features[:, split:], standardise=False),
        ]

        def compare(rows: Float64Array) -> "_Pairs":
            blocks = rows[:, :split], rows[:, split:]
            return _Pairs([kind.compare(each) for kind, each in zip(kinds, blocks, strict=True)])

        own = compare(features)
        share, width, strength = self._choose(own, percent, plates, seed)
        usual = float(percent.mean())
        kernel = own.kernel(share, width)
        weights = np.linalg.solve(kernel + strength * np.eye(len(kernel)), percent - usual)
        return lambda wells: np.asarray(usual + compare(wells).kernel(share, width) @ weights)

    def _choose(
        self, own: "_Pairs", percent: Float64Array, plates: Int64Array, seed: int
    ) -> tuple[float, float, float]:
        """Return the share, width and strength of the kernels by the error on left-out plates.

        Of the shares whose error is at most one standard error larger than the smallest, the one
        closest to equal weights is used (the rule of Breiman and others, *Classification and
        Regression Trees*, 1984). The standard error is that of the difference of two errors on the
        same left-out plates. Width and strength have the smallest error for this share.

        ``own`` are the pairs of the n wells of the fit. ``percent`` and ``plates`` are (n,).
        """
        numbers = np.unique(plates)
        chosen = np.random.default_rng(seed).permutation(numbers)[:MAX_PLATES_FOR_CHOICE]
        wells = np.flatnonzero(np.isin(plates, chosen))
        pairs = own.select(wells)
        target = percent[wells] - percent[wells].mean()
        sets = plates[wells]
        if len(chosen) == 1:
            sets = np.arange(len(wells)) if self.replicates is None else self.replicates
        shares = EMBEDDING_SHARES if own.has_measures else (1.0,)
        best: dict[float, tuple[Float64Array, float, float]] = {}
        for share, width, strength in product(shares, WIDTHS, STRENGTHS):
            errors = _left_out_errors(pairs.kernel(share, width), strength, target, sets)
            if share not in best or errors.mean() < best[share][0].mean():
                best[share] = errors, width, strength
        smallest = min((errors for errors, _, _ in best.values()), key=np.mean)
        share = min(
            (each for each in shares if _is_within_one_error(best[each][0], smallest)),
            key=lambda each: (abs(each - EQUAL_SHARE), best[each][0].mean()),
        )
        return share, *best[share][1:]


@dataclass(frozen=True, eq=False)
class _Kind:
    """One kind of features of the n wells of a fit: the measures or the embedding."""

    wells: Float64Array  # (n, F), scaled
    spread: Float64Array  # (F,) divisor of each feature; infinite for constant features
    limit: float  # largest absolute value of a scaled feature
    unit: float  # median squared distance
    usual_length: float
    length_spread: float  # standard deviation; infinite without any features

    @classmethod
    def fit(cls, rows: Float64Array, *, standardise: bool) -> "_Kind":
        """Return the scales of rows (n, F), which are differences from untreated wells."""
        spread = rows.std(axis=0) if standardise else np.ones(rows.shape[1])
        spread[spread == 0] = np.inf
        limit = CLIP_DEVIATIONS if standardise else np.inf
        scaled = np.clip(rows / spread, -limit, limit)
        lengths = _lengths(scaled)
        return cls(
            scaled,
            spread,
            limit,
            float(np.median(_squared_distances(scaled, scaled))) or 1.0,
            float(lengths.mean()),
            float(lengths.std()) or np.inf,
        )

    def compare(self, rows: Float64Array) -> "_KindOfPairs":
        """Return the pairs of rows (m, F) with the wells of the fit."""
        scaled = np.clip(rows / self.spread, -self.limit, self.limit)
        one, other = (
            (_lengths(each) - self.usual_length) / self.length_spread
            for each in (scaled, self.wells)
        )
        return _KindOfPairs(
            _squared_distances(scaled, self.wells) / self.unit, np.outer(one, other)
        )


@dataclass(frozen=True, eq=False)
class _KindOfPairs:
    """Pairs of m wells with the n wells of a fit, by one kind of features."""

    distances: Float64Array  # (m, n) squared, in units of their median
    lengths: Float64Array  # (m, n) products of standardised lengths

    def kernel(self, width: float) -> Float64Array:
        """Return the (m, n) kernel with the width of the narrow Gaussian.

        A broad Gaussian is nearly linear, so that few wells suffice for it; a narrow one learns
        curved relations.
        """
        return np.asarray(
            (1 - BROAD_SHARE) * np.exp(-self.distances / width)
            + BROAD_SHARE * np.exp(-self.distances / (BROAD_WIDTH * width))
            + LENGTH_WEIGHT * self.lengths
        )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of m wells with the n wells of a fit."""

    kinds: Sequence[_KindOfPairs]  # by the measures and by the embedding

    @property
    def has_measures(self) -> bool:
        """True if the measures differ between wells; False without measures."""
        return bool(self.kinds[0].distances.any())

    def select(self, wells: IndexArray) -> "_Pairs":
        """Return the pairs of some wells of the fit with each other."""
        chosen = np.ix_(wells, wells)
        return _Pairs(
            [_KindOfPairs(each.distances[chosen], each.lengths[chosen]) for each in self.kinds]
        )

    def kernel(self, share: float, width: float) -> Float64Array:
        """Return the (m, n) kernel with the share of the embedding and the width."""
        by_measures, by_embedding = (each.kernel(width) for each in self.kinds)
        return (1 - share) * by_measures + share * by_embedding


def _lengths(rows: Float64Array) -> Float64Array:
    """Return the root mean square of each of (n, F) rows; 0 without features."""
    return np.asarray(np.sqrt((rows**2).sum(axis=1) / max(rows.shape[1], 1)))


def _left_out_errors(
    kernel: Float64Array, strength: float, target: Float64Array, sets: Int64Array
) -> Float64Array:
    """Return the mean absolute error, (sets,), of a target (n,) on sets (n,) left out in turn.

    ``kernel`` is (n, n).
    """
    inverse = np.linalg.inv(kernel + strength * np.eye(len(kernel)))
    weights = inverse @ target
    errors = []
    for number in np.unique(sets):
        out = np.flatnonzero(sets == number)
        errors.append(np.abs(np.linalg.solve(inverse[np.ix_(out, out)], weights[out])).mean())
    return np.array(errors)


def _is_within_one_error(errors: Float64Array, smallest: Float64Array) -> bool:
    """Return whether errors (sets,) are on average at most one standard error above the smallest.

    With two sets or more, the standard error is that of the mean difference.
    """
    gap = errors - smallest
    if len(gap) == 1:
        return bool(gap[0] <= 0)
    return bool(gap.mean() <= gap.std(ddof=1) / np.sqrt(len(gap)))


def _squared_distances(one: Float64Array, other: Float64Array) -> Float64Array:
    """Return (n, m) squared distances between rows (n, F) and rows (m, F)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None]
    return np.asarray(np.maximum(squares - 2 * one @ other.T, 0.0))
