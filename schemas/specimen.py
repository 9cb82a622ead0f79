"""The ranking of a specimen from the rankings of its plates, as written to files and published."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.calibration import Method
from schemas.frozen_model import FrozenModel
from schemas.plate_map import Group
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Verdict


class Agreement(StrEnum):
    """Agreement between the plates of a specimen about one treatment."""

    ONE_PLATE = "one_plate"
    """Only one plate has this treatment."""
    AGREE = "agree"
    """The plates do not differ more than their wells explain."""
    DISAGREE = "disagree"
    """The plates differ more than their wells explain, after correction for plate effects."""
    CONTRADICT = "contradict"
    """Effective on one plate, growth on another."""


class RunOfPlate(FrozenModel):
    """One run of a plate id: a plate of its own for a specimen."""

    plate: str
    """Plate id."""
    run: int = 1
    """Number of the use of the plate id, from 1."""

    @property
    def label(self) -> str:
        """The plate id, and the run unless it is the first."""
        return self.plate if self.run == 1 else f"{self.plate} run {self.run}"


class PlateOfSpecimen(RunOfPlate):
    """One plate of a specimen, with the plate ranking that was used and its plate effects."""

    day: int
    """Culture day of the plate's ranking."""
    revision: int
    """Revision of the plate's ranking."""
    inputs_digest: str
    """Inputs digest of the plate's ranking."""
    left_out: str | None
    """Reason why this plate was excluded; null if it was used."""
    gain: float | None
    """Factor of all effects on this plate relative to the mean plate; scores are corrected for it.
    Null if the plate was excluded.
    """
    offset: float | None
    """Offset of all effects on this plate: score = gain × (effect + offset); scores are corrected
    for it. Null if the plate was excluded.
    """
    untreated_wells: int
    """Number of untreated wells with a score, which determine the scale of the plate."""


class OnPlate(RunOfPlate):
    """Result of a treatment in the ranking of one plate, without correction for plate effects."""

    plate: str
    """Plate id."""
    efficacy_rank: int
    """Rank of the treatment on this plate; 1 = strongest effect."""
    wells: tuple[str, ...]
    """Names of the wells."""
    score: float
    """Score of the treatment, in the unit of this plate."""
    score_low: float
    """Lower end of the score's 90 % interval."""
    score_high: float
    """Upper end of the score's 90 % interval."""
    p_value: float
    """p-value of a permutation test against the untreated wells of this plate."""
    verdict: Verdict
    """Conclusion about the effect on this plate."""


class SpecimenTreatment(FrozenModel):
    """Rank, score and agreement of one treatment over all plates of a specimen."""

    efficacy_rank: int
    """Rank of the treatment; 1 = strongest effect."""
    scale_position: int
    """Position on the scale of the thesis, 1…n; 1 = weakest effect."""
    treatment: str
    """Text of the treatment, as in the plate maps."""
    group: Group
    """Group of the wells in the plate maps."""
    wells: int
    """Number of wells on all plates that were used."""
    score: float
    """Effect in untreated standard deviations, corrected for gains and offsets of plates; 0 = like
    untreated wells.
    """
    score_low: float
    """Lower end of the 90 % interval, which includes the disagreement between plates."""
    score_high: float
    """Upper end of the 90 % interval."""
    rank_low: int
    """Best efficacy rank that the uncertainty allows."""
    rank_high: int
    """Worst efficacy rank that the uncertainty allows."""
    p_value: float
    """Combined p-value of the plates."""
    q_value: float
    """p-value adjusted for the number of treatments."""
    verdict: Verdict
    """Conclusion about the effect over all plates."""
    agreement: Agreement
    """Agreement between the plates about this treatment."""
    heterogeneity_p: float | None
    """p-value of Cochran's Q: the probability of differences of this size or larger if the plates
    agree; null with one plate.
    """
    i_squared: float | None
    """Fraction of the variation between plates that exceeds chance, 0…1; null with one plate."""
    plates: tuple[OnPlate, ...]
    """Result on each plate alone."""


class SpecimenTable(FrozenModel):
    """Ranked treatments of a specimen before the specimen id and revision are added."""

    method: Method
    """Method by which the plates were ranked."""
    representation: Literal["embedding", "measures", "both"]
    """Features that were compared on the plates."""
    encoder_id: str
    """Name and digest of the encoder bundle of all plates that were used."""
    measured_by: str | None = None
    """Segmenter and version of the measures of all plates that were used; null if an earlier
    version of SpheroRank measured them, or if no measures were compared.
    """
    between_plates: float
    """Standard deviation of an effect between plates that well noise, gains and offsets do not
    explain, as a fraction of √(1 + effect²).
    """
    plates: tuple[PlateOfSpecimen, ...]
    """Plates, ordered by name."""
    treatments: tuple[SpecimenTreatment, ...]
    """Treatments, ordered by efficacy rank."""
    notes: tuple[str, ...]
    """Notes for the reader, as sentences."""


def specimen_ranking_name(revision: int) -> str:
    """Return the stem of the file names of a specimen's ranking, such as ``r1``."""
    return f"r{revision}"


class SpecimenHead(FrozenModel):
    """Identity of a specimen ranking and digests of its inputs."""

    specimen: str
    """Specimen id."""
    revision: int = Field(ge=1)
    """Revision of the ranking of this specimen, from 1."""
    replaces: int | None
    """Revision that this ranking corrects; null for the first revision."""
    created_at: datetime
    """Time of the computation."""
    notice: str = FOR_RESEARCH_USE_ONLY
    """Notice that SpheroRank is for research use only."""
    code_version: str
    """Version of SpheroRank with its git commit, such as 0.1.0+g14fd511c2a90."""
    config_digest: str
    """Digest of the settings that influence a ranking."""
    inputs_digest: str
    """Digest of the plate rankings that were used; equal inputs make no new revision."""

    @property
    def name(self) -> str:
        """Stem of the file names of this ranking, such as ``r1``."""
        return specimen_ranking_name(self.revision)


class SpecimenRanking(SpecimenTable, SpecimenHead):
    """One revision of the ranking of one specimen."""
