"""Length of a residual whose directions are those of the embedding and those of the measures.

Both parts are in units of their own noise. Each part counts as clearly as it shows effects on the
plate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.departure.metrics import Mahalanobis, Noise, block_diagonal
from schemas.arrays import Float64Array, IndexArray

MIN_AGREEMENT = 0.85
"""Smallest intra-class correlation of the lengths of replicates, for a part to count beside another
part.
"""
STRONG_EFFECT = 0.9
"""Quantile of the lengths of all wells that is a strong effect of a plate."""


@dataclass(frozen=True, eq=False)
class PartLength:
    """Length of a residual in the directions of one part, and its effects on one plate."""

    metric: Mahalanobis
    strong: float
    """Length of a strong effect."""
    clearness: float
    """Length of a strong effect divided by the scatter of replicates: the root mean square
    difference between their lengths and the mean. Infinite without replicates.
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
        strong = float(np.quantile(lengths, STRONG_EFFECT))
        return cls(metric, strong, strong / scatter if scatter > 0 else np.inf, agreement)

    def scale(self, clearest: "PartLength") -> float:
        """Return the factor of squared lengths of this part, beside those of the clearest part.

        Strong effects of both parts have the same length, times the root of the ratio of their
        clearness.
        """
        ratio = self.clearness / clearest.clearness if np.isfinite(clearest.clearness) else 1.0
        return float(ratio * (clearest.strong / self.strong) ** 2)


@dataclass(frozen=True, eq=False)
class CombinedLength:
    """Length of residuals (n, K) as the root of a weighted sum of the squared lengths of the parts.

    Only reproducible parts count: those with directions that replicates share. If no part is
    reproducible, the length is that of all directions.
    """

    metric: Mahalanobis  # of all K directions

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
            return cls(Mahalanobis.fit(residual, noise, replicates))
        clearest = max(found, key=lambda each: (each.agreement, each.clearness))
        used = [each for each in found if each.agreement >= MIN_AGREEMENT] or [clearest]
        clearest = max(used, key=lambda each: each.clearness)
        scales = [each.scale(clearest) if each in used else 0.0 for each in fitted]
        pairs = list(zip(scales, fitted, strict=True))
        return cls(
            Mahalanobis(
                block_diagonal(*(scale * each.metric.matrix for scale, each in pairs)),
                np.concatenate([scale * each.metric.weights for scale, each in pairs]),
            )
        )

    def lengths(self, residual: Float64Array) -> Float64Array:
        """Return (n,) lengths of residuals (n, K)."""
        return self.metric.lengths(residual)

    def embedding_share(self, residual: Float64Array, embedded: int) -> Float64Array:
        """Return (n,) fractions of the squared lengths that are due to the embedding.

        ``embedded`` is the number of directions, from the first, that are those of the embedding.
        """
        of_embedding = residual.copy()
        of_embedding[:, embedded:] = 0.0
        squared = self.lengths(residual) ** 2
        return np.divide(
            self.lengths(of_embedding) ** 2,
            squared,
            out=np.zeros_like(squared),
            where=squared > 0,
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
