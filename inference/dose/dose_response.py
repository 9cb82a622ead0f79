"""Dose-response of one compound: verdict, curve and inhibitory doses with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np

from inference.dose.logistic import PARAMETER_COUNT, DoseLevels, LogisticFit, fit_logistic
from schemas.dose_response import (
    Bound,
    Curve,
    DosePoint,
    DoseResponse,
    Effect,
    Estimate,
    InhibitoryDose,
    Response,
)

SIGNIFICANT_P = 0.05
"""Largest p-value of a compound that responds."""
HALF_EFFECT = 0.5
"""Effect at the absolute IC50."""
_SCANNED_DOSES = 241
"""Number of doses that are tested for the interval of the absolute IC50."""
_FRACTION_EFFECTS = (Effect.DETERIORATION, Effect.GROWTH_RATE)
"""Effects that are fractions, so that they have an absolute IC50."""


def fit_dose_response(
    compound: str, unit: str, effect: Effect, wells: Mapping[float, Sequence[tuple[str, float]]]
) -> tuple[DoseResponse, LogisticFit | None]:
    """Return (DoseResponse, LogisticFit or None) of a compound from (well, effect) pairs by dose.

    The fit is None if the compound does not respond.

    Parameters
    ----------
    compound, unit
        Name of the compound, and unit of its doses.
    effect
        Quantity of the effects.
    wells
        Name and effect of each well by dose in ``unit``; 0 = untreated. Effects that are not
        finite are omitted.
    """
    effects_by_dose = _finite_effects(wells)
    levels = DoseLevels.from_wells(
        np.array(
            [dose for dose, wells_of_dose in effects_by_dose.items() for _ in wells_of_dose],
            dtype=np.float64,
        ),
        np.array(
            [value for wells_of_dose in effects_by_dose.values() for _, value in wells_of_dose],
            dtype=np.float64,
        ),
    )
    fit = (
        fit_logistic(levels)
        if len(effects_by_dose) >= PARAMETER_COUNT and levels.wells > PARAMETER_COUNT
        else None
    )
    responds = fit is not None and fit.p_flat <= SIGNIFICANT_P
    response = DoseResponse(
        compound=compound,
        unit=unit,
        effect=effect,
        doses=tuple(
            _dose_point(dose, wells_of_dose) for dose, wells_of_dose in effects_by_dose.items()
        ),
        verdict=_verdict(len(effects_by_dose), fit),
        p_value=fit.p_flat if fit else None,
        curve=_curve(fit) if fit and responds else None,
        relative_ic50=_relative_ic50(fit) if fit and responds else None,
        absolute_ic50=_absolute_ic50(fit)
        if fit and responds and effect in _FRACTION_EFFECTS
        else None,
    )
    return response, fit if responds else None


def _finite_effects(
    wells: Mapping[float, Sequence[tuple[str, float]]],
) -> dict[float, list[tuple[str, float]]]:
    """Return the wells with finite effects by ascending dose, without empty doses."""
    finite = {
        dose: [(well, value) for well, value in wells_of_dose if np.isfinite(value)]
        for dose, wells_of_dose in sorted(wells.items())
    }
    return {dose: wells_of_dose for dose, wells_of_dose in finite.items() if wells_of_dose}


def _verdict(levels: int, fit: LogisticFit | None) -> Response:
    """Return the verdict from the number of dose levels and the fit."""
    if fit is None:
        return Response.TOO_FEW_DOSES if levels < PARAMETER_COUNT else Response.TOO_FEW_WELLS
    return Response.RESPONDS if fit.p_flat <= SIGNIFICANT_P else Response.NO_RESPONSE


def _dose_point(dose: float, wells_of_dose: Sequence[tuple[str, float]]) -> DosePoint:
    """Return the wells of one dose with their effects."""
    effects = tuple(float(value) for _, value in wells_of_dose)
    return DosePoint(
        amount=dose,
        wells=tuple(well for well, _ in wells_of_dose),
        effects=effects,
        mean=sum(effects) / len(effects),
    )


def _curve(fit: LogisticFit) -> Curve:
    """Return the fitted curve with intervals; limits of the top that are not set are None."""
    (bottom_low, bottom_high), (top_low, top_high) = fit.effect_limits(0.0), fit.effect_limits(1.0)
    hill_low, hill_high = fit.hill_limits()
    is_top_limited = fit.midpoint_limits()[1] is not None
    rises = fit.curve.top > fit.curve.bottom
    return Curve(
        bottom=Estimate(value=fit.curve.bottom, low=bottom_low, high=bottom_high),
        top=Estimate(
            value=fit.curve.top,
            low=top_low if is_top_limited or rises else None,
            high=top_high if is_top_limited or not rises else None,
        ),
        midpoint=fit.curve.midpoint,
        hill=Estimate(value=fit.curve.hill, low=hill_low, high=hill_high),
    )


def _relative_ic50(fit: LogisticFit) -> InhibitoryDose:
    """Return the midpoint of the curve with its interval."""
    low, high = fit.midpoint_limits()
    return _inhibitory_dose(fit, fit.curve.midpoint, low, high)


def _absolute_ic50(fit: LogisticFit) -> InhibitoryDose:
    """Return the dose with effect 0.5 and the range of doses where allowed curves have it."""
    lowest, highest = fit.levels.dose_range
    doses = np.geomspace(lowest, highest, _SCANNED_DOSES)
    reached = fit.curve.effect_at(doses) >= HALF_EFFECT
    at = (
        highest * 2
        if not reached[-1]
        else 0.0
        if reached[0]
        else _dose_for_effect(fit, HALF_EFFECT)
    )
    possible = doses[fit.doses_reaching(HALF_EFFECT, doses)]
    if not possible.size:  # the interval is narrower than the distance between the doses
        return _inhibitory_dose(
            fit, at, min(max(at, lowest), highest), min(max(at, lowest), highest)
        )
    low = float(possible[0]) if possible.size and possible[0] > lowest else None
    high = float(possible[-1]) if possible.size and possible[-1] < highest else None
    return _inhibitory_dose(fit, at, low, high)


def _dose_for_effect(fit: LogisticFit, effect: float) -> float:
    """Return the dose at which the curve has an effect between its bottom and top."""
    curve = fit.curve
    fraction = (effect - curve.bottom) / (curve.top - curve.bottom)
    return float(curve.midpoint * (fraction / (1 - fraction)) ** (1 / curve.hill))


def _inhibitory_dose(
    fit: LogisticFit, at: float, low: float | None, high: float | None
) -> InhibitoryDose:
    """Return a dose with its limits, or the outermost dose where it is beyond the doses."""
    lowest, highest = fit.levels.dose_range
    if at >= highest * (1 - 1e-6):  # the largest midpoint of a fit is the highest dose
        return InhibitoryDose(bound=Bound.ABOVE_HIGHEST, amount=highest, low=low, high=None)
    if at < lowest:
        return InhibitoryDose(bound=Bound.BELOW_LOWEST, amount=lowest, low=None, high=high)
    return InhibitoryDose(
        bound=Bound.WITHIN,
        amount=at,
        low=None if low is None else min(low, at),
        high=None if high is None else max(high, at),
    )
