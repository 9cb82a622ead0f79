"""Ranking quality of an encoder: correlation of scores with the true kill of the wells.

The scores are uncalibrated departures as the service computes them, or percent of deterioration
calibrated on a few assay plates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from inference.deterioration.calibration import AssayPlate, calibrate, refit
from inference.ranking.plate_ranking import rank_plate
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.trajectory import Representation, Trajectories
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from training.evaluation.kernel_regression import (
    differences_from_untreated,
    fit_regression,
    gram_matrix,
)
from training.evaluation.plates import DAYS, MIXED, EvaluationPlate, indices_of_kind

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CALIBRATION_PLATES = 8
ASSAY_NOISE_POINTS = 3.0
"""Standard deviation of a simulated assay, in percentage points."""
EMBEDDING_WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Weights of the embedding's block next to the measures; the calibration plates choose one."""
_SEED = 1


def kill_correlation(scores: Array, kill: Array, untreated: Bools) -> float:
    """Return Spearman's correlation of scores and true kill over treated wells, (N,) each.

    Wells without a score are left out. The result is NaN without any score, and 0 if all scores are
    equal.
    """
    compared = ~untreated & np.isfinite(scores)
    if not compared.any():
        return float("nan")
    if np.ptp(scores[compared]) == 0:
        return 0.0
    return float(spearmanr(scores[compared], kill[compared]).statistic)


def departure_scores(
    plate: EvaluationPlate, embedding: Array | None, representation: Representation
) -> Array:
    """Return the service's uncalibrated score of each well, (N,), by its embedding, (N, 2, D).

    It is NaN for a well without a score.

    Parameters
    ----------
    embedding
        (N, 2, D) on the dosing and the readout day; None for the measures alone.
    """
    table = rank_plate(
        evaluation_trajectories(plate, embedding, representation),
        dosing_day=DOSED_ON_DAY,
        readout_day=READOUT_DAY,
        seed=_SEED,
    )
    scores = {well.well: well.score for well in table.wells if well.score is not None}
    return np.array([scores.get(well, np.nan) for well in plate.wells])


def evaluation_trajectories(
    plate: EvaluationPlate, embedding: Array | None, representation: Representation
) -> Trajectories:
    """Return a plate's Trajectories with an embedding, (N, 2, D), as a ranking needs them."""
    blocks = {
        "embedding": (embedding,),
        "measures": (plate.measures,),
        "both": (embedding, plate.measures),
    }[representation]
    features = np.concatenate([block for block in blocks if block is not None], axis=2)
    dimension = 0 if embedding is None or representation == "measures" else embedding.shape[2]
    return Trajectories(
        plate=plate.name,
        wells=plate.wells,
        groups=plate.groups,
        treatments=plate.treatments,
        days=DAYS,
        features=features,
        feature_names=(
            *(f"embedding_{number}" for number in range(dimension)),
            *(RANKED_MEASURES if features.shape[2] > dimension else ()),
        ),
        embedding_dimension=dimension,
        encoder_id="evaluated" if dimension else "",
    )


@dataclass(frozen=True)
class PlateFold:
    """Calibration plates, and the seeds of the plates that they are tested on."""

    calibration: tuple[int, ...]  # indices in the list of plates
    tested: frozenset[int]  # seeds


def plate_folds(plates: Sequence[EvaluationPlate]) -> Iterator[PlateFold]:
    """Yield each PlateFold of the mixed plates, in which every mixed plate is tested once.

    A fold has eight calibration plates, or two thirds of fewer than twelve mixed plates.
    """
    mixed = list(indices_of_kind(plates, MIXED))
    size = len(mixed) - min(CALIBRATION_PLATES, max(2, len(mixed) * 2 // 3))
    for start in range(0, len(mixed), size):
        tested = mixed[start : start + size]
        yield PlateFold(
            tuple(place for place in mixed if place not in tested)[:CALIBRATION_PLATES],
            frozenset(plates[place].seed for place in tested),
        )


def calibrated_percent(
    plates: Sequence[EvaluationPlate], embeddings: Sequence[Array] | None, *, with_measures: bool
) -> list[Array]:
    """Return the percent of deterioration predicted for each plate's wells, as a list of (N,).

    A plate of any kind is predicted from the mixed plates of the fold that tests its seed. So
    plates of one seed under another microscope are never used for calibration.

    Parameters
    ----------
    embeddings
        (N, 2, D) of each plate; None for the measures alone.
    with_measures
        Use the measures together with the embeddings.
    """
    untreated, sizes = [plate.untreated for plate in plates], [len(plate.wells) for plate in plates]
    numbers = np.repeat(np.arange(len(plates)), sizes)
    assay = np.concatenate([100 * plate.kill + _assay_noise(plate) for plate in plates])
    embedded = None if embeddings is None else _all_differences(embeddings, untreated)
    measured = (
        _all_differences([plate.measures for plate in plates], untreated)
        if with_measures or embedded is None
        else None
    )
    weights = EMBEDDING_WEIGHTS if embedded is not None and measured is not None else (1.0,)
    found: list[list[Array]] = [[] for _ in plates]
    for fold in plate_folds(plates):
        of_embedding, of_measures = (
            None
            if block is None
            else gram_matrix(block, untreated, fold.calibration, one_scale=one_scale)
            for block, one_scale in ((embedded, True), (measured, False))
        )
        training = np.isin(numbers, fold.calibration)
        percent, _ = fit_regression(of_embedding, of_measures, assay, numbers, training, weights)
        for place, plate in enumerate(plates):
            if plate.seed in fold.tested:
                found[place].append(percent[numbers == place])
    return [
        np.mean(of_plate, axis=0) if of_plate else np.full(size, np.nan)
        for of_plate, size in zip(found, sizes, strict=True)
    ]


def _all_differences(
    features: Sequence[Array], untreated: Sequence[Bools]
) -> list[tuple[Array, Array]]:
    return [
        differences_from_untreated(each, mask)
        for each, mask in zip(features, untreated, strict=True)
    ]


def deterioration_percent(
    plates: Sequence[EvaluationPlate], embeddings: Sequence[Array] | None, *, with_measures: bool
) -> list[Array]:
    """Return the percent that the service's calibration predicts for each plate, as a list of (N,).

    It is computed for the plates that the last fold tests; for the others it is NaN. Parameters are
    those of :func:`calibrated_percent`.
    """
    *_, fold = plate_folds(plates)
    representation: Representation = (
        "measures" if embeddings is None else "both" if with_measures else "embedding"
    )
    trajectories = [
        evaluation_trajectories(
            plate, None if embeddings is None else embeddings[place], representation
        )
        for place, plate in enumerate(plates)
    ]
    assay_plates = [
        _make_assay_plate(plates[place], trajectories[place]) for place in fold.calibration
    ]
    card = calibrate(assay_plates, digest="", seed=_SEED, min_plates=2)
    model = refit(assay_plates, card, seed=_SEED)
    return [
        model.predict(each, dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY).percent
        if plate.seed in fold.tested
        else np.full(len(each.wells), np.nan)
        for each, plate in zip(trajectories, plates, strict=True)
    ]


def _make_assay_plate(plate: EvaluationPlate, trajectories: Trajectories) -> AssayPlate:
    percent = 100 * plate.kill + _assay_noise(plate)
    return AssayPlate(
        trajectories,
        dict(zip(plate.wells, percent.tolist(), strict=True)),
        DOSED_ON_DAY,
        READOUT_DAY,
    )


def _assay_noise(plate: EvaluationPlate) -> Array:
    return np.random.default_rng(plate.seed).normal(0, ASSAY_NOISE_POINTS, len(plate.wells))
