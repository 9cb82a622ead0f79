"""Estimation of treatment effects from the scores on several plates, corrected for plate effects.

The model is bilinear, score = gain × (effect + offset): Mandel, Technometrics 3 (1961) 169. Gains
and offsets of plates are random effects: Laird and Ware, Biometrics 38 (1982) 963. The variance
between plates is estimated by moments: DerSimonian and Laird, Control. Clin. Trials 7 (1986) 177;
for any linear model DerSimonian and Kacker, Contemp. Clin. Trials 28 (2007) 105.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from scipy.special import chdtrc, chdtri, ndtri, stdtrit

from inference.ranking.significance import false_discovery_q_values
from schemas.arrays import BoolArray, Float64Array, Int64Array

INTERVAL = (0.05, 0.95)
"""Quantiles of the 90 % interval."""
OUTLIER_Q = 0.05
"""Largest q-value of Cochran's Q at which a treatment has its own variance between plates."""
PRIOR_PLATES = 8
"""Weight, in plates, of the error of all treatments in the error of one treatment."""
INITIAL_GAIN_VARIANCE = 0.3**2
"""Variance of the logarithms of the gains in the first round."""
INITIAL_OFFSET_VARIANCE = 0.5**2
"""Variance of the offsets in the first round."""
_MIN_ERROR_SHARE = 0.25
"""Smallest standard error as a fraction of the median error; wells that are equal by chance do not
make a score certain.
"""
_ROUNDS = 6
"""Number of rounds in which variances and effects are estimated in turn."""
_MAX_STEPS = 30
"""Largest number of Gauss-Newton steps."""
_CONVERGED_STEP = 1e-9
"""Largest step at which the fit has converged."""
_NO_INFORMATION = 1e-9
"""Information below which nothing is shared between plates, except for rounding."""


@dataclass(frozen=True, eq=False)
class PlateResults:
    """N scores of T treatments on P plates, with standard errors and numbers of wells."""

    score: Float64Array  # (N,)
    error: Float64Array  # (N,) standard errors
    wells: Int64Array  # (N,) number of wells
    treatment: Int64Array  # (N,) 0…T − 1, each at least once
    plate: Int64Array  # (N,) 0…P − 1, each at least once
    untreated: Int64Array  # (P,) number of untreated wells, which determine the plate's scale


@dataclass(frozen=True, eq=False)
class PlateEffects:
    """Effects of T treatments on the mean plate, and gains and offsets of P plates."""

    score: Float64Array  # (T,) effects
    covariance: Float64Array  # (T, T) of the effects
    interval: Float64Array  # (2, T) limits of the 90 % interval
    gain: Float64Array  # (P,), about 1
    offset: Float64Array  # (P,), with mean 0
    heterogeneity_p: Float64Array  # (T,) p-value of Cochran's Q; NaN on one plate
    i_squared: Float64Array  # (T,), NaN on one plate
    between_plates: float
    """Standard deviation between plates as a fraction of √(1 + effect²)."""


@dataclass(frozen=True, eq=False)
class _Fit:
    """Fit of score = gain × (effect + offset), with its covariance."""

    effect: Float64Array  # (T,)
    gain: Float64Array  # (P,)
    offset: Float64Array  # (P,)
    covariance: Float64Array  # (T + 2 P, T + 2 P) of effects, log gains and offsets
    jacobian: Float64Array  # (N, T + 2 P) derivatives of the scores
    residual: Float64Array  # (N,)
    variance: Float64Array  # (N,) of the scores


@dataclass(frozen=True)
class _Variances:
    """Variances of log gains, of offsets, and between plates (None before the first round)."""

    gain: float
    offset: float
    between: float | None


@dataclass(frozen=True, eq=False)
class _Design:
    """Scores of N results with their variances, and indicator matrices of treatments and plates."""

    score: Float64Array  # (N,)
    error2: Float64Array  # (N,) squared standard errors
    treatments: Float64Array  # (N, T)
    plates: Float64Array  # (N, P)
    mean_uncertainty: float
    """Mean variance of a plate's zero from the number of its untreated wells."""

    @classmethod
    def of(cls, results: PlateResults) -> "_Design":
        """Return the design of all results."""
        return cls(
            score=results.score,
            error2=_variances(results),
            treatments=np.eye(results.treatment.max() + 1)[results.treatment],
            plates=np.eye(len(results.untreated))[results.plate],
            mean_uncertainty=float(np.mean(1 / np.maximum(results.untreated, 1))),
        )


def fit_plate_effects(results: PlateResults) -> PlateEffects:
    """Fit score = gain × (effect + offset) + error to PlateResults; return the PlateEffects.

    Each effect also has a part on one plate alone: score = gain × (effect + offset + effect on this
    plate alone) + error.

    Variances of gains and offsets are estimated from the plates. They are not smaller than the
    uncertainty from the m untreated wells of a plate, which determine the plate's unit and zero:
    1/(2 m) and 1/m. If no treatment is shared between plates, these are the variances. The result
    of a single plate is unchanged.
    """
    if len(results.untreated) == 1:
        return _effects_of_one_plate(results)
    design = _Design.of(results)
    fit, variances = None, _Variances(INITIAL_GAIN_VARIANCE, INITIAL_OFFSET_VARIANCE, None)
    for _ in range(_ROUNDS):
        unit = np.ones(len(design.score)) if fit is None else design.plates @ fit.gain
        fit, variances = _fit_round(design, unit, variances)
    assert fit is not None  # noqa: S101 - narrows the type: there is at least one round
    return _plate_effects(design, fit, variances.between or 0.0)


def _fit_round(
    design: _Design, unit: Float64Array, variances: _Variances
) -> tuple[_Fit, _Variances]:
    """Estimate the variance between plates, then fit effects, gains and offsets.

    ``unit`` is the (N,) gain of the plate of each result in the previous round. The variances of
    that round are used, and those for the next round are returned.
    """
    treatments, plates, error2 = design.treatments, design.plates, design.error2 / unit**2
    levelled = design.score / unit
    levelled -= plates @ _robust_offsets(levelled, treatments, plates)
    size = np.hypot(1, treatments @ _medians(levelled, treatments))
    typical = _typical_variance(levelled, error2, treatments, size)
    q = _cochran_q(levelled, error2 + typical * size**2, treatments)
    p_values = _upper_tail(q, treatments.sum(axis=0) - 1)
    outlying = false_discovery_q_values(p_values) <= OUTLIER_Q
    typical = typical if variances.between is None else variances.between
    between = _between_plates(levelled, error2, treatments, outlying, typical * size**2)
    fit = _fit(design, design.error2 + unit**2 * between, variances)
    common = treatments @ ~outlying > 0
    scale = np.diag((plates @ fit.gain * size)[common])
    shared = moment_variance(
        fit.residual[common], design.error2[common], fit.jacobian[common], scale
    )
    known = np.diag(fit.covariance)[treatments.shape[1] :].reshape(2, -1)
    gain_variance = float(np.mean(np.log(fit.gain) ** 2 + known[0]))
    offset_variance = float(np.mean(fit.offset**2 + known[1]))
    return fit, _Variances(
        gain=max(gain_variance, design.mean_uncertainty / 2),
        offset=max(offset_variance, design.mean_uncertainty),
        between=shared,
    )


def _plate_effects(design: _Design, fit: _Fit, between: float) -> PlateEffects:
    """Return effects with intervals and heterogeneity from the fit of the last round.

    ``between`` is the variance between plates relative to size².
    """
    treatments, plates = design.treatments, design.plates
    others, unit = treatments.sum(axis=0) - 1, plates @ fit.gain
    covariance = fit.covariance[: treatments.shape[1], : treatments.shape[1]]
    # Hartung and Knapp, Stat. Med. 20 (2001) 3875: the variation between the plates, moderated here
    # because two plates alone determine it poorly.
    widening = np.sqrt(
        (PRIOR_PLATES + treatments.T @ (fit.residual**2 / fit.variance)) / (PRIOR_PLATES + others)
    )
    reach = stdtrit(PRIOR_PLATES + others, INTERVAL[1]) * widening * np.sqrt(np.diag(covariance))
    q = _cochran_q(design.score / unit - plates @ fit.offset, design.error2 / unit**2, treatments)
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
        between_plates=float(np.sqrt(between)),
    )


def moment_variance(
    score: Float64Array, variance: Float64Array, fixed: Float64Array, random: Float64Array
) -> float:
    """Return the variance of random effects from scores, error variances (N,) and two designs.

    It is a moment estimate, at least 0, and explains the distances of the scores from a weighted
    fit of the fixed effects.

    Parameters
    ----------
    score, variance
        (N,) scores and the variances of their errors.
    fixed, random
        (N, F) and (N, R) designs.
    """
    weights = np.diag(1 / variance)
    projection = (
        weights - weights @ fixed @ np.linalg.pinv(fixed.T @ weights @ fixed) @ fixed.T @ weights
    )
    expected = float(np.trace(projection @ np.diag(variance)))
    information = float(np.trace(random.T @ projection @ random))
    if information <= _NO_INFORMATION:
        return 0.0
    return max(0.0, (float(score @ projection @ score) - expected) / information)


def _effects_of_one_plate(results: PlateResults) -> PlateEffects:
    """Return the results of a single plate without changes."""
    order = np.argsort(results.treatment)
    score, error = results.score[order], results.error[order]
    unknown = np.full(len(score), np.nan)
    interval = np.asarray(score + np.outer(ndtri(INTERVAL), error))
    return PlateEffects(
        score, np.diag(error**2), interval, np.ones(1), np.zeros(1), unknown, unknown, 0.0
    )


def _variances(results: PlateResults) -> Float64Array:
    """Return (N,) squared standard errors with a lower limit.

    Without the limit, a single result with a small error would dominate all others.
    """
    known = results.error[results.error > 0]
    floor = _MIN_ERROR_SHARE * float(np.median(known)) if known.size else 1 / np.sqrt(results.wells)
    return np.asarray(np.maximum(results.error, floor) ** 2)


def _fit(design: _Design, variance: Float64Array, variances: _Variances) -> _Fit:
    """Return the most probable effects, gains and offsets, found with damped Gauss-Newton steps.

    ``variance`` (N,) are the variances of the scores.
    """
    score, treatments, plates = design.score, design.treatments, design.plates
    ends = [treatments.shape[1], treatments.shape[1] + plates.shape[1]]
    prior = np.concatenate(
        [
            np.zeros(ends[0]),
            np.full(plates.shape[1], 1 / variances.gain),
            np.full(plates.shape[1], 1 / variances.offset),
        ]
    )

    def loss(found: Float64Array) -> float:
        effect, log_gain, offset = np.split(found, ends)
        predicted = plates @ np.exp(log_gain) * (treatments @ effect + plates @ offset)
        return float(np.sum((score - predicted) ** 2 / variance) + prior @ found**2)

    found = np.concatenate([_medians(score, treatments), np.zeros(2 * plates.shape[1])])
    for _ in range(_MAX_STEPS):
        effect, log_gain, offset = np.split(found, ends)
        unit = plates @ np.exp(log_gain)
        predicted = unit * (treatments @ effect + plates @ offset)
        jacobian = np.hstack(
            [treatments * unit[:, None], plates * predicted[:, None], plates * unit[:, None]]
        )
        weighted = jacobian.T / variance
        covariance = np.asarray(
            np.linalg.inv(weighted @ jacobian + np.diag(prior)), dtype=np.float64
        )
        step = covariance @ (weighted @ (score - predicted) - prior * found)
        # A gain changes by at most a factor of e per step.
        step /= max(1.0, np.abs(step[ends[0] : ends[1]]).max())
        while loss(found + step) > loss(found) and np.abs(step).max() > _CONVERGED_STEP:
            step = step / 2
        if np.abs(step).max() <= _CONVERGED_STEP:
            break
        found = found + step
    residual = score - predicted
    return _Fit(effect, np.exp(log_gain), offset, covariance, jacobian, residual, variance)


def _between_plates(
    levelled: Float64Array,
    error2: Float64Array,
    treatments: Float64Array,
    outlying: BoolArray,
    typical: Float64Array,
) -> Float64Array:
    """Return (N,) the variance between plates of the treatment of each result.

    It is the typical variance, except for outlying treatments, whose plates differ much more than
    those of most treatments: they have their own variance. So one treatment that failed on one
    plate neither makes every score uncertain nor shifts all scores of its plate.

    Parameters
    ----------
    levelled
        (N,) scores corrected for gains and offsets.
    error2
        (N,) squared standard errors.
    treatments
        (N, T) indicator matrix of the results.
    outlying
        (T,), True for outlying treatments.
    typical
        (N,) typical variance.
    """
    between = typical.copy()
    for i in np.flatnonzero(outlying):
        own = treatments[:, i] > 0
        between[own] = np.maximum(
            typical[own],
            moment_variance(
                levelled[own], error2[own], treatments[own, i : i + 1], np.eye(own.sum())
            ),
        )
    return between


def _typical_variance(
    levelled: Float64Array, error2: Float64Array, treatments: Float64Array, size: Float64Array
) -> float:
    """Return the variance between plates, relative to size², that explains the median Cochran's Q.

    Half of the treatments then differ more between plates than the median of chance.
    """
    others = treatments.sum(axis=0) - 1
    shared = others > 0
    if not shared.any():
        return 0.0

    def excess(variance: float) -> float:
        q = _cochran_q(levelled, error2 + variance * size**2, treatments)[shared]
        return float(np.median(q / chdtri(others[shared], 0.5))) - 1

    if excess(0.0) <= 0:
        return 0.0
    largest = 1.0
    while excess(largest) > 0:
        largest *= 4
    return float(scipy.optimize.brentq(excess, 0.0, largest))


def _robust_offsets(
    score: Float64Array, treatments: Float64Array, plates: Float64Array
) -> Float64Array:
    """Return (P,) offsets by median polish over the treatments that occur on several plates.

    The offset of a plate without such treatments is 0. Tukey, *Exploratory Data Analysis*, 1977.
    """
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


def _medians(score: Float64Array, treatments: Float64Array) -> Float64Array:
    """Return (T,) the median result of each treatment."""
    return np.array([np.median(score[column > 0]) for column in treatments.T])


def _cochran_q(
    score: Float64Array, variance: Float64Array, treatments: Float64Array
) -> Float64Array:
    """Return (T,) Cochran's Q: weighted squared distances of the results of each treatment.

    The distances are taken from the weighted mean of the treatment.
    """
    weights = treatments / variance[:, None]
    mean = weights.T @ score / weights.sum(axis=0)
    return np.asarray(treatments.T @ ((score - treatments @ mean) ** 2 / variance))


def _upper_tail(q: Float64Array, others: Float64Array) -> Float64Array:
    """Return (T,) the p-values of Cochran's Q (Cochran, Biometrics 10 (1954) 101).

    The p-value of a treatment on one plate is 1.
    """
    return np.where(others > 0, chdtrc(np.maximum(others, 1), q), 1.0)
