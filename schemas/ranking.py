"""The ranking of a plate as it is written to files and published.

The field names are fixed, because other programs read them. ``docs/reference/numbers.md`` defines
each field.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.calibration import CalibrationCard, Drift, Method, PercentBasis
from schemas.dose_response import Combination, DoseResponse
from schemas.frozen_model import FrozenModel
from schemas.plate_map import Group
from schemas.quality import Flag
from schemas.tissue import Unsure

FOR_RESEARCH_USE_ONLY = "For research use only. Not for use in diagnostic procedures."
"""Notice in every ranking, report and page."""


class Verdict(StrEnum):
    """Conclusion about the effect of a treatment."""

    EFFECTIVE = "effective"
    NO_EVIDENCE = "no_evidence"
    """No significant difference from untreated wells."""
    GROWTH = "growth"
    """Significant departure, but away from deterioration."""
    TOO_FEW_WELLS = "too_few_wells"
    """Even the strongest effect would not be significant with this number of wells."""


class Direction(StrEnum):
    """Direction in which the tissue of a treatment departed from the expected untreated state."""

    DETERIORATION = "deterioration"
    GROWTH = "growth"
    """Further along the development of untreated tissue, and in no other direction."""
    UNDECIDED = "undecided"
    """Possibly growth; treated as deterioration."""


class Gate(StrEnum):
    """Result of the plate quality check, which uses the plate's own untreated wells."""

    PASSED = "passed"
    FAILED = "failed"
    NO_READOUT = "no_readout"
    """The readout deadline passed without readout images that can be ranked. The ranking is final
    and has no treatments.
    """


class Condition(StrEnum):
    """Condition of the tissue of a well."""

    INTACT = "intact"
    EXPLODED = "exploded"


class Reason(FrozenModel):
    """A measure whose change since dosing differs between treated and untreated wells."""

    measure: str
    """Name of the feature."""
    seen: str
    """Visible change in words, such as ``smaller`` or ``more debris``."""
    spreads: float
    """Mean change of the treated wells minus mean change of untreated wells, in untreated standard
    deviations.
    """
    from_day: int
    """First culture day of a clear change that continues until the readout."""
    wells: tuple[str, ...]
    """Wells with this change, the strongest first."""


class TreatmentRank(FrozenModel):
    """Rank, score and statistics of one treatment of a plate."""

    efficacy_rank: int
    """Rank of the treatment; 1 = strongest effect."""
    scale_position: int
    """Position on the scale of the thesis, 1…n; 1 = weakest effect."""
    treatment: str
    """Text of the treatment, such as ``gemcitabine:0.5 uM + paclitaxel:10 nM``."""
    group: Group
    """Group of the wells in the plate map."""
    wells: tuple[str, ...]
    """Wells that the score uses."""
    score: float
    """Effect in untreated standard deviations: 0 = like untreated wells, larger = more
    deterioration. If the method is deterioration: predicted percentage, 0 to 100.
    """
    score_low: float
    """Lower end of the score's 90 % interval. If the method is deterioration, a value below 0 is a
    viability above that of the control.
    """
    score_high: float
    """Upper end of the score's 90 % interval."""
    rank_low: int
    """Best efficacy rank that the uncertainty allows."""
    rank_high: int
    """Worst efficacy rank that the uncertainty allows."""
    p_value: float
    """p-value of a permutation test against the untreated wells."""
    p_floor: float = 0.0
    """Smallest possible p-value with this number of wells: 1 / C(n + m, n)."""
    q_value: float
    """p-value adjusted for the number of treatments."""
    effect_size: float = 0.0
    """Distance between the mean residuals of treated and untreated wells in untreated standard
    deviations, corrected for noise; the p-value tests this distance.
    """
    effect_low: float = 0.0
    """Lower end of the 90 % interval of the effect size."""
    effect_high: float = 0.0
    """Upper end of the 90 % interval of the effect size."""
    chance_best: float = 0.0
    """Probability that this treatment has the strongest effect of the plate."""
    percent_basis: PercentBasis | None = None
    """Basis of the percentage and its interval: ``prior`` (one assay plate: the percentage is
    driven by the prior, and the order is more reliable), ``model`` (fewer than nine assay plates)
    or ``conformal``. Null if the method is departure.
    """
    embedding_share: float | None = Field(default=None, ge=0, le=1)
    """Contribution of the embedding to the score, 0 to 1, as the mean over the wells. It is the
    fraction of the squared departure, or the part of the predicted percentage, that is due to the
    embedding. The rest is the contribution of the measures. Null if only one of them is compared,
    or in a ranking of an earlier version of SpheroRank.
    """
    direction: Direction | None = None
    """Direction of the departure; null without evidence of a departure."""
    likeness_to_single_dose: float | None = None
    """Cosine between the mean residuals of this treatment and of the single dose: 1 = same
    direction, −1 = opposite direction. For information only; null without a single dose.
    """
    verdict: Verdict
    """Conclusion about the effect."""
    measures: dict[str, float] = Field(default={})
    """Mean of each measure over the wells."""
    reasons: tuple[Reason, ...] = ()
    """Measures that changed differently than in untreated wells, the strongest first; empty if
    there are none.
    """


class WellRank(FrozenModel):
    """Rank, score and measurements of one well of the plate map."""

    well: str
    """Name of the well."""
    group: Group
    """Group in the plate map."""
    treatment: str
    """Treatment in the plate map."""
    efficacy_rank: int | None
    """Rank among the treated wells, 1 = strongest effect; null for untreated and left-out wells."""
    scale_position: int | None
    """Position among all wells with a score, untreated wells included: 1 = smallest score."""
    condition_position: int | None = None
    """Position among the treated wells: 1…x are intact wells by score, x + 1…n are exploded wells
    by degree of explosion. Null for untreated wells and where no condition is known.
    """
    score: float | None
    """Score with the same meaning as for treatments; null if the well has no usable image."""
    departures: dict[str, float] = Field(default={})
    """Departure by each metric, in the unit of the score; one of them is the score."""
    p_value: float | None = None
    """Conformal p-value of this well alone against untreated wells. It is never below 1 / (1 +
    untreated wells), so there is no q-value.
    """
    condition: Condition | None
    """Condition of the tissue; null if the tissue was not measured."""
    explosion_degree: float | None = None
    """Degree of explosion: 0 = intact, larger = the tissue spread further or in more pieces; null
    if the tissue was not measured, or is exploded and was measured by an earlier version.
    """
    measures: dict[str, float] = Field(default={})
    """Measures of the readout image, each name with its unit, and their change since dosing
    (``…_change``).
    """
    deterioration_percent: float | None
    """Predicted deterioration in percent; null without a calibration."""
    deterioration_low: float | None
    """Lower end of the 90 % prediction interval in percent; below 0 is a viability above that of
    the control.
    """
    deterioration_high: float | None
    """Upper end of the 90 % prediction interval in percent."""
    deterioration_assumed: bool = False
    """True for exploded tissue, for which 100 % is assumed."""
    percent_basis: PercentBasis | None = None
    """Basis of the percentage and its interval, as for treatments; null without a prediction."""
    flags: tuple[Flag, ...]
    """Reasons to inspect the image."""
    unsure: tuple[Unsure, ...] = ()
    """Reasons to doubt the outline of the tissue in the readout image."""


class LeftOut(FrozenModel):
    """A well that was excluded from the ranking, with the reason."""

    well: str
    """Name of the well."""
    reason: str
    """Reason for the exclusion."""


class RankingQuality(FrozenModel):
    """Quality of a plate: control statistics, position effects, excluded and missing wells."""

    gate: Gate
    """Result of the quality check."""
    reasons: tuple[str, ...]
    """Reasons why the check failed, or why there is no readout."""
    z_prime: float | None
    """Z′ of the single dose against untreated wells; null if wells of one kind are missing."""
    robust_z_prime: float | None = None
    """Z′ computed from medians and median absolute deviations."""
    ssmd: float | None
    """Strictly standardised mean difference of the single dose and untreated wells."""
    edge_effect: float | None
    """Mean score of untreated outer wells minus inner wells of the map, in untreated standard
    deviations; null if wells have no positions.
    """
    row_effect: float | None
    """Correlation between the scores of untreated wells and their rows."""
    column_effect: float | None
    """Correlation between the scores of untreated wells and their columns."""
    corrected_for: tuple[str, ...] = ()
    """Significant position effects (row, column, edge) that the scores are corrected for."""
    untreated_in_one_block: bool = False
    """True if all untreated wells form one block; then position effects and treatment effects
    cannot be distinguished.
    """
    left_out: tuple[LeftOut, ...]
    """Excluded wells with their reasons."""
    missing_images: tuple[str, ...]
    """Wells of the map that contain tissue but have no image of this day."""


class Scale(FrozenModel):
    """Scales of B. Babu's thesis (docs/explanation/thesis.md), whose positions begin with 1.

    Method 1 places all wells by score: ``scale_position`` 1…``wells``. Method 2 places the treated
    wells: ``condition_position`` 1…x are intact wells, ordered by score, and x + 1…n are exploded
    wells, ordered by degree of explosion.
    """

    x: int | None
    """Number of treated intact wells; null if the tissue was not measured."""
    n: int
    """Number of treated wells that are placed by their condition; without a known condition, of
    all ranked wells.
    """
    wells: int = 0
    """Number of wells with a score, untreated wells included."""
    untreated_first: float | None = None
    """Share of the u untreated wells among the first u positions of all wells: 1 = no treated well
    is among them. Null without an untreated well.
    """


class LabelDoubt(FrozenModel):
    """Wells whose trajectories contradict their labels in the plate map.

    No label and no score is changed; a person decides.
    """

    wells: tuple[str, ...]
    """One mislabelled well, two exchanged wells, or all moved wells of a turned plate."""
    said: str
    """Label in the plate map."""
    seems: str
    """Label that fits better. For two wells that have each other's label it is ``exchanged``; for
    a turned plate it is the orientation of the plate.
    """
    probability: float = Field(ge=0, le=1)
    """Probability that the label is wrong."""

    @property
    def sentence(self) -> str:
        """Sentence that asks a person to check the label."""
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
    """Ranked treatments and wells of a plate before plate id, day and revision are added."""

    treatments: tuple[TreatmentRank, ...]
    """Treatments, ordered by efficacy rank."""
    wells: tuple[WellRank, ...]
    """All wells of the plate map."""
    scale: Scale
    """Scale of the thesis."""
    quality: RankingQuality
    """Quality of the plate."""
    notes: tuple[str, ...]
    """Notes for the reader, as sentences."""
    dose_responses: tuple[DoseResponse, ...] = ()
    """Dose responses, one entry per compound, kind of unit and fitted effect."""
    combinations: tuple[Combination, ...] = ()
    """Effects of combinations, one entry per combination."""
    label_doubts: tuple[LabelDoubt, ...] = ()
    """Wells with a probability of at least 0.1 of a wrong label, the most probable first."""


def ranking_name(day: int, revision: int) -> str:
    """Return the stem of the file names of a ranking, such as ``day10-r1``."""
    return f"day{day:02d}-r{revision}"


class RankingHead(FrozenModel):
    """Identity of a ranking and all settings that are needed to compute it again."""

    plate: str
    """Plate id."""
    seeded_at: datetime | None = None
    """Time of seeding in the plate map; null in a ranking of an earlier version of SpheroRank."""
    day: int
    """Culture day of the images; day 1 is the day of seeding."""
    revision: int = Field(ge=1)
    """Revision of the ranking of this plate and day, from 1; a later run continues the count."""
    final: bool
    """False for a provisional ranking, which more images or days will follow."""
    replaces: int | None
    """Revision of the same run that this one corrects; null for the first one of a run."""
    created_at: datetime
    """Time of the computation."""
    run: int = Field(default=1, ge=1)
    """Number of the use of the plate id, from 1; each run has its own images and labels."""
    notice: str = FOR_RESEARCH_USE_ONLY
    """Notice that SpheroRank is for research use only."""
    method: Method
    """Method by which wells and treatments are ranked."""
    requested_method: Method | None = None
    """Method that a person requested with `spherorank rank plate --method`, and that later rankings
    of the plate keep; null if the settings decided the method.
    """
    representation: Literal["embedding", "measures", "both"]
    """Features that were compared."""
    encoder_id: str
    """Name and digest of the encoder bundle."""
    measured_by: str | None = None
    """Segmenter and version of the measures that the ranking shows and compares; null if an
    earlier version of SpheroRank measured the images.
    """
    code_version: str
    """Version of SpheroRank with its git commit, such as 0.1.0+g14fd511c2a90."""
    config_digest: str
    """Digest of the settings that influence a ranking."""
    inputs_digest: str
    """Digest of the observations, plate map and settings; equal inputs make no new revision."""
    specimen: str | None
    """Specimen of the plate; null if the plate map names none."""
    earlier_plates: tuple[str, ...] = ()
    """Earlier plates whose untreated wells were used, the newest first."""
    earlier_digest: str = ""
    """Digest of the images of the earlier plates that were used; empty without earlier plates. A
    later plate, or a later image of an earlier plate, alone makes no new revision.
    """
    calibration: CalibrationCard | None = None
    """Card of the deterioration model; null if none was used. A later assay makes no new revision
    by itself.
    """
    drift: Drift | None = None
    """Distance of this plate from the calibration plates; if it is outside their range, the method
    is departure.
    """

    @property
    def name(self) -> str:
        """Stem of the file names of this ranking, such as ``day10-r1``."""
        return ranking_name(self.day, self.revision)

    @property
    def order(self) -> tuple[int, int, int]:
        """Sort key: the newest ranking of a plate has the largest run, then day, then revision."""
        return self.run, self.day, self.revision


class Ranking(TreatmentTable, RankingHead):
    """One revision of the ranking of one plate on one day."""
