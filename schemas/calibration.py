"""Description of a deterioration model: training plates, errors and range of validity."""

from typing import Literal

from schemas.frozen_model import FrozenModel

Method = Literal["departure", "deterioration"]
"""Method by which wells and treatments are ranked."""
MethodChoice = Literal["auto", "departure", "deterioration"]
"""Configured method; ``auto`` selects deterioration where a valid calibration exists."""


class MethodRequest(FrozenModel):
    """Request of a person for the method of one plate, instead of the configured choice."""

    method: Method
    """Requested method."""
    calibration: str | None = None
    """Digest of the requested calibration; null for the newest one."""


class CalibrationPlate(FrozenModel):
    """Inputs that a calibration used from one assay plate, identified by their digests."""

    plate: str
    """Plate id."""
    assay_digest: str
    """Digest of the assay."""
    map_digest: str
    """Digest of the plate map."""
    images: tuple[tuple[str, str, str], ...]
    """Well, visit and pixel digest of each image."""
    measured_by: str | None = None
    """Segmenter and version of the measures of all its images; null if an earlier version of
    SpheroRank measured them, or if the model uses no measures.
    """
    crop: str | None = None
    """Name of the part of all its images that the encoder embedded; null for the whole field of the
    encoder, or if the model uses no embedding.
    """


class Drift(FrozenModel):
    """Distance of a plate's untreated and single-dose wells from the calibration plates."""

    distance: float
    """Distance in standard deviations between calibration plates."""
    percentile: float
    """Percentage of calibration plates that are closer to the other calibration plates, 0…100."""
    outside: bool
    """True if the distance is beyond the accepted range; the model is then not used
    for this plate.
    """


class CalibrationCard(FrozenModel):
    """Metadata of one calibration: training plates, model, errors and range of validity.

    With the assay plates, it is sufficient to fit the same model again.
    """

    digest: str
    """Digest of the training inputs: assay rows, images, plate maps and settings."""
    version: int = 1
    """Version of the training procedure."""
    encoder_id: str
    """Name and digest of the encoder bundle; empty for measures alone."""
    measured_by: str | None = None
    """Segmenter and version of the measures of the assay plates; null if an earlier version of
    SpheroRank measured them, or if the model uses no measures.
    """
    representation: str
    """Features that the model uses: embedding, measures or both."""
    model: str
    """Name of the model selected by leave-one-plate-out error."""
    plates: tuple[str, ...]
    """Assay plates that were used for training."""
    wells: int
    """Number of measured wells on these plates."""
    valid: bool
    """True if the error is small enough to use the model."""
    why_not: tuple[str, ...] = ()
    """Reasons why the model is not used, or why plates were skipped."""
    mean_error_points: float | None
    """Mean absolute error on left-out plates, in percentage points."""
    untreated_error_points: float | None
    """Mean absolute error in percentage points without images: every well is predicted as
    untreated, or as the median well of the other plates, whichever error is smaller.
    """
    spearman: float | None
    """Spearman correlation between predicted and measured deterioration on left-out plates, mean
    over plates.
    """
    worst_spearman: float | None
    """Lowest Spearman correlation of a left-out plate."""
    percent_low: float | None
    """Smallest measured deterioration in percent."""
    percent_high: float | None
    """Largest measured deterioration in percent."""
    left_out_percent: tuple[float, ...] = ()
    """Predicted deterioration of each well when its plate was left out."""
    left_out_error: tuple[float, ...] = ()
    """Measured minus predicted deterioration of the same wells; prediction intervals use these
    errors.
    """
    left_out_treatment_error: tuple[float, ...] = ()
    """Measured minus predicted deterioration of treatment means when their plate was left out."""

    def summary(self) -> "CalibrationCard":
        """Return a copy of the card without the values of single wells, for use in a ranking."""
        return self.model_copy(
            update=dict.fromkeys(
                ("left_out_percent", "left_out_error", "left_out_treatment_error"), ()
            )
        )
