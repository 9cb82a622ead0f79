from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from inference.departure.departure_settings import DepartureSettings
from inference.ranking.plate_ranking import rank_plate
from schemas.plate_map import Group
from schemas.quality import Flag
from schemas.ranking import Direction, Gate, TreatmentTable, Verdict
from schemas.trajectory import Trajectories
from tests.known_plates import DOSING_DAY, READOUT_DAY, plate

KILLS = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0)


def rank(trajectories: Trajectories, **changes: object) -> TreatmentTable:
    settings = {"dosing_day": DOSING_DAY, "readout_day": READOUT_DAY, "seed": 0} | changes
    return rank_plate(trajectories, **settings)  # type: ignore[arg-type]


def test_treatments_are_ranked_in_the_order_of_their_kill() -> None:
    table = rank(plate(KILLS))
    kill = [KILLS[int(row.treatment[4])] for row in table.treatments]
    assert spearmanr([row.score for row in table.treatments], kill).statistic > 0.95
    assert [row.efficacy_rank for row in table.treatments] == list(range(1, 8))
    assert [row.scale_position for row in table.treatments] == list(range(7, 0, -1))


def test_strong_treatments_are_effective_and_those_that_do_nothing_are_not() -> None:
    verdicts = {row.treatment: row.verdict for row in rank(plate(KILLS)).treatments}
    assert verdicts["drug6:1 uM"] == verdicts["drug5:1 uM"] == Verdict.EFFECTIVE
    assert verdicts["drug0:1 uM"] == Verdict.NO_EVIDENCE


def test_a_treatment_stands_by_the_scores_of_its_wells() -> None:
    table = rank(plate())
    by_well = {row.well: row.score for row in table.wells}
    for row in table.treatments:
        own = [by_well[well] for well in row.wells]
        assert min(own) <= row.score <= max(own)
        assert row.score_low <= row.score <= row.score_high
        assert row.rank_low <= row.efficacy_rank <= row.rank_high


def test_untreated_wells_have_a_score_and_a_position_and_no_rank() -> None:
    table = rank(plate())
    untreated = [row for row in table.wells if row.group is Group.UNTREATED]
    assert len(untreated) == 18
    assert all(row.score is not None and row.efficacy_rank is None for row in untreated)
    for row in table.wells:
        assert row.score is not None
        below = sum(other.score < row.score for other in table.wells if other.score is not None)
        assert row.scale_position == below + 1
    assert sorted(row.efficacy_rank for row in table.wells if row.efficacy_rank) == list(
        range(1, 10)
    )
    assert (table.scale.x, table.scale.n, table.scale.wells) == (None, 9, 27)


def test_a_single_well_against_few_untreated_is_too_few_however_far_it_lies() -> None:
    table = rank(plate((1.0, 0.0), untreated=10, replicates=1))
    assert {row.verdict for row in table.treatments} == {Verdict.TOO_FEW_WELLS}


def test_the_same_seed_gives_the_same_table() -> None:
    assert rank(plate()) == rank(plate())


def test_the_order_of_wells_does_not_matter() -> None:
    trajectories = plate(KILLS)
    order = np.random.default_rng(3).permutation(len(trajectories.wells))
    shuffled = replace(
        trajectories,
        features=trajectories.features[order],
        **{
            name: tuple(np.array(getattr(trajectories, name), dtype=object)[order])
            for name in ("wells", "groups", "treatments")
        },
    )
    expected = {row.treatment: row.score for row in rank(trajectories).treatments}
    assert {row.treatment: row.score for row in rank(shuffled).treatments} == pytest.approx(
        expected
    )


def test_one_treatment_in_two_groups_is_two_rows() -> None:
    trajectories = plate(single_dose=3)
    same = replace(
        trajectories,
        treatments=tuple(
            "gemcitabine:1 uM" if text == "drug0:1 uM" else text for text in trajectories.treatments
        ),
    )
    rows = [
        (row.group, len(row.wells))
        for row in rank(same).treatments
        if row.treatment == "gemcitabine:1 uM"
    ]
    assert sorted(rows) == [(Group.SCREENING, 3), (Group.SINGLE_DOSE, 3)]


def test_missing_and_excluded_wells_are_distinguished_and_flags_are_kept() -> None:
    trajectories = plate()
    features = trajectories.features.copy()
    features[18, 1] = features[19, 0] = np.nan
    table = rank(
        replace(trajectories, features=features), flags={trajectories.wells[20]: (Flag.BLURRED,)}
    )
    assert table.quality.missing_images == (trajectories.wells[18],)
    assert [each.well for each in table.quality.left_out] == [trajectories.wells[19]]
    assert table.treatments[-1].wells == (trajectories.wells[20],)
    assert next(row for row in table.wells if row.well == trajectories.wells[20]).flags == (
        Flag.BLURRED,
    )


def test_a_treatment_none_of_whose_wells_could_be_scored_is_named() -> None:
    trajectories = plate()
    features = trajectories.features.copy()
    features[18:21, 1] = np.nan
    table = rank(replace(trajectories, features=features))
    assert len(table.treatments) == 2
    assert "drug0:1 uM (screening) is not ranked: none of its wells could be scored." in table.notes


def test_blank_wells_have_no_score_and_are_not_missed() -> None:
    trajectories = plate()
    blank = replace(
        trajectories,
        groups=(*trajectories.groups[:-1], Group.BLANK),
        treatments=(*trajectories.treatments[:-1], ""),
    )
    features = blank.features.copy()
    features[-1, 1] = np.nan
    table = rank(replace(blank, features=features))
    assert table.wells[-1].score is None
    assert table.quality.missing_images == ()


def test_a_plate_of_untreated_wells_only_is_ranked_without_treatments() -> None:
    table = rank(plate(()))
    assert table.treatments == ()
    assert table.scale.n == 0


def test_a_strong_single_dose_has_a_good_z_prime_and_a_weak_one_fails_no_plate() -> None:
    strong = rank(plate(single_dose=6)).quality
    assert strong.z_prime is not None
    assert strong.ssmd is not None
    assert strong.ssmd > 3
    assert strong.gate is Gate.PASSED
    assert rank(plate()).quality.z_prime is None


def test_a_plate_that_lost_most_untreated_wells_fails_its_gate() -> None:
    trajectories = plate()
    features = trajectories.features.copy()
    features[:12, 1] = np.nan
    quality = rank(replace(trajectories, features=features)).quality
    assert quality.gate is Gate.FAILED
    assert quality.reasons == (
        "only 6 of 18 untreated wells could be scored; expected at least 50%",
    )


def test_wells_without_positions_have_no_edge_effect() -> None:
    assert (
        rank(
            replace(
                plate(), wells=tuple(f"spheroid {number}" for number in range(len(plate().wells)))
            )
        ).quality.edge_effect
        is None
    )
    assert rank(plate()).quality.edge_effect is not None


def test_what_a_reader_has_to_know_beforehand_is_carried() -> None:
    assert rank(plate(), notes=("Known before.",)).notes == ("Known before.",)


def test_where_nothing_kills_few_plates_have_any_call() -> None:
    tables = [rank(plate((0.0,) * 12, features=11, seed=seed, encoder_id="")) for seed in range(40)]
    assert (
        sum(any(row.verdict is Verdict.EFFECTIVE for row in table.treatments) for table in tables)
        <= 4
    )


def moved(trajectories: Trajectories, wells: slice, far: float) -> Trajectories:
    features = trajectories.features.copy()
    features[wells, 1] += far
    return replace(trajectories, features=features)


@pytest.mark.parametrize("encoder_id", ["e", ""])
def test_a_treatment_that_only_grows_scores_below_zero_and_ranks_last(encoder_id: str) -> None:
    table = rank(
        moved(plate((0.0, 0.3, 0.6), features=12, encoder_id=encoder_id), slice(18, 21), 6.0)
    )  # untreated wells go the same way, by 3
    grown = table.treatments[-1]
    assert (grown.treatment, grown.verdict, grown.direction) == (
        "drug0:1 uM",
        Verdict.GROWTH,
        Direction.GROWTH,
    )
    assert grown.score < -5
    assert all(
        row.score is not None and row.score < 0 for row in table.wells if row.well in grown.wells
    )


def test_undecided_treatments_have_a_note_and_count_as_deterioration() -> None:
    tables = [
        rank(moved(plate((share, 0.3), features=12, encoder_id="", seed=seed), slice(18, 21), 5.0))
        for share in (0.1, 0.2, 0.3)
        for seed in range(4)
    ]
    rows = [
        (table, row)
        for table in tables
        for row in table.treatments
        if row.direction is Direction.UNDECIDED
    ]
    assert rows
    for table, row in rows:
        assert row.verdict is Verdict.EFFECTIVE
        assert row.score > 0
        assert (
            sum(
                note.startswith(f"{row.treatment} changed partly like untreated tissue")
                for note in table.notes
            )
            == 1
        )


def test_an_untreated_outlier_moves_no_treatment_from_its_place() -> None:
    whole, spoiled = (
        rank(each)
        for each in (plate((0.0, 0.6, 1.0)), moved(plate((0.0, 0.6, 1.0)), slice(5, 6), 10.0))
    )
    assert [row.treatment for row in spoiled.treatments] == [
        row.treatment for row in whole.treatments
    ]
    assert spoiled.treatments[0].verdict is Verdict.EFFECTIVE
    assert spoiled.treatments[0].score > 3


def test_p_values_and_intervals_do_not_depend_on_the_order_of_wells() -> None:
    trajectories = plate(KILLS)
    order = np.random.default_rng(4).permutation(len(trajectories.wells))
    shuffled = replace(
        trajectories,
        features=trajectories.features[order],
        **{
            name: tuple(np.array(getattr(trajectories, name), dtype=object)[order])
            for name in ("wells", "groups", "treatments")
        },
    )
    one, other = (
        {row.treatment: row for row in rank(each).treatments} for each in (trajectories, shuffled)
    )
    for treatment, row in one.items():
        again = other[treatment]
        assert (again.p_value, again.q_value, again.verdict, again.direction) == (
            row.p_value,
            row.q_value,
            row.verdict,
            row.direction,
        )
        assert (again.efficacy_rank, again.rank_low, again.rank_high) == (
            row.efficacy_rank,
            row.rank_low,
            row.rank_high,
        )
        assert (again.score_low, again.score_high, again.effect_size) == pytest.approx(
            (row.score_low, row.score_high, row.effect_size)
        )


def test_an_odd_well_before_dosing_is_left_out_with_the_reason_unless_it_shall_stay() -> None:
    trajectories = plate(features=12, encoder_id="")
    features = trajectories.features.copy()
    features[20] *= np.array([60.0, 1.0])[:, None]
    odd = replace(trajectories, features=features)
    (left_out,) = rank(odd).quality.left_out
    assert left_out.well == trajectories.wells[20]
    assert "pre-dose outlier: " in left_out.reason
    assert rank(odd, settings=DepartureSettings(leave_out_outliers=False)).quality.left_out == ()
