"""Scores on several plates, the plates' gains and offsets taken out: one score a treatment, with the disagreement between plates in its error.

The bilinear model of Mandel, Technometrics 3 (1961) 169, score = gain × (effect + offset), with gains and offsets as random effects (Laird and Ware,
Biometrics 38 (1982) 963); the variance from plate to plate by moments (DerSimonian and Laird, Control. Clin. Trials 7 (1986) 177; for any linear model
DerSimonian and Kacker, Contemp. Clin. Trials 28 (2007) 105).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

from inference.ranking.significance import adjust_false_discovery

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

INTERVAL = (0.05, 0.95)
OUTLYING_Q = 0.05
PRIOR_DEGREES = (
    8  # what all treatments together tell of the error of one, counted as so many more plates
)
FIRST_GAIN2, FIRST_OFFSET2 = (
    0.3**2,
    0.5**2,
)  # variances of the gains' logarithms and of the offsets that the rounds begin with
_SMALLEST_SHARE = (
    0.25  # of the median error: wells that happen to be equal do not make a score certain
)
_ROUNDS = 6
_STEPS = 30
_NO_STEP = 1e-9


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
    gain: Array  # (P,), about 1
    offset: Array  # (P,), of mean 0
    heterogeneity_p: Array  # (T,) Cochran's Q; NaN on one plate
    i_squared: Array  # (T,) NaN on one plate
    between_plates: float


@dataclass(frozen=True, eq=False)
class _Fit:
    """Scores as gain × (effect + offset), with what is known of each."""

    effect: Array  # (T,)
    gain: Array  # (P,)
    offset: Array  # (P,)
    covariance: Array  # (T + 2 P, T + 2 P) of effects, logarithms of gains, and offsets
    design: Array  # (N, T + 2 P) how far each of them moves each score
    residual: Array  # (N,)


def take_out_plates(results: Results) -> PlateEffects:
    """Fit score = gain × (effect + offset + effect on this plate alone) + error of its wells; one plate alone stays as it is.

    Gains and offsets have the variances that the plates show, and never less than what the m untreated wells of a plate leave open of their own spread
    and mean, the plate's unit and nought: 1/(2 m) and 1/m. Where no treatment is shared, nothing else is known of them.
    """
    if len(results.untreated) == 1:
        return _alone(results)
    treatments = np.eye(results.treatment.max() + 1)[results.treatment]  # (N, T)
    plates = np.eye(len(results.untreated))[results.plate]  # (N, P)
    error2, others = _variances(results), treatments.sum(axis=0) - 1
    open_mean = float(np.mean(1 / np.maximum(results.untreated, 1)))
    unit, gain2, offset2, shared = np.ones(len(error2)), FIRST_GAIN2, FIRST_OFFSET2, None
    for _ in range(_ROUNDS):
        levelled = results.score / unit
        levelled -= plates @ _robust_offsets(levelled, treatments, plates)
        size = np.hypot(1, treatments @ _medians(levelled, treatments))
        usual = _usual_variance(levelled, error2 / unit**2, treatments, size)
        outlying = (
            adjust_false_discovery(
                _upper_tail(
                    _cochran_q(levelled, error2 / unit**2 + usual * size**2, treatments), others
                )
            )
            <= OUTLYING_Q
        )
        between = _between_plates(
            levelled,
            error2 / unit**2,
            treatments,
            outlying,
            (usual if shared is None else shared) * size**2,
        )
        variance = error2 + unit**2 * between
        fit = _fit(results.score, variance, treatments, plates, gain2, offset2)
        unit = plates @ fit.gain
        common = treatments @ ~outlying > 0
        shared = moment_variance(
            fit.residual[common], error2[common], fit.design[common], np.diag((unit * size)[common])
        )
        known = np.diag(fit.covariance)[treatments.shape[1] :].reshape(2, -1)
        gain2 = max(float(np.mean(np.log(fit.gain) ** 2 + known[0])), open_mean / 2)
        offset2 = max(float(np.mean(fit.offset**2 + known[1])), open_mean)
    # Hartung and Knapp, Stat. Med. 20 (2001) 3875: the spread seen between the plates, here moderated, for two plates alone know little of it.
    covariance = fit.covariance[: treatments.shape[1], : treatments.shape[1]]
    widening = np.sqrt(
        (PRIOR_DEGREES + treatments.T @ (fit.residual**2 / variance)) / (PRIOR_DEGREES + others)
    )
    reach = t.ppf(INTERVAL[1], PRIOR_DEGREES + others) * widening * np.sqrt(np.diag(covariance))
    q = _cochran_q(results.score / unit - plates @ fit.offset, error2 / unit**2, treatments)
    return PlateEffects(
        score=fit.effect,
        covariance=covariance * np.outer(widening, widening),
        interval=np.stack([fit.effect - reach, fit.effect + reach]),
        gain=fit.gain,
        offset=fit.offset,
        heterogeneity_p=np.where(others > 0, _upper_tail(q, others), np.nan),
        i_squared=np.where(
            others > 0, np.maximum(0, 1 - others / np.maximum(q, np.finfo(float).tiny)), np.nan
        ),
        between_plates=float(np.sqrt(shared or 0.0)),
    )


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
    projection = (
        weights - weights @ fixed @ np.linalg.pinv(fixed.T @ weights @ fixed) @ fixed.T @ weights
    )
    expected = float(np.trace(projection @ np.diag(variance)))
    told = float(np.trace(random.T @ projection @ random))
    return max(0.0, (float(score @ projection @ score) - expected) / told) if told > 1e-9 else 0.0  # noqa: PLR2004 - nothing is shared, but for rounding


def _alone(results: Results) -> PlateEffects:
    order = np.argsort(results.treatment)
    score, error = results.score[order], results.error[order]
    unknown = np.full(len(score), np.nan)
    interval = np.asarray(score + np.outer(norm.ppf(INTERVAL), error))
    return PlateEffects(
        score, np.diag(error**2), interval, np.ones(1), np.zeros(1), unknown, unknown, 0.0
    )


def _variances(results: Results) -> Array:
    """Return (N,) variances, none so small that one result would silence all others."""
    known = results.error[results.error > 0]
    floor = _SMALLEST_SHARE * float(np.median(known)) if known.size else 1 / np.sqrt(results.wells)
    return np.asarray(np.maximum(results.error, floor) ** 2)


def _fit(
    score: Array, variance: Array, treatments: Array, plates: Array, gain2: float, offset2: float
) -> _Fit:
    """Return the most probable effects, gains and offsets: Gauss and Newton's steps, halved until they lead downhill."""
    ends = [treatments.shape[1], treatments.shape[1] + plates.shape[1]]
    prior = np.concatenate(
        [
            np.zeros(ends[0]),
            np.full(plates.shape[1], 1 / gain2),
            np.full(plates.shape[1], 1 / offset2),
        ]
    )

    def loss(found: Array) -> float:
        effect, log_gain, offset = np.split(found, ends)
        return float(
            np.sum(
                (score - plates @ np.exp(log_gain) * (treatments @ effect + plates @ offset)) ** 2
                / variance
            )
            + prior @ found**2
        )

    found = np.concatenate([_medians(score, treatments), np.zeros(2 * plates.shape[1])])
    for _ in range(_STEPS):
        effect, log_gain, offset = np.split(found, ends)
        unit = plates @ np.exp(log_gain)
        predicted = unit * (treatments @ effect + plates @ offset)
        design = np.hstack(
            [treatments * unit[:, None], plates * predicted[:, None], plates * unit[:, None]]
        )
        weighted = design.T / variance
        covariance = np.asarray(np.linalg.inv(weighted @ design + np.diag(prior)), dtype=np.float64)
        step = covariance @ (weighted @ (score - predicted) - prior * found)
        step /= max(
            1.0, np.abs(step[ends[0] : ends[1]]).max()
        )  # of a gain, no more than e-fold at once
        while loss(found + step) > loss(found) and np.abs(step).max() > _NO_STEP:
            step = step / 2
        if np.abs(step).max() <= _NO_STEP:
            break
        found = found + step
    return _Fit(effect, np.exp(log_gain), offset, covariance, design, score - predicted)


def _between_plates(
    levelled: Array, error2: Array, treatments: Array, outlying: npt.NDArray[np.bool_], usual: Array
) -> Array:
    """Return (N,) the variance from plate to plate of each result's treatment.

    It is the usual one but for outlying treatments, whose plates lie much further apart than those of most: these have their own, so that one treatment
    that went wrong on one plate does not make every score uncertain, nor move every other one with its plate.
    """
    between = usual.copy()
    for i in np.flatnonzero(outlying):
        own = treatments[:, i] > 0
        between[own] = np.maximum(
            usual[own],
            moment_variance(
                levelled[own], error2[own], treatments[own, i : i + 1], np.eye(own.sum())
            ),
        )
    return between


def _usual_variance(levelled: Array, error2: Array, treatments: Array, size: Array) -> float:
    """Return the variance from plate to plate, in units of size, at which half of the treatments lie further apart than their median chance would have it."""
    others = treatments.sum(axis=0) - 1
    shared = others > 0
    if not shared.any():
        return 0.0

    def excess(variance: float) -> float:
        q = _cochran_q(levelled, error2 + variance * size**2, treatments)[shared]
        return float(np.median(q / chi2.median(others[shared]))) - 1

    if excess(0.0) <= 0:
        return 0.0
    largest = 1.0
    while excess(largest) > 0:
        largest *= 4
    return float(brentq(excess, 0.0, largest))


def _robust_offsets(score: Array, treatments: Array, plates: Array) -> Array:
    """Return (P,) offsets by median polish (Tukey, Exploratory Data Analysis, 1977) over the treatments that stand on several plates; 0 for a plate without."""
    shared = treatments @ (treatments.sum(axis=0) > 1) > 0
    offsets = np.zeros(plates.shape[1])
    for _ in range(_ROUNDS):
        residual = score - plates @ offsets
        residual -= treatments @ _medians(residual, treatments)
        offsets += [
            np.median(residual[own]) if (own := (column > 0) & shared).any() else 0.0
            for column in plates.T
        ]
    return offsets


def _medians(score: Array, treatments: Array) -> Array:
    """Return (T,) the median result of each treatment."""
    return np.array([np.median(score[column > 0]) for column in treatments.T])


def _cochran_q(score: Array, variance: Array, treatments: Array) -> Array:
    """Return (T,): squared distances of a treatment's results from their weighted mean, in units of their variance."""
    weights = treatments / variance[:, None]
    mean = weights.T @ score / weights.sum(axis=0)
    return np.asarray(treatments.T @ ((score - treatments @ mean) ** 2 / variance))


def _upper_tail(q: Array, others: Array) -> Array:
    """Return (T,): the chance of so large a Q if plates agree (Cochran, Biometrics 10 (1954) 101); 1 for a treatment of one plate."""
    return np.where(others > 0, chi2.sf(q, np.maximum(others, 1)), 1.0)
