"""Prediction intervals of deterioration from the errors of left-out plates.

With few plates the intervals rest on a model of the errors. From :data:`MIN_CONFORMAL_PLATES`
plates on, their width is set by conformal prediction at the level of plates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from schemas.arrays import BoolArray, Float64Array
from schemas.calibration import ErrorModel, PercentBasis
from schemas.trajectory import Representation

CONFIDENCE = 0.9
"""Confidence level of all intervals."""
LEAST_COVERED = 0.5
"""Assumed smallest fraction of the wells of any plate that their conformal intervals cover. It was
chosen on simulated laboratories with the seeds 8500 to 8502; without an assumption (0), the largest
error of nine plates sets the width of all intervals.
"""
_NORMAL_QUANTILE = float(ndtri((1 + CONFIDENCE) / 2))
PRIOR_PLATES = 4.0
"""Weight of the prior variance between plates, in degrees of freedom."""
PRIOR_SLOPE_SD: Mapping[Representation, float] = {
    "measures": 0.22,
    "both": 0.15,
    "embedding": 0.22,
}
"""Standard deviation between plates of the ratio of measured to predicted deterioration, by the
features of the model.

It was found in simulated laboratories (``python -m benchmarks.few_plates --prior``) for the
measures and for both. The embedding alone has the larger of these values.
"""
MIN_CONFORMAL_PLATES = 9
"""Smallest number of plates K for a conformal interval: 1 / (K + 1) is at most 1 − CONFIDENCE."""
MIN_SD_POINTS = 1.0
"""Smallest standard deviation of an error, in percentage points: that of a good assay."""
LOWEST_PERCENT = -100.0
"""Smallest deterioration in percent: viability of an assay is at most 200 % of the control."""
HIGHEST_PERCENT = 100.0
"""Largest deterioration in percent: viability is at least 0."""
LEAST_HIDDEN_SHARE = 0.05
"""Share of the variance of effects that remains for a well that is predicted to be dead."""


@dataclass(frozen=True, eq=False)
class LeftOutPlate:
    """Predictions for the n measured wells of one plate by models that did not use these wells."""

    predicted: Float64Array  # (n,) percent
    measured: Float64Array  # (n,) percent
    treatments: tuple[str, ...]
    """(n,) treatments; "" for untreated wells."""

    @property
    def error(self) -> Float64Array:
        """(n,) measured minus predicted deterioration."""
        return self.measured - self.predicted

    @property
    def untreated(self) -> BoolArray:
        """(n,) True for untreated wells."""
        return np.array([not name for name in self.treatments])


def fit_error_model(plates: Sequence[LeftOutPlate], prior_slope_sd: float) -> ErrorModel:
    """Return the ErrorModel of predictions for a new plate, from K LeftOutPlates and the prior s₀.

    The measured deterioration of a treated well is the predicted one times a slope of the plate,
    plus an effect of the treatment and of the well. An untreated well has no slope. The slope's
    variance is moderated: (ν₀ s₀² + SS) / (ν₀ + K − 1), where SS is the sum of squares of the K
    slopes around their mean (Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004) 3). It is multiplied by
    1 + 1 / K for a new plate. Its quantile is that of Student's t with ν₀ + K − 1 degrees of
    freedom; treatments and wells are many, and have the quantile of the normal distribution. From
    :data:`MIN_CONFORMAL_PLATES` plates on, the quantile is the conformal one.

    The effects of treatments and wells have a variance that is proportional to
    :func:`_hidden_share`. The deterioration of untreated wells is 0 by definition, whatever their
    images show: the variance of their assays is that around 0.

    No interval is lower than the smallest measured deterioration, or 0 if all are above 0, minus
    the standard deviation of the measured untreated wells. Of n wells like the measured ones, a
    further well is below all of them with the probability 1 / (n + 1).
    """
    fits = [_fit_plate(plate) for plate in plates]
    slopes = np.array([fit.slope for fit in fits])
    freedom = PRIOR_PLATES + len(plates) - 1
    squares = float(((slopes - slopes.mean()) ** 2).sum())
    slope_variance = (PRIOR_PLATES * prior_slope_sd**2 + squares) / freedom * (1 + 1 / len(plates))
    well = _pooled([fit.within for fit in fits], [fit.within_freedom for fit in fits])
    between = _pooled([fit.between for fit in fits], [fit.between_freedom for fit in fits])
    per_treatment = float(np.mean([fit.wells_per_treatment for fit in fits]))
    measured = np.concatenate([plate.measured for plate in plates])
    of_control = np.concatenate([plate.measured[plate.untreated] for plate in plates])
    of_untreated = float(np.mean(of_control**2)) if len(of_control) else between + well
    treated = np.concatenate([plate.predicted[~plate.untreated] for plate in plates])
    usual_share = float(_hidden_share(treated).mean())
    spread = float(np.std(of_control) if len(of_control) > 1 else np.sqrt(of_untreated))
    basis: PercentBasis = "prior" if len(plates) == 1 else "model"
    model = ErrorModel(
        basis=basis,
        slope_sd=float(np.sqrt(slope_variance)),
        treatment_points=float(np.sqrt(max(0.0, between - well / per_treatment) / usual_share)),
        well_points=max(MIN_SD_POINTS, float(np.sqrt(well / usual_share))),
        untreated_points=max(MIN_SD_POINTS, float(np.sqrt(of_untreated))),
        degrees_of_freedom=freedom,
        reach=_NORMAL_QUANTILE,
        lowest_percent=max(LOWEST_PERCENT, min(0.0, float(measured.min())) - spread),
    )
    if len(plates) < MIN_CONFORMAL_PLATES:
        return model
    return model.model_copy(update={"basis": "conformal", "reach": _conformal_reach(model, plates)})


def well_sd(model: ErrorModel, percent: Float64Array, untreated: BoolArray) -> Float64Array:
    """Return the standard deviation (N,) of the error of wells, in percentage points.

    That of the slope is enlarged, so that the quantile of the other parts fits it too.

    Parameters
    ----------
    model
        Errors of the calibration.
    percent
        (N,) predicted deterioration in percent.
    untreated
        (N,) True for untreated wells.
    """
    treated = np.sqrt(
        (_enlarged_slope(model) * percent) ** 2
        + (model.treatment_points**2 + model.well_points**2) * _hidden_share(percent)
    )
    return np.where(untreated, model.untreated_points, treated)


def prediction_interval(
    model: ErrorModel, percent: Float64Array, untreated: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Return the limits (low (N,), high (N,)) of the 90 % interval of measured deterioration.

    A limit below 0 is a viability above that of the control. The interval of an untreated well
    contains the predicted percent and 0. Parameters are those of :func:`well_sd`.
    """
    reach = model.reach * well_sd(model, percent, untreated)
    lowest = np.minimum(model.lowest_percent, percent)
    low, high = _without_spread(percent, untreated)
    return (
        np.clip(low - reach, lowest, HIGHEST_PERCENT),
        np.clip(high + reach, lowest, HIGHEST_PERCENT),
    )


def treatment_variances(
    model: ErrorModel, percent: Float64Array, wells: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return (own, shared) variances, (T,) each, of the mean percent of T treatments of one plate.

    The slope of the plate is shared: it widens the intervals and changes no rank. The variances
    belong to Student's t with the degrees of freedom of the ErrorModel.

    Parameters
    ----------
    model
        Errors of the calibration.
    percent, wells
        (T,) mean predicted deterioration in percent, and number of wells.
    """
    stretch = (model.reach / _student_quantile(model.degrees_of_freedom)) ** 2
    own = stretch * (model.treatment_points**2 + model.well_points**2 / wells)
    return own * _hidden_share(percent), stretch * (_enlarged_slope(model) * percent) ** 2


def _hidden_share(percent: Float64Array) -> Float64Array:
    """Return the variance of effects at a predicted percent, relative to that at 5 %.

    A well that looks dead is dead, but a well that looks untreated may have been killed in a way
    that its image does not show: the errors decrease with the predicted percent.
    """
    return np.asarray(1 + LEAST_HIDDEN_SHARE - percent / 100)


def _without_spread(
    percent: Float64Array, untreated: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Return the limits (N,) of an interval without the standard deviation of the errors.

    They are the predicted percent of a treated well; 0 and the predicted percent of an untreated
    well.
    """
    return (
        np.where(untreated, np.minimum(percent, 0), percent),
        np.where(untreated, np.maximum(percent, 0), percent),
    )


def _enlarged_slope(model: ErrorModel) -> float:
    """Return the standard deviation of the slope, times its quantile by that of the other parts."""
    return model.slope_sd * _student_quantile(model.degrees_of_freedom) / _NORMAL_QUANTILE


def _student_quantile(degrees_of_freedom: float) -> float:
    """Return half of the interval of Student's t with the :data:`CONFIDENCE`."""
    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class _PlateFit:
    """Slope of one plate and mean squares of its errors."""

    slope: float  # measured / predicted − 1
    within: float  # mean square between wells of one treatment
    within_freedom: int
    between: float  # mean square of treatment means, after the slope
    between_freedom: int
    wells_per_treatment: float


def plate_slope(plate: LeftOutPlate) -> float:
    """Return measured / predicted deterioration of the treated wells of a plate, minus 1."""
    return _fit_plate(plate).slope


def _fit_plate(plate: LeftOutPlate) -> _PlateFit:
    """Return the slope and the mean squares of the treated wells of a plate."""
    names = np.array(plate.treatments)
    groups = [names == name for name in dict.fromkeys(plate.treatments) if name]
    counts = np.array([group.sum() for group in groups], dtype=np.float64)
    predicted = np.array([plate.predicted[group].mean() for group in groups])
    error = np.array([plate.error[group].mean() for group in groups])
    weight = float((counts * predicted**2).sum())
    slope = float((counts * predicted * error).sum()) / weight if weight > 0 else 0.0
    rest = error - slope * predicted
    within = [
        ((plate.error[group] - mean) ** 2).sum() for group, mean in zip(groups, error, strict=True)
    ]
    freedom = int(counts.sum()) - len(groups)
    return _PlateFit(
        slope,
        float(np.sum(within)) / max(freedom, 1),
        freedom,
        float((rest**2).sum()) / max(len(groups) - 1, 1),
        len(groups) - 1,
        float(counts.mean()),
    )


def _pooled(squares: Sequence[float], freedoms: Sequence[int]) -> float:
    """Return the mean of mean squares, weighted by their degrees of freedom; 0 without any."""
    total = sum(freedoms)
    return float(np.dot(squares, freedoms)) / total if total else 0.0


def _conformal_reach(model: ErrorModel, plates: Sequence[LeftOutPlate]) -> float:
    """Return the factor of the standard deviation by hierarchical conformal prediction.

    Each of K plates has the weight 1 / (K + 1), and the new plate the rest: Lee, Barber and
    Willett, arXiv 2306.06342 (2023), for a well of a new plate. At least the fraction
    :data:`LEAST_COVERED` of the wells of the new plate is covered by assumption.
    """
    scores = [_interval_scores(model, plate) for plate in plates]
    weights = np.concatenate(
        [np.full(len(one), 1 / (len(one) * (len(plates) + 1))) for one in scores]
    )
    ordered = np.concatenate(scores)
    order = np.argsort(ordered)
    needed = CONFIDENCE - LEAST_COVERED / (len(plates) + 1)
    reached = np.cumsum(weights[order]) >= needed - 1e-9
    return float(ordered[order][np.argmax(reached)])


def _interval_scores(model: ErrorModel, plate: LeftOutPlate) -> Float64Array:
    """Return the smallest factor of the standard deviation that covers each of n wells, (n,)."""
    low, high = _without_spread(plate.predicted, plate.untreated)
    outside = np.maximum(np.maximum(low - plate.measured, plate.measured - high), 0.0)
    return np.asarray(outside / well_sd(model, plate.predicted, plate.untreated))
