"""Length of a residual whose directions are those of the embedding and those of the measures.

Both parts are in units of their own noise, so that their lengths can be compared. The measures
determine the length of a well, unless its embedding departs clearly further.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.departure.metrics import Mahalanobis, Noise
from schemas.arrays import Float64Array, IndexArray

EXPLAINED_FACTOR = 2.0
"""Length of the embedding's residual that the measures explain, as a multiple of their own length.

Printed by ``python -m benchmarks.fusion``: with the factor 1, the scatter of the embedding changes
the order of treatments that the measures see well.
"""
STRONG_EFFECT = 0.9
"""Quantile of the lengths of all wells that is a strong effect of a plate."""
NOISE_DEVIATIONS = 1.0
"""Standard deviations above the mean from which the embedding's squared length is not noise."""


@dataclass(frozen=True, eq=False)
class CombinedLength:
    """Length of residuals (n, K) in one or two parts: the embedding, and last the measures.

    A part without reproducible directions does not count if the other part has some. If both have
    some, the squared length is m² + max(0, r² (e² − t) − f² m²), where m and e are the lengths by
    the measures and by the embedding, r is the ratio of strong effects on m and on e, t is the
    squared length of noise, and f is :data:`EXPLAINED_FACTOR`. If neither has, it is m² + e².
    """

    parts: tuple[slice, ...]
    """Directions of each part that counts."""
    metrics: tuple[Mahalanobis, ...]  # of each part that counts
    ratio: float | None
    """Ratio r; None if the squared lengths of the parts are added."""

    @classmethod
    def fit(
        cls,
        residual: Float64Array,
        noise: Noise,
        parts: Sequence[slice],
        replicates: Sequence[IndexArray],
    ) -> "CombinedLength":
        """Return the length fitted to residuals (n, K) with a Noise, parts and sets of replicates.

        See :meth:`inference.departure.metrics.Mahalanobis.fit`.
        """
        fitted = [
            (part, Mahalanobis.fit(residual[:, part], noise.of_part(part), replicates))
            for part in parts
        ]
        reproducible = [pair for pair in fitted if pair[1].is_reproducible]
        counting = reproducible or fitted
        strong = [
            float(np.quantile(metric.lengths(residual[:, part]), STRONG_EFFECT))
            for part, metric in counting
        ]
        return cls(
            tuple(part for part, _ in counting),
            tuple(metric for _, metric in counting),
            strong[-1] / strong[0] if len(reproducible) > 1 else None,
        )

    @property
    def main(self) -> Mahalanobis:
        """Metric of the part that determines the length of most wells."""
        return self.metrics[-1]

    def squares(self, residual: Float64Array) -> Float64Array:
        """Return (n, counting parts) summands of the squared lengths of residuals (n, K)."""
        squared = np.stack(
            [
                metric.lengths(residual[:, part]) ** 2
                for part, metric in zip(self.parts, self.metrics, strict=True)
            ],
            axis=1,
        )
        if self.ratio is not None:
            noise = self.metrics[0].squared_noise(NOISE_DEVIATIONS)
            squared[:, 0] = np.maximum(
                0.0, self.ratio**2 * (squared[:, 0] - noise) - EXPLAINED_FACTOR**2 * squared[:, 1]
            )
        return squared

    def lengths(self, residual: Float64Array) -> Float64Array:
        """Return (n,) lengths of residuals (n, K)."""
        return np.asarray(np.sqrt(self.squares(residual).sum(axis=1)))

    def embedding_share(self, residual: Float64Array, embedded: int) -> Float64Array:
        """Return (n,) fractions of the squared lengths that are due to the embedding.

        ``embedded`` is the number of directions, from the first, that are those of the embedding.
        """
        squared = self.squares(residual)
        of_embedding = [part.start < embedded for part in self.parts]
        total = squared.sum(axis=1)
        return np.divide(
            squared[:, of_embedding].sum(axis=1), total, out=np.zeros_like(total), where=total > 0
        )
