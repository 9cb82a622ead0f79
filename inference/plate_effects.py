"""Scores on several plates as treatment + plate: the plates' offsets taken out, one score a treatment, the disagreement between plates in its error.

Variances by moments (DerSimonian and Laird, Control. Clin. Trials 7 (1986) 177; for any linear model DerSimonian and Kacker, Contemp. Clin. Trials 28 (2007)
105); the offsets are random effects, predicted as by Robinson, Statist. Sci. 6 (1991) 15.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm, t

from inference.significance import adjust_false_discovery

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

INTERVAL = (0.05, 0.95)
OUTLYING_Q = 0.05
PRIOR_DEGREES = 8  # what all treatments together tell of the error of one, counted as so many more plates
_SMALLEST_SHARE = 0.25  # of the median error: wells that happen to be equal do not make a score certain
_ROUNDS = 10


@dataclass(frozen=True, eq=False)
class Results:
    """Every result of every plate: N results of T treatments on P plates."""

    score: Array  # (N,)
    error: Array  # (N,) standard error
    wells: Numbers  # (N,)
    treatment: Numbers  # (N,) 0…T−1, each at least once
    plate: Numbers  # (N,) 0…P−1, each at least once
    untreated: Numbers  # (P,) wells on which the plate's own nought and spread rest


@dataclass(frozen=True, eq=False)
class PlateEffects:
    """What treatments do on the mean plate."""

    score: Array  # (T,)
    covariance: Array  # (T, T) of the scores
    interval: Array  # (2, T) the 90 % interval
    offset: Array  # (P,), of mean 0
    heterogeneity_p: Array  # (T,) Cochran's Q; NaN on one plate
    i_squared: Array  # (T,) NaN on one plate
    between_plates: float


def take_out_plates(results: Results) -> PlateEffects:
    """Fit score = treatment + plate + treatment on this plate + error of its wells; one plate alone stays as it is.

    The offset of a plate is a random effect. Its variance comes from the treatments that plates share, and is never below 1/untreated wells: so little
    the untreated wells of a plate know their own mean, which is the plate's nought. Where nothing is shared, that is all that stands between the plates.
    """
    if len(results.untreated) == 1:
        return _alone(results)
    treatments = np.eye(results.treatment.max() + 1)[results.treatment]  # (N, T)
    plates = np.eye(len(results.untreated))[results.plate]  # (N, P)
    error2 = _variances(results)
    shared, between = _between_plates(results.score, error2, treatments, plates)
    variance = error2 + between
    offset2 = max(moment_variance(results.score, variance, treatments, plates), float(np.mean(1 / np.maximum(results.untreated, 1))))
    precision = np.linalg.inv(np.diag(variance) + offset2 * plates @ plates.T)
    covariance = np.asarray(np.linalg.inv(treatments.T @ precision @ treatments), dtype=np.float64)
    score = covariance @ treatments.T @ precision @ results.score
    offset = offset2 * plates.T @ precision @ (results.score - treatments @ score)
    residual = results.score - plates @ offset - treatments @ score
    others = treatments.sum(axis=0) - 1
    # Hartung and Knapp, Stat. Med. 20 (2001) 3875: the spread seen between the plates, here moderated, for two plates alone know little of it.
    widening = np.sqrt((PRIOR_DEGREES + treatments.T @ (residual**2 / variance)) / (PRIOR_DEGREES + others))
    reach = t.ppf(INTERVAL[1], PRIOR_DEGREES + others) * widening * np.sqrt(np.diag(covariance))
    levelled = results.score - plates @ offset
    q = _cochran_q(levelled, error2, treatments)
    return PlateEffects(
        score=score,
        covariance=covariance * np.outer(widening, widening),
        interval=np.stack([score - reach, score + reach]),
        offset=offset,
        heterogeneity_p=np.where(others > 0, _upper_tail(q, others), np.nan),
        i_squared=np.where(others > 0, np.maximum(0, 1 - others / np.maximum(q, np.finfo(float).tiny)), np.nan),
        between_plates=float(np.sqrt(shared)),
    )


def _alone(results: Results) -> PlateEffects:
    order = np.argsort(results.treatment)
    score, error = results.score[order], results.error[order]
    unknown = np.full(len(score), np.nan)
    interval = np.asarray(score + np.outer(norm.ppf(INTERVAL), error))
    return PlateEffects(score, np.diag(error**2), interval, np.zeros(1), unknown, unknown, 0.0)


def moment_variance(score: Array, variance: Array, fixed: Array, random: Array) -> float:
    """Return the variance of random effects that explains how far scores lie from a weighted fit of the fixed ones, at least 0.

    Parameters
    ----------
    score, variance
        (N,) scores and what is known of their error.
    fixed, random
        (N, F) and (N, R) designs.
    """
    weights = np.diag(1 / variance)
    projection = weights - weights @ fixed @ np.linalg.pinv(fixed.T @ weights @ fixed) @ fixed.T @ weights
    expected = float(np.trace(projection @ np.diag(variance)))
    told = float(np.trace(random.T @ projection @ random))
    return max(0.0, (float(score @ projection @ score) - expected) / told) if told > 1e-9 else 0.0  # noqa: PLR2004 - nothing is shared, but for rounding


def _variances(results: Results) -> Array:
    """Return (N,) variances, none so small that one result would silence all others."""
    known = results.error[results.error > 0]
    floor = _SMALLEST_SHARE * float(np.median(known)) if known.size else 1 / np.sqrt(results.wells)
    return np.asarray(np.maximum(results.error, floor) ** 2)


def _between_plates(score: Array, error2: Array, treatments: Array, plates: Array) -> tuple[float, Array]:
    """Return the variance of a treatment's effect from plate to plate, common to all treatments, and (N,) the one that holds for each result.

    They differ for treatments whose plates lie much further apart than those of most treatments do (false discovery rate 0.05): these have their own, so
    that one treatment that went wrong on one plate does not make every score uncertain, nor move every other one with its plate.
    """
    others = treatments.sum(axis=0) - 1
    levelled = score - plates @ _robust_offsets(score, treatments, plates)
    q = _cochran_q(levelled, error2, treatments)
    usual = np.median((q / chi2.median(np.maximum(others, 1)))[others > 0]) if (others > 0).any() else 1.0
    outlying = adjust_false_discovery(_upper_tail(q / max(1.0, usual), others)) <= OUTLYING_Q
    common = treatments @ ~outlying > 0
    both = np.hstack([treatments, plates])
    shared = moment_variance(score[common], error2[common], both[common], np.eye(common.sum()))
    between = np.full(len(score), shared)
    for i in np.flatnonzero(outlying):
        own = treatments[:, i] > 0
        between[own] = max(shared, moment_variance(levelled[own], error2[own], treatments[own, i : i + 1], np.eye(own.sum())))
    return shared, between


def _robust_offsets(score: Array, treatments: Array, plates: Array) -> Array:
    """Return (P,) offsets by median polish (Tukey, Exploratory Data Analysis, 1977) over the treatments that stand on several plates; 0 for a plate without."""
    shared = treatments @ (treatments.sum(axis=0) > 1) > 0
    offsets = np.zeros(plates.shape[1])
    for _ in range(_ROUNDS):
        levelled = score - plates @ offsets
        residual = levelled - treatments @ np.array([np.median(levelled[column > 0]) for column in treatments.T])
        offsets += [np.median(residual[own]) if (own := (column > 0) & shared).any() else 0.0 for column in plates.T]
    return offsets


def _cochran_q(score: Array, variance: Array, treatments: Array) -> Array:
    """Return (T,): squared distances of a treatment's results from their weighted mean, in units of their variance."""
    weights = treatments / variance[:, None]
    mean = weights.T @ score / weights.sum(axis=0)
    return np.asarray(treatments.T @ ((score - treatments @ mean) ** 2 / variance))


def _upper_tail(q: Array, others: Array) -> Array:
    """Return (T,): the chance of so large a Q if plates agree (Cochran, Biometrics 10 (1954) 101); 1 for a treatment of one plate."""
    return np.where(others > 0, chi2.sf(q, np.maximum(others, 1)), 1.0)
