"""Conditions that the errors of a calibration must meet, and the reasons why they are not met."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import scipy

from inference.deterioration.intervals import LeftOutPlate
from schemas.arrays import Float64Array
from schemas.calibration import CalibrationCard

MAX_ERROR_SHARE = 0.8
"""Largest error of a valid model, as a fraction of the error without images."""
FEW_PLATES, MIN_WELLS_OF_FEW_PLATES, MIN_TREATED_OF_FEW_PLATES = 4, 12, 3
"""Calibrations of fewer than 4 plates need at least 12 measured wells, of them 3 treated ones."""
MIN_ORDER_OF_FEW_PLATES = 0.5
"""Smallest Spearman correlation over left-out treated wells of fewer than 4 plates. Their error is
mostly that between treated and untreated wells, which any model of treated wells knows.
"""


def problem_of_size(plates: int, wells: int, treated: int) -> str:
    """Return why few assay plates have too few measured or treated wells, or an empty text."""
    if plates >= FEW_PLATES:
        return ""
    for count, kind, least in (
        (wells, "measured wells", MIN_WELLS_OF_FEW_PLATES),
        (treated, "treated measured wells", MIN_TREATED_OF_FEW_PLATES),
    ):
        if count < least:
            return (
                f"{count} {kind} with images; expected at least {least} on fewer than "
                f"{FEW_PLATES} assay plates"
            )
    return ""


def problems_of_errors(card: CalibrationCard, left_out: Sequence[LeftOutPlate]) -> tuple[str, ...]:
    """Return the reasons why the errors of a card are too large; empty for a valid card.

    ``left_out`` are the predictions for each plate, or for the parts of a single plate together.
    """
    problems = (_error_too_large(card), _problem_of_order(card, left_out))
    return tuple(problem for problem in problems if problem)


def _error_too_large(card: CalibrationCard) -> str:
    """Return why the mean error of a card is too large, or an empty text."""
    error, without_images = card.mean_error_points or 0.0, card.untreated_error_points or 0.0
    if error <= MAX_ERROR_SHARE * without_images:
        return ""
    return (
        f"mean error {error:.1f} points on left-out plates, and {without_images:.1f} points "
        f"without images; expected at most {MAX_ERROR_SHARE:.0%} of the latter"
    )


def _problem_of_order(card: CalibrationCard, left_out: Sequence[LeftOutPlate]) -> str:
    """Return why few plates with several treatments do not order treated wells, or an empty text.

    ``left_out`` are the predictions for each plate.
    """
    if len(left_out) >= FEW_PLATES or card.single_treatment is not None:
        return ""
    order = fmean(
        spearman(plate.predicted[~plate.untreated], plate.measured[~plate.untreated])
        for plate in left_out
    )
    if order >= MIN_ORDER_OF_FEW_PLATES:
        return ""
    return (
        f"Spearman correlation {order:.2f} of left-out treated wells; expected at least "
        f"{MIN_ORDER_OF_FEW_PLATES:g} with fewer than {FEW_PLATES} assay plates"
    )


def spearman(one: Float64Array, other: Float64Array) -> float:
    """Return the Spearman correlation, or 0 if one of the variables is constant."""
    return (
        float(scipy.stats.spearmanr(one, other).statistic)
        if np.ptp(one) > 0 and np.ptp(other) > 0
        else 0.0
    )
