"""Metrics that measure the length of a residual, each estimated from untreated wells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schemas.arrays import Float64Array, IndexArray

ISOTROPIC_SHARE = 0.5
"""Weight of the identity in the pre-dose shape: a direction without differences before dosing may
still vary later.
"""
MIN_VARIANCE = 1e-4
"""Smallest mean variance of untreated residuals, in squared standard deviations of all wells."""
MAX_EARLIER_WELLS = 60.0
"""Largest total weight, in wells, of the untreated wells of earlier plates."""
NEAREST_COUNT = 5
"""Number of nearest untreated residuals in the nearest-controls metric."""
OUTLIER_LIMIT = 4.0
"""Lengths above the median plus this number of robust standard deviations are clipped."""
SPREAD_PSEUDO_WELLS = 5
"""Weight, in wells, of the standard deviation that pure noise has."""
EARLIER_PSEUDO_WELLS = 20
"""Largest weight, in wells, of the standard deviation on earlier plates.

The 8 to 18 untreated wells of a plate do not determine their own standard deviation well.
"""


@dataclass(frozen=True, eq=False)
class Noise:
    """Covariance of the residuals of untreated wells."""

    covariance: Float64Array  # (K, K), positive definite
    effective_wells: float
    """Number of wells in the estimate, without the pseudo-wells of the shape."""
    pseudo_wells: int
    """Weight of the shape in wells: the number of directions of the largest part."""

    @classmethod
    def estimate(
        cls,
        residual: Float64Array,
        shape: Float64Array,
        earlier: Sequence[tuple[Float64Array, float]] = (),
    ) -> "Noise":
        """Return the Noise of residuals (n, K) of untreated wells, shrunk towards a shape (K, K).

        Untreated wells are few. Before dosing all wells were untreated, so their differences then
        show which directions vary together; this shape has the weight of K pseudo-wells.

        Parameters
        ----------
        residual
            (n, K) residuals of the untreated wells of this plate.
        shape
            (K, K) covariance of mean variance 1, from :func:`pre_dose_shape`.
        earlier
            (m, K) residuals of untreated wells of each earlier plate, with the plate's
            similarity, which is their weight.
        """
        n, k = residual.shape
        residual = clip_outliers(residual, np.linalg.norm(residual, axis=1))
        moment, wells = residual.T @ residual, float(n)
        available = sum(similarity * (len(rows) - 1) for rows, similarity in earlier)
        share = min(1.0, MAX_EARLIER_WELLS / available) if available else 0.0
        for rows, similarity in earlier:
            moment = moment + share * similarity * rows.T @ rows
            wells += share * similarity * (len(rows) - 1)
        variance = max(float(np.trace(moment)) / (k * wells), MIN_VARIANCE)
        return cls((moment + k * variance * shape) / (wells + k), wells, k)

    @classmethod
    def of_parts(cls, parts: Sequence["Noise"]) -> "Noise":
        """Return the Noise of residuals with independent parts, each of the same wells."""
        return cls(
            block_diagonal(*(part.covariance for part in parts)),
            parts[0].effective_wells,
            max(part.pseudo_wells for part in parts),
        )

    def of_part(self, part: slice) -> "Noise":
        """Return the Noise of the directions of one part alone."""
        return Noise(self.covariance[part, part], self.effective_wells, self.pseudo_wells)

    @property
    def whitening(self) -> Float64Array:
        """(K, K) matrix W; ``rows @ W.T`` has variance 1 in every direction."""
        return np.linalg.inv(np.linalg.cholesky(self.covariance))


def block_diagonal(*blocks: Float64Array) -> Float64Array:
    """Return the matrix with 2-D blocks on its diagonal and zeros elsewhere.

    ``scipy.linalg`` has the same function, but its first use takes a fifth of a second, in which an
    image would wait.
    """
    shapes = np.array([block.shape for block in blocks])
    ends = shapes.cumsum(axis=0)
    matrix = np.zeros(ends[-1])
    for block, (row, column), (rows, columns) in zip(blocks, ends, shapes, strict=True):
        matrix[row - rows : row, column - columns : column] = block
    return matrix


def clip_outliers(rows: Float64Array, lengths: Float64Array) -> Float64Array:
    """Return rows (n, …), scaled down where their lengths (n,) exceed :data:`OUTLIER_LIMIT`.

    Single outliers then do not dominate the variance. If most lengths are equal, outliers cannot be
    identified and all rows are unchanged.
    """
    middle = float(np.median(lengths))
    spread = 1.4826 * float(np.median(np.abs(lengths - middle)))
    reach = middle + OUTLIER_LIMIT * spread
    factors = np.divide(
        reach, lengths, out=np.ones_like(lengths), where=(lengths > reach) & (spread > 0)
    )
    return np.asarray((rows.T * factors).T)


def pre_dose_shape(past: Float64Array) -> Float64Array:
    """Return the (K, K) covariance of pre-dose positions (n, K), scaled to a mean variance of 1.

    The covariance is mixed with the identity, with weight :data:`ISOTROPIC_SHARE`.

    Parameters
    ----------
    past
        (n, K) positions before dosing.
    """
    k = past.shape[1]
    covariance = np.cov(past, rowvar=False, ddof=0).reshape(k, k)
    variance = float(np.trace(covariance)) / k
    shape = covariance / variance if variance > 0 else np.eye(k)
    return np.asarray((1 - ISOTROPIC_SHARE) * shape + ISOTROPIC_SHARE * np.eye(k))


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Weighted Mahalanobis metric with shrunk covariance."""

    matrix: Float64Array  # (K, K)
    weights: Float64Array
    """(K,) weights, 0…1, of the principal directions of the residuals."""
    is_reproducible: bool = True
    """False if no direction differs between treatments; all weights are then 1."""

    @classmethod
    def fit(cls, residual: Float64Array, noise: Noise, replicates: IndexArray) -> "Mahalanobis":
        """Return the metric fitted to residuals (n, K), with weights for directions above a Noise.

        The mean residual of each set of replicates, times the root of its size, has the variance 1
        in whitened directions without effects. A principal direction of these R rows along which
        the variance is λ has the weight max(0, 1 − edge / λ). Below the edge, rows without effect
        would have the same variance, given the uncertainty of the noise (largest eigenvalue of a
        ratio of two sample covariances: Wachter, Ann. Stat. 8, 1980). If no direction exceeds the
        edge, all weights are 1.

        Parameters
        ----------
        residual
            (n, K) residuals of all wells.
        noise
            Noise of the residuals of untreated wells.
        replicates
            (n,) number of the set of each well, 0…R − 1: treatments, and sets of untreated wells of
            the same size, so that the weights do not favour treated wells.
        """
        whitening = noise.whitening
        member = (replicates == np.arange(replicates.max() + 1)[:, None]).astype(np.float64)
        rows = member @ residual / np.sqrt(member.sum(axis=1))[:, None]
        whitened = rows @ whitening.T
        count, k = whitened.shape
        variance, directions = np.linalg.eigh(whitened.T @ whitened / count)
        ratio = k / count
        noise_ratio = k / (noise.effective_wells + k)  # the noise includes K pseudo-wells
        edge = ((1 + np.sqrt(ratio + noise_ratio - ratio * noise_ratio)) / (1 - noise_ratio)) ** 2
        weights = np.where(variance > edge, 1 - edge / np.maximum(variance, edge), 0.0)
        is_reproducible = bool(weights.any())
        weights = weights if is_reproducible else np.ones(k)
        projection = directions.T @ whitening
        return cls(projection.T @ (weights[:, None] * projection), weights, is_reproducible)

    def lengths(self, residual: Float64Array) -> Float64Array:
        """Return (n,) lengths of residuals (n, K)."""
        return np.asarray(np.sqrt(np.einsum("nk,kl,nl->n", residual, self.matrix, residual)))

    @property
    def length_variance(self) -> float:
        """Variance of the length of a residual that is only noise: Σw² / 2Σw.

        With equal weights, this is the variance of a chi-distributed variable.
        """
        return float((self.weights**2).sum() / (2 * self.weights.sum()))


def cosine_distance(readout: Float64Array, forecast: Float64Array) -> Float64Array:
    """Return (n,): 1 − cosine of the angle between observed and forecast positions (n, K).

    The distance is 0 where one of them is the origin.
    """
    lengths = np.linalg.norm(readout, axis=1) * np.linalg.norm(forecast, axis=1)
    return np.asarray(
        1
        - np.divide(
            (readout * forecast).sum(axis=1), lengths, out=np.ones(len(readout)), where=lengths > 0
        )
    )


def nearest_distance(residual: Float64Array, controls: Float64Array, noise: Noise) -> Float64Array:
    """Return (n,): mean distance of residuals (n, K) to the nearest of controls (m, K), by Noise.

    Distances are in units of the noise; the :data:`NEAREST_COUNT` nearest are used.
    """
    whitening = noise.whitening
    distances = np.linalg.norm(
        (residual @ whitening.T)[:, None] - (controls @ whitening.T)[None], axis=2
    )
    nearest = min(NEAREST_COUNT, len(controls))
    return np.asarray(np.partition(distances, nearest - 1, axis=1)[:, :nearest].mean(axis=1))


def moderated_spread(
    own: Float64Array,
    metric: Mahalanobis | None,
    earlier: Float64Array | None = None,
    similarity: Float64Array | None = None,
) -> float:
    """Return the standard deviation of lengths (n,), moderated by a metric and earlier lengths.

    The lengths are those of untreated wells.

    Few wells do not determine their own standard deviation well. Two prior values are combined with
    it, each with a weight in wells: that of earlier plates, with at most
    :data:`EARLIER_PSEUDO_WELLS` wells (each well is weighted by the similarity of its plate), and
    that of pure noise with the same mean square, with :data:`SPREAD_PSEUDO_WELLS` wells. The latter
    is also the lower limit where all untreated wells are equal.

    Parameters
    ----------
    own
        (n,) lengths of the untreated wells of this plate.
    metric
        Metric of the lengths, for the variance of pure noise; None: without this prior value.
    earlier, similarity
        (E,) centred lengths of untreated wells of earlier plates, and similarities of their plates.
    """
    degrees_of_freedom = len(own) - 1
    squares, wells = degrees_of_freedom * float(own.var(ddof=1)), float(degrees_of_freedom)
    if metric is not None:
        squares += (
            SPREAD_PSEUDO_WELLS
            * metric.length_variance
            * max(1.0, float((own**2).mean() / metric.weights.sum()))
        )
        wells += SPREAD_PSEUDO_WELLS
    if earlier is not None and similarity is not None and earlier.size:
        weight = min(EARLIER_PSEUDO_WELLS, float(similarity.sum()))
        squares += weight * float(np.average(earlier**2, weights=similarity))
        wells += weight
    return float(np.sqrt(squares / wells)) or 1.0
