"""Calibration of a deterioration model on plates with a viability assay.

The model is selected by its error on left-out plates, or with a single plate on left-out
treatments. The calibration also predicts intervals and the distance of a plate from the calibration
plates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import cast

import numpy as np

from inference.deterioration.calibration_gates import (
    problem_of_size,
    problems_of_errors,
    spearman,
)
from inference.deterioration.features import FeatureSpace, PlateFeatures
from inference.deterioration.intervals import (
    PRIOR_SLOPE_SD,
    LeftOutPlate,
    fit_error_model,
    prediction_interval,
)
from inference.deterioration.model_choice import (
    KERNEL,
    fit_model,
    leave_out,
)
from inference.deterioration.models import Predictor
from inference.deterioration.plate_distance import plate_distance
from inference.deterioration.training_plates import (
    AssayPlate,
    TrainingPlate,
    error_without_images,
    limits_of_layout,
    parts_of_plate,
    training_plates,
)
from schemas.arrays import Float64Array
from schemas.calibration import CalibrationCard, ErrorModel
from schemas.errors import ProfileError
from schemas.trajectory import Representation, Trajectories

__all__ = [
    "CALIBRATION_VERSION",
    "KERNEL",
    "MAX_RELATIVE_DISTANCE",
    "MIN_PLATES",
    "AssayPlate",
    "Calibration",
    "Prediction",
    "calibrate",
    "refit",
]
"""Names that other packages import."""

CALIBRATION_VERSION = 7
"""Version of the training procedure; another version gives another calibration."""
MIN_PLATES = 1
"""Smallest number of assay plates of a valid calibration."""
MAX_RELATIVE_DISTANCE = 2.0
"""Largest distance of a plate, relative to the largest distance of a calibration plate from the
others.
"""
MIN_PLATES_FOR_SPREAD = 2
"""Smallest number of plates for a standard deviation between plates."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted deterioration in percent of N wells; NaN for wells without both images."""

    percent: Float64Array  # (N,) 0…100
    low: Float64Array  # (N,) lower limit of the 90 % interval, below 0 above the control
    high: Float64Array  # (N,) upper limit of the 90 % interval


@dataclass(frozen=True, eq=False)
class Calibration:
    """A deterioration model that is fitted on all plates of its card."""

    card: CalibrationCard
    space: FeatureSpace
    predict_rows: Predictor
    plates: tuple[PlateFeatures, ...]

    def predict(
        self, trajectories: Trajectories, *, dosing_day: int, readout_day: int
    ) -> Prediction:
        """Return the Prediction for wells of Trajectories, given the dosing and readout day.

        Wells need an image up to dosing and a readout image; others are NaN.

        Raises
        ------
        ProfileError
            If the plate has no untreated wells, or other features than the model.
        """
        plate = self._plate_features(trajectories, dosing_day, readout_day)
        percent = np.full(len(plate.wells), np.nan)
        percent[plate.has_both] = np.clip(
            self.predict_rows(self.space.transform(plate)[plate.has_both]), 0.0, 100.0
        )
        if self.card.errors is None:
            unknown = np.full(len(percent), np.nan)
            return Prediction(percent, unknown, unknown)
        return Prediction(percent, *prediction_interval(self.card.errors, percent, plate.untreated))

    def embedding_share(
        self, trajectories: Trajectories, *, dosing_day: int, readout_day: int
    ) -> Float64Array | None:
        """Return the (N,) contribution of the embedding to the percent of wells of Trajectories.

        The contribution of a part is the change of the percent if the well's part was that of the
        median untreated well; the two contributions are scaled to the sum 1. The result is None
        without a part that could have contributed. Errors are those of :meth:`predict`.
        """
        plate = self._plate_features(trajectories, dosing_day, readout_day)
        if not 0 < plate.embedding_dimension < plate.readout.shape[1]:
            return None
        share = np.full(len(plate.wells), np.nan)
        if self.space.whitening is None:
            share[plate.has_both] = 0.0
            return share
        rows = self.space.transform(plate)[plate.has_both]
        split = rows.shape[1] - self.space.embedded
        changes = []
        for part in (slice(split, None), slice(0, split)):
            without = rows.copy()
            without[:, part] = 0.0
            changes.append(np.abs(self.predict_rows(rows) - self.predict_rows(without)))
        total = changes[0] + changes[1]
        share[plate.has_both] = np.divide(
            changes[0], total, out=np.zeros_like(total), where=total > 0
        )
        return share

    @property
    def errors(self) -> ErrorModel:
        """Errors on a new plate; raise ProfileError if the card has none."""
        if self.card.errors is None:
            raise ProfileError(
                ", ".join(self.card.plates),
                "the calibration has no errors on left-out plates; expected a valid calibration of "
                "this version of SpheroRank",
            )
        return self.card.errors

    @cached_property
    def usual_distances(self) -> Float64Array:
        """(plates,) distance of each calibration plate from the others; 0 with fewer than three."""
        return np.array(
            [
                plate_distance(
                    plate,
                    [other for other in self.plates if other is not plate],
                    MIN_PLATES_FOR_SPREAD,
                )
                for plate in self.plates
            ]
        )

    def distance(self, trajectories: Trajectories, *, dosing_day: int, readout_day: int) -> float:
        """Return the distance of Trajectories, at dosing and readout day, from calibration plates.

        It is the distance between controls: untreated and single-dose wells. The unit is the
        standard deviation between calibration plates.

        Raises
        ------
        ProfileError
            If the plate has no untreated wells, or other features than the model.
        """
        plate = self._plate_features(trajectories, dosing_day, readout_day)
        # One plate more, so that each calibration plate has a distance from the others.
        return plate_distance(plate, self.plates, MIN_PLATES_FOR_SPREAD + 1)

    def _plate_features(
        self, trajectories: Trajectories, dosing_day: int, readout_day: int
    ) -> PlateFeatures:
        """Return the features of a plate; raise ProfileError if the model has other features."""
        plate = PlateFeatures.from_trajectories(
            trajectories, dosing_day=dosing_day, readout_day=readout_day
        )
        plate.check_comparable(self.plates[0])
        return plate


def calibrate(
    plates: Sequence[AssayPlate],
    *,
    digest: str,
    seed: int,
    tick: Callable[[], None] = lambda: None,
    min_plates: int = MIN_PLATES,
) -> CalibrationCard:
    """Cross-validate models on AssayPlates; return the CalibrationCard of the best with its errors.

    One plate at a time is left out. The errors are those of the whole procedure: the model that
    predicts a left-out plate is selected by errors on the other plates of models that were fitted
    without it. A single plate is divided by treatments into parts, which are left out in turn.

    Unsuitable data raise no exception: the card is then not valid and contains the reasons.

    Parameters
    ----------
    plates
        Plates with an assay.
    digest
        Digest of the training inputs; identifies the card.
    seed
        Seed of random draws.
    tick
        Called every few seconds.
    min_plates
        Smallest number of plates of a valid card.
    """
    training, skipped = training_plates(plates)
    blank = _blank_card(plates, training, digest)
    if len(training) < min_plates:
        too_few = f"{len(training)} assay plates; expected at least {min_plates}"
        return blank.model_copy(update={"why_not": (too_few, *skipped)})
    treated = sum(bool(name) for plate in training for name in plate.treatments)
    if problem := problem_of_size(len(training), blank.wells, treated):
        return blank.model_copy(update={"why_not": (problem, *skipped)})
    parts = training if len(training) > 1 else parts_of_plate(training[0], seed)
    model, predictions = leave_out(parts, seed, tick)
    left_out = [
        LeftOutPlate(predicted, part.percent, part.treatments)
        for predicted, part in zip(predictions, parts, strict=True)
    ]
    of_plates = left_out if len(training) > 1 else [_joined(left_out)]
    errors = fit_error_model(
        of_plates, PRIOR_SLOPE_SD[cast("Representation", blank.representation)]
    )
    entries = _card_entries(model, of_plates, errors, error_without_images(parts))
    card = blank.model_copy(update=entries | limits_of_layout(training))
    problems = problems_of_errors(card, of_plates)
    return card.model_copy(update={"valid": not problems, "why_not": (*problems, *skipped)})


def _joined(parts: Sequence[LeftOutPlate]) -> LeftOutPlate:
    """Return the predictions of the parts of one plate as those of one plate."""
    return LeftOutPlate(
        np.concatenate([part.predicted for part in parts]),
        np.concatenate([part.measured for part in parts]),
        tuple(name for part in parts for name in part.treatments),
    )


def _card_entries(
    model: str,
    left_out: Sequence[LeftOutPlate],
    errors: ErrorModel,
    without_images: float,
) -> dict[str, object]:
    """Return the entries of the card about the chosen model.

    ``left_out`` are the predictions for each plate, by the model that the other plates chose,
    and ``errors`` is their model.
    ``without_images`` is the mean absolute error of predictions that use no image.
    """
    measured = np.concatenate([plate.measured for plate in left_out])
    predicted = np.concatenate([plate.predicted for plate in left_out])
    treated = ~np.concatenate([plate.untreated for plate in left_out])
    correlations = [spearman(plate.predicted, plate.measured) for plate in left_out]
    return {
        "model": model,
        "mean_error_points": float(np.abs(measured - predicted).mean()),
        "untreated_error_points": without_images,
        "treated_error_points": float(np.abs(measured - predicted)[treated].mean()),
        "spearman": fmean(correlations),
        "worst_spearman": min(correlations),
        "percent_low": float(measured.min()),
        "percent_high": float(measured.max()),
        "errors": errors,
        "left_out_percent": tuple(predicted.tolist()),
        "left_out_error": tuple((measured - predicted).tolist()),
        "left_out_treatment_error": tuple(
            of_treatment for plate in left_out for of_treatment in _treatment_errors(plate)
        ),
    }


def refit(plates: Sequence[AssayPlate], card: CalibrationCard, *, seed: int) -> Calibration:
    """Return the Calibration with the model of a valid card, fitted on all its AssayPlates."""
    training, _ = training_plates(plates)
    space = FeatureSpace.fit(
        [plate.features for plate in training], cast("Representation", card.representation)
    )
    return Calibration(
        card,
        space,
        fit_model(card.model, space, training, seed),
        tuple(plate.features for plate in training),
    )


def _blank_card(
    plates: Sequence[AssayPlate], training: Sequence[TrainingPlate], digest: str
) -> CalibrationCard:
    """Return a card that is not valid and names the training plates."""
    return CalibrationCard(
        digest=digest,
        version=CALIBRATION_VERSION,
        encoder_id=plates[0].trajectories.encoder_id if plates else "",
        measured_by=plates[0].trajectories.measured_by if plates else None,
        representation=plates[0].trajectories.representation if plates else "measures",
        model="",
        plates=tuple(plate.features.name for plate in training),
        wells=sum(len(plate.rows) for plate in training),
        valid=False,
        mean_error_points=None,
        untreated_error_points=None,
        spearman=None,
        worst_spearman=None,
        percent_low=None,
        percent_high=None,
    )


def _treatment_errors(plate: LeftOutPlate) -> list[float]:
    """Return measured minus predicted deterioration of the mean of each treatment."""
    names = np.array(plate.treatments)
    return [
        float(plate.error[names == name].mean()) for name in dict.fromkeys(plate.treatments) if name
    ]
