import numpy as np
import pytest

from training.evaluation.discrimination import (
    dose_order_agreement,
    effective_rank,
    plate_leakage_accuracy,
    relative_displacement,
    same_well_auc,
    small_kill_auc,
)

RNG = np.random.default_rng(0)


def test_wells_that_keep_their_appearance_have_an_auc_of_one() -> None:
    wells = RNG.normal(size=(15, 6))
    aged = wells + 3.0  # the same change in all wells
    assert same_well_auc(wells, aged) == pytest.approx(1.0)


def test_wells_of_random_appearance_have_an_auc_of_one_half() -> None:
    found = [same_well_auc(RNG.normal(size=(15, 6)), RNG.normal(size=(15, 6))) for _ in range(30)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_the_displacement_is_0_for_equal_images_and_1_for_another_well() -> None:
    wells = RNG.normal(size=(200, 10))
    assert relative_displacement(wells, wells) == 0.0
    assert relative_displacement(RNG.normal(size=(200, 10)), wells) == pytest.approx(1.0, abs=0.05)


def test_the_displacement_is_relative_to_the_root_mean_square_over_pairs_of_wells() -> None:
    wells = RNG.normal(size=(6, 3))
    squares = [
        ((one - other) ** 2).sum()
        for row, one in enumerate(wells)
        for column, other in enumerate(wells)
        if row != column
    ]
    assert relative_displacement(wells + np.array([0.3, 0, 0]), wells) == pytest.approx(
        0.3 / np.sqrt(np.mean(squares))
    )


def test_the_displacement_of_a_collapsed_encoder_is_nan() -> None:
    assert np.isnan(relative_displacement(np.ones((4, 2)), np.ones((4, 2))))


def test_different_plates_leak_and_equal_plates_do_not() -> None:
    plates = [name for name in "abcd" for _ in range(15)]
    alike = RNG.normal(size=(60, 5))
    differing = alike + 5 * np.repeat(np.eye(4, 5), 15, axis=0)
    assert plate_leakage_accuracy(differing, plates, seed=1) == pytest.approx(1.0)
    assert plate_leakage_accuracy(alike, plates, seed=1) < 0.5


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([1, 2, 5, 3], 0.5), ([1, 2, 3, 5], 1.0), ([2, 1, 5, 3], 0.0), ([1, 1, 3, 5], 0.75)],
)
def test_only_doses_of_one_compound_are_compared(scores: list[float], expected: float) -> None:
    assert (
        dose_order_agreement(
            np.array(scores, float), ["a", "a", "b", "b"], np.array([1.0, 2.0, 1.0, 10.0])
        )
        == expected
    )


def test_the_dose_order_needs_two_doses_of_a_compound() -> None:
    assert np.isnan(dose_order_agreement(np.array([1.0, 2.0]), ["a", "b"], np.array([1.0, 2.0])))


def test_the_small_kill_auc_ignores_large_kills() -> None:
    kill, untreated = (
        np.array([0.0, 0.0, 0.1, 0.2, 0.9]),
        np.array([True, True, False, False, False]),
    )
    assert small_kill_auc(np.array([1.0, 2.0, 3.0, 4.0, 0.0]), kill, untreated) == 1.0
    assert small_kill_auc(np.array([1.0, 3.0, 2.0, 4.0, 9.0]), kill, untreated) == 0.75
    assert np.isnan(small_kill_auc(np.ones(2), np.array([0.0, 0.9]), np.array([True, False])))


def test_the_effective_rank_is_the_number_of_directions() -> None:
    one_direction = np.outer(RNG.normal(size=50), np.ones(8))
    assert effective_rank(one_direction) == pytest.approx(1.0)
    assert effective_rank(np.zeros((5, 3))) == 1.0
    crossed = np.concatenate([np.eye(4), -np.eye(4)])
    assert effective_rank(crossed) == pytest.approx(4.0)
