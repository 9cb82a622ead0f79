"""Dose-response curves and combination effects as they are written in a ranking."""

from enum import StrEnum

from schemas.frozen_model import FrozenModel


class Effect(StrEnum):
    """Quantity that a dose-response curve describes; larger means more deterioration."""

    DETERIORATION = "deterioration"
    """Predicted deterioration as a fraction, percent / 100."""
    DEPARTURE = "departure"
    """Departure score in untreated standard deviations; it has no upper limit."""
    GROWTH_RATE = "growth_rate"
    """1 − GR of the volume: 0 = growth like untreated, 1 = no growth, 2 = no tissue."""


class Response(StrEnum):
    """Result of the test whether the effect of a compound depends on its dose."""

    RESPONDS = "responds"
    """The curve fits better than a flat line, p ≤ 0.05."""
    NO_RESPONSE = "no_response"
    """The curve does not fit better than a flat line, so there is no IC50."""
    TOO_FEW_DOSES = "too_few_doses"
    """Fewer than four doses; a curve with four parameters needs four, including 0 (untreated)."""
    TOO_FEW_WELLS = "too_few_wells"
    """Not more wells than parameters of the curve."""


class Bound(StrEnum):
    """Position of an inhibitory dose relative to the tested doses."""

    WITHIN = "within"
    """Between the lowest and the highest tested dose."""
    ABOVE_HIGHEST = "above_highest"
    """Above the highest tested dose, or never reached."""
    BELOW_LOWEST = "below_lowest"
    """Below the lowest tested dose."""


class DosePoint(FrozenModel):
    """Wells that received one dose, with their effects."""

    amount: float
    """Dose in the unit of the curve; 0 = untreated."""
    wells: tuple[str, ...]
    """Names of the wells."""
    effects: tuple[float, ...]
    """Effect of each well, in the order of ``wells``."""
    mean: float
    """Mean effect of the wells."""


class Estimate(FrozenModel):
    """Estimated value with its 90 % interval."""

    value: float
    """Estimated value."""
    low: float | None
    """Lower limit of the interval; null if the wells do not set a limit."""
    high: float | None
    """Upper limit of the interval; null if the wells do not set a limit."""


class InhibitoryDose(FrozenModel):
    """Dose with a given effect and its 90 % interval, never beyond the tested doses."""

    bound: Bound
    """Position of the dose relative to the tested doses."""
    amount: float
    """Dose in the unit of the curve. If the dose is beyond the tested doses, this is the nearest
    tested dose (see ``bound``).
    """
    low: float | None
    """Lower limit; null if the interval extends below the lowest tested dose."""
    high: float | None
    """Upper limit; null if the interval extends above the highest tested dose."""


class Curve(FrozenModel):
    """effect = bottom + (top − bottom) / (1 + (midpoint / dose)^hill), between the tested doses."""

    bottom: Estimate
    """Effect of dose 0, fitted with the untreated wells."""
    top: Estimate
    """Effect that the curve approaches at high doses; a limit is null if no tested dose is near
    it.
    """
    midpoint: float
    """Dose at half of the rise, for drawing; its uncertainty is in ``relative_ic50``."""
    hill: Estimate
    """Hill slope."""


class DoseResponse(FrozenModel):
    """Effect of one compound as a function of its dose."""

    compound: str
    """Name of the compound."""
    unit: str
    """Unit of every amount in this entry; units of one kind (molar, mass, percent) are
    converted.
    """
    effect: Effect
    """Quantity that the curve describes."""
    doses: tuple[DosePoint, ...]
    """Tested doses, ascending, untreated first."""
    verdict: Response
    """Result of the test against a flat line."""
    p_value: float | None
    """p-value of the F test of the curve against a flat line; null without a fit."""
    curve: Curve | None
    """Fitted curve; null unless the compound responds."""
    relative_ic50: InhibitoryDose | None
    """Midpoint of the curve, which is the dose at half of the rise of the curve."""
    absolute_ic50: InhibitoryDose | None
    """Dose at which the effect is 0.5. For ``growth_rate`` this is the GR50. Null for
    ``departure``, because it is not a fraction.
    """


class Excess(FrozenModel):
    """Effect of a combination beyond a reference model, as a fraction; above 0 = synergy."""

    expected: float
    """Effect that the reference model expects."""
    excess: float
    """Observed minus expected effect."""
    low: float
    """Lower end of the 90 % interval."""
    high: float
    """Upper end of the 90 % interval."""
    p_value: float
    """Two-sided p-value of the hypothesis that the excess is 0."""


class Combination(FrozenModel):
    """Effect of a combination compared with the effects of its single agents."""

    treatment: str
    """Text of the combination, as in the plate map."""
    wells: tuple[str, ...]
    """Wells that received the combination."""
    effect: Effect
    """Quantity that is compared."""
    observed: float
    """Mean effect of the wells, in the unit of ``effect``."""
    full_effect: float | None
    """Effect that corresponds to a fraction of 1; null where no treatment has an effect."""
    full_effect_of: str
    """Treatment that defines ``full_effect``: the strongest of the plate; empty where the assay
    defines it.
    """
    fraction: float | None
    """Observed effect as a fraction: 0 = untreated, 1 = ``full_effect``."""
    bliss: Excess | None
    """Excess over Bliss independence."""
    hsa: Excess | None
    """Excess over the highest single agent."""
    loewe: Excess | None
    """Excess over Loewe additivity."""
    missing: tuple[str, ...]
    """Reasons why an excess is null, as sentences."""
