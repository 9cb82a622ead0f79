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
    )  # the limit is what a normal plate keeps


def _t_squared(past: np.ndarray, well: int) -> float:
    others = np.delete(past, well, axis=0)
    away = past[well] - others.mean(axis=0)
    return float(away @ np.linalg.inv(np.cov(others, rowvar=False)) @ away)


@pytest.mark.parametrize("wells", [27, 60])
def test_an_odd_well_is_found_and_no_other(wells: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        past = rng.normal(size=(wells, wells // 5))
        past[4] += 40 * np.eye(wells // 5)[rng.integers(wells // 5)]
        np.testing.assert_array_equal(np.flatnonzero(find_pre_dose_outliers(past)[0]), [4])


def test_wells_odd_each_in_its_own_way_are_all_found() -> None:
    past = np.random.default_rng(1).normal(size=(60, 12))
    past[[7, 40], [0, 1]] += 60
    np.testing.assert_array_equal(np.flatnonzero(find_pre_dose_outliers(past)[0]), [7, 40])


@pytest.mark.parametrize(("tails", "most"), [("normal", 0), ("t with 5 degrees of freedom", 6)])
def test_plates_without_odd_wells_lose_less_than_a_thousandth_of_them(
    tails: str, most: int
) -> None:
    lost = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lost += find_pre_dose_outliers(
            rng.normal(size=(30, 6)) if tails == "normal" else rng.standard_t(5, size=(30, 6))
        )[0].sum()
    assert lost <= most  # of 6000


def test_where_a_tenth_is_unlike_the_plate_is_uneven_and_all_stay() -> None:
    past = np.random.default_rng(2).normal(size=(40, 4))
    past[:6] += 1e3 * 10.0 ** np.arange(6)[:, None]
    assert not find_pre_dose_outliers(past)[0].any()
    assert not find_pre_dose_outliers(10.0 ** np.arange(40)[:, None] * np.ones((1, 3)))[0].any()


@pytest.mark.parametrize("wells", [2, 3, 11])
def test_few_wells_are_never_held_against_each_other(wells: int) -> None:
    past = np.random.default_rng(3).normal(size=(wells, 3))
    past[0] += 1e6
    assert not find_pre_dose_outliers(past)[0].any()


def test_wells_that_are_all_equal_are_alike_and_one_that_is_not_is_found() -> None:
    past = np.ones((20, 3))
    assert not find_pre_dose_outliers(past)[0].any()
    past[5] += 1.0
    np.testing.assert_array_equal(np.flatnonzero(find_pre_dose_outliers(past)[0]), [5])
