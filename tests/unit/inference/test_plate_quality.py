from dataclasses import replace

import numpy as np
import pytest

from inference.plate_quality import position_effects, ssmd, z_prime
from schemas.plate_map import Group
from schemas.well import INNER_60, row_column
from tests.known_plates import plate

POSITIVES, CONTROLS = np.array([9.0, 10.0, 11.0]), np.array([-1.0, 0.0, 1.0])


def test_z_prime_and_ssmd_are_those_of_their_papers() -> None:
    assert z_prime(POSITIVES, CONTROLS) == pytest.approx(1 - 3 * 2 / 10)
    assert ssmd(POSITIVES, CONTROLS) == pytest.approx(10 / np.sqrt(2))


@pytest.mark.parametrize(("positives", "controls"), [(np.array([5.0]), CONTROLS), (np.empty(0), CONTROLS), (POSITIVES, np.empty(0))])
def test_without_two_wells_of_each_there_is_neither(positives: np.ndarray, controls: np.ndarray) -> None:
    assert z_prime(positives, controls) is None
    assert ssmd(positives, controls) is None


def test_wells_that_are_all_equal_have_no_ssmd_and_equal_means_no_z_prime() -> None:
    assert ssmd(np.ones(3), np.ones(3)) is None
    assert z_prime(np.ones(3), np.ones(3)) is None


def test_an_edge_and_a_row_effect_of_the_untreated_are_found() -> None:
    trajectories = replace(plate(()), wells=INNER_60, groups=(Group.UNTREATED,) * 60)
    positions = np.array([row_column(well) for well in INNER_60])
    at_edge = np.isin(positions[:, 0], (2, 7)) | np.isin(positions[:, 1], (2, 11))
    edge, row, column = position_effects(trajectories, 2.0 * at_edge)
    assert edge == pytest.approx(2.0)
    assert row == pytest.approx(0, abs=1e-9)
    assert column == pytest.approx(0, abs=1e-9)
    assert position_effects(trajectories, positions[:, 0].astype(float))[1] == pytest.approx(1.0)


def test_untreated_wells_in_one_row_have_no_row_effect() -> None:
    trajectories = replace(plate(()), wells=INNER_60[:10], groups=(Group.UNTREATED,) * 10)
    edge, row, column = position_effects(trajectories, np.arange(10.0))
    assert edge is None
    assert row is None
    assert column == pytest.approx(1.0)
