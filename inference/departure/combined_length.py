"""Length of a residual whose directions are those of the embedding and those of the measures.

The measures count with all their directions. Of the embedding, only the part that the measures do
not predict is added. This unique part counts as clearly as replicates agree in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference.departure.metrics import Mahalanobis, Noise
from schemas.arrays import Float64Array, IndexArray

MIN_AGREEMENT = 0.5
"""Smallest intra-class correlation of the lengths of replicates with which the measures count."""
MAX_SIGNAL_TO_NOISE = 10.0
"""Largest weight of the squared length of the unique part of the embedding."""

EstimateNoise = Callable[[Float64Array], Noise]
"""Returns the Noise of residuals that are multiplied by a (K, K) matrix from the right."""


@dataclass(frozen=True, eq=False)
class PartLength:
    """Length of a residual in the directions of one part, and how far replicates agree in it."""

    metric: Mahalanobis
    agreement: float
    """Intra-class correlation of the lengths of replicates; 0.5 without replicates."""

    @classmethod
    def fit(cls, rows: Float64Array, noise: Noise, replicates: IndexArray) -> "PartLength":
        """Return the part fitted to its residuals (n, K) with their Noise and sets (n,)."""
        metric = Mahalanobis.fit(rows, noise, replicates)
        return cls(metric, _agreement(metric.lengths(rows), replicates))

    @property
    def signal_to_noise(self) -> float:
        """Variance of the length between treatments, divided by that between replicates."""
        share = max(0.0, self.agreement)
        most = MAX_SIGNAL_TO_NOISE / (1 + MAX_SIGNAL_TO_NOISE)
        return share / (1 - share) if share < most else MAX_SIGNAL_TO_NOISE


@dataclass(frozen=True, eq=False)
class CombinedLength:
    """Length of residuals (n, K) in the directions of the embedding and those of the measures.

    With measures m and the unique part u of the embedding, the squared length is m² + w u². The
    weight w is the signal-to-noise ratio of the lengths of u. If the measures are not reproducible,
    the length is that of the embedding alone. If no part is reproducible, it is that of all
    directions.
    """

    metric: Mahalanobis  # of all K directions
    of_embedding: Float64Array  # (K, K): share of the embedding in the matrix of the metric

    @classmethod
    def fit(
        cls,
        residual: Float64Array,
        estimate_noise: EstimateNoise,
        parts: Sequence[slice],
        replicates: IndexArray,
    ) -> "CombinedLength":
        """Return the length fitted to residuals (n, K) with parts and sets (n,) of replicates.

        Parameters
        ----------
        residual, replicates
            As in :meth:`inference.departure.metrics.Mahalanobis.fit`.
        estimate_noise
            Returns the Noise of the residuals after a linear transformation.
        parts
            Directions of the embedding and of the measures, or of one of them alone.
        """
        unchanged = np.eye(residual.shape[1])
        noise = estimate_noise(unchanged)
        if len(parts) == 1:
            metric = Mahalanobis.fit(residual, noise, replicates)
            return cls(metric, np.zeros_like(metric.matrix))
        embedding, measures = (
            PartLength.fit(residual[:, part], noise.of_part(part), replicates) for part in parts
        )
        of_embedding, of_measures = (unchanged[:, part] for part in parts)
        if measures.metric.is_reproducible and measures.agreement >= MIN_AGREEMENT:
            unique = _unique_part(residual, noise, parts)
            own = PartLength.fit(
                residual @ unique,
                estimate_noise(_beside(unique, parts)).of_part(parts[0]),
                replicates,
            )
            weight = own.signal_to_noise
            return cls._of_parts(
                _spanned(weight * own.metric.matrix, unique),
                weight * own.metric.weights,
                _spanned(measures.metric.matrix, of_measures),
                measures.metric.weights,
            )
        if embedding.metric.is_reproducible:
            return cls._of_parts(
                _spanned(embedding.metric.matrix, of_embedding),
                embedding.metric.weights,
                np.zeros_like(unchanged),
                np.zeros_like(measures.metric.weights),
            )
        metric = Mahalanobis.fit(residual, noise, replicates)
        return cls(metric, _spanned(metric.matrix[parts[0], parts[0]], of_embedding))

    @classmethod
    def _of_parts(
        cls,
        embedding: Float64Array,
        embedding_weights: Float64Array,
        measures: Float64Array,
        measures_weights: Float64Array,
    ) -> "CombinedLength":
        """Return the length of two parts: the matrix (K, K) and the weights of each."""
        weights = np.concatenate([embedding_weights, measures_weights])
        return cls(Mahalanobis(embedding + measures, weights), embedding)

    def lengths(self, residual: Float64Array) -> Float64Array:
        """Return (n,) lengths of residuals (n, K)."""
        return self.metric.lengths(residual)

    def embedding_share(self, residual: Float64Array) -> Float64Array:
        """Return (n,) fractions of the squared lengths that are due to the embedding."""
        of_embedding = np.einsum("nk,kl,nl->n", residual, self.of_embedding, residual)
        squared = self.lengths(residual) ** 2
        share = np.divide(of_embedding, squared, out=np.zeros_like(squared), where=squared > 0)
        return np.asarray(np.clip(share, 0.0, 1.0))  # rounding can exceed 1


def _unique_part(residual: Float64Array, noise: Noise, parts: Sequence[slice]) -> Float64Array:
    """Return (K, E) so that ``residual @ it`` is the part of the embedding that is unique to it.

    It is the residual of the E directions of the embedding after their ridge regression on the
    measures, over all wells. The measures are in units of their noise, and the penalty is their
    mean squared length. So large changes of the measures explain the embedding, and changes of the
    size of the noise hardly do.
    """
    embedding, measures = parts
    whitening = noise.of_part(measures).whitening
    rows = residual[:, measures] @ whitening.T
    penalty = float((rows**2).sum()) / len(rows)
    gram = rows.T @ rows + penalty * np.eye(rows.shape[1])
    slopes = whitening.T @ np.linalg.solve(gram, rows.T @ residual[:, embedding])
    unique = np.zeros((residual.shape[1], slopes.shape[1]))
    unique[embedding] = np.eye(slopes.shape[1])
    unique[measures] = -slopes
    return unique


def _beside(unique: Float64Array, parts: Sequence[slice]) -> Float64Array:
    """Return (K, K): the unique part of the embedding beside the unchanged measures."""
    matrix = np.eye(len(unique))
    matrix[:, parts[0]] = unique
    return matrix


def _spanned(matrix: Float64Array, directions: Float64Array) -> Float64Array:
    """Return the (K, K) matrix of a metric (E, E) that is applied to ``rows @ directions``."""
    return np.asarray(directions @ matrix @ directions.T)


def _agreement(values: Float64Array, sets: IndexArray) -> float:
    """Return the intra-class correlation of values (n,) in sets (n,).

    It is the ICC(1) of a one-way layout: Shrout and Fleiss, Psychol. Bull. 86 (1979) 420. Sets of
    one value are not used. With fewer than two other sets, the correlation is 0.5.
    """
    sizes = np.bincount(sets)
    is_used = (sizes > 1)[sets]
    sizes, values, sets = sizes[sizes > 1], values[is_used], sets[is_used]
    if len(sizes) < 2:  # noqa: PLR2004 - one set has no variance between sets
        return 0.5
    _, sets = np.unique(sets, return_inverse=True)
    means = np.bincount(sets, values) / sizes
    within = float(((values - means[sets]) ** 2).sum()) / (len(values) - len(sizes))
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (len(sizes) - 1)
    size = (len(values) - (sizes**2).sum() / len(values)) / (len(sizes) - 1)
    total = between + (size - 1) * within
    return float((between - within) / total) if total > 0 else 1.0
