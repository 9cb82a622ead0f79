"""Comparison of the residuals of a treatment's wells with those of untreated wells.

The result is a p-value, an effect size with interval, and the direction of the departure.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from scipy.special import chdtri, chndtr

from inference.departure.residuals import Residuals
from inference.ranking.significance import permutation_p_values
from schemas.arrays import Float64Array, IndexArray
from schemas.ranking import Direction

MAX_FORWARD_P = 0.05
"""Largest p-value of a departure in the direction of untreated development that can be growth."""
MAX_ACROSS_OF_GROWTH = 0.5
"""Largest ratio of the departures across and along the development for the direction growth.

The development is curved, so it is not 0. For virtual wells that grew one or two days more, the
ratio is below 0.9.
"""
MAX_ACROSS_OF_UNDECIDED = 1.5
"""Largest ratio of the departures across and along the development for an undecided direction.

For virtual dying wells that moved forward at all, the ratio is above 4.
"""
INTERVAL = (0.95, 0.05)
"""Quantiles of the 90 % interval, upper tail first."""
NOISE_QUANTILES = 20
"""Number of quantiles that represent the uncertainty of the noise."""


@dataclass(frozen=True)
class TreatmentTest:
    """Result of the comparison of replicate wells with untreated wells."""

    p_value: float
    effect_size: float
    """Distance of the mean residuals in untreated standard deviations, corrected for noise."""
    effect_low: float
    effect_high: float
    direction: Direction
    """Direction of the departure; only meaningful if the p-value is significant."""


def compare_with_untreated(
    residuals: Residuals, treated: IndexArray, rng: np.random.Generator
) -> TreatmentTest:
    """Return the TreatmentTest of wells, by index, against the untreated wells in Residuals.

    The p-value does not depend on the labels of these wells: forecast and noise are trained on
    treated and untreated wells together, and each well is left out of its own forecast. Without an
    effect, every assignment of labels is equally likely, so the p-value is exact.

    Parameters
    ----------
    residuals
        Residuals of n wells.
    treated
        Indices of the treated wells among them.
    rng
        Random generator of the permutations.
    """
    pool = residuals.untreated.copy()
    pool[treated] = True
    residual, earlier = residuals.fitted_on(pool), residuals.of_earlier_wells(pool)
    whitening = residuals.estimate_noise(
        residual[pool] - residual[pool].mean(axis=0), earlier
    ).whitening
    p_value, p_forward = permutation_p_values(
        residual[treated] @ whitening.T,
        residual[residuals.untreated] @ whitening.T,
        _forward(residuals, whitening),
        rng,
    )
    difference = _mean_difference(residuals, treated)
    noise_variance = 1 / len(treated) + 1 / int(residuals.untreated.sum())
    forward, across = _along_and_across(residuals, difference, noise_variance)
    noise = residuals.noise
    # The noise of few wells is underestimated.
    correction = np.sqrt(
        _degrees_of_freedom(noise.effective_wells) / (noise.effective_wells + noise.pseudo_wells)
    )
    return TreatmentTest(
        p_value,
        _noise_corrected_length(difference * correction, noise_variance, len(difference)),
        *_effect_interval(difference, noise_variance, noise.effective_wells, noise.pseudo_wells),
        _direction(p_forward, forward, across),
    )


def _forward(residuals: Residuals, whitening: Float64Array) -> Float64Array:
    """Return the (K,) unit vector of the untreated development in whitened directions.

    Where both are compared, it is the development of the measures: their growth is along a line,
    and that of an embedding is not.
    """
    main = residuals.reduced.parts[-1]
    development = np.zeros_like(residuals.development)
    development[main] = residuals.development[main]
    return _unit_vector(whitening @ development)


def _along_and_across(
    residuals: Residuals, difference: Float64Array, noise_variance: float
) -> tuple[float, float]:
    """Return the lengths of a difference (K,) along the untreated development and across it.

    Of the embedding, only the length beyond that of the measures is across the development.
    """
    main = residuals.reduced.parts[-1]
    direction = _forward(residuals, residuals.noise.whitening)
    forward = float(difference @ direction)
    beside = (difference - forward * direction)[main]
    across = _noise_corrected_length(beside, noise_variance, len(beside) - 1)
    by_embedding = difference[: main.start]
    excess = _noise_corrected_length(by_embedding, noise_variance, len(by_embedding)) ** 2 - float(
        difference[main] @ difference[main]
    )
    return forward, float(np.sqrt(across**2 + max(0.0, excess)))


def residual_cosine(residuals: Residuals, ones: IndexArray, others: IndexArray) -> float | None:
    """Return the cosine between mean Residuals of two groups of well indices, or None.

    Residuals are in units of the noise. The result is None if one of the mean residuals is 0.
    """
    one = _unit_vector(_mean_difference(residuals, ones))
    other = _unit_vector(_mean_difference(residuals, others))
    return float(one @ other) if one.any() and other.any() else None


def _mean_difference(residuals: Residuals, treated: IndexArray) -> Float64Array:
    """Return (K,) mean residual of treated minus untreated wells, in units of the noise."""
    residual = residuals.of_all_wells
    return np.asarray(
        residuals.noise.whitening
        @ (residual[treated].mean(axis=0) - residual[residuals.untreated].mean(axis=0))
    )


def _unit_vector(vector: Float64Array) -> Float64Array:
    """Return a vector scaled to length 1, or 0 for a zero vector."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else np.zeros_like(vector)


def _noise_corrected_length(
    difference: Float64Array, noise_variance: float, directions: int
) -> float:
    """Return the length of a difference vector after subtraction of the noise from its square.

    The noise has the variance ``noise_variance`` in each of the directions.
    """
    return float(np.sqrt(max(0.0, float(difference @ difference) - noise_variance * directions)))


def _direction(p_forward: float, forward: float, across: float) -> Direction:
    """Return the direction of a departure from its components along and across the development."""
    if p_forward > MAX_FORWARD_P or across > MAX_ACROSS_OF_UNDECIDED * forward:
        return Direction.DETERIORATION
    return Direction.GROWTH if across <= MAX_ACROSS_OF_GROWTH * forward else Direction.UNDECIDED


def _degrees_of_freedom(noise_wells: float) -> float:
    """Return the degrees of freedom of a squared distance from the effective wells of the noise."""
    return noise_wells + 1


def _effect_interval(
    difference: Float64Array, noise_variance: float, noise_wells: float, pseudo_wells: int
) -> tuple[float, float]:
    """Return the 90 % interval of the distance between mean residuals.

    The squared distance is noncentral χ² (Reiser, Stat. Med. 20, 2001), averaged over the
    uncertainty of the noise: an estimated covariance differs from the true one by a factor χ² /
    degrees of freedom.

    Parameters
    ----------
    difference
        (K,) difference of mean residuals in units of the noise.
    noise_variance
        Variance of the difference per direction.
    noise_wells, pseudo_wells
        Effective wells of the noise, and the weight of its shape in wells.
    """
    k, degrees_of_freedom = len(difference), _degrees_of_freedom(noise_wells)
    noise_factor = (
        chdtri(degrees_of_freedom, 1 - (np.arange(NOISE_QUANTILES) + 0.5) / NOISE_QUANTILES)
        / degrees_of_freedom
    )  # quantiles of the error factor of the noise
    observed = (
        float(difference @ difference)
        / noise_variance
        * degrees_of_freedom
        / (noise_wells + pseudo_wells)
        * noise_factor
    )

    def noncentrality(probability: float) -> float:
        def excess(centre: float) -> float:
            return float(chndtr(observed, k, centre).mean()) - probability

        return (
            0.0
            if excess(1e-9) <= 0
            else float(scipy.optimize.brentq(excess, 1e-9, 4 * float(observed.max()) + 100 * k))
        )

    low, high = (
        float(np.sqrt(noncentrality(probability) * noise_variance)) for probability in INTERVAL
    )
    return low, high
