from dataclasses import replace

import numpy as np
import pytest

from inference.ranking.plate_quality import position_effects, robust_z_prime, ssmd, z_prime
from inference.ranking.plate_ranking import rank_plate
from schemas.plate_map import Group
from schemas.ranking import Gate, RankingQuality
from schemas.trajectory import Trajectories
from schemas.well import INNER_60, row_column
from tests.known_plates import DOSING_DAY, READOUT_DAY, plate

POSITIVES, CONTROLS = np.array([9.0, 10.0, 11.0]), np.array([-1.0, 0.0, 1.0])


def test_z_prime_and_ssmd_follow_their_published_formulas() -> None:
    assert z_prime(POSITIVES, CONTROLS) == pytest.approx(1 - 3 * 2 / 10)
    assert ssmd(POSITIVES, CONTROLS) == pytest.approx(10 / np.sqrt(2))


@pytest.mark.parametrize(
    ("positives", "controls"),
    [(np.array([5.0]), CONTROLS), (np.empty(0), CONTROLS), (POSITIVES, np.empty(0))],
)
def test_fewer_than_two_wells_of_a_kind_give_no_z_prime_and_ssmd(
    positives: np.ndarray, controls: np.ndarray
) -> None:
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


def quality(trajectories: Trajectories, *others: Trajectories) -> RankingQuality:
    return rank_plate(
        trajectories, dosing_day=DOSING_DAY, readout_day=READOUT_DAY, seed=0, others=others
    ).quality


def changed(
    trajectories: Trajectories, wells: slice, day: int, by: np.ndarray | float
) -> Trajectories:
    features = trajectories.features.copy()
    features[wells, trajectories.days.index(day)] += by
    return replace(trajectories, features=features)


def test_robust_z_prime_uses_medians_and_ignores_an_outlier() -> None:
    assert robust_z_prime(POSITIVES, CONTROLS) == pytest.approx(1 - 3 * 2 * 1.4826 / 10)
    positives, controls = (
        np.array([9.0, 10.0, 11.0, 10.5, 500.0]),
        np.array([-1.0, 0.0, 1.0, 0.5, -500.0]),
    )
    plain = (
        1
        - 3
        * 1.4826
        * (np.median(np.abs(positives - 10.5)) + np.median(np.abs(controls - 0.0)))
        / 10.5
    )
    assert robust_z_prime(positives, controls) == pytest.approx(plain)
    assert robust_z_prime(POSITIVES[:1], CONTROLS) is None
    assert robust_z_prime(np.ones(3), np.ones(3)) is None


def test_a_plate_fails_if_untreated_wells_vary_more_than_on_earlier_plates() -> None:
    whole = plate((), untreated=60, features=12, encoder_id="")

    def part(start: int) -> Trajectories:
        wells = slice(start, start + 20)
        return replace(
            whole,
            plate=f"P{start}",
            wells=whole.wells[wells],
            groups=whole.groups[wells],
            treatments=whole.treatments[wells],
            features=whole.features[wells],
        )

    own, *others = part(0), part(20), part(40)
    assert quality(own, *others).gate is Gate.PASSED
    wide = changed(
        own, slice(None), READOUT_DAY, 4.0 * np.random.default_rng(0).normal(size=(20, 12))
    )
    assert quality(wide).gate is Gate.PASSED  # there are no earlier plates
    assert quality(wide, *others).gate is Gate.FAILED
    assert (
        "times as much as on other plates; expected less than 2 times"
        in quality(wide, *others).reasons[0]
    )


def test_a_plate_fails_if_untreated_wells_differed_before_dosing() -> None:
    result = quality(
        changed(plate((0.0,) * 8, features=12, encoder_id=""), slice(0, 18), DOSING_DAY, 4.0)
    )
    assert result.gate is Gate.FAILED
    assert "before dosing, untreated wells differed from all others by" in result.reasons[0]


def test_one_block_of_untreated_wells_fails_only_with_a_position_effect() -> None:
    block = plate((0.0, 1.0), untreated=20, features=12, encoder_id="")
    calm = quality(block)
    assert calm.untreated_in_one_block
    assert calm.gate is Gate.PASSED
    columns = np.array([row_column(well)[1] for well in block.wells])
    steep = quality(
        changed(
            block,
            slice(None),
            READOUT_DAY,
            columns[:, None] * np.random.default_rng(1).normal(size=12),
        )
    )
    assert steep.corrected_for == ("column",)
    assert steep.gate is Gate.FAILED
    assert "are in one block and differ by column" in steep.reasons[0]


def test_a_resistant_tissue_does_not_fail_the_plate() -> None:
    trajectories = plate((0.0, 1.0), replicates=6)
    resistant = replace(
        trajectories,
        groups=tuple(
            Group.SINGLE_DOSE if text == "drug0:1 uM" else group
            for text, group in zip(trajectories.treatments, trajectories.groups, strict=True)
        ),
    )
    result = quality(resistant)
    assert result.gate is Gate.PASSED
    assert result.z_prime is not None
    assert result.z_prime < 0
