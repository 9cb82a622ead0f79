from collections.abc import Sequence
from dataclasses import replace
from time import process_time

import numpy as np
import pytest

from inference.departure.departures import residuals_of_scorable_wells
from inference.ranking.label_audit import (
    ACCEPTED_PROBABILITY,
    EXCHANGED,
    MIN_UNTREATED,
    UNTREATED,
    audit_labels,
)
from inference.ranking.plate_ranking import rank_plate
from schemas.plate_map import Group
from schemas.ranking import LabelDoubt
from schemas.trajectory import Trajectories
from schemas.well import PLATE_SHAPES, well_at
from tests.known_plates import DOSING_DAY, READOUT_DAY, plate

KILLS = (0.0, 0.2, 0.5, 1.0, 1.2, 1.5, 2.0)
SEEDS = range(20)


def audit(trajectories: Trajectories) -> tuple[LabelDoubt, ...]:
    residuals, used, _ = residuals_of_scorable_wells(
        trajectories, dosing_day=DOSING_DAY, day=READOUT_DAY
    )
    assert used.all()
    return audit_labels(residuals, trajectories.wells, trajectories.groups, trajectories.treatments)


def believed(trajectories: Trajectories) -> list[LabelDoubt]:
    return [doubt for doubt in audit(trajectories) if doubt.probability >= ACCEPTED_PROBABILITY]


def relabelled(trajectories: Trajectories, order: Sequence[int]) -> Trajectories:
    """Give each well the label of another."""
    groups, treatments = (
        tuple(values[well] for well in order)
        for values in (trajectories.groups, trajectories.treatments)
    )
    return replace(trajectories, groups=groups, treatments=treatments)


def exchanged(trajectories: Trajectories, one: int, other: int) -> Trajectories:
    order = list(range(len(trajectories.wells)))
    order[one], order[other] = other, one
    return relabelled(trajectories, order)


def scattered(trajectories: Trajectories, seed: int) -> Trajectories:
    """Put the wells at other places of the inner 60, as a map that was drawn at random."""
    order = np.random.default_rng(seed).permutation(len(trajectories.wells))
    return relabelled(replace(trajectories, features=trajectories.features[order]), order.tolist())


def of_treatment(trajectories: Trajectories, treatment: str) -> list[int]:
    return [well for well, text in enumerate(trajectories.treatments) if text == treatment]


def test_an_untreated_well_exchanged_with_a_killed_one_is_found_with_its_partner() -> None:
    found = 0
    for seed in SEEDS:
        right = plate(KILLS, seed=seed)
        untreated, killed = 4, of_treatment(right, "drug5:1 uM")[1]
        pair = (right.wells[untreated], right.wells[killed])
        found += any(
            doubt.wells == pair and doubt.seems == EXCHANGED
            for doubt in believed(exchanged(right, untreated, killed))
        )
    assert found >= 0.9 * len(SEEDS)


def test_two_wells_of_very_different_treatments_that_were_exchanged_are_found() -> None:
    found = 0
    for seed in SEEDS:
        right = plate(KILLS, seed=seed)
        one, other = of_treatment(right, "drug1:1 uM")[0], of_treatment(right, "drug6:1 uM")[2]
        pair = {right.wells[one], right.wells[other]}
        found += pair <= {
            well for doubt in believed(exchanged(right, one, other)) for well in doubt.wells
        }
    assert found >= 0.8 * len(SEEDS)


def test_a_killed_well_that_is_called_untreated_is_found() -> None:
    right = plate(KILLS)
    well = of_treatment(right, "drug6:1 uM")[0]
    groups, treatments = list(right.groups), list(right.treatments)
    groups[well], treatments[well] = Group.UNTREATED, ""
    (doubt,) = believed(replace(right, groups=tuple(groups), treatments=tuple(treatments)))
    assert (doubt.wells, doubt.said) == ((right.wells[well],), UNTREATED)
    assert doubt.seems in {"drug4:1 uM", "drug5:1 uM", "drug6:1 uM"}


def test_an_untreated_well_that_is_called_treated_is_found() -> None:
    right = plate(KILLS)
    groups, treatments = list(right.groups), list(right.treatments)
    groups[3], treatments[3] = Group.SCREENING, "drug6:1 uM"
    (doubt,) = believed(replace(right, groups=tuple(groups), treatments=tuple(treatments)))
    assert (doubt.wells, doubt.said, doubt.seems) == ((right.wells[3],), "drug6:1 uM", UNTREATED)


def test_several_wrong_labels_do_not_hide_one_another() -> None:
    right = plate(KILLS, seed=3)
    wrong = exchanged(
        exchanged(right, 2, of_treatment(right, "drug6:1 uM")[0]),
        9,
        of_treatment(right, "drug4:1 uM")[0],
    )
    named = {well for doubt in believed(wrong) for well in doubt.wells}
    assert named >= {right.wells[2], right.wells[9]}


def test_right_labels_are_hardly_ever_doubted() -> None:
    doubted = [len(doubt.wells) for seed in SEEDS for doubt in believed(plate(KILLS, seed=seed))]
    assert sum(doubted) <= 0.01 * 39 * len(SEEDS)


def test_treatments_that_do_nothing_are_not_doubted_for_looking_untreated() -> None:
    doubted = [
        len(doubt.wells)
        for seed in SEEDS
        for doubt in believed(plate((0.0,) * 8 + (0.1,) * 4, seed=seed))
    ]
    assert sum(doubted) <= 0.01 * 54 * len(SEEDS)


def test_a_treatment_of_one_well_cannot_be_doubted() -> None:
    right = plate((0.0, 0.5, 1.0, 1.0), replicates=1)
    alone = set(right.wells[18:])
    assert not [doubt for doubt in audit(right) if alone & set(doubt.wells)]


def test_a_well_that_is_like_nothing_else_is_no_label_in_doubt() -> None:
    right = plate((0.0, 0.1, 0.2, 0.3))
    features = right.features.copy()
    features[20, 1] += 30 * np.random.default_rng(1).normal(size=features.shape[2])
    assert not [
        doubt
        for doubt in audit(replace(right, features=features))
        if right.wells[20] in doubt.wells
    ]


def test_beside_few_untreated_wells_nothing_is_doubted() -> None:
    assert audit(plate(KILLS, untreated=MIN_UNTREATED - 1)) == ()


def test_few_untreated_wells_are_enough_for_a_plain_exchange() -> None:
    right = plate(KILLS, untreated=MIN_UNTREATED, seed=0)
    killed = of_treatment(right, "drug6:1 uM")[0]
    named = {well for doubt in audit(exchanged(right, 1, killed)) for well in doubt.wells}
    assert {right.wells[1], right.wells[killed]} & named


def test_a_plate_of_untreated_wells_and_one_treatment_is_not_doubted() -> None:
    assert believed(plate((1.0,), replicates=6)) == []
    assert believed(plate(())) == []


@pytest.mark.parametrize("kills", [KILLS, (1.5,) * 7])
def test_a_plate_turned_by_180_degrees_is_found(kills: tuple[float, ...]) -> None:
    for seed in range(10):
        right = scattered(plate(kills, untreated=18, replicates=6, seed=seed), seed)
        assert not [doubt for doubt in believed(right) if len(doubt.wells) > 2]
        (doubt,) = audit(relabelled(right, range(59, -1, -1)))
        assert doubt.seems == "turned by 180°"
        assert doubt.probability > 0.9
        assert len(doubt.wells) > 30


@pytest.mark.parametrize("wells", sorted(PLATE_SHAPES))
def test_plates_of_every_size_are_turned_about_their_own_middle(wells: int) -> None:
    rows, columns = PLATE_SHAPES[wells]
    names = tuple(
        well_at(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)
    )[: wells if wells <= 96 else 48]
    if wells == 384:  # two rows at the top and their mirror images at the bottom
        names = (*names[:24], *(well_at(16, column) for column in range(1, 25)))
    treated = len(names) - len(names) // 4
    made = scattered(
        plate((1.0,) * (treated // 3), untreated=len(names) - 3 * (treated // 3), seed=3)
        if wells <= 60
        else _full(len(names)),
        3,
    )
    turned = relabelled(replace(made, wells=names), range(len(names) - 1, -1, -1))
    assert [doubt.seems for doubt in audit(turned)] == ["turned by 180°"]


def test_a_mirrored_map_is_told_from_a_turned_plate() -> None:
    right = scattered(plate(KILLS, untreated=18, replicates=6), 4)
    order = [10 * row + 9 - column for row in range(6) for column in range(10)]
    assert [doubt.seems for doubt in audit(relabelled(right, order))] == [
        "mirrored, its columns in reverse"
    ]


def test_wells_without_positions_are_audited_one_by_one() -> None:
    right = plate(KILLS, seed=3)
    wrong = exchanged(right, 4, of_treatment(right, "drug6:1 uM")[1])
    names = tuple(f"spheroid-{well}" for well in range(len(right.wells)))
    assert {"spheroid-4"} <= {
        well for doubt in believed(replace(wrong, wells=names)) for well in doubt.wells
    }


def test_constant_features_of_untreated_wells_raise_nothing() -> None:
    right = plate(KILLS)
    features = right.features.copy()
    features[:18] = features[0]
    assert all(np.isfinite(doubt.probability) for doubt in audit(replace(right, features=features)))


def test_a_ranking_carries_doubts_and_says_those_that_are_believed() -> None:
    right = plate(KILLS)
    wrong = exchanged(right, 4, of_treatment(right, "drug6:1 uM")[1])
    table = rank_plate(wrong, dosing_day=DOSING_DAY, readout_day=READOUT_DAY, seed=0)
    assert table.label_doubts == audit(wrong)
    assert [note for note in table.notes if "check both labels" in note] == [
        table.label_doubts[0].sentence
    ]
    assert {row.well: row.treatment for row in table.wells} == dict(
        zip(wrong.wells, wrong.treatments, strict=True)
    )


def test_an_audit_takes_no_time_that_anyone_would_notice() -> None:
    right = plate(KILLS, untreated=18, replicates=6)
    residuals, _, _ = residuals_of_scorable_wells(right, dosing_day=DOSING_DAY, day=READOUT_DAY)
    audit_labels(residuals, right.wells, right.groups, right.treatments)
    started = process_time()
    audit_labels(residuals, right.wells, right.groups, right.treatments)
    assert process_time() - started < 0.3


def _full(wells: int) -> Trajectories:
    """Return a plate of more wells than the inner 60, of untreated ones and treatments of three wells each."""
    parts = [plate((1.0,) * 14, seed=3), plate((0.9,) * 14, seed=3)]
    features = np.concatenate([part.features for part in parts])[:wells]
    groups = sum((part.groups for part in parts), ())[:wells]
    treatments = (
        *parts[0].treatments,
        *(text.replace("drug", "other") for text in parts[1].treatments),
    )[:wells]
    return replace(
        parts[0],
        wells=tuple(f"{well}" for well in range(wells)),
        features=features,
        groups=groups,
        treatments=treatments,
    )
