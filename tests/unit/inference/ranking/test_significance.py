from itertools import combinations

import numpy as np
import pytest

from inference.ranking.significance import (
    PERMUTATIONS,
    conformal_p_values,
    false_discovery_q_values,
    permutation_p_values,
    smallest_permutation_p,
)

FORWARD = np.array([1.0, 0.0])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def plain_p(treated: np.ndarray, untreated: np.ndarray, along: np.ndarray) -> tuple[float, float]:
    """Return both p-values by enumeration of all assignments."""
    pooled, n = np.concatenate([treated, untreated]), len(treated)

    def gap(chosen: tuple[int, ...]) -> np.ndarray:
        is_chosen = np.isin(np.arange(len(pooled)), chosen)
        return np.asarray(pooled[is_chosen].mean(axis=0) - pooled[~is_chosen].mean(axis=0))

    own = gap(tuple(range(n)))
    gaps = [gap(chosen) for chosen in combinations(range(len(pooled)), n)]
    far = np.mean([np.linalg.norm(each) >= np.linalg.norm(own) - 1e-9 for each in gaps])
    return float(far), float(np.mean([each @ along >= own @ along - 1e-9 for each in gaps]))


@pytest.mark.parametrize(("treated", "untreated"), [(1, 6), (2, 5), (3, 8)])
def test_few_assignments_are_all_used(treated: int, untreated: int) -> None:
    drawn = rng().normal(size=(treated + untreated, 2))
    drawn[:treated] += 0.8
    assert permutation_p_values(drawn[:treated], drawn[treated:], FORWARD, rng()) == pytest.approx(
        plain_p(drawn[:treated], drawn[treated:], FORWARD)
    )


def test_sampled_assignments_agree_with_all_of_them() -> None:
    drawn = rng().normal(size=(24, 2))
    drawn[:4] += 0.5
    assert permutation_p_values(drawn[:4], drawn[4:], FORWARD, rng()) == pytest.approx(
        plain_p(drawn[:4], drawn[4:], FORWARD), abs=0.02
    )


def test_the_strongest_effect_reaches_the_smallest_p() -> None:
    untreated = rng().normal(size=(18, 2))
    assert (
        permutation_p_values(untreated[:3] + 50.0, untreated, FORWARD, rng())[0]
        == pytest.approx(smallest_permutation_p(3, 18))
        == pytest.approx(1 / 1330)
    )


def test_many_assignments_are_sampled_and_p_is_never_zero() -> None:
    untreated = rng().normal(size=(30, 2))
    assert permutation_p_values(untreated[:8] + 50.0, untreated, FORWARD, rng()) == pytest.approx(
        (1 / (1 + PERMUTATIONS),) * 2
    )
    assert smallest_permutation_p(8, 30) == 1 / (1 + PERMUTATIONS)


@pytest.mark.parametrize(("treated", "untreated"), [(3, 18), (8, 30)])
def test_equal_wells_have_p_value_1(treated: int, untreated: int) -> None:
    assert permutation_p_values(
        np.full((treated, 2), 0.1), np.full((untreated, 2), 0.1), FORWARD, rng()
    ) == (
        1.0,
        1.0,
    )


def test_a_backward_departure_is_significant_but_not_forward() -> None:
    untreated = rng().normal(size=(12, 2))
    far, forward = permutation_p_values(untreated[:3] - 20 * FORWARD, untreated, FORWARD, rng())
    assert far == pytest.approx(1 / 455)
    assert forward == 1.0


def test_a_small_shift_that_all_replicates_share_is_seen() -> None:
    random = rng()
    found = []
    for _ in range(50):
        drawn = random.normal(size=(24, 8))
        drawn[:6, 0] += 3.0  # their mean length is hardly larger than that of other wells
        found.append(permutation_p_values(drawn[:6], drawn[6:], np.eye(8)[0], random)[0] <= 0.05)
    assert np.mean(found) > 0.9


def test_p_values_are_uniform_where_nothing_differs() -> None:
    random = rng()
    p_values = np.array(
        [
            permutation_p_values(
                random.normal(size=(3, 4)), random.normal(size=(12, 4)), np.eye(4)[0], random
            )
            for _ in range(600)
        ]
    )
    for each in p_values.T:
        assert (each <= 0.05).mean() == pytest.approx(0.05, abs=0.025)
        assert each.mean() == pytest.approx(0.5, abs=0.04)


def test_conformal_p_counts_larger_controls_and_the_well_itself() -> None:
    controls = np.array([-1.0, 0.0, 1.0, 2.0])
    np.testing.assert_allclose(
        conformal_p_values(np.array([3.0, 1.0, 0.5, -5.0]), controls), [1 / 5, 3 / 5, 3 / 5, 1.0]
    )
    assert np.isnan(conformal_p_values(np.array([np.nan]), controls)).all()
    np.testing.assert_array_equal(conformal_p_values(np.array([3.0]), np.empty(0)), 1.0)


def test_conformal_p_values_are_valid_for_one_more_untreated_well() -> None:
    random = rng()
    p_values = np.array(
        [conformal_p_values(random.normal(size=1), random.normal(size=19))[0] for _ in range(4000)]
    )
    for level in (0.05, 0.1, 0.5):
        assert (p_values <= level + 1e-9).mean() == pytest.approx(level, abs=0.025)


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    np.testing.assert_allclose(
        false_discovery_q_values(np.array([0.01, 0.04, 0.03, 0.005, 0.9])),
        [0.025, 0.05, 0.05, 0.025, 0.9],
    )
    np.testing.assert_allclose(false_discovery_q_values(np.array([0.6])), [0.6])
