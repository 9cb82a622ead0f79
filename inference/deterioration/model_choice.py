"""Models of deterioration that are compared on left-out plates, and the choice of one of them.

With an embedding, the kernel model is the only candidate: it chooses the weights of measures and
embedding in every fit, on the plates of the fit. With measures alone, several models are compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from inference.deterioration.features import FeatureSpace, PlateFeatures
from inference.deterioration.kernel_model import KernelModel
from inference.deterioration.models import MEAN_OF_MODELS, MODELS, SINGLE_MODELS, Predictor
from inference.deterioration.training_plates import TrainingPlate
from schemas.arrays import BoolArray, Float64Array, IndexArray, Int64Array
from schemas.trajectory import Representation

KERNEL = "kernel"
"""Name of the model of features with an embedding."""
MIN_PLATES_FOR_CHOICE = 3
"""Smallest number of plates on which a model is chosen. The model that predicts a left-out plate is
chosen on the others, each of which is left out of the fit as well: one plate has to remain.
"""
MAX_NESTED_GROUPS = 4
"""Largest number of groups of plates that are left out in pairs; more cost much time."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model with its predictions for left-out plates."""

    model: str
    predicted: list[Float64Array]
    """Predicted percent of the measured wells of each plate."""
    errors: Float64Array
    """(plates,) mean absolute error of each plate in percentage points."""


def _representation(plate: PlateFeatures) -> Representation:
    """Return the representation that a model of plates with these features uses."""
    if plate.embedding_dimension == 0:
        return "measures"
    return "both" if plate.embedding_dimension < plate.readout.shape[1] else "embedding"


def leave_out(
    training: Sequence[TrainingPlate], seed: int, tick: Callable[[], None]
) -> tuple[str, list[Float64Array]]:
    """Return the chosen model, and predictions for each plate that use nothing of this plate.

    ``training`` are two or more plates, or the parts of one plate. On fewer than
    :data:`MIN_PLATES_FOR_CHOICE` plates no model is chosen: it is the kernel model with an
    embedding, and else the mean of all models.
    """
    candidates = _evaluate_candidates(training, seed, tick)
    plates = {id(part.features) for part in training}
    if len(plates) < MIN_PLATES_FOR_CHOICE:
        candidates = [each for each in candidates if each.model in {KERNEL, MEAN_OF_MODELS}]
    if len(candidates) == 1:
        return candidates[0].model, candidates[0].predicted
    best = _select(candidates, np.ones(len(training), dtype=np.bool_))
    return best.model, _nested_predictions(candidates, training, seed, tick)


def _evaluate_candidates(
    training: Sequence[TrainingPlate],
    seed: int,
    tick: Callable[[], None],
    left_out: Sequence[IndexArray] | None = None,
) -> list[Candidate]:
    """Return every model with its predictions for left-out plates.

    Parameters
    ----------
    left_out
        Indices of the plates that are left out together, one set after another; None for each plate
        alone. The predictions have the same order.
    """
    sets = [np.array([place]) for place in range(len(training))] if left_out is None else left_out
    tested = [training[place] for out in sets for place in out]
    representation = _representation(training[0].features)
    names = SINGLE_MODELS if representation == "measures" else (KERNEL,)
    raw: dict[str, list[Float64Array]] = {name: [] for name in names}
    for out in sets:
        others = [plate for place, plate in enumerate(training) if place not in out]
        space = FeatureSpace.fit([other.features for other in others], representation)
        rows = [space.transform(training[place].features)[training[place].rows] for place in out]
        for name in names:
            predict = fit_model(name, space, others, seed)
            raw[name] += [predict(of_plate) for of_plate in rows]
            tick()
    if representation == "measures":
        raw[MEAN_OF_MODELS] = [
            np.mean(of_models, axis=0) for of_models in zip(*raw.values(), strict=True)
        ]
    candidates = []
    for name, of_model in raw.items():
        predicted = [np.clip(of_plate, 0.0, 100.0) for of_plate in of_model]
        errors = [
            float(np.abs(plate.percent - of_plate).mean())
            for plate, of_plate in zip(tested, predicted, strict=True)
        ]
        candidates.append(Candidate(name, predicted, np.array(errors)))
    return candidates


def _select(candidates: Sequence[Candidate], plates: BoolArray) -> Candidate:
    """Return the candidate with the smallest mean error on the plates of a mask (plates,)."""
    return min(candidates, key=lambda each: float(each.errors[plates].mean()))


def _nested_predictions(
    candidates: Sequence[Candidate],
    training: Sequence[TrainingPlate],
    seed: int,
    tick: Callable[[], None],
) -> list[Float64Array]:
    """Return the predictions for each of three or more plates by the choice of the other plates.

    The other plates choose by errors of models that were fitted without the predicted plate, so
    that nothing of a plate has an influence on its prediction. Plates are left out in at most
    :data:`MAX_NESTED_GROUPS` groups.
    """
    count = len(training)
    groups = np.arange(count) % MAX_NESTED_GROUPS
    errors = np.full((count, len(candidates), count), np.nan)  # without plate, candidate, plate
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


def fit_model(
    name: str, space: FeatureSpace, plates: Sequence[TrainingPlate], seed: int
) -> Predictor:
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


def _replicates(parts: Sequence[TrainingPlate]) -> Int64Array:
    """Return the number of the treatment of each measured well of the parts of one plate.

    Each untreated well has a number of its own.
    """
    treatments = [name for part in parts for name in part.treatments]
    names = [name or f"untreated {row}" for row, name in enumerate(treatments)]
    _, numbers = np.unique(names, return_inverse=True)
    return np.asarray(numbers, dtype=np.int64)
