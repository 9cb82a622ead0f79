import numpy as np
import pytest

from inference.departure.reduced_space import ReducedPlate
from inference.departure.residuals import Residuals
from inference.ranking.treatment_comparison import (
    _effect_interval,
    compare_with_untreated,
    residual_cosine,
)
from schemas.ranking import Direction

FORWARD, ACROSS = np.eye(6)[0], np.eye(6)[1]
NOISE = 0.6


def residuals(
    seed: int, *shifts: np.ndarray, untreated: int = 18, replicates: int = 3
) -> Residuals:
    """Return wells that develop by 3 along the first of six directions, and shifted replicates."""
    rng = np.random.default_rng(seed)
    wells = untreated + replicates * len(shifts)
    past = rng.normal(size=(wells, 6))
    after = 0.8 * past + NOISE * rng.normal(size=(wells, 6)) + 3.0 * FORWARD
    for number, shift in enumerate(shifts):
        after[untreated + replicates * number :][:replicates] += shift
    return Residuals(ReducedPlate(past, after[:, None], (), ()), np.arange(wells) < untreated)


def wells_of(number: int, replicates: int = 3) -> np.ndarray:
    return np.arange(18 + replicates * number, 18 + replicates * (number + 1))


def directions(shift: np.ndarray) -> list[Direction]:
    return [
        compare_with_untreated(
            residuals(seed, shift), wells_of(0), np.random.default_rng(seed)
        ).direction
        for seed in range(20)
    ]


def test_p_values_are_exact_without_effect_although_controls_are_shared() -> None:
    p_values = []
    for seed in range(40):
        nothing = residuals(seed, *[np.zeros(6)] * 8)
        p_values += [
            compare_with_untreated(nothing, wells_of(number), np.random.default_rng(seed)).p_value
            for number in range(8)
        ]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(p_values) <= 0.01) <= 0.025
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.05)


def test_the_p_value_of_a_treatment_does_not_depend_on_other_treatments() -> None:
    calm, beside_a_kill = residuals(1, ACROSS, np.zeros(6)), residuals(1, ACROSS, 9.0 * FORWARD)
    p_values = [
        compare_with_untreated(each, wells_of(0), np.random.default_rng(0)).p_value
        for each in (calm, beside_a_kill)
    ]
    assert p_values[0] == p_values[1]


def test_a_departure_along_the_untreated_development_is_growth() -> None:
    assert directions(4.0 * FORWARD).count(Direction.GROWTH) >= 18


@pytest.mark.parametrize(
    "shift",
    [4.0 * FORWARD + 4.0 * ACROSS, 4.0 * ACROSS, -3.0 * FORWARD, -2.0 * FORWARD + 2.0 * ACROSS],
)
def test_a_departure_across_or_against_the_development_is_not_growth(shift: np.ndarray) -> None:
    assert Direction.GROWTH not in directions(shift)


def test_forward_and_across_is_undecided_and_arrest_is_deterioration() -> None:
    assert set(directions(3.0 * FORWARD + 3.0 * ACROSS)) <= {
        Direction.UNDECIDED,
        Direction.DETERIORATION,
    }
    assert directions(3.0 * FORWARD + 3.0 * ACROSS).count(Direction.UNDECIDED) >= 10
    assert set(directions(-3.0 * FORWARD)) == {Direction.DETERIORATION}


def test_the_effect_size_is_the_shift_in_untreated_standard_deviations() -> None:
    sizes = [
        compare_with_untreated(
            residuals(seed, 3.0 * ACROSS), wells_of(0), np.random.default_rng(0)
        ).effect_size
        for seed in range(40)
    ]
    assert np.mean(sizes) == pytest.approx(3.0 / NOISE, rel=0.15)
    none = [
        compare_with_untreated(residuals(seed, np.zeros(6)), wells_of(0), np.random.default_rng(0))
        for seed in range(40)
    ]
    assert np.mean([each.effect_size for each in none]) < 1.0
    assert np.mean([each.effect_low == 0 for each in none]) > 0.8


@pytest.mark.parametrize("distance", [0.0, 1.0, 4.0])
def test_the_effect_interval_has_nominal_coverage_with_known_noise(distance: float) -> None:
    rng, unit = np.random.default_rng(2), 1 / 3 + 1 / 18
    intervals = np.array(
        [
            _effect_interval(distance * FORWARD + np.sqrt(unit) * rng.normal(size=6), unit, 1e6, 6)
            for _ in range(200)
        ]
    )
    covers = ((intervals[:, 0] <= distance) & (distance <= intervals[:, 1])).mean()
    assert covers >= 0.86
    assert covers <= 0.94 or distance == 0


def test_the_effect_is_within_its_interval() -> None:
    for seed in range(20):
        test = compare_with_untreated(
            residuals(seed, 2.0 * ACROSS), wells_of(0), np.random.default_rng(0)
        )
        assert test.effect_low <= test.effect_size <= test.effect_high


def test_the_cosine_of_equal_directions_is_1_and_of_opposite_ones_minus_1() -> None:
    three = residuals(3, 9.0 * ACROSS, 6.0 * ACROSS, -9.0 * ACROSS)
    assert residual_cosine(three, wells_of(0), wells_of(1)) == pytest.approx(1, abs=0.1)
    assert residual_cosine(three, wells_of(0), wells_of(2)) == pytest.approx(-1, abs=0.1)


def test_equal_wells_have_no_effect_and_no_cosine() -> None:
    past = np.random.default_rng(4).normal(size=(24, 6))
    same = Residuals(ReducedPlate(past, np.zeros((24, 1, 6)), (), ()), np.arange(24) < 18)
    test = compare_with_untreated(same, wells_of(0), np.random.default_rng(0))
    assert (test.p_value, test.effect_size, test.effect_low) == (1.0, 0.0, 0.0)
    assert residual_cosine(same, wells_of(0), wells_of(1)) is None
