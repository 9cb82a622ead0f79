"""Calibration of a deterioration model on plates with a viability assay.

The model is selected by its error on left-out plates, or with a single plate on left-out
treatments. The calibration also predicts intervals and the distance of a plate from the calibration
plates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import cast

import numpy as np

from inference.deterioration.assay_checks import (
    check_assay,
    check_not_copied,
    is_confounded,
    single_treatment,
)
from inference.deterioration.calibration_gates import (
    problem_of_size,
    problems_of_errors,
    spearman,
)
from inference.deterioration.features import FeatureSpace, PlateFeatures
from inference.deterioration.intervals import (
    LeftOutPlate,
    fit_error_model,
    prediction_interval,
)
from inference.deterioration.kernel_model import KernelModel
from inference.deterioration.models import MEAN_OF_MODELS, MODELS, SINGLE_MODELS, Predictor
from inference.deterioration.plate_distance import plate_distance
from schemas.arrays import BoolArray, Float64Array, IndexArray, Int64Array
from schemas.calibration import CalibrationCard, ErrorModel
from schemas.errors import ProfileError
from schemas.trajectory import Representation, Trajectories

CALIBRATION_VERSION = 3
"""Version of the training procedure; another version gives another calibration."""
MIN_PLATES = 1
"""Smallest number of assay plates of a valid calibration."""
SINGLE_PLATE_MODEL = MEAN_OF_MODELS
"""Model of a single assay plate, on which no model can be chosen; it had the best order in
simulated laboratories.
"""
PARTS_OF_SINGLE_PLATE = 5
"""Number of parts of a single assay plate that are left out in turn."""
MAX_NESTED_GROUPS = 8
"""Largest number of groups of plates that are left out in pairs; more cost much time."""
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
    training, skipped = _training_plates(plates)
    blank = _blank_card(plates, training, digest)
    if len(training) < min_plates:
        too_few = f"{len(training)} assay plates; expected at least {min_plates}"
        return blank.model_copy(update={"why_not": (too_few, *skipped)})
    treated = sum(bool(name) for plate in training for name in plate.treatments)
    if problem := problem_of_size(len(training), blank.wells, treated):
        return blank.model_copy(update={"why_not": (problem, *skipped)})
    parts = training if len(training) > 1 else _parts_of_plate(training[0], seed)
    candidates = _evaluate_candidates(parts, seed, tick)
    if len(training) == 1:
        candidates = [each for each in candidates if each.model == SINGLE_PLATE_MODEL] or candidates
    best = _select(candidates, np.ones(len(parts), dtype=np.bool_))
    nested = (
        best.predicted
        if len(candidates) == 1
        else _nested_predictions(candidates, parts, seed, tick)
    )
    left_out = [
        LeftOutPlate(predicted, part.percent, part.treatments)
        for predicted, part in zip(nested, parts, strict=True)
    ]
    of_plates = left_out if len(training) > 1 else [_joined(left_out)]
    entries = _card_entries(best, of_plates, _error_without_images(parts))
    card = blank.model_copy(update=entries | _limits_of_layout(training))
    problems = problems_of_errors(card, of_plates)
    return card.model_copy(update={"valid": not problems, "why_not": (*problems, *skipped)})


def _parts_of_plate(plate: _TrainingPlate, seed: int) -> list[_TrainingPlate]:
    """Return the parts of a single plate, which are left out in turn.

    All wells of a treatment are in one part. Untreated wells, and the wells of a treatment that is
    the only one, are divided among the parts.
    """
    names = np.array(plate.treatments)
    treated = [name for name in dict.fromkeys(plate.treatments) if name]
    rng = np.random.default_rng(seed)
    units = [np.flatnonzero(names == name) for name in treated]
    if len(treated) == 1:
        units = [np.array([row]) for row in units[0]]
    untreated = [np.array([row]) for row in np.flatnonzero(names == "")]
    members: list[list[int]] = [[] for _ in range(min(PARTS_OF_SINGLE_PLATE, len(units)))]
    for kind in (units, untreated):
        for place, number in enumerate(rng.permutation(len(kind))):
            members[place % len(members)] += kind[number].tolist()
    return [
        replace(
            plate,
            rows=plate.rows[rows],
            percent=plate.percent[rows],
            treatments=tuple(plate.treatments[row] for row in rows),
        )
        for rows in members
    ]


def _joined(parts: Sequence[LeftOutPlate]) -> LeftOutPlate:
    """Return the predictions of the parts of one plate as those of one plate."""
    return LeftOutPlate(
        np.concatenate([part.predicted for part in parts]),
        np.concatenate([part.measured for part in parts]),
        tuple(name for part in parts for name in part.treatments),
    )


def _limits_of_layout(training: Sequence[_TrainingPlate]) -> dict[str, object]:
    """Return the entries of the card about treatments that the assay plates cannot separate."""
    return {
        "single_treatment": single_treatment([plate.treatments for plate in training]),
        "confounded": tuple(
            plate.features.name
            for plate in training
            if is_confounded([plate.features.wells[row] for row in plate.rows], plate.treatments)
        ),
    }


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
    left_out: Sequence[LeftOutPlate],
    without_images: float,
) -> dict[str, object]:
    """Return the entries of the card about the selected model.

    ``left_out`` are the predictions for each plate, by the model that the other plates selected.
    ``without_images`` is the mean absolute error of predictions that use no image.
    """
    measured = np.concatenate([plate.measured for plate in left_out])
    predicted = np.concatenate([plate.predicted for plate in left_out])
    treated = ~np.concatenate([plate.untreated for plate in left_out])
    correlations = [spearman(plate.predicted, plate.measured) for plate in left_out]
    return {
        "model": best.model,
        "representation": best.representation,
        "mean_error_points": float(np.abs(measured - predicted).mean()),
        "untreated_error_points": without_images,
        "treated_error_points": float(np.abs(measured - predicted)[treated].mean()),
        "spearman": fmean(correlations),
        "worst_spearman": min(correlations),
        "percent_low": float(measured.min()),
        "percent_high": float(measured.max()),
        "errors": fit_error_model(left_out),
        "left_out_percent": tuple(predicted.tolist()),
        "left_out_error": tuple((measured - predicted).tolist()),
        "left_out_treatment_error": tuple(
            of_treatment for plate in left_out for of_treatment in _treatment_errors(plate)
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
    # Parts of a single plate have the same features, and are one plate for the model.
    whole = [id(plate.features) for plate in plates]
    percent, numbers = (
        np.concatenate([plate.percent for plate in plates]),
        np.repeat([whole.index(each) for each in whole], [len(plate.rows) for plate in plates]),
    )
    embedded = int(varies[len(varies) - space.embedded :].sum())
    replicates = _replicates(plates) if len(set(whole)) == 1 else None
    model = KernelModel(embedded, replicates) if name == KERNEL else MODELS[name]
    predict = model.fit(features[:, varies], percent, numbers, seed)
    return lambda wells: predict(wells[:, varies])


def _replicates(parts: Sequence[_TrainingPlate]) -> Int64Array:
    """Return the number of the treatment of each measured well of the parts of one plate.

    Each untreated well has a number of its own.
    """
    treatments = [name for part in parts for name in part.treatments]
    names = [name or f"untreated {row}" for row, name in enumerate(treatments)]
    _, numbers = np.unique(names, return_inverse=True)
    return np.asarray(numbers, dtype=np.int64)


def _training_plates(plates: Sequence[AssayPlate]) -> tuple[list[_TrainingPlate], tuple[str, ...]]:
    """Return the plates that a model can be trained on, and the reasons why others are skipped."""
    training: list[_TrainingPlate] = []
    skipped: list[str] = []
    for plate in plates:
        try:
            check_not_copied(
                plate.trajectories.plate,
                plate.deterioration_percent,
                {
                    other.trajectories.plate: other.deterioration_percent
                    for other in plates
                    if other is not plate
                },
            )
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
    check_assay(features.name, [features.wells[row] for row in rows], percent, treatments)
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


def _treatment_errors(plate: LeftOutPlate) -> list[float]:
    """Return measured minus predicted deterioration of the mean of each treatment."""
    names = np.array(plate.treatments)
    return [
        float(plate.error[names == name].mean()) for name in dict.fromkeys(plate.treatments) if name
    ]
