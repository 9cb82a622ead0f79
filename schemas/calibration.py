"""What is known of a deterioration model: from which assay plates it was learned, how far off it was on plates left out, and whether it is used."""

from typing import Literal

from schemas.frozen_model import FrozenModel

Method = Literal["departure", "deterioration"]
"""How wells and treatments are placed."""
MethodChoice = Literal["auto", "departure", "deterioration"]
"""How they are to be; ``auto``: by deterioration where it is calibrated."""


class CalibrationPlate(FrozenModel):
    """What was taken of one assay plate, by content: enough to find the very same again."""

    plate: str
    assay_digest: str
    map_digest: str
    images: tuple[tuple[str, str, str], ...]
    """well, visit and digest of the pixels of each"""


class Drift(FrozenModel):
    """How far the untreated and single-dose wells of a plate lie from those that a model was learned from."""

    distance: float
    percentile: float
    """of the distance among those of the calibration plates from one another, 0…100"""
    outside: bool
    """of the range seen: then the model is not used for this plate"""


class CalibrationCard(FrozenModel):
    """The card of one calibration; with the assay plates it is enough to make the same model again."""

    digest: str
    """of all that it was learned from: assay rows, images, maps, settings"""
    version: int = 1
    """of the way it is learned"""
    encoder_id: str
    """digest of the encoder bundle, empty for measures alone"""
    representation: str
    """what of a well the model looks at: embedding, measures or both"""
    model: str
    """chosen by leaving out one plate at a time"""
    plates: tuple[str, ...]
    wells: int
    valid: bool
    why_not: tuple[str, ...] = ()
    """why it is not used"""
    mean_error_points: float | None
    """mean absolute error of plates left out, in points of percent"""
    untreated_error_points: float | None
    """the same if every well were taken for untreated, or for the median well of the other plates, whichever is less"""
    spearman: float | None
    """between predicted and measured over the wells of plates left out, mean of plates"""
    worst_spearman: float | None
    """of the worst plate"""
    percent_low: float | None
    """smallest deterioration that was measured"""
    percent_high: float | None
    """largest"""
    left_out_percent: tuple[float, ...] = ()
    """predicted deterioration of each well when its plate was left out"""
    left_out_error: tuple[float, ...] = ()
    """measured less predicted of the same wells: what intervals are made of"""
    left_out_treatment_error: tuple[float, ...] = ()
    """the same for the means of treatments"""

    def summary(self) -> "CalibrationCard":
        """Return the card without what was left out well by well: what a ranking carries."""
        return self.model_copy(
            update=dict.fromkeys(
                ("left_out_percent", "left_out_error", "left_out_treatment_error"), ()
            )
        )
