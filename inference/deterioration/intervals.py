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
    :data:`MIN_CONFORMAL_PLATES` plates on, the quantile is the conformal one. A single plate has
    few treatments: their quantile is that of Student's t with one degree of freedom less than
    treatments, or than wells if there is one treatment.

    The untreated wells of a single plate are those that its features are relative to, so that their
    errors are smaller than on another plate. The variance between wells is added to
    their variance.

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
    untreated = np.concatenate([plate.error[plate.untreated] for plate in plates])
    of_untreated = float(np.mean(untreated**2)) if len(untreated) else between + well
    if len(plates) == 1:
        of_untreated += well
    spread = float(np.std(of_control) if len(of_control) > 1 else np.sqrt(of_untreated))
    basis: PercentBasis = "prior" if len(plates) == 1 else "model"
    reach = _NORMAL_QUANTILE
    if len(plates) == 1:
        reach = _student_quantile(max(1, fits[0].between_freedom or fits[0].within_freedom))
    model = ErrorModel(
        basis=basis,
        slope_sd=float(np.sqrt(slope_variance)),
        treatment_points=float(np.sqrt(max(0.0, between - well / per_treatment))),
        well_points=max(MIN_SD_POINTS, float(np.sqrt(well))),
        untreated_points=max(MIN_SD_POINTS, float(np.sqrt(of_untreated))),
        degrees_of_freedom=freedom,
        reach=reach,
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
        (_enlarged_slope(model) * percent) ** 2 + model.treatment_points**2 + model.well_points**2
    )
    return np.where(untreated, model.untreated_points, treated)


def prediction_interval(
    model: ErrorModel, percent: Float64Array, untreated: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Return the limits (low (N,), high (N,)) of the 90 % interval of measured deterioration.

    A limit below 0 is a viability above that of the control. Parameters are those of
    :func:`well_sd`.
    """
    reach = model.reach * well_sd(model, percent, untreated)
    lowest = np.minimum(model.lowest_percent, percent)
    return (
        np.clip(percent - reach, lowest, HIGHEST_PERCENT),
        np.clip(percent + reach, lowest, HIGHEST_PERCENT),
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
    return own, stretch * (_enlarged_slope(model) * percent) ** 2


def _enlarged_slope(model: ErrorModel) -> float:
    """Return the standard deviation of the slope, times its quantile by that of the other parts."""
    others = model.reach if model.basis == "prior" else _NORMAL_QUANTILE
    return model.slope_sd * _student_quantile(model.degrees_of_freedom) / others


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
    Willett, arXiv 2306.06342 (2023), for a well of a new plate.
    """
    scores = [
        np.abs(plate.error) / well_sd(model, plate.predicted, plate.untreated) for plate in plates
    ]
    weights = np.concatenate(
        [np.full(len(one), 1 / (len(one) * (len(plates) + 1))) for one in scores]
    )
    ordered = np.concatenate(scores)
    order = np.argsort(ordered)
    reached = np.cumsum(weights[order]) >= CONFIDENCE - 1e-9
    return float(ordered[order][np.argmax(reached)])
