"""A ranking as it is written to files and sent to subscribers; the field names are the contract's."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.calibration import CalibrationCard, Drift, Method
from schemas.dose_response import Combination, DoseResponse
from schemas.frozen_model import FrozenModel
from schemas.plate_map import Group
from schemas.quality import Flag

FOR_RESEARCH_USE_ONLY = "For research use only. Not for use in diagnostic procedures."


class Verdict(StrEnum):
    """What can be said of a treatment."""

    EFFECTIVE = "effective"
    NO_EVIDENCE = "no_evidence"  # cannot be told from untreated
    GROWTH = "growth"  # departs, but away from deterioration
    TOO_FEW_WELLS = "too_few_wells"  # even the strongest effect could not have been told


class Direction(StrEnum):
    """Which way a treatment's tissue departed from what it would have become untreated."""

    DETERIORATION = "deterioration"
    GROWTH = "growth"  # further along the way that untreated tissue goes, and nothing else
    UNDECIDED = "undecided"  # perhaps growth; counted as deterioration


class Gate(StrEnum):
    """Whether the plate's own untreated wells allow a ranking to be believed."""

    PASSED = "passed"
    FAILED = "failed"


class Condition(StrEnum):
    """Whether the tissue held together."""

    INTACT = "intact"
    EXPLODED = "exploded"


class Reason(FrozenModel):
    """A measure of a treatment's wells that changed since dosing unlike that of untreated wells."""

    measure: str
    """as among the features that were compared"""
    seen: str
    """in words, such as ``smaller`` or ``more debris``"""
    spreads: float
    """mean change of the wells less the mean change of untreated ones, in untreated spreads"""
    from_day: int
    """the first day from which on it is plain"""
    wells: tuple[str, ...]
    """those that share it, the strongest first"""


class TreatmentRank(FrozenModel):
    """One treatment of a plate."""

    efficacy_rank: int
    """1 = strongest effect"""
    scale_position: int
    """1 = weakest: the thesis's 1…n"""
    treatment: str
    """as in ``gemcitabine:0.5 uM + paclitaxel:10 nM``"""
    group: Group
    wells: tuple[str, ...]
    """those that the score rests on"""
    score: float
    """0 = like untreated, in units of the untreated spread, larger = further towards deterioration"""
    score_low: float
    """lower end of the score's interval"""
    score_high: float
    """upper end of the score's interval"""
    rank_low: int
    """best efficacy rank that the uncertainty allows"""
    rank_high: int
    """worst efficacy rank that the uncertainty allows"""
    p_value: float
    p_floor: float = 0.0
    """smallest p-value that so many wells allow: 1 / C(n + m, n)"""
    q_value: float
    """p-value corrected for the number of treatments"""
    effect_size: float = 0.0
    """distance of the wells' mean residual from that of untreated wells in their spreads, less what noise adds; the p-value tests it"""
    effect_low: float = 0.0
    effect_high: float = 0.0
    chance_best: float = 0.0
    """probability that no other treatment of the plate has a stronger effect"""
    direction: Direction | None = None
    """null where there is no evidence of a departure"""
    likeness_to_single_dose: float | None = None
    """cosine of the two mean residuals: 1 = the same way, −1 = the opposite way; shown beside, decides nothing; null without a single dose"""
    verdict: Verdict
    measures: dict[str, float] = Field(default={})
    """mean over the wells of what was measured of each"""
    reasons: tuple[Reason, ...] = ()
    """what sets its wells apart, the strongest first; empty where nothing measured does"""


class WellRank(FrozenModel):
    """One well of the map."""

    well: str
    group: Group
    treatment: str
    efficacy_rank: int | None
    """among the treated wells; null for untreated wells and wells that were left out"""
    scale_position: int | None
    score: float | None
    """as a treatment's; null where the well has no usable image"""
    departures: dict[str, float] = Field(default={})
    """by each metric, on the scale of the score; one of them is the score"""
    p_value: float | None = None
    """of this well alone against untreated wells (conformal); never below 1 / (1 + untreated wells), so there is no q"""
    condition: Condition | None
    """null where the tissue was not measured"""
    explosion_degree: float | None = None
    """0 = held together, larger = the further the tissue has spread; null where the tissue was not measured"""
    measures: dict[str, float] = Field(default={})
    """of the readout image, each name with its unit, and the change of each since dosing (``…_change``)"""
    deterioration_percent: float | None
    """null until calibrated against an assay"""
    deterioration_low: float | None
    deterioration_high: float | None
    deterioration_assumed: bool = False
    """exploded: taken for 100 %"""
    flags: tuple[Flag, ...]
    """reasons to look twice at the image"""


class LeftOut(FrozenModel):
    """A well that took no part, and why."""

    well: str
    reason: str


class RankingQuality(FrozenModel):
    """Whether to believe it."""

    gate: Gate
    reasons: tuple[str, ...]
    """why the gate failed"""
    z_prime: float | None
    """of the single dose against the untreated; null without either"""
    robust_z_prime: float | None = None
    """from medians and median deviations"""
    ssmd: float | None
    """strictly standardised mean difference of the same two"""
    edge_effect: float | None
    """mean score of untreated outer minus inner wells of the map, in untreated spreads; null where wells have no positions"""
    row_effect: float | None
    """correlation of the untreated wells' score with their row"""
    column_effect: float | None
    """correlation of the untreated wells' score with their column"""
    corrected_for: tuple[str, ...] = ()
    """which of row, column and edge were found to matter and taken into account"""
    untreated_in_one_block: bool = False
    """then what a place does and what a treatment does cannot be told apart"""
    left_out: tuple[LeftOut, ...]
    missing_images: tuple[str, ...]
    """wells of the map with tissue and no image of this day"""


class Scale(FrozenModel):
    """The scale of the thesis: 1…x intact by deterioration, x+1…n exploded by degree."""

    x: int | None
    """null where wells are ranked by departure, or the tissue was not measured"""
    n: int
    """ranked wells"""


class LabelDoubt(FrozenModel):
    """Wells whose trajectory contradicts what the plate map says of them; no label is changed and no score: people decide."""

    wells: tuple[str, ...]
    """one that slipped, two that were exchanged, or all of a plate that was turned"""
    said: str
    """by the plate map"""
    seems: str
    """the label that fits better; ``exchanged``: each has the other's; or how the plate was turned"""
    probability: float = Field(ge=0, le=1)

    @property
    def sentence(self) -> str:
        """What a person should look at."""
        probability = f"probability {min(self.probability, 0.99):.2f}"
        match self.wells:
            case (well,):
                return (
                    f"Well {well} is labelled {self.said} and looks like {self.seems} "
                    f"({probability}): check its label."
                )
            case (one, other):
                return (
                    f"Wells {one} and {other}, labelled {self.said}, look {self.seems} "
                    f"({probability}): check both labels."
                )
        return (
            f"The plate looks {self.seems} ({probability}): check the plate map against the plate."
        )


class TreatmentTable(FrozenModel):
    """The result of the arithmetic, before it becomes the ranking of a plate and day."""

    treatments: tuple[TreatmentRank, ...]
    """by efficacy rank"""
    wells: tuple[WellRank, ...]
    """every well of the map"""
    scale: Scale
    quality: RankingQuality
    notes: tuple[str, ...]
    """what a reader has to know, in sentences"""
    dose_responses: tuple[DoseResponse, ...] = ()
    """one for each compound, kind of unit and effect fitted"""
    combinations: tuple[Combination, ...] = ()
    """one for each combination"""
    label_doubts: tuple[LabelDoubt, ...] = ()
    """wells that look as if they were labelled wrongly, with a probability of 0.1 or more, the most probable first"""


class RankingHead(FrozenModel):
    """Which ranking this is and how it was made: enough to make it again."""

    plate: str
    day: int
    """culture day of the images; day 1 is the day of seeding"""
    revision: int = Field(ge=1)
    final: bool
    """false: provisional, more images or days are to come"""
    replaces: int | None
    """the revision this one corrects"""
    created_at: datetime
    notice: str = FOR_RESEARCH_USE_ONLY
    method: Method
    representation: Literal["embedding", "measures", "both"]
    encoder_id: str
    """digest of the encoder bundle"""
    code_version: str
    config_digest: str
    inputs_digest: str
    """of the observations, plate map and settings it rests on: equal inputs make no new revision"""
    specimen: str | None
    earlier_plates: tuple[str, ...] = ()
    """whose untreated wells were taken along, the newest first"""
    earlier_digest: str = ""
    """of their images; empty without any. A later plate, or a later image of an earlier one, makes no new revision by itself"""
    calibration: CalibrationCard | None = None
    """of the model that predicts deterioration; null where none was taken. A later assay makes no new revision by itself"""
    drift: Drift | None = None
    """of this plate from those of the calibration; where it is outside their range, the method is departure all the same"""

    @property
    def name(self) -> str:
        """``day10-r1``: the stem of its files."""
        return f"day{self.day:02d}-r{self.revision}"


class Ranking(TreatmentTable, RankingHead):
    """One revision of the ranking of one plate on one day."""
