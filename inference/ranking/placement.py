"""Parts of a ranking that the scoring of a plate produces, before they become rows of a table."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.calibration import Method, PercentBasis
from schemas.plate_map import Group
from schemas.quality import Flag
from schemas.ranking import Direction, LabelDoubt, RankingQuality, Verdict
from schemas.tissue import Unsure


@dataclass(frozen=True)
class TreatmentEvidence:
    """The statistical test of one treatment: whether its wells depart from the untreated wells."""

    group: Group
    treatment: str
    wells: tuple[str, ...]  # the scored wells
    p_value: float
    p_floor: float
    q_value: float
    effect_size: float
    effect_low: float
    effect_high: float
    direction: Direction | None  # None: no evidence of a departure
    likeness_to_single_dose: float | None
    verdict: Verdict


@dataclass(frozen=True)
class TreatmentPlace:
    """The score of one treatment and its place among the treatments of the plate."""

    evidence: TreatmentEvidence
    wells: tuple[str, ...]  # the wells that the score is computed from
    efficacy_rank: int
    scale_position: int
    score: float
    score_low: float
    score_high: float
    rank_low: int
    rank_high: int
    chance_best: float
    embedding_share: float | None  # of the score, 0 to 1; None: one part alone is compared
    percent_basis: PercentBasis | None = None  # of a predicted percentage; None by departure


@dataclass(frozen=True)
class ScoredWell:
    """One well of the plate map with its departures; they are empty without a score."""

    well: str
    group: Group
    treatment: str
    departures: Mapping[str, float]  # by metric, in untreated spreads
    p_value: float | None
    flags: tuple[Flag, ...]
    unsure: tuple[Unsure, ...] = ()  # doubts about the outline in the readout image


@dataclass(frozen=True)
class WellPlace:
    """The score of one well, its rank among treated wells, and its position among all wells."""

    score: float | None = None
    efficacy_rank: int | None = None
    scale_position: int | None = None
    deterioration_percent: float | None = None
    deterioration_low: float | None = None
    deterioration_high: float | None = None
    deterioration_assumed: bool = False
    percent_basis: PercentBasis | None = None  # None without a predicted percentage


@dataclass(frozen=True)
class Placement:
    """The order of the wells and treatments of one plate by one method."""

    method: Method
    treatments: tuple[TreatmentPlace, ...]  # by efficacy rank
    wells: Mapping[str, WellPlace]  # every well of the plate map
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoredPlate:
    """The departures of one plate, their tests, and the order of treatments by departure."""

    wells: tuple[ScoredWell, ...]  # every well of the plate map, in its order
    placement: Placement  # by departure
    quality: RankingQuality
    label_doubts: tuple[LabelDoubt, ...]
