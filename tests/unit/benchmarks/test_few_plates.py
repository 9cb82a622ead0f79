import numpy as np
import pytest

from benchmarks.few_plates import draw_sets, winkler_score, with_plan_of
from simulation.kinds import Layout
from simulation.plate import plan_plate


def test_the_score_of_an_interval_is_its_width_and_twenty_times_the_distance_outside() -> None:
    low, high = np.array([0.0, 10.0, 10.0]), np.array([100.0, 30.0, 30.0])
    assert winkler_score(low, high, np.array([50.0, 8.0, 33.0])) == pytest.approx(
        (100 + (20 + 20 * 2) + (20 + 20 * 3)) / 3
    )


@pytest.mark.parametrize(("assays", "sets"), [(1, 12), (2, 24), (8, 60)])
def test_sets_of_plates_are_different_and_leave_each_plate_out_about_as_often_as_asked(
    assays: int, sets: int
) -> None:
    found = draw_sets(12, assays, 20, np.random.default_rng(1))
    assert len(set(found)) == len(found) == sets
    assert all(len(set(each)) == assays for each in found)
    held_out = [sum(plate not in each for each in found) for plate in range(12)]
    assert min(held_out) > 5


def test_half_divided_plates_have_the_same_kills_in_other_wells() -> None:
    first, second = (plan_plate(5, index, layout=Layout.DIVIDED) for index in (1, 2))
    changed = with_plan_of(second, first)
    assert (changed.name, changed.index) == (second.name, 2)
    assert {plan.treatment for plan in changed.wells} == {plan.treatment for plan in first.wells}
    kills = [[plan.readout_kill for plan in plate.wells] for plate in (first, changed)]
    assert sorted(kills[0]) == sorted(kills[1])
    assert kills[0] != kills[1]
    assert [plan.group for plan in first.wells] == [plan.group for plan in changed.wells]
