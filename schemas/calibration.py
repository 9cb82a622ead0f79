"""Description of a deterioration model: training plates, errors and range of validity."""

from typing import Literal

from schemas.frozen_model import FrozenModel

Method = Literal["departure", "deterioration"]
"""Method by which wells and treatments are ranked."""
MethodChoice = Literal["auto", "departure", "deterioration"]
"""Configured method; ``auto`` selects deterioration where a valid calibration exists."""


PercentBasis = Literal["prior", "model", "conformal"]
"""Basis of a predicted percentage and its interval.

``prior``: one assay plate, so that the difference between plates is known from simulated
laboratories alone. ``model``: a model of the errors on few left-out plates. ``conformal``: the
errors on nine or more left-out plates.
"""


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


class ErrorModel(FrozenModel):
    """Variances of the prediction errors on a new plate (``inference/deterioration/intervals.py``).

    The standard deviation of a treated well with p percent is √((``slope_sd`` p)² +
    (``treatment_points``² + ``well_points``²) (1.05 − p / 100)).
    """

    basis: PercentBasis
    """Origin of the width of the intervals."""
    slope_sd: float
    """Standard deviation between plates of the ratio of measured to predicted deterioration."""
    treatment_points: float
    """Standard deviation of the effect of a treatment at 5 %, in percentage points."""
    well_points: float
    """Standard deviation between wells of one treatment at 5 %, in percentage points."""
    untreated_points: float
    """Standard deviation of measured untreated wells from 0 %, in percentage points."""
    degrees_of_freedom: float
    """Degrees of freedom of the difference between plates."""
    reach: float
    """Half of the 90 % interval, in standard deviations."""
    lowest_percent: float = -100.0
    """Smallest limit of an interval: a plate seldom has a viability above those of the assays."""


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
    treated_error_points: float | None = None
    """Mean absolute error of treated wells that were left out, in percentage points."""
    errors: ErrorModel | None = None
    """Errors on a new plate, from which the intervals are computed; null in a card of an earlier
    version, and where the card is not valid for lack of data.
    """
    single_treatment: str | None = None
    """The only treatment of the assay plates, if there is just one. The errors are then those
    within this treatment, and other treatments and mechanisms cannot be predicted.
    """
    confounded: tuple[str, ...] = ()
    """Assay plates whose treated wells are all on one side of all untreated wells: the effects of
    the treatment and of the side of the plate cannot be separated.
    """
    left_out_percent: tuple[float, ...] = ()
    """Predicted deterioration of each well when its plate was left out. With a single plate, the
    treatment of the well was left out.
    """
    left_out_error: tuple[float, ...] = ()
    """Measured minus predicted deterioration of the same wells."""
    left_out_treatment_error: tuple[float, ...] = ()
    """Measured minus predicted deterioration of treatment means when they were left out."""

    @property
    def is_driven_by_prior(self) -> bool:
        """True if the percentages rest on one plate and on simulated laboratories."""
        return self.errors is not None and self.errors.basis == "prior"

    def summary(self) -> "CalibrationCard":
        """Return a copy of the card without the values of single wells, for use in a ranking."""
        return self.model_copy(
            update=dict.fromkeys(
                ("left_out_percent", "left_out_error", "left_out_treatment_error"), ()
            )
        )
