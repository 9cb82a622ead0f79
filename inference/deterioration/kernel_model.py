"""Kernel regression of deterioration on measures and a whitened embedding.

The kernel is a non-negative sum of a kernel of the measures and a kernel of the embedding. The
weights of the sum are equal unless others have a clearly smaller error on left-out plates.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from inference.deterioration.models import Predictor
from schemas.arrays import Float64Array, Int64Array

EMBEDDING_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Candidate weights of the kernel of the embedding; the rest is that of the measures."""
WIDTHS = (1.0, 4.0)
"""Candidate squared widths of the narrow kernels, in units of the median squared distance."""
BROAD_WIDTH, BROAD_SHARE = 16.0, 0.7
"""Squared width of the broad kernels relative to the narrow ones, and their weight."""
STRENGTHS = (0.01, 0.1, 1.0)
"""Candidate penalties."""
CLIP_DEVIATIONS = 5.0
"""Standardised measures are clipped to this number of standard deviations."""
EQUAL_SHARE = 0.5
"""Weight of the kernel of the embedding that is used unless another is clearly better."""
MAX_PLATES_FOR_CHOICE = 8
"""Largest number of plates on which the parameters are selected; the fit uses all plates."""


@dataclass(frozen=True, eq=False)
class KernelModel:
    """Kernel ridge regression with a Gaussian kernel of each kind of features.

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
        mean, spread = features[:, :split].mean(axis=0), features[:, :split].std(axis=0)

        def blocks(rows: Float64Array) -> list[Float64Array]:
            standard = np.divide(
                rows[:, :split] - mean, spread, out=np.zeros((len(rows), split)), where=spread > 0
            )
            return [np.clip(standard, -CLIP_DEVIATIONS, CLIP_DEVIATIONS), rows[:, split:]]

        own = blocks(features)
        own_distances = [_squared_distances(block, block) for block in own]
        units = [float(np.median(each)) or 1.0 for each in own_distances]
        distances = [each / unit for each, unit in zip(own_distances, units, strict=True)]
        share, width, strength = self._choose(distances, percent, plates, seed)
        usual = float(percent.mean())
        kernel = _kernel(distances, share, width)
        weights = np.linalg.solve(kernel + strength * np.eye(len(kernel)), percent - usual)

        def predict(wells: Float64Array) -> Float64Array:
            to_own = [
                _squared_distances(rows, block) / unit
                for rows, block, unit in zip(blocks(wells), own, units, strict=True)
            ]
            return np.asarray(usual + _kernel(to_own, share, width) @ weights)

        return predict

    def _choose(
        self,
        distances: list[Float64Array],
        percent: Float64Array,
        plates: Int64Array,
        seed: int,
    ) -> tuple[float, float, float]:
        """Return the share, width and strength of the kernels by the error on left-out plates.

        Of the shares whose error is at most one standard error larger than the smallest, the one
        closest to equal weights is used (the rule of Breiman and others, *Classification and
        Regression Trees*, 1984). The standard error is that of the difference of two errors on the
        same left-out plates. Width and strength have the smallest error for this share.

        ``distances`` are the (n, n) squared distances between wells by the measures and by the
        embedding, each divided by its median. ``percent`` and ``plates`` are (n,).
        """
        numbers = np.unique(plates)
        chosen = np.random.default_rng(seed).permutation(numbers)[:MAX_PLATES_FOR_CHOICE]
        wells = np.flatnonzero(np.isin(plates, chosen))
        own = [each[np.ix_(wells, wells)] for each in distances]
        target = percent[wells] - percent[wells].mean()
        sets = plates[wells]
        if len(chosen) == 1:
            sets = np.arange(len(wells)) if self.replicates is None else self.replicates
        shares = EMBEDDING_SHARES if distances[0].any() else (1.0,)
        best: dict[float, tuple[Float64Array, float, float]] = {}
        for share, width, strength in product(shares, WIDTHS, STRENGTHS):
            errors = _left_out_errors(_kernel(own, share, width), strength, target, sets)
            if share not in best or errors.mean() < best[share][0].mean():
                best[share] = errors, width, strength
        smallest = min((errors for errors, _, _ in best.values()), key=np.mean)
        share = min(
            (each for each in shares if _is_within_one_error(best[each][0], smallest)),
            key=lambda each: (abs(each - EQUAL_SHARE), best[each][0].mean()),
        )
        return share, *best[share][1:]


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


def _kernel(distances: list[Float64Array], share: float, width: float) -> Float64Array:
    """Return the weighted sum of Gaussian kernels of squared distances (n, m) in their units.

    A broad kernel is nearly linear, so that few wells suffice for it; a narrow kernel learns curved
    relations.
    """
    by_measures, by_embedding = (
        (1 - BROAD_SHARE) * np.exp(-each / width)
        + BROAD_SHARE * np.exp(-each / (BROAD_WIDTH * width))
        for each in distances
    )
    return np.asarray((1 - share) * by_measures + share * by_embedding)


def _squared_distances(one: Float64Array, other: Float64Array) -> Float64Array:
    """Return (n, m) squared distances between rows (n, F) and rows (m, F)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None]
    return np.asarray(np.maximum(squares - 2 * one @ other.T, 0.0))
