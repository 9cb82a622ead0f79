"""Length of a residual whose directions are those of the embedding and those of the measures.

Both parts are in units of their own noise, so that their lengths can be compared. The part with
the clearer effects on the plate determines the length of a well, unless the other part departs
clearly further.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.departure.metrics import Mahalanobis, Noise
from schemas.arrays import Float64Array, IndexArray

EXPLAINED_FACTOR = 2.0
"""Smallest ratio of the length by the other part to the length by the main part, both in units of
the main part, from which the other part changes the length of a well.

With the factor 1, the scatter of the other part would change the order of treatments that the main
part shows well.
"""
CLEARER_FACTOR = 1.5
"""Smallest ratio of the clearness of effects on the embedding to that of effects on the measures,
from which the embedding is the main part.

The clearness is the length of a strong effect divided by the scatter of replicates. On simulated
laboratories, the measures order visible mechanisms better than an embedding with the same
clearness.
"""
MIN_AGREEMENT = 0.85
"""Smallest intra-class correlation of the lengths of replicates, for the other part to count."""
STRONG_EFFECT = 0.9
"""Quantile of the lengths of all wells that is a strong effect of a plate."""
NOISE_DEVIATIONS = 1.0
"""Standard deviations above the mean from which the other part's squared length is not noise."""


@dataclass(frozen=True, eq=False)
class PartLength:
    """Length of a residual in the directions of one part, and its effects on one plate."""

    directions: slice
    metric: Mahalanobis
    strong: float
    """Length of a strong effect."""
    scatter: float
    """Root mean square difference between the lengths of replicates and their mean; 0 without
    replicates.
    """
    agreement: float
    """Intra-class correlation of the lengths of replicates; 1 without replicates."""

    @classmethod
    def fit(
        cls,
        residual: Float64Array,
        noise: Noise,
        directions: slice,
        replicates: IndexArray,
    ) -> "PartLength":
        """Return the part fitted to residuals (n, K) with a Noise and sets (n,) of replicates."""
        rows = residual[:, directions]
        metric = Mahalanobis.fit(rows, noise.of_part(directions), replicates)
        lengths = metric.lengths(rows)
        scatter, agreement = _agreement(lengths, replicates)
        return cls(
            directions, metric, float(np.quantile(lengths, STRONG_EFFECT)), scatter, agreement
        )

    def squares(self, residual: Float64Array) -> Float64Array:
        """Return (n,) squared lengths of residuals (n, K)."""
        return self.metric.lengths(residual[:, self.directions]) ** 2


@dataclass(frozen=True, eq=False)
class CombinedLength:
    """Length of residuals (n, K) by the main part, and by the other part where it departs further.

    The squared length is m² + max(0, r² (o² − t) − f² m²). Here m and o are the lengths by the main
    part and by the other part, r is the ratio of strong effects on m and on o, t is the squared
    length of noise of the other part, and f is :data:`EXPLAINED_FACTOR`. If no part has directions
    that replicates share, the length is that of all directions.
    """

    main: PartLength
    other: PartLength | None
    """Part that is used where it departs further; None if it is not reproducible."""

    @classmethod
    def fit(
        cls,
        residual: Float64Array,
        noise: Noise,
        parts: Sequence[slice],
        replicates: IndexArray,
    ) -> "CombinedLength":
        """Return the length fitted to residuals (n, K) with a Noise, parts and replicates (n,).

        Parameters
        ----------
        residual, noise, replicates
            As in :meth:`inference.departure.metrics.Mahalanobis.fit`.
        parts
            Directions of the embedding and of the measures, or of one of them alone.
        """
        fitted = [PartLength.fit(residual, noise, part, replicates) for part in parts]
        found = [each for each in fitted if each.metric.is_reproducible]
        if not found:
            every = slice(0, residual.shape[1])
            return cls(PartLength.fit(residual, noise, every, replicates), None)
        main = found[-1]
        if len(found) > 1:
            by_embedding, by_measures = found
            is_clearer = (
                by_embedding.strong * by_measures.scatter
                > CLEARER_FACTOR * by_measures.strong * by_embedding.scatter
            )
            main = by_embedding if is_clearer else by_measures
        others = [each for each in found if each is not main and each.agreement >= MIN_AGREEMENT]
        return cls(main, others[0] if others else None)

    def lengths(self, residual: Float64Array) -> Float64Array:
        """Return (n,) lengths of residuals (n, K)."""
        return np.asarray(np.sqrt(self.main.squares(residual) + self._excess(residual)))

    def _excess(self, residual: Float64Array) -> Float64Array:
        """Return the (n,) squared lengths that the other part adds."""
        if self.other is None:
            return np.zeros(len(residual))
        ratio = self.main.strong / self.other.strong
        above_noise = self.other.squares(residual) - self.other.metric.squared_noise(
            NOISE_DEVIATIONS
        )
        explained = EXPLAINED_FACTOR**2 * self.main.squares(residual)
        return np.asarray(np.maximum(0.0, ratio**2 * above_noise - explained))

    def embedding_share(self, residual: Float64Array, embedded: int) -> Float64Array:
        """Return (n,) fractions of the squared lengths that are due to the embedding.

        If the length is that of all directions, the fraction is that of the squared components.

        ``embedded`` is the number of directions, from the first, that are those of the embedding.
        """
        squared, excess = self.main.squares(residual), self._excess(residual)
        is_embedding = self.main.directions.stop <= embedded
        of_main = np.full(len(residual), float(is_embedding))
        if self.main.directions.start < embedded < self.main.directions.stop:
            whole = np.zeros_like(residual)
            whole[:, :embedded] = residual[:, :embedded]
            of_main = np.divide(
                self.main.squares(whole), squared, out=np.zeros_like(squared), where=squared > 0
            )
        total = squared + excess
        of_other = excess * (not is_embedding)
        return np.divide(
            of_main * squared + of_other, total, out=np.zeros_like(total), where=total > 0
        )


def _agreement(values: Float64Array, sets: IndexArray) -> tuple[float, float]:
    """Return (scatter within sets, intra-class correlation) of values (n,) in sets (n,).

    The correlation is the ICC(1) of a one-way layout: Shrout and Fleiss, Psychol. Bull. 86 (1979)
    420. Sets of one value are not used. With fewer than two other sets, the scatter is 0 and the
    correlation is 1.
    """
    sizes = np.bincount(sets)
    is_used = (sizes > 1)[sets]
    sizes, values, sets = sizes[sizes > 1], values[is_used], sets[is_used]
    if len(sizes) < 2:  # noqa: PLR2004 - one set has no variance between sets
        return 0.0, 1.0
    _, sets = np.unique(sets, return_inverse=True)
    means = np.bincount(sets, values) / sizes
    within = float(((values - means[sets]) ** 2).sum()) / (len(values) - len(sizes))
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (len(sizes) - 1)
    size = (len(values) - (sizes**2).sum() / len(values)) / (len(sizes) - 1)
    total = between + (size - 1) * within
    return float(np.sqrt(within)), float((between - within) / total) if total > 0 else 1.0
