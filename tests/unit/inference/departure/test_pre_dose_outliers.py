import numpy as np
import pytest

from inference.departure.pre_dose_outliers import EXPECTED_FALSE_OUTLIERS, find_pre_dose_outliers


def test_the_distance_is_that_of_one_new_observation_from_all_others() -> None:
    past = np.random.default_rng(0).normal(size=(30, 4))
    far = find_pre_dose_outliers(past)[1]
    others = np.delete(past, 3, axis=0)
    away = past[3] - others.mean(axis=0)
    t_squared = away @ np.linalg.inv(np.cov(others, rowvar=False)) @ away
    assert far[3] ** 2 / far[0] ** 2 == pytest.approx(t_squared / _t_squared(past, 0), rel=1e-3)
    beyond = [
        (find_pre_dose_outliers(np.random.default_rng(seed).normal(size=(60, 6)))[1] > 1).sum()
        for seed in range(100)
    ]
    assert np.mean(beyond) == pytest.approx(
        EXPECTED_FALSE_OUTLIERS, abs=0.03
    )  # expected number of wells above the limit


def _t_squared(past: np.ndarray, well: int) -> float:
    others = np.delete(past, well, axis=0)
    away = past[well] - others.mean(axis=0)
    return float(away @ np.linalg.inv(np.cov(others, rowvar=False)) @ away)


@pytest.mark.parametrize("wells", [27, 60])
def test_only_the_outlier_is_found(wells: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        past = rng.normal(size=(wells, wells // 5))
        past[4] += 40 * np.eye(wells // 5)[rng.integers(wells // 5)]
        np.testing.assert_array_equal(np.flatnonzero(find_pre_dose_outliers(past)[0]), [4])


def test_outliers_in_different_directions_are_all_found() -> None:
    past = np.random.default_rng(1).normal(size=(60, 12))
    past[[7, 40], [0, 1]] += 60
    np.testing.assert_array_equal(np.flatnonzero(find_pre_dose_outliers(past)[0]), [7, 40])


@pytest.mark.parametrize(("tails", "most"), [("normal", 0), ("t with 5 degrees of freedom", 6)])
def test_plates_without_outliers_lose_less_than_a_thousandth_of_their_wells(
    tails: str, most: int
) -> None:
    lost = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lost += find_pre_dose_outliers(
            rng.normal(size=(30, 6)) if tails == "normal" else rng.standard_t(5, size=(30, 6))
        )[0].sum()
    assert lost <= most  # of 6000


def test_more_than_a_tenth_of_outliers_is_an_uneven_plate_without_outliers() -> None:
    past = np.random.default_rng(2).normal(size=(40, 4))
    past[:6] += 1e3 * 10.0 ** np.arange(6)[:, None]
    assert not find_pre_dose_outliers(past)[0].any()
    assert not find_pre_dose_outliers(10.0 ** np.arange(40)[:, None] * np.ones((1, 3)))[0].any()


@pytest.mark.parametrize("wells", [2, 3, 11])
def test_plates_with_few_wells_have_no_outliers(wells: int) -> None:
    past = np.random.default_rng(3).normal(size=(wells, 3))
    past[0] += 1e6
    assert not find_pre_dose_outliers(past)[0].any()


def test_one_well_that_differs_from_equal_wells_is_found() -> None:
    past = np.ones((20, 3))
    assert not find_pre_dose_outliers(past)[0].any()
    past[5] += 1.0
    np.testing.assert_array_equal(np.flatnonzero(find_pre_dose_outliers(past)[0]), [5])
