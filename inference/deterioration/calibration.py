"""Calibration of a deterioration model on plates with a viability assay.

The model is selected by its error on left-out plates. The calibration also predicts intervals and
the distance of a plate from the calibration plates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import cast

import numpy as np
import scipy

from inference.deterioration.features import FeatureSpace, PlateFeatures
from inference.deterioration.kernel_model import KernelModel
from inference.deterioration.models import MEAN_OF_MODELS, MODELS, SINGLE_MODELS, Predictor
from inference.deterioration.plate_distance import plate_distance
from schemas.arrays import BoolArray, Float64Array, IndexArray, Int64Array
from schemas.calibration import CalibrationCard
from schemas.errors import ProfileError
from schemas.trajectory import Representation, Trajectories

CALIBRATION_VERSION = 3
"""Version of the training procedure; another version gives another calibration."""
MIN_PLATES = 4
"""Smallest number of assay plates of a valid calibration."""
MAX_NESTED_GROUPS = 8
"""Largest number of groups of plates that are left out in pairs; more cost much time."""
MAX_ERROR_SHARE = 0.8
"""Largest error of a valid model, as a fraction of the error without images."""
INTERVAL = (0.05, 0.95)
"""Quantiles of the 90 % prediction interval."""
INTERVAL_NEIGHBOURS = 80
"""Number of left-out wells with similar predictions whose errors form an interval."""
MAX_RELATIVE_DISTANCE = 2.0
"""Largest distance of a plate, relative to the largest distance of a calibration plate from the
others.
"""
KERNEL = "kernel"
"""Name of the model of features with an embedding."""
MIN_PLATES_FOR_SPREAD = 2
"""Smallest number of plates for a standard deviation between plates."""


@dataclass(frozen=True, eq=False)
class AssayPlate:
    """A plate with measured viability of some or all of its wells."""

    trajectories: Trajectories
    deterioration_percent: Mapping[str, float]
    """100 − viability in percent, by well."""
    dosing_day: int
    readout_day: int


@dataclass(frozen=True, eq=False)
class _TrainingPlate:
    """Features and measured deterioration of one assay plate."""

    features: PlateFeatures
    rows: IndexArray  # indices of the measured wells
    percent: Float64Array  # (rows,) measured deterioration
    treatments: tuple[str, ...]
    """(rows,) treatments; "" for untreated wells with any vehicle."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A model and representation with its predictions for left-out plates."""

    model: str
    representation: Representation
    predicted: list[Float64Array]
    """Predicted percent of the measured wells of each plate."""
    errors: Float64Array
    """(plates,) mean absolute error of each plate in percentage points."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted deterioration in percent of N wells; NaN for wells without both images."""

    percent: Float64Array  # (N,) 0…100
    low: Float64Array  # (N,) lower limit of the 90 % interval
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
        low, high = self._interval(percent)
        return Prediction(percent, np.clip(low, 0.0, 100.0), np.clip(high, 0.0, 100.0))

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

    def _interval(self, percent: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the 90 % interval of each prediction from errors on left-out plates.

        The errors are those of wells with similar predictions (conformal prediction: Lei et al., J.
        Am. Stat. Assoc. 113, 2018).
        """
        predictions, errors = (
            np.array(self.card.left_out_percent),
            np.array(self.card.left_out_error),
        )
        low, high = np.full_like(percent, np.nan), np.full_like(percent, np.nan)
        for well in np.flatnonzero(np.isfinite(percent)):
            near = errors[
                np.argsort(np.abs(predictions - percent[well]), kind="stable")[:INTERVAL_NEIGHBOURS]
            ]
            low[well], high[well] = percent[well] + np.quantile(
                near, INTERVAL, method="inverted_cdf"
            )
        return low, high

    @property
    def treatment_error(self) -> float:
        """90 % quantile of the absolute error of treatment means, in percentage points."""
        return float(np.quantile(np.abs(self.card.left_out_treatment_error), 0.9, method="higher"))

    @cached_property
    def usual_distances(self) -> Float64Array:
        """(plates,) distance of each calibration plate from the others."""
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
    without it.

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
    training, skipped = _training_plates(plates)
    blank = _blank_card(plates, training, digest)
    if len(training) < min_plates:
        too_few = f"{len(training)} assay plates; expected at least {min_plates}"
        return blank.model_copy(update={"why_not": (too_few, *skipped)})
    candidates = _evaluate_candidates(training, seed, tick)
    best = _select(candidates, np.ones(len(training), dtype=np.bool_))
    nested = _nested_predictions(candidates, training, seed, tick)
    return blank.model_copy(update=_card_entries(best, nested, training, skipped))


def _select(candidates: Sequence[_Candidate], plates: BoolArray) -> _Candidate:
    """Return the candidate with the smallest mean error on the plates of a mask (plates,).

    Measures alone are preferred if their error is at most one standard error larger (the rule of
    Breiman and others, *Classification and Regression Trees*, 1984). The standard error is that of
    the difference between the two errors on the same plates.
    """
    best = min(candidates, key=lambda each: float(each.errors[plates].mean()))
    by_measures = [each for each in candidates if each.representation == "measures"]
    if best.representation == "measures" or not by_measures:
        return best
    simpler = min(by_measures, key=lambda each: float(each.errors[plates].mean()))
    gain = (simpler.errors - best.errors)[plates]
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
    return simpler if float(gain.mean()) <= error else best


def _nested_predictions(
    candidates: Sequence[_Candidate],
    training: Sequence[_TrainingPlate],
    seed: int,
    tick: Callable[[], None],
) -> list[Float64Array]:
    """Return the predictions for each plate by the candidate that the other plates select.

    The other plates select by errors of models that were fitted without the predicted plate, so
    that nothing of a plate has an influence on its prediction. Plates are left out in at most
    :data:`MAX_NESTED_GROUPS` groups. Of two plates, each selects by the errors of the same models
    as for the calibration, because a pair of them cannot be left out.
    """
    count = len(training)
    groups = np.arange(count) % MAX_NESTED_GROUPS
    errors = np.tile([each.errors for each in candidates], (count, 1, 1))
    if count > 2:  # noqa: PLR2004 - one plate remains for the fit
        for pair in combinations(np.unique(groups).tolist(), 2):
            out = np.flatnonzero(np.isin(groups, pair))
            found = _evaluate_candidates(training, seed, tick, [out])
            for number, of_candidate in enumerate(found):
                for one, other in (pair, pair[::-1]):
                    places = np.ix_(groups == one, [number], groups == other)
                    errors[places] = of_candidate.errors[groups[out] == other]
    nested = []
    for place in range(count):
        evaluated = [
            replace(each, errors=of_candidate)
            for each, of_candidate in zip(candidates, errors[place], strict=True)
        ]
        nested.append(_select(evaluated, groups != groups[place]).predicted[place])
    return nested


def _evaluate_candidates(
    training: Sequence[_TrainingPlate],
    seed: int,
    tick: Callable[[], None],
    left_out: Sequence[IndexArray] | None = None,
) -> list[_Candidate]:
    """Return every model and representation with its predictions for left-out plates.

    Parameters
    ----------
    left_out
        Indices of the plates that are left out together, one set after another; None for each plate
        alone. The predictions have the same order.
    """
    sets = [np.array([place]) for place in range(len(training))] if left_out is None else left_out
    tested = [training[place] for out in sets for place in out]
    candidates = []
    for representation in _candidate_representations(training[0].features):
        names = SINGLE_MODELS if representation == "measures" else (KERNEL,)
        raw: dict[str, list[Float64Array]] = {name: [] for name in names}
        for out in sets:
            others = [plate for place, plate in enumerate(training) if place not in out]
            space = FeatureSpace.fit([other.features for other in others], representation)
            rows = [
                space.transform(training[place].features)[training[place].rows] for place in out
            ]
            for name in names:
                predict = _fit(name, space, others, seed)
                raw[name] += [predict(of_plate) for of_plate in rows]
                tick()
        if representation == "measures":
            raw[MEAN_OF_MODELS] = [
                np.mean(of_models, axis=0) for of_models in zip(*raw.values(), strict=True)
            ]
        for name, of_model in raw.items():
            predicted = [np.clip(of_plate, 0.0, 100.0) for of_plate in of_model]
            errors = [
                float(np.abs(plate.percent - of_plate).mean())
                for plate, of_plate in zip(tested, predicted, strict=True)
            ]
            candidates.append(_Candidate(name, representation, predicted, np.array(errors)))
    return candidates


def _card_entries(
    best: _Candidate,
    left_out: Sequence[Float64Array],
    training: Sequence[_TrainingPlate],
    skipped: tuple[str, ...],
) -> dict[str, object]:
    """Return the entries of the card about the selected model.

    ``left_out`` are the predictions for each plate, by the model that the other plates selected.
    """
    measured = np.concatenate([plate.percent for plate in training])
    predicted = np.concatenate(left_out)
    error = float(np.abs(measured - predicted).mean())
    without_images = _error_without_images(training)
    valid = error <= MAX_ERROR_SHARE * without_images
    correlations = [
        _spearman(one, plate.percent) for one, plate in zip(left_out, training, strict=True)
    ]
    return {
        "model": best.model,
        "representation": best.representation,
        "valid": valid,
        "why_not": skipped if valid else (_error_too_large(error, without_images), *skipped),
        "mean_error_points": error,
        "untreated_error_points": without_images,
        "spearman": fmean(correlations),
        "worst_spearman": min(correlations),
        "percent_low": float(measured.min()),
        "percent_high": float(measured.max()),
        "left_out_percent": tuple(predicted.tolist()),
        "left_out_error": tuple((measured - predicted).tolist()),
        "left_out_treatment_error": tuple(
            of_treatment
            for one, plate in zip(left_out, training, strict=True)
            for of_treatment in _treatment_errors(one, plate)
        ),
    }


def refit(plates: Sequence[AssayPlate], card: CalibrationCard, *, seed: int) -> Calibration:
    """Return the Calibration with the model of a valid card, fitted on all its AssayPlates."""
    training, _ = _training_plates(plates)
    space = FeatureSpace.fit(
        [plate.features for plate in training], cast("Representation", card.representation)
    )
    return Calibration(
        card,
        space,
        _fit(card.model, space, training, seed),
        tuple(plate.features for plate in training),
    )


def _fit(name: str, space: FeatureSpace, plates: Sequence[_TrainingPlate], seed: int) -> Predictor:
    """Fit a model on all measured wells, without features that are constant among them."""
    features = np.concatenate([space.transform(plate.features)[plate.rows] for plate in plates])
    varies = features.std(axis=0) > 0
    percent, numbers = (
        np.concatenate([plate.percent for plate in plates]),
        np.repeat(np.arange(len(plates)), [len(plate.rows) for plate in plates]),
    )
    embedded = int(varies[len(varies) - space.embedded :].sum())
    replicates = _replicates(plates[0]) if len(plates) == 1 else None
    model = KernelModel(embedded, replicates) if name == KERNEL else MODELS[name]
    predict = model.fit(features[:, varies], percent, numbers, seed)
    return lambda wells: predict(wells[:, varies])


def _replicates(plate: _TrainingPlate) -> Int64Array:
    """Return the number of the treatment of each measured well; untreated wells have their own."""
    names = [name or f"untreated {row}" for row, name in enumerate(plate.treatments)]
    _, numbers = np.unique(names, return_inverse=True)
    return np.asarray(numbers, dtype=np.int64)


def _training_plates(plates: Sequence[AssayPlate]) -> tuple[list[_TrainingPlate], tuple[str, ...]]:
    """Return the plates that a model can be trained on, and the reasons why others are skipped."""
    training: list[_TrainingPlate] = []
    skipped: list[str] = []
    for plate in plates:
        try:
            training.append(_training_plate(plate, training[0].features if training else None))
        except ProfileError as error:
            skipped.append(f"skipped: {error}")
    return training, tuple(skipped)


def _training_plate(plate: AssayPlate, first: PlateFeatures | None) -> _TrainingPlate:
    """Return the measured wells of a plate; raise ProfileError if it is unsuitable for training."""
    features = PlateFeatures.from_trajectories(
        plate.trajectories, dosing_day=plate.dosing_day, readout_day=plate.readout_day
    )
    if first is not None:
        features.check_comparable(first)
    rows = np.array(
        [
            row
            for row, well in enumerate(features.wells)
            if features.has_both[row] and well in plate.deterioration_percent
        ],
        dtype=np.intp,
    )
    percent = np.array([plate.deterioration_percent[features.wells[row]] for row in rows])
    found = f"{len(rows)} measured wells have images"
    if len(rows) == 0 or np.ptp(percent) == 0:
        raise ProfileError(features.name, f"{found}, and their values do not differ")
    if features.untreated[rows].all():
        raise ProfileError(features.name, f"{found}, and none of them was treated")
    treatments = tuple(
        "" if features.untreated[row] else plate.trajectories.treatments[row] for row in rows
    )
    return _TrainingPlate(features, rows, percent, treatments)


def _candidate_representations(plate: PlateFeatures) -> tuple[Representation, ...]:
    """Return the representations that the features of the plates allow."""
    if plate.embedding_dimension == 0:
        return ("measures",)
    return (
        ("measures", "both")
        if plate.embedding_dimension < plate.readout.shape[1]
        else ("embedding",)
    )


def _blank_card(
    plates: Sequence[AssayPlate], training: Sequence[_TrainingPlate], digest: str
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


def _error_without_images(plates: Sequence[_TrainingPlate]) -> float:
    """Return the mean absolute error of predictions that use no image.

    They predict every well as untreated, or as the median well of the other plates, whichever error
    is smaller.
    """
    measured = np.concatenate([plate.percent for plate in plates])
    medians = [
        np.median(np.concatenate([other.percent for other in plates if other is not plate]))
        for plate in plates
    ]
    usual = np.concatenate(
        [np.abs(plate.percent - median) for plate, median in zip(plates, medians, strict=True)]
    )
    return float(min(np.abs(measured).mean(), usual.mean()))


def _error_too_large(error: float, without_images: float) -> str:
    """Return the reason why a model is not valid."""
    return (
        f"mean error {error:.1f} points on left-out plates, and {without_images:.1f} points "
        f"without images; expected at most {MAX_ERROR_SHARE:.0%} of the latter"
    )


def _spearman(one: Float64Array, other: Float64Array) -> float:
    """Return the Spearman correlation, or 0 if one of the variables is constant."""
    return (
        float(scipy.stats.spearmanr(one, other).statistic)
        if np.ptp(one) > 0 and np.ptp(other) > 0
        else 0.0
    )


def _treatment_errors(predicted: Float64Array, plate: _TrainingPlate) -> list[float]:
    """Return measured minus predicted deterioration of the mean of each treatment."""
    names = np.array(plate.treatments)
    return [
        float((plate.percent - predicted)[names == name].mean())
        for name in dict.fromkeys(plate.treatments)
        if name
    ]
