"""The ranking of a specimen, from the plates that carry its tissue; one file and one message each."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.calibration import Method
from schemas.frozen_model import FrozenModel
from schemas.plate_map import Group
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Verdict


class Agreement(StrEnum):
    """What the plates of a specimen say of one treatment, beside one another."""

    ONE_PLATE = "one_plate"  # nothing to compare with
    AGREE = "agree"  # no further apart than their wells are
    DISAGREE = "disagree"  # further apart than their wells explain, after the offsets of the plates
    CONTRADICT = "contradict"  # effective on one plate, growth on another


class PlateOfSpecimen(FrozenModel):
    """One plate of the specimen and the ranking that was taken from it."""

    plate: str
    day: int
    revision: int
    """of the plate's own ranking"""
    inputs_digest: str
    """of the plate's own ranking"""
    left_out: str | None
    """why this plate took no part; null if it did"""
    gain: float | None
    """how many times as far every effect goes on this plate as on the mean plate; taken out. null if left out"""
    offset: float | None
    """how much further everything goes besides; taken out: score = gain × (effect + offset). null if left out"""
    untreated_wells: int
    """those with a score, which the plate's scale rests on"""


class OnPlate(FrozenModel):
    """What one plate alone says of a treatment, as in that plate's ranking: nothing is taken out."""

    plate: str
    efficacy_rank: int
    wells: tuple[str, ...]
    score: float
    score_low: float
    score_high: float
    p_value: float
    verdict: Verdict


class SpecimenTreatment(FrozenModel):
    """One treatment, all plates of the specimen together."""

    efficacy_rank: int
    """1 = strongest effect"""
    scale_position: int
    """1 = weakest"""
    treatment: str
    group: Group
    wells: int
    """on all plates that were used"""
    score: float
    """as a plate's: 0 = like untreated, in untreated spreads; gains and offsets of plates are taken out"""
    score_low: float
    """lower end of the 90 % interval, which holds the disagreement between plates"""
    score_high: float
    rank_low: int
    """best efficacy rank that the uncertainty allows"""
    rank_high: int
    """worst efficacy rank that the uncertainty allows"""
    p_value: float
    """the plates' p-values combined"""
    q_value: float
    """p-value corrected for the number of treatments"""
    verdict: Verdict
    agreement: Agreement
    heterogeneity_p: float | None
    """Cochran's Q: chance that plates which agree lie so far apart; null with one plate"""
    i_squared: float | None
    """share of the variation between plates that is more than chance, 0…1; null with one plate"""
    plates: tuple[OnPlate, ...]
    """what each plate says alone"""


class SpecimenTable(FrozenModel):
    """The result of the arithmetic, before it becomes a revision."""

    method: Method
    representation: Literal["embedding", "measures", "both"]
    encoder_id: str
    """digest of the encoder bundle of all plates used"""
    between_plates: float
    """standard deviation of an effect from plate to plate, beyond its wells, gains and offsets, as a share of √(1 + effect²)"""
    plates: tuple[PlateOfSpecimen, ...]
    """by name"""
    treatments: tuple[SpecimenTreatment, ...]
    """by efficacy rank"""
    notes: tuple[str, ...]
    """what a reader has to know, in sentences"""


class SpecimenHead(FrozenModel):
    """Which ranking of a specimen this is."""

    specimen: str
    revision: int = Field(ge=1)
    replaces: int | None
    """the revision this one corrects"""
    created_at: datetime
    notice: str = FOR_RESEARCH_USE_ONLY
    code_version: str
    config_digest: str
    inputs_digest: str
    """of the plates' rankings it rests on: equal inputs make no new revision"""

    @property
    def name(self) -> str:
        """``r1``: the stem of its files."""
        return f"r{self.revision}"


class SpecimenRanking(SpecimenTable, SpecimenHead):
    """One revision of the ranking of one specimen."""
