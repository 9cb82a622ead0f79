from dataclasses import replace

import numpy as np
import pytest

from inference.deterioration.calibration import AssayPlate, Calibration, calibrate, refit
from inference.deterioration.well_order import drift_of
from schemas.calibration import CalibrationCard
from schemas.plate_map import Group
from tests.assayed_plates import DOSING_DAY, READOUT_DAY, KnownPlate, assayed, known_plate

SEEDS = range(20)
pytestmark = pytest.mark.usefixtures("one_thread")


def distance_of(calibration: Calibration, plate: KnownPlate) -> float:
    return calibration.distance(plate.trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY)


@pytest.mark.usefixtures("ridge_alone")
@pytest.mark.parametrize("plates", [4, 8])
def test_a_similar_plate_is_within_the_range_and_a_foreign_plate_outside(
    plates: int,
) -> None:
    within, outside = [], []
    for seed in SEEDS:
        training = assayed(plates, 10 * seed)
        calibration = refit(training, calibrated_by_ridge(training), seed=1)
        drifts = [
            drift_of(
                known_plate(1000 + seed, foreign=foreign).trajectories,
                calibration,
                dosing_day=DOSING_DAY,
                readout_day=READOUT_DAY,
            )
            for foreign in (False, True)
        ]
        near, far = drifts
        assert near is not None
        assert far is not None
        within.append(not near.outside)
        outside.append(far.outside)
        assert far.percentile == 100
    assert np.mean(within) >= 0.95
    assert np.mean(outside) == 1


def calibrated_by_ridge(plates: list[AssayPlate]) -> CalibrationCard:
    """Return a card that names ridge regression on measures, without model selection."""
    return calibrate(plates, digest="", seed=1, min_plates=99).model_copy(
        update={"model": "ridge", "representation": "measures"}
    )


def test_without_single_doses_the_distance_uses_untreated_wells() -> None:
    plates = [known_plate(seed, single_dose=0) for seed in range(9)]
    training = [plate.assayed() for plate in plates[:8]]
    calibration = refit(training, calibrated_by_ridge(training), seed=1)
    assert 0 < distance_of(calibration, plates[8]) < 2 * calibration.usual_distances.max()
    assert (
        distance_of(calibration, known_plate(9)) < 2 * calibration.usual_distances.max()
    )  # no calibration plate has a single dose
    assert (
        distance_of(calibration, known_plate(9, single_dose=0, foreign=True))
        > 2 * calibration.usual_distances.max()
    )


def test_a_single_dose_on_only_two_calibration_plates_is_not_compared() -> None:
    training = [known_plate(seed, single_dose=4 if seed < 2 else 0).assayed() for seed in range(4)]
    calibration = refit(training, calibrated_by_ridge(training), seed=1)
    fresh = known_plate(9)
    screening = tuple(
        Group.SCREENING if group is Group.SINGLE_DOSE else group
        for group in fresh.trajectories.groups
    )
    assert distance_of(calibration, fresh) == distance_of(
        calibration, KnownPlate(replace(fresh.trajectories, groups=screening), fresh.percent)
    )


def test_a_missing_value_of_an_untreated_well_changes_the_distance_little() -> None:
    training, fresh = assayed(4), known_plate(9)
    calibration = refit(training, calibrated_by_ridge(training), seed=1)
    features = fresh.trajectories.features.copy()
    features[:3, :, 0] = [np.nan, np.inf]
    touched = KnownPlate(replace(fresh.trajectories, features=features), fresh.percent)
    assert distance_of(calibration, touched) == pytest.approx(
        distance_of(calibration, fresh), rel=0.3
    )
