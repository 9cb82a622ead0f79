"""The number that counts: how well wells are ordered by their true kill, uncalibrated as the service ranks, and with a few assay plates."""

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
from training.evaluation.plates import DAYS, MIXED, EvaluationPlate, of_kind
from training.evaluation.readout import differences, gram, read_out

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CALIBRATION_PLATES = 8
ASSAY_NOISE_POINTS = 3.0
WEIGHTS_BESIDE_MEASURES = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Of the embedding's block; the calibration plates choose."""
_SEED = 1


def order(score: Array, kill: Array, untreated: Bools) -> float:
    """Return Spearman's correlation of score and true kill over the treated wells that have a score; NaN where none has, 0 where all are alike."""
    compared = ~untreated & np.isfinite(score)
    if not compared.any():
        return float("nan")
    if np.ptp(score[compared]) == 0:
        return 0.0
    return float(spearmanr(score[compared], kill[compared]).statistic)


def departure_scores(
    plate: EvaluationPlate, embedding: Array | None, representation: Representation, weight: float
) -> Array:
    """Return (N,) as the service scores the wells of a plate whose embeddings, (N, 2, D), are given; NaN where a well has no score."""
    table = rank_plate(
        trajectories_from_profiles(plate, embedding, representation, weight),
        dosing_day=DOSED_ON_DAY,
        readout_day=READOUT_DAY,
        seed=_SEED,
    )
    scores = {well.well: well.score for well in table.wells if well.score is not None}
    return np.array([scores.get(well, np.nan) for well in plate.wells])


def trajectories_from_profiles(
    plate: EvaluationPlate, embedding: Array | None, representation: Representation, weight: float
) -> Trajectories:
    """Return a plate as the service ranks it."""
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
        embedding_weight=weight,
        encoder_id="judged" if dimension else "",
    )


@dataclass(frozen=True)
class Fold:
    """Mixed plates that teach, and the seeds that are held out of this fold."""

    teaching: tuple[int, ...]  # places in the list of plates
    held_out: frozenset[int]  # seeds


def folds(plates: Sequence[EvaluationPlate]) -> Iterator[Fold]:
    """Yield folds in which every mixed plate is held out once and eight others teach (two thirds of them where they are fewer than twelve)."""
    mixed = list(of_kind(plates, MIXED))
    together = len(mixed) - min(CALIBRATION_PLATES, max(2, len(mixed) * 2 // 3))
    for start in range(0, len(mixed), together):
        out = mixed[start : start + together]
        yield Fold(
            tuple(place for place in mixed if place not in out)[:CALIBRATION_PLATES],
            frozenset(plates[place].seed for place in out),
        )


def calibrated_percent(
    plates: Sequence[EvaluationPlate], embeddings: Sequence[Array] | None, *, with_measures: bool
) -> list[Array]:
    """Return, for each plate, (N,) percent of deterioration from plates of other seeds: the same biology under another microscope teaches nothing.

    Plates of every kind are read by the mixed plates of the fold that holds their seed out. Without embeddings the measures read alone.
    """
    untreated, sizes = [plate.untreated for plate in plates], [len(plate.wells) for plate in plates]
    numbers = np.repeat(np.arange(len(plates)), sizes)
    measured = np.concatenate([100 * plate.kill + _assay_noise(plate) for plate in plates])
    embedded = (
        None
        if embeddings is None
        else [differences(each, mask) for each, mask in zip(embeddings, untreated, strict=True)]
    )
    by_hand = (
        [differences(plate.measures, mask) for plate, mask in zip(plates, untreated, strict=True)]
        if with_measures or embedded is None
        else None
    )
    weights = WEIGHTS_BESIDE_MEASURES if embedded is not None and by_hand is not None else (1.0,)
    found: list[list[Array]] = [[] for _ in plates]
    for fold in folds(plates):
        from_embedding = (
            None if embedded is None else gram(embedded, untreated, fold.teaching, one_scale=True)
        )
        from_measures = (
            None if by_hand is None else gram(by_hand, untreated, fold.teaching, one_scale=False)
        )
        teaching = np.isin(numbers, fold.teaching)
        percent, _ = read_out(from_embedding, from_measures, measured, numbers, teaching, weights)
        for place, plate in enumerate(plates):
            if plate.seed in fold.held_out:
                found[place].append(percent[numbers == place])
    return [
        np.mean(of_plate, axis=0) if of_plate else np.full(size, np.nan)
        for of_plate, size in zip(found, sizes, strict=True)
    ]


def deterioration_percent(
    plates: Sequence[EvaluationPlate], embeddings: Sequence[Array] | None, *, with_measures: bool
) -> list[Array]:
    """Return, for each plate that the last fold holds out, (N,) percent by the service's own calibration (``inference.deterioration.calibration``); NaN for the others."""
    *_, fold = folds(plates)
    representation: Representation = (
        "measures" if embeddings is None else "both" if with_measures else "embedding"
    )
    seen = [
        trajectories_from_profiles(
            plate, None if embeddings is None else embeddings[place], representation, 1.0
        )
        for place, plate in enumerate(plates)
    ]
    taught = [_assayed(plates[place], seen[place]) for place in fold.teaching]
    model = refit(taught, calibrate(taught, digest="", seed=_SEED, min_plates=2), seed=_SEED)
    held_out = [plate.seed in fold.held_out for plate in plates]
    return [
        model.predict(trajectories, dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY).percent
        if out
        else np.full(len(trajectories.wells), np.nan)
        for trajectories, out in zip(seen, held_out, strict=True)
    ]


def _assayed(plate: EvaluationPlate, seen: Trajectories) -> AssayPlate:
    percent = 100 * plate.kill + _assay_noise(plate)
    return AssayPlate(
        seen, dict(zip(plate.wells, percent.tolist(), strict=True)), DOSED_ON_DAY, READOUT_DAY
    )


def _assay_noise(plate: EvaluationPlate) -> Array:
    return np.random.default_rng(plate.seed).normal(0, ASSAY_NOISE_POINTS, len(plate.wells))
