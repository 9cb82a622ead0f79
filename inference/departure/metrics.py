"""How long a residual is: four answers, each learned from untreated wells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ISOTROPIC_SHARE = 0.5
"""A direction in which wells did not differ before dosing may still vary untreated later: half the shape says so."""
LEAST_VARIANCE = 1e-4
"""Of an untreated residual, in squared spreads of all wells: below this, untreated wells are as good as equal."""
MOST_EARLIER_WELLS = 60.0
"""However many plates there were before, their wells never count for more than this beside the plate's own."""
NEAREST = 5
FARTHEST = 4.0
"""An untreated well farther from the others than so many of their robust spreads counts as that far."""


@dataclass(frozen=True, eq=False)
class Noise:
    """How untreated residuals vary."""

    covariance: Array  # (K, K), positive definite
    wells: float  # so many tell it, besides K pseudo-wells

    @classmethod
    def of(
        cls, residual: Array, shape: Array, earlier: Sequence[tuple[Array, float]] = ()
    ) -> "Noise":
        """Shrink the second moment of n residuals (n, K) towards a shape, with a weight of K pseudo-wells; earlier residuals count by their likeness.

        Untreated wells are few. Before dosing every well was one: how they differed then tells which directions vary together.
        """
        n, k = residual.shape
        residual = held(residual, np.linalg.norm(residual, axis=1))
        moment, wells = residual.T @ residual, float(n)
        offered = sum(likeness * (len(rows) - 1) for rows, likeness in earlier)
        share = min(1.0, MOST_EARLIER_WELLS / offered) if offered else 0.0
        for rows, likeness in earlier:
            moment = moment + share * likeness * rows.T @ rows
            wells += share * likeness * (len(rows) - 1)
        variance = max(float(np.trace(moment)) / (k * wells), LEAST_VARIANCE)
        return cls((moment + k * variance * shape) / (wells + k), wells)

    @property
    def whitening(self) -> Array:
        """(K, K): rows @ whitening.T vary by 1 in every direction."""
        return np.linalg.inv(np.linalg.cholesky(self.covariance))


def held(rows: Array, lengths: Array) -> Array:
    """Return rows (n, …) drawn in to the length at :data:`FARTHEST` robust spreads, so that one odd well does not say how all vary.

    Where most are equally long, nothing tells what is odd, and all stay as they are.
    """
    middle = float(np.median(lengths))
    spread = 1.4826 * float(np.median(np.abs(lengths - middle)))
    reach = middle + FARTHEST * spread
    factors = np.divide(
        reach, lengths, out=np.ones_like(lengths), where=(lengths > reach) & (spread > 0)
    )
    return np.asarray((rows.T * factors).T)


def shape_of(past: Array) -> Array:
    """Return (K, K): the covariance of all wells before dosing, of mean variance 1, mixed with the identity."""
    k = past.shape[1]
    covariance = np.cov(past, rowvar=False, ddof=0).reshape(k, k)
    variance = float(np.trace(covariance)) / k
    shape = covariance / variance if variance > 0 else np.eye(k)
    return np.asarray((1 - ISOTROPIC_SHARE) * shape + ISOTROPIC_SHARE * np.eye(k))


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """A weighted, shrunk Mahalanobis metric."""

    matrix: Array  # (K, K)
    weights: Array  # (K,), 0…1, of the directions in which the residuals vary

    @classmethod
    def of(cls, residual: Array, noise: Noise) -> "Mahalanobis":
        """Weigh each direction by the share of its variance that is more than noise.

        Of residuals (n, K) whitened by a noise that so many wells tell, a direction of variance λ has the weight max(0, 1 − edge / λ): below the edge,
        n wells without any effect would vary as much, seen against that noise (the ratio of two covariances of few wells: Wachter, Ann. Stat. 8, 1980).
        Where no direction passes, all count alike.
        """
        n, k = residual.shape
        whitening = noise.whitening
        whitened = residual @ whitening.T
        variance, directions = np.linalg.eigh(whitened.T @ whitened / n)
        of_wells, of_noise = (
            k / n,
            k / (noise.wells + k),
        )  # the noise has K pseudo-wells beside its own
        edge = ((1 + np.sqrt(of_wells + of_noise - of_wells * of_noise)) / (1 - of_noise)) ** 2
        weights = np.where(variance > edge, 1 - edge / np.maximum(variance, edge), 0.0)
        weights = weights if weights.any() else np.ones(k)
        turned = directions.T @ whitening
        return cls(turned.T @ (weights[:, None] * turned), weights)

    def lengths(self, residual: Array) -> Array:
        """Return (n,): the length of each residual."""
        return np.asarray(np.sqrt(np.einsum("nk,kl,nl->n", residual, self.matrix, residual)))

    @property
    def length_variance(self) -> float:
        """Variance of the length of a residual that is noise: Σw² / 2Σw, that of a chi variable where the weights are equal."""
        return float((self.weights**2).sum() / (2 * self.weights.sum()))


def cosine_distance(seen: Array, forecast: Array) -> Array:
    """Return (n,): 1 − the cosine of the angle between two positions (n, K); 0 where one of them is the origin."""
    lengths = np.linalg.norm(seen, axis=1) * np.linalg.norm(forecast, axis=1)
    return np.asarray(
        1
        - np.divide(
            (seen * forecast).sum(axis=1), lengths, out=np.ones(len(seen)), where=lengths > 0
        )
    )


def nearest_distance(residual: Array, controls: Array, noise: Noise) -> Array:
    """Return (n,): the mean distance of residuals (n, K) to their nearest of the controls' (m, K), in units of the noise."""
    whitening = noise.whitening
    distances = np.linalg.norm(
        (residual @ whitening.T)[:, None] - (controls @ whitening.T)[None], axis=2
    )
    nearest = min(NEAREST, len(controls))
    return np.asarray(np.partition(distances, nearest - 1, axis=1)[:, :nearest].mean(axis=1))
