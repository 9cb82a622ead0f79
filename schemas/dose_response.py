"""How effect follows dose, and what combinations do beyond their parts, as they stand in a ranking."""

from enum import StrEnum

from schemas.frozen_model import FrozenModel


class Effect(StrEnum):
    """What was fitted, larger = further towards deterioration."""

    DETERIORATION = "deterioration"  # predicted percent / 100: a fraction
    DEPARTURE = "departure"  # the score: open-ended, in untreated spreads
    GROWTH_RATE = (
        "growth_rate"  # 1 - GR of the volume: 0 = grows like untreated, 1 = stands still, 2 = gone
    )


class Response(StrEnum):
    """Whether a compound's effect follows its dose."""

    RESPONDS = "responds"  # the curve is better than a flat line, p <= 0.05
    NO_RESPONSE = "no_response"  # cannot be told from flat: there is no IC50
    TOO_FEW_DOSES = (
        "too_few_doses"  # a curve of four parameters needs four doses, 0 (untreated) among them
    )
    TOO_FEW_WELLS = "too_few_wells"  # no more wells than parameters


class Bound(StrEnum):
    """Where a dose lies beside the doses tested."""

    WITHIN = "within"
    ABOVE_HIGHEST = "above_highest"  # > the highest dose tested, or never
    BELOW_LOWEST = "below_lowest"  # < the lowest dose tested


class DosePoint(FrozenModel):
    """The wells of one dose."""

    amount: float
    """in the curve's unit; 0 = untreated"""
    wells: tuple[str, ...]
    effects: tuple[float, ...]
    """of each of the wells"""
    mean: float


class Estimate(FrozenModel):
    """A number with its 90 % interval."""

    value: float
    low: float | None
    """null where the wells set no limit"""
    high: float | None
    """null where the wells set no limit"""


class InhibitoryDose(FrozenModel):
    """A dose with an effect of interest, with its 90 % interval; never extrapolated."""

    bound: Bound
    amount: float
    """in the curve's unit; where the dose lies beyond the doses tested, the outermost dose tested: read ``bound``"""
    low: float | None
    """null where the interval reaches below the lowest dose tested"""
    high: float | None
    """null where the interval reaches above the highest dose tested"""


class Curve(FrozenModel):
    """effect = bottom + (top - bottom) / (1 + (midpoint / dose)^hill), between the doses tested."""

    bottom: Estimate
    """effect of dose 0, with the untreated wells among the wells fitted"""
    top: Estimate
    """effect that the curve rises to; without a limit where no dose tested is near it"""
    midpoint: float
    """dose of half the rise, for drawing: ``relative_ic50`` says how much of it is known"""
    hill: Estimate


class DoseResponse(FrozenModel):
    """One compound's effect against its dose."""

    compound: str
    unit: str
    """of every amount here: doses in units of one kind are converted, kinds (molar, mass, percent) are kept apart"""
    effect: Effect
    doses: tuple[DosePoint, ...]
    """ascending, untreated first"""
    verdict: Response
    p_value: float | None
    """F test of the curve against a flat line; null without a fit"""
    curve: Curve | None
    """null unless it responds"""
    relative_ic50: InhibitoryDose | None
    """midpoint of the curve: half of its own rise"""
    absolute_ic50: InhibitoryDose | None
    """where the effect is 0.5; of ``growth_rate`` the GR50; null of ``departure``, which is no fraction"""


class Excess(FrozenModel):
    """Effect beyond what a reference model expects, as a fraction; above 0 = synergy."""

    expected: float
    excess: float
    low: float
    """lower end of the 90 % interval"""
    high: float
    """upper end of the 90 % interval"""
    p_value: float
    """of no excess, two-sided"""


class Combination(FrozenModel):
    """What a combination does beyond its parts."""

    treatment: str
    wells: tuple[str, ...]
    effect: Effect
    observed: float
    """mean effect of the wells, in the unit of ``effect``"""
    full_effect: float | None
    """the effect that counts as a fraction of 1; null where no treatment has an effect"""
    full_effect_of: str
    """the treatment it was taken from: the plate's strongest; empty where the assay says what is a whole"""
    fraction: float | None
    """observed effect as a fraction: 0 = untreated, 1 = ``full_effect``"""
    bliss: Excess | None
    hsa: Excess | None
    """beyond the highest single agent"""
    loewe: Excess | None
    missing: tuple[str, ...]
    """why an excess is null, in sentences"""
