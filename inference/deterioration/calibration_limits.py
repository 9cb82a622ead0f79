"""Sentences about what a calibration cannot know, for notes and reports."""

from inference.deterioration.intervals import MIN_CONFORMAL_PLATES
from schemas.calibration import CalibrationCard

PRIOR_LIMIT = (
    "The percentages are driven by the prior: the calibration has one assay plate, which cannot "
    "show how plates differ. Their intervals assume the differences between plates of simulated "
    "laboratories. The order is more reliable than the percentages."
)
MODEL_LIMIT = (
    "The intervals of the percentages are model-based: the calibration has {plates} assay plates, "
    f"and intervals without a model need {MIN_CONFORMAL_PLATES}."
)
NO_RANGE_LIMIT = (
    "It was not checked whether this plate is like the calibration plates: {plates} cannot show "
    "how plates differ."
)
SINGLE_TREATMENT_LIMIT = (
    "The assay plates have one treatment, {treatment}: the error of the calibration is the error "
    "within this treatment, and other treatments and mechanisms cannot be predicted."
)
CONFOUNDED_LIMIT = (
    "All treated wells of {plates} are on one side of the untreated wells: the effects of the "
    "treatment and of the side of the plate cannot be separated."
)
OTHER_TREATMENTS = (
    "the calibration knows one treatment, {treatment}, and this plate has others: their mechanisms "
    "cannot be predicted"
)
"""Reason why a calibration is not used for a plate."""
MIN_PLATES_FOR_RANGE = 3
"""Smallest number of assay plates whose differences are known."""


def calibration_limits(card: CalibrationCard) -> tuple[str, ...]:
    """Return a sentence about each limit of the percentages that a CalibrationCard predicts."""
    count = len(card.plates)
    limits = []
    if card.is_driven_by_prior:
        limits.append(PRIOR_LIMIT)
    elif card.errors is not None and card.errors.basis == "model":
        limits.append(MODEL_LIMIT.format(plates=count))
    if card.errors is not None and count < MIN_PLATES_FOR_RANGE:
        named = "one assay plate" if count == 1 else f"{count} assay plates"
        limits.append(NO_RANGE_LIMIT.format(plates=named))
    if card.single_treatment is not None:
        limits.append(SINGLE_TREATMENT_LIMIT.format(treatment=card.single_treatment))
    if card.confounded:
        limits.append(CONFOUNDED_LIMIT.format(plates=", ".join(card.confounded)))
    return tuple(limits)
