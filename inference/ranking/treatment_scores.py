"""Scores, intervals and ranks of treatments from the scores of their wells.

The variance of a treatment is moderated by that of all treatments of the plate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import polygamma, stdtrit

from schemas.arrays import Float64Array, Int64Array

CONFIDENCE = 0.9
"""Confidence level of the intervals."""
DRAWS = 4000
"""Number of random draws for the probability of the strongest effect."""
HUBER_LIMIT = 2.0
"""Distance in standard deviations from which wells have less weight: Huber, Ann. Math. Stat. 35
(1964) 73.
"""
MIN_DEGREES_OF_FREEDOM = 4.0
"""Smallest prior degrees of freedom of the common variance."""
MAX_DEGREES_OF_FREEDOM = 40.0
"""Largest prior degrees of freedom; few treatments do not show how much their variances differ."""
ITERATIONS = 10
"""Number of iterations of the robust mean and of the variance trend."""


@dataclass(frozen=True, eq=False)
class TreatmentScores:
    """Scores and ranks of T treatments; a larger score is farther from untreated wells."""

    score: Float64Array  # (T,)
    low: Float64Array  # (T,) lower end of the interval
    high: Float64Array  # (T,) upper end of the interval
    rank: Int64Array  # (T,) 1 = largest score; equal scores share the better rank
    rank_low: Int64Array  # (T,) best rank that the uncertainty allows
    rank_high: Int64Array  # (T,) worst rank that the uncertainty allows
    chance_best: Float64Array  # (T,) probability of the largest score


def score_treatments(
    by_treatment: Sequence[Float64Array], untreated: int, rng: np.random.Generator
) -> TreatmentScores:
    """Return TreatmentScores from each treatment's well scores and the number of untreated wells.

    A score of 0 is the mean of the untreated wells, and 1 is their standard deviation. Intervals
    have 90 % confidence. Those of scores include the error of the untreated mean. Those of ranks
    are based on pairs of treatments, each compared at 95 % one-sided, which is conservative
    (Mohamad, Goeman and van Zwet, Biom. J. 61, 2019).

    Parameters
    ----------
    by_treatment
        Scores of the wells of each treatment.
    untreated
        Number of untreated wells.
    rng
        Random generator of the draws.
    """
    counts = np.array([len(own) for own in by_treatment])
    variance, degrees_of_freedom = moderated_variance(by_treatment)
    score = np.array(
        [
            robust_mean(own, np.sqrt(of_well))
            for own, of_well in zip(by_treatment, variance, strict=True)
        ]
    )
    of_mean = variance / counts
    return rank_treatments(
        score, of_mean, degrees_of_freedom, shared_variance=1 / untreated, rng=rng
    )


def rank_treatments(
    score: Float64Array,
    variance: Float64Array,
    degrees_of_freedom: Float64Array,
    *,
    shared_variance: float | Float64Array,
    rng: np.random.Generator,
) -> TreatmentScores:
    """Return TreatmentScores from scores, error variances and degrees of freedom, each (T,).

    Parameters
    ----------
    score, variance, degrees_of_freedom
        (T,) scores, the variances of their errors, and the degrees of freedom of these
        variances.
    shared_variance
        Variance of an error that all scores share, or that changes all in the same direction,
        (T,); it widens the intervals but changes no rank.
    rng
        Random generator of the draws.
    """
    reach = np.asarray(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))
    gap = score[:, None] - score[None, :]  # row minus column
    distinguishable = np.abs(gap) > np.sqrt(variance[:, None] + variance[None, :]) * np.maximum(
        reach[:, None], reach[None, :]
    )
    drawn = score + np.sqrt(variance) * rng.standard_t(degrees_of_freedom, (DRAWS, len(score)))
    return TreatmentScores(
        score=score,
        low=score - reach * np.sqrt(variance + shared_variance),
        high=score + reach * np.sqrt(variance + shared_variance),
        rank=efficacy_ranks(score),
        rank_low=1 + (distinguishable & (gap < 0)).sum(axis=1),
        rank_high=len(score) - (distinguishable & (gap > 0)).sum(axis=1),
        chance_best=np.bincount(drawn.argmax(axis=1), minlength=len(score)) / DRAWS,
    )


def robust_mean(scores: Float64Array, spread: float) -> float:
    """Return Huber's mean of the scores of a treatment's wells, given their standard deviation."""
    mean = float(np.median(scores))
    for _ in range(ITERATIONS):
        distance = np.abs(scores - mean) / spread
        weights = np.divide(
            HUBER_LIMIT, distance, out=np.ones_like(distance), where=distance > HUBER_LIMIT
        )
        mean = float((weights * scores).sum() / weights.sum())
    return mean


def moderated_variance(by_treatment: Sequence[Float64Array]) -> tuple[Float64Array, Float64Array]:
    """Return (variances of a well (T,), degrees of freedom (T,)) from each treatment's well scores.

    The variance of wells without effect is 1, and it increases with the departure: v = 1 + b
    score², with one b per plate. The variance of a treatment is moderated by this trend with d
    additional degrees of freedom, where d follows from the scatter of the variances: Smyth, Stat.
    Appl. Genet. Mol. Biol. 3 (2004) 3, with the trend of Law et al., Genome Biol. 15 (2014) R29.
    """
    means = np.array([own.mean() for own in by_treatment])
    degrees_of_freedom = np.array([len(own) - 1.0 for own in by_treatment])
    own = np.array([wells.var(ddof=1) if len(wells) > 1 else 0.0 for wells in by_treatment])
    squared = np.maximum(means, 0.0) ** 2
    trend, slope = np.ones_like(means), 0.0
    for _ in range(ITERATIONS):
        weights = degrees_of_freedom * squared / trend**2
        slope = max(
            0.0,
            float(
                (weights * (own - 1)).sum()
                / max(float((weights * squared).sum()), np.finfo(float).tiny)
            ),
        )
        trend = 1 + slope * squared
    prior = _prior_degrees_of_freedom(own / trend, degrees_of_freedom)
    moderated = (prior * trend + degrees_of_freedom * own) / (prior + degrees_of_freedom)
    return moderated, prior + degrees_of_freedom


def _prior_degrees_of_freedom(ratios: Float64Array, degrees_of_freedom: Float64Array) -> float:
    """Return the degrees of freedom of the trend from the scatter of log variances around it.

    Smyth 2004, eq. 5 and 6.

    Parameters
    ----------
    ratios, degrees_of_freedom
        (T,) variances relative to the trend, and their degrees of freedom.
    """
    informative = (degrees_of_freedom > 0) & (ratios > 0)
    if informative.sum() < 3:  # noqa: PLR2004 - two variances have no scatter to speak of
        return MIN_DEGREES_OF_FREEDOM
    scatter = float(
        np.log(ratios[informative]).var(ddof=1)
        - polygamma(1, degrees_of_freedom[informative] / 2).mean()
    )
    if scatter <= polygamma(1, MAX_DEGREES_OF_FREEDOM / 2):
        return MAX_DEGREES_OF_FREEDOM
    candidates = np.linspace(MIN_DEGREES_OF_FREEDOM, MAX_DEGREES_OF_FREEDOM, 73)
    return float(candidates[np.abs(polygamma(1, candidates / 2) - scatter).argmin()])


def efficacy_ranks(scores: Float64Array) -> Int64Array:
    """Return the ranks of scores along the last axis, 1 = largest score.

    Equal scores share the better rank.
    """

    def ranks_of_row(row: Float64Array) -> Int64Array:
        return 1 + len(row) - np.searchsorted(np.sort(row), row, side="right")

    return np.asarray(np.apply_along_axis(ranks_of_row, -1, scores), dtype=np.int64)
