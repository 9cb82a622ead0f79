"""From the scores of wells to those of treatments: robust means, intervals and places, from a variance that all wells of the plate tell together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import polygamma
from scipy.stats import rankdata, t

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.9
DRAWS = 4000
HUBER = 2.0
"""Wells farther than so many spreads from their fellows count the less the farther they are: Huber, Ann. Math. Stat. 35 (1964) 73."""
LEAST_FREEDOM, MOST_FREEDOM = 4.0, 40.0
"""Of the common variance: few treatments tell badly how unlike their variances are."""
ROUNDS = 10


@dataclass(frozen=True, eq=False)
class TreatmentScores:
    """T treatments; larger scores are further from untreated."""

    score: Array  # (T,)
    low: Array  # (T,) of the interval
    high: Array  # (T,)
    rank: npt.NDArray[np.int64]  # (T,) 1 = the largest; equal scores share the better place
    rank_low: npt.NDArray[np.int64]  # (T,) the best place that the uncertainty allows
    rank_high: npt.NDArray[np.int64]  # (T,)
    chance_best: Array  # (T,)


def score_treatments(
    by_treatment: Sequence[Array], untreated: int, rng: np.random.Generator
) -> TreatmentScores:
    """Return what the scores of each treatment's wells come to; 0 is the mean of so many untreated wells, whose spread is 1.

    Intervals cover 90 %: of a score with the error of the untreated mean in it, in this plate's unit; of a place by pairs of treatments, each told apart
    at 95 % one-sided, which is wide rather than wrong (Mohamad, Goeman and van Zwet, Biom. J. 61, 2019, give the argument).
    """
    counts = np.array([len(own) for own in by_treatment])
    variance, freedom = moderated_variance(by_treatment)
    score = np.array(
        [
            robust_mean(own, np.sqrt(of_well))
            for own, of_well in zip(by_treatment, variance, strict=True)
        ]
    )
    of_mean = variance / counts
    return place_treatments(score, of_mean, freedom, shared_variance=1 / untreated, rng=rng)


def place_treatments(
    score: Array,
    variance: Array,
    freedom: Array,
    *,
    shared_variance: float,
    rng: np.random.Generator,
) -> TreatmentScores:
    """Return intervals and places of T scores, each with the variance of its error, (T,), and the degrees of freedom that tell it, (T,).

    An error that all scores share widens their intervals and changes no place.
    """
    reach = np.asarray(t.ppf((1 + CONFIDENCE) / 2, freedom))
    gap = score[:, None] - score[None, :]  # of the row's treatment above the column's
    told_apart = np.abs(gap) > np.sqrt(variance[:, None] + variance[None, :]) * np.maximum(
        reach[:, None], reach[None, :]
    )
    drawn = score + np.sqrt(variance) * rng.standard_t(freedom, (DRAWS, len(score)))
    return TreatmentScores(
        score=score,
        low=score - reach * np.sqrt(variance + shared_variance),
        high=score + reach * np.sqrt(variance + shared_variance),
        rank=efficacy_ranks(score),
        rank_low=1 + (told_apart & (gap < 0)).sum(axis=1),
        rank_high=len(score) - (told_apart & (gap > 0)).sum(axis=1),
        chance_best=np.bincount(drawn.argmax(axis=1), minlength=len(score)) / DRAWS,
    )


def robust_mean(scores: Array, spread: float) -> float:
    """Return Huber's mean of the wells of one treatment, given their spread."""
    mean = float(np.median(scores))
    for _ in range(ROUNDS):
        away = np.abs(scores - mean) / spread
        weights = np.divide(HUBER, away, out=np.ones_like(away), where=away > HUBER)
        mean = float((weights * scores).sum() / weights.sum())
    return mean


def moderated_variance(by_treatment: Sequence[Array]) -> tuple[Array, Array]:
    """Return (T,) the variance of a well of each treatment and (T,) its degrees of freedom.

    Wells of a treatment without effect vary by 1, the untreated spread, and the more the further they depart: v = 1 + b score², with one b for the plate.
    A treatment's own variance is moderated by that as by d more degrees of freedom, d as the variances scatter about it: Smyth, Stat. Appl. Genet. Mol.
    Biol. 3 (2004) 3, with the trend of Law et al., Genome Biol. 15 (2014) R29.
    """
    means = np.array([own.mean() for own in by_treatment])
    freedom = np.array([len(own) - 1.0 for own in by_treatment])
    own = np.array([wells.var(ddof=1) if len(wells) > 1 else 0.0 for wells in by_treatment])
    squared = np.maximum(means, 0.0) ** 2
    trend, slope = np.ones_like(means), 0.0
    for _ in range(ROUNDS):
        weights = freedom * squared / trend**2
        slope = max(
            0.0,
            float(
                (weights * (own - 1)).sum()
                / max(float((weights * squared).sum()), np.finfo(float).tiny)
            ),
        )
        trend = 1 + slope * squared
    common = _prior_freedom(own / trend, freedom)
    return (common * trend + freedom * own) / (common + freedom), common + freedom


def _prior_freedom(ratios: Array, freedom: Array) -> float:
    """Return the degrees of freedom that the trend is worth, by the scatter of the logarithms of variances about it (Smyth 2004, eq. 5 and 6)."""
    told = (freedom > 0) & (ratios > 0)
    if told.sum() < 3:  # noqa: PLR2004 - two variances have no scatter to speak of
        return LEAST_FREEDOM
    scatter = float(np.log(ratios[told]).var(ddof=1) - polygamma(1, freedom[told] / 2).mean())
    if scatter <= polygamma(1, MOST_FREEDOM / 2):
        return MOST_FREEDOM
    candidates = np.linspace(LEAST_FREEDOM, MOST_FREEDOM, 73)
    return float(candidates[np.abs(polygamma(1, candidates / 2) - scatter).argmin()])


def efficacy_ranks(scores: Array) -> npt.NDArray[np.int64]:
    """Return places along the last axis, 1 = the largest score; equal scores share the better place."""
    return np.asarray(rankdata(-scores, method="min", axis=-1), dtype=np.int64)
