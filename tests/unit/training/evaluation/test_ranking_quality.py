from dataclasses import replace

import numpy as np
import pytest

from training.evaluation.plates import EvaluationPlate
from training.evaluation.ranking_quality import calibrated_percent, kill_correlation, plate_folds


def named(kind: str, seed: int, plate: EvaluationPlate) -> EvaluationPlate:
    return replace(plate, name=f"{kind}-{seed}", kind=kind, seed=seed)


def test_every_mixed_plate_is_tested_once_and_otherwise_used_for_calibration(
    plates: list[EvaluationPlate],
) -> None:
    many = [named("mixed", seed, plates[0]) for seed in range(12)] + [
        named("phase_rim", 3, plates[1])
    ]
    found = list(plate_folds(many))
    assert [len(fold.calibration) for fold in found] == [8, 8, 8]
    assert sorted(seed for fold in found for seed in fold.tested) == list(range(12))
    assert all(not fold.tested & {many[place].seed for place in fold.calibration} for fold in found)


def test_the_same_wells_under_another_microscope_are_not_used_for_calibration(
    plates: list[EvaluationPlate],
) -> None:
    """A change of the kill of seed 0 changes only predictions on plates of other seeds."""
    many = [named("mixed", seed, plates[0]) for seed in range(3)] + [
        named("phase_rim", 0, plates[0])
    ]
    wells = len(plates[0].wells)
    rng = np.random.default_rng(2)
    embeddings = [rng.normal(size=(wells, 2, 4)) for _ in many]
    percent = calibrated_percent(many, embeddings, with_measures=False)
    odd = [replace(plate, kill=1 - plate.kill) if plate.seed == 0 else plate for plate in many]
    again = calibrated_percent(odd, embeddings, with_measures=False)
    assert np.array_equal(percent[0], again[0])
    assert np.array_equal(percent[3], again[3])
    assert not np.array_equal(percent[1], again[1])


def test_the_kill_correlation_is_over_treated_wells_with_a_score() -> None:
    kill, untreated = (
        np.array([0.0, 0.2, 0.5, 0.9, 0.7]),
        np.array([True, False, False, False, False]),
    )
    assert kill_correlation(np.array([99.0, 1, 2, 3, np.nan]), kill, untreated) == pytest.approx(
        1.0
    )
    assert kill_correlation(np.ones(5), kill, untreated) == 0.0
    assert np.isnan(kill_correlation(np.full(5, np.nan), kill, untreated))
