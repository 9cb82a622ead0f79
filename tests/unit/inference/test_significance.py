from itertools import combinations

import numpy as np
import pytest

from inference.significance import PERMUTATIONS, adjust_false_discovery, permutation_p, smallest_permutation_p


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_few_assignments_are_all_counted() -> None:
    treated, untreated = np.array([2.0, 3.5]), np.array([0.0, 1.0, 3.0, 2.5, -1.0])
    pooled = [*treated, *untreated]
    sums = [sum(pair) for pair in combinations(pooled, 2)]
    assert permutation_p(treated, untreated, rng()) == pytest.approx(np.mean([total >= 5.5 for total in sums]))


def test_the_strongest_effect_reaches_the_smallest_p() -> None:
    untreated = np.arange(18.0)
    assert permutation_p(np.array([50.0, 60.0, 70.0]), untreated, rng()) == pytest.approx(smallest_permutation_p(3, 18)) == pytest.approx(1 / 1330)


def test_many_assignments_are_sampled_and_p_is_never_zero() -> None:
    assert permutation_p(np.full(8, 50.0), np.arange(30.0), rng()) == 1 / (1 + PERMUTATIONS) == smallest_permutation_p(8, 30)


def test_equal_wells_tell_nothing() -> None:
    assert permutation_p(np.full(3, 0.1), np.full(18, 0.1), rng()) == 1.0


def test_p_values_are_uniform_where_nothing_differs() -> None:
    random = rng()
    p_values = np.array([permutation_p(random.normal(size=3), random.normal(size=12), random) for _ in range(400)])
    assert (p_values <= 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert p_values.mean() == pytest.approx(0.5, abs=0.05)


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    np.testing.assert_allclose(adjust_false_discovery(np.array([0.01, 0.04, 0.03, 0.005, 0.9])), [0.025, 0.05, 0.05, 0.025, 0.9])
    np.testing.assert_allclose(adjust_false_discovery(np.array([0.6])), [0.6])
