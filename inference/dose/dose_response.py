"""What the wells of one compound say about its dose: a verdict, a curve and the doses of half effect, each with its interval."""

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
HALF_EFFECT = 0.5
_SCANNED_DOSES = 241
_FRACTION_EFFECTS = (Effect.DETERIORATION, Effect.GROWTH_RATE)


def fit_dose_response(
    compound: str, unit: str, effect: Effect, wells: Mapping[float, Sequence[tuple[str, float]]]
) -> tuple[DoseResponse, LogisticFit | None]:
    """Return what is known of one compound, and the fit where it responds.

    Parameters
    ----------
    wells
        By dose in ``unit``, 0 for untreated: each well's name and effect. Effects that are not finite are left out.
    """
    effects_by_dose = {
        dose: [(well, value) for well, value in wells_of_dose if np.isfinite(value)]
        for dose, wells_of_dose in sorted(wells.items())
    }
    effects_by_dose = {
        dose: wells_of_dose for dose, wells_of_dose in effects_by_dose.items() if wells_of_dose
    }
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
    known = DoseResponse(
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
    return known, fit if responds else None


def _verdict(levels: int, fit: LogisticFit | None) -> Response:
    if fit is None:
        return Response.TOO_FEW_DOSES if levels < PARAMETER_COUNT else Response.TOO_FEW_WELLS
    return Response.RESPONDS if fit.p_flat <= SIGNIFICANT_P else Response.NO_RESPONSE


def _dose_point(dose: float, wells_of_dose: Sequence[tuple[str, float]]) -> DosePoint:
    effects = tuple(float(value) for _, value in wells_of_dose)
    return DosePoint(
        amount=dose,
        wells=tuple(well for well, _ in wells_of_dose),
        effects=effects,
        mean=sum(effects) / len(effects),
    )


def _curve(fit: LogisticFit) -> Curve:
    (bottom_low, bottom_high), (top_low, top_high) = fit.effect_limits(0.0), fit.effect_limits(1.0)
    hill_low, hill_high = fit.hill_limits()
    levels_off = fit.midpoint_limits()[1] is not None
    rises = fit.curve.top > fit.curve.bottom
    return Curve(
        bottom=Estimate(value=fit.curve.bottom, low=bottom_low, high=bottom_high),
        top=Estimate(
            value=fit.curve.top,
            low=top_low if levels_off or rises else None,
            high=top_high if levels_off or not rises else None,
        ),
        midpoint=fit.curve.midpoint,
        hill=Estimate(value=fit.curve.hill, low=hill_low, high=hill_high),
    )


def _relative_ic50(fit: LogisticFit) -> InhibitoryDose:
    low, high = fit.midpoint_limits()
    return _inhibitory_dose(fit, fit.curve.midpoint, low, high)


def _absolute_ic50(fit: LogisticFit) -> InhibitoryDose:
    """Return where the curve passes an effect of 0.5, and every dose at which a curve that is not much worse passes it."""
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
    if not possible.size:  # known more finely than these doses tell
        return _inhibitory_dose(
            fit, at, min(max(at, lowest), highest), min(max(at, lowest), highest)
        )
    low = float(possible[0]) if possible.size and possible[0] > lowest else None
    high = float(possible[-1]) if possible.size and possible[-1] < highest else None
    return _inhibitory_dose(fit, at, low, high)


def _dose_for_effect(fit: LogisticFit, effect: float) -> float:
    """Return the dose at which the curve has an effect between its bottom and top."""
    curve = fit.curve
    share = (effect - curve.bottom) / (curve.top - curve.bottom)
    return float(curve.midpoint * (share / (1 - share)) ** (1 / curve.hill))


def _inhibitory_dose(
    fit: LogisticFit, at: float, low: float | None, high: float | None
) -> InhibitoryDose:
    lowest, highest = fit.levels.dose_range
    if at >= highest * (1 - 1e-6):  # the midpoint is not looked for beyond the highest dose
        return InhibitoryDose(bound=Bound.ABOVE_HIGHEST, amount=highest, low=low, high=None)
    if at < lowest:
        return InhibitoryDose(bound=Bound.BELOW_LOWEST, amount=lowest, low=None, high=high)
    return InhibitoryDose(
        bound=Bound.WITHIN,
        amount=at,
        low=None if low is None else min(low, at),
        high=None if high is None else max(high, at),
    )
