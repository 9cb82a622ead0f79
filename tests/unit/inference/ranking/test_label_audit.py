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


def accepted_doubts(trajectories: Trajectories) -> list[LabelDoubt]:
    return [doubt for doubt in audit(trajectories) if doubt.probability >= ACCEPTED_PROBABILITY]


def relabelled(trajectories: Trajectories, order: Sequence[int]) -> Trajectories:
    """Return the plate with the labels in another order."""
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
    """Return the plate with its wells at random positions of the inner 60."""
    order = np.random.default_rng(seed).permutation(len(trajectories.wells))
    return relabelled(replace(trajectories, features=trajectories.features[order]), order.tolist())


def of_treatment(trajectories: Trajectories, treatment: str) -> list[int]:
    return [well for well, text in enumerate(trajectories.treatments) if text == treatment]


def test_an_exchange_of_an_untreated_and_a_killed_well_is_found() -> None:
    found = 0
    for seed in SEEDS:
        correct = plate(KILLS, seed=seed)
        untreated, killed = 4, of_treatment(correct, "drug5:1 uM")[1]
        pair = (correct.wells[untreated], correct.wells[killed])
        found += any(
            doubt.wells == pair and doubt.seems == EXCHANGED
            for doubt in accepted_doubts(exchanged(correct, untreated, killed))
        )
    assert found >= 0.9 * len(SEEDS)


def test_an_exchange_between_very_different_treatments_is_found() -> None:
    found = 0
    for seed in SEEDS:
        correct = plate(KILLS, seed=seed)
        one, other = of_treatment(correct, "drug1:1 uM")[0], of_treatment(correct, "drug6:1 uM")[2]
        pair = {correct.wells[one], correct.wells[other]}
        found += pair <= {
            well
            for doubt in accepted_doubts(exchanged(correct, one, other))
            for well in doubt.wells
        }
    assert found >= 0.8 * len(SEEDS)


def test_a_killed_well_labelled_untreated_is_found() -> None:
    correct = plate(KILLS)
    well = of_treatment(correct, "drug6:1 uM")[0]
    groups, treatments = list(correct.groups), list(correct.treatments)
    groups[well], treatments[well] = Group.UNTREATED, ""
    (doubt,) = accepted_doubts(replace(correct, groups=tuple(groups), treatments=tuple(treatments)))
    assert (doubt.wells, doubt.said) == ((correct.wells[well],), UNTREATED)
    assert doubt.seems in {"drug4:1 uM", "drug5:1 uM", "drug6:1 uM"}


def test_an_untreated_well_labelled_treated_is_found() -> None:
    correct = plate(KILLS)
    groups, treatments = list(correct.groups), list(correct.treatments)
    groups[3], treatments[3] = Group.SCREENING, "drug6:1 uM"
    (doubt,) = accepted_doubts(replace(correct, groups=tuple(groups), treatments=tuple(treatments)))
    assert (doubt.wells, doubt.said, doubt.seems) == ((correct.wells[3],), "drug6:1 uM", UNTREATED)


def test_several_wrong_labels_do_not_hide_one_another() -> None:
    correct = plate(KILLS, seed=3)
    wrong = exchanged(
        exchanged(correct, 2, of_treatment(correct, "drug6:1 uM")[0]),
        9,
        of_treatment(correct, "drug4:1 uM")[0],
    )
    named = {well for doubt in accepted_doubts(wrong) for well in doubt.wells}
    assert named >= {correct.wells[2], correct.wells[9]}


def test_correct_labels_are_seldom_doubted() -> None:
    doubted = [
        len(doubt.wells) for seed in SEEDS for doubt in accepted_doubts(plate(KILLS, seed=seed))
    ]
    assert sum(doubted) <= 0.01 * 39 * len(SEEDS)


def test_treatments_without_effect_are_not_doubted() -> None:
    doubted = [
        len(doubt.wells)
        for seed in SEEDS
        for doubt in accepted_doubts(plate((0.0,) * 8 + (0.1,) * 4, seed=seed))
    ]
    assert sum(doubted) <= 0.01 * 54 * len(SEEDS)


def test_a_treatment_of_one_well_cannot_be_doubted() -> None:
    correct = plate((0.0, 0.5, 1.0, 1.0), replicates=1)
    alone = set(correct.wells[18:])
    assert not [doubt for doubt in audit(correct) if alone & set(doubt.wells)]


def test_a_well_that_is_like_no_other_well_is_not_doubted() -> None:
    correct = plate((0.0, 0.1, 0.2, 0.3))
    features = correct.features.copy()
    features[20, 1] += 30 * np.random.default_rng(1).normal(size=features.shape[2])
    assert not [
        doubt
        for doubt in audit(replace(correct, features=features))
        if correct.wells[20] in doubt.wells
    ]


def test_with_few_untreated_wells_no_label_is_doubted() -> None:
    assert audit(plate(KILLS, untreated=MIN_UNTREATED - 1)) == ()


def test_six_untreated_wells_are_enough_to_find_an_exchange() -> None:
    correct = plate(KILLS, untreated=MIN_UNTREATED, seed=0)
    killed = of_treatment(correct, "drug6:1 uM")[0]
    named = {well for doubt in audit(exchanged(correct, 1, killed)) for well in doubt.wells}
    assert {correct.wells[1], correct.wells[killed]} & named


def test_a_plate_of_untreated_wells_and_one_treatment_is_not_doubted() -> None:
    assert accepted_doubts(plate((1.0,), replicates=6)) == []
    assert accepted_doubts(plate(())) == []


@pytest.mark.parametrize("kills", [KILLS, (1.5,) * 7])
def test_a_plate_turned_by_180_degrees_is_found(kills: tuple[float, ...]) -> None:
    for seed in range(10):
        correct = scattered(plate(kills, untreated=18, replicates=6, seed=seed), seed)
        assert not [doubt for doubt in accepted_doubts(correct) if len(doubt.wells) > 2]
        (doubt,) = audit(relabelled(correct, range(59, -1, -1)))
        assert doubt.seems == "turned by 180°"
        assert doubt.probability > 0.9
        assert len(doubt.wells) > 30


@pytest.mark.parametrize("wells", [wells for wells in PLATE_SHAPES if wells >= 24])
def test_a_turned_plate_of_every_size_is_found(wells: int) -> None:
    rows, columns = PLATE_SHAPES[wells]
    names = tuple(
        well_at(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)
    )[: wells if wells <= 96 else 48]
    if wells > 96:  # a part of the first row and its mirror image in the last row
        names = (*names[:24], *(well_at(rows, columns - 23 + column) for column in range(24)))
    treated = len(names) - len(names) // 4
    made = scattered(
        plate((1.0,) * (treated // 3), untreated=len(names) - 3 * (treated // 3), seed=3)
        if wells <= 60
        else _full(len(names)),
        3,
    )
    turned = relabelled(replace(made, wells=names), range(len(names) - 1, -1, -1))
    assert [doubt.seems for doubt in audit(turned)] == ["turned by 180°"]


def test_a_mirrored_map_is_distinguished_from_a_turned_plate() -> None:
    correct = scattered(plate(KILLS, untreated=18, replicates=6), 4)
    order = [10 * row + 9 - column for row in range(6) for column in range(10)]
    assert [doubt.seems for doubt in audit(relabelled(correct, order))] == [
        "mirrored, its columns in reverse"
    ]


def test_wells_without_positions_are_audited_one_by_one() -> None:
    correct = plate(KILLS, seed=3)
    wrong = exchanged(correct, 4, of_treatment(correct, "drug6:1 uM")[1])
    names = tuple(f"spheroid-{well}" for well in range(len(correct.wells)))
    assert {"spheroid-4"} <= {
        well for doubt in accepted_doubts(replace(wrong, wells=names)) for well in doubt.wells
    }


def test_constant_features_of_untreated_wells_give_finite_probabilities() -> None:
    correct = plate(KILLS)
    features = correct.features.copy()
    features[:18] = features[0]
    assert all(
        np.isfinite(doubt.probability) for doubt in audit(replace(correct, features=features))
    )


def test_a_ranking_contains_all_doubts_and_a_note_for_accepted_doubts() -> None:
    correct = plate(KILLS)
    wrong = exchanged(correct, 4, of_treatment(correct, "drug6:1 uM")[1])
    table = rank_plate(wrong, dosing_day=DOSING_DAY, readout_day=READOUT_DAY, seed=0)
    assert table.label_doubts == audit(wrong)
    assert [note for note in table.notes if "check both labels" in note] == [
        table.label_doubts[0].sentence
    ]
    assert {row.well: row.treatment for row in table.wells} == dict(
        zip(wrong.wells, wrong.treatments, strict=True)
    )


def test_an_audit_takes_less_than_0_3_seconds() -> None:
    correct = plate(KILLS, untreated=18, replicates=6)
    residuals, _, _ = residuals_of_scorable_wells(correct, dosing_day=DOSING_DAY, day=READOUT_DAY)
    audit_labels(residuals, correct.wells, correct.groups, correct.treatments)
    started = process_time()
    audit_labels(residuals, correct.wells, correct.groups, correct.treatments)
    assert process_time() - started < 0.3


def _full(wells: int) -> Trajectories:
    """Return a plate with more wells than the inner 60: untreated wells and triplicates."""
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
