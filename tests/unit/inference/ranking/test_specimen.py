from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from inference.ranking.specimen import combine_p_values, rank_specimen
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.ranking import Gate, Ranking, TreatmentRank, Verdict, WellRank
from schemas.specimen import Agreement, SpecimenTable, SpecimenTreatment
from tests.samples import MEASURED_BY, NOW, ranking

WELL = ranking().wells[1]


def row(treatment: str, score: float, **changes: Any) -> TreatmentRank:  # noqa: ANN401 - any field of a row
    """Return three wells of a treatment with a standard error of 0.5."""
    fields: dict[str, Any] = {
        "efficacy_rank": 1,
        "scale_position": 1,
        "treatment": treatment,
        "group": Group.SCREENING,
        "wells": ("C02", "C03", "C04"),
        "score": score,
        "score_low": score - 0.82,
        "score_high": score + 0.82,
        "rank_low": 1,
        "rank_high": 1,
        "p_value": 0.001 if score > 1.5 else 0.5,
        "q_value": 0.01 if score > 1.5 else 0.6,
        "verdict": Verdict.EFFECTIVE if score > 1.5 else Verdict.NO_EVIDENCE,
    }
    return TreatmentRank(**fields | changes)


def untreated(count: int = 18) -> tuple[WellRank, ...]:
    return tuple(
        WELL.model_copy(update={"well": f"B{number:02d}"}) for number in range(2, 2 + count)
    )


def plate(name: str, *rows: TreatmentRank, **changes: Any) -> Ranking:  # noqa: ANN401 - any field of a ranking
    return ranking(name, treatments=rows, wells=untreated(), **changes)


def failed(name: str, *rows: TreatmentRank) -> Ranking:
    made = plate(name, *rows)
    return made.model_copy(
        update={
            "quality": made.quality.model_copy(
                update={"gate": Gate.FAILED, "reasons": ("2 of 18 untreated wells were scored",)}
            )
        }
    )


def scores(*values: float, shift: float = 0.0) -> tuple[TreatmentRank, ...]:
    return tuple(row(f"drug-{number}:1 uM", value + shift) for number, value in enumerate(values))


def of(table: SpecimenTable, treatment: str) -> SpecimenTreatment:
    return next(each for each in table.treatments if each.treatment == treatment)


def left_out(table: SpecimenTable) -> dict[str, str]:
    return {each.plate: each.left_out for each in table.plates if each.left_out is not None}


def test_two_plates_give_one_ranking_with_the_result_of_each_plate() -> None:
    table = rank_specimen(
        [plate("B", *scores(0, 2, 4, 6, shift=1)), plate("A", *scores(0, 2, 4, 6))], seed=1
    )
    assert [each.treatment for each in table.treatments] == [
        f"drug-{number}:1 uM" for number in (3, 2, 1, 0)
    ]
    assert [each.efficacy_rank for each in table.treatments] == [1, 2, 3, 4]
    assert [each.scale_position for each in table.treatments] == [4, 3, 2, 1]
    best = table.treatments[0]
    assert [(alone.plate, alone.score) for alone in best.plates] == [("A", 6.0), ("B", 7.0)]
    assert (best.wells, best.agreement, best.verdict) == (6, Agreement.AGREE, Verdict.EFFECTIVE)
    assert best.score == pytest.approx(6.5, abs=0.2)
    assert (best.rank_low, best.rank_high) == (1, 1)


def test_the_offset_of_a_plate_is_reported() -> None:
    first, second = rank_specimen(
        [plate("A", *scores(0, 1, 2, 3, 4, 5)), plate("B", *scores(0, 1, 2, 3, 4, 5, shift=2))],
        seed=1,
    ).plates
    assert first.offset is not None
    assert second.offset is not None
    assert second.offset - first.offset == pytest.approx(2, abs=0.3)


def test_the_same_seed_and_plates_in_any_order_give_the_same_ranking() -> None:
    plates = [
        plate("A", *scores(0, 2, 1)),
        plate("B", *scores(1, 2, 2)),
        plate("C", *scores(0, 1, 3)),
    ]
    assert rank_specimen(plates, seed=5) == rank_specimen(plates[::-1], seed=5)


def test_indistinguishable_scores_have_overlapping_rank_intervals() -> None:
    table = rank_specimen([plate("A", *scores(3, 3.1, 9)), plate("B", *scores(3.1, 3, 9))], seed=1)
    assert [(each.rank_low, each.rank_high) for each in table.treatments] == [
        (1, 1),
        (2, 3),
        (2, 3),
    ]


def test_treatments_of_one_plate_are_ranked_and_marked() -> None:
    table = rank_specimen(
        [plate("A", *scores(0, 2, 4)), plate("B", *scores(0, 2, 4), row("only:1 nM", 8.0))], seed=1
    )
    only = table.treatments[0]
    assert (
        only.treatment,
        only.agreement,
        only.heterogeneity_p,
        only.i_squared,
        len(only.plates),
    ) == ("only:1 nM", Agreement.ONE_PLATE, None, None, 1)
    assert only.p_value == 0.001
    assert any("1 of 4 treatments are on one plate only" in note for note in table.notes)


def test_plates_without_shared_treatments_are_noted() -> None:
    table = rank_specimen(
        [plate("A", row("a:1 uM", 1.0), row("b:1 uM", 3.0)), plate("B", row("c:1 uM", 2.0))], seed=1
    )
    assert [each.treatment for each in table.treatments] == ["b:1 uM", "c:1 uM", "a:1 uM"]
    assert any("untreated wells alone" in note for note in table.notes)
    assert [each.offset for each in table.plates] == [pytest.approx(0), pytest.approx(0)]


def test_the_single_dose_and_the_same_drug_in_the_screen_stay_two_rows() -> None:
    rows = (row("gemcitabine:1 uM", 5.0, group=Group.SINGLE_DOSE), row("gemcitabine:1 uM", 4.0))
    assert len(rank_specimen([plate("A", *rows), plate("B", *rows)], seed=1).treatments) == 2


def test_growth_on_one_plate_and_death_on_another_is_no_evidence() -> None:
    growing = row("drug-0:1 uM", 3.0, verdict=Verdict.GROWTH)
    table = rank_specimen(
        [plate("A", growing, *scores(0, 2, 2)[1:]), plate("B", *scores(3, 2, 2))], seed=1
    )
    torn = of(table, "drug-0:1 uM")
    assert (torn.agreement, torn.verdict) == (Agreement.CONTRADICT, Verdict.NO_EVIDENCE)
    assert torn.q_value < 0.05
    assert [alone.verdict for alone in torn.plates] == [Verdict.GROWTH, Verdict.EFFECTIVE]


def test_growth_on_every_plate_is_growth() -> None:
    growing = row("drug-0:1 uM", 3.0, verdict=Verdict.GROWTH)
    assert (
        of(rank_specimen([plate("A", growing), plate("B", growing)], seed=1), "drug-0:1 uM").verdict
        is Verdict.GROWTH
    )


def test_plates_that_disagree_about_the_sign_give_no_evidence() -> None:
    table = rank_specimen(
        [plate("A", *scores(12, 2, 2, 3, 1, 0)), plate("B", *scores(0, 2, 2, 3, 1, 0))], seed=1
    )
    torn = of(table, "drug-0:1 uM")
    assert torn.heterogeneity_p is not None
    assert torn.i_squared is not None
    assert torn.heterogeneity_p < 0.001
    assert torn.i_squared > 0.9
    assert torn.score_low < 0
    assert (torn.agreement, torn.verdict) == (Agreement.DISAGREE, Verdict.NO_EVIDENCE)


def test_plates_with_too_few_wells_can_be_significant_together() -> None:
    rows = [
        row(
            f"drug-{number}:1 uM",
            5.0,
            wells=("C02",),
            p_value=1 / 19,
            verdict=Verdict.TOO_FEW_WELLS,
        )
        for number in range(3)
    ]
    alone, together = (
        rank_specimen([plate(name, *rows) for name in names], seed=1) for names in ("A", "ABC")
    )
    assert {each.verdict for each in alone.treatments} == {Verdict.TOO_FEW_WELLS}
    assert {each.verdict for each in together.treatments} == {Verdict.EFFECTIVE}


def test_the_ranking_of_one_plate_is_unchanged_and_noted() -> None:
    table = rank_specimen([plate("A", *scores(0, 2, 4))], seed=1)
    best = table.treatments[0]
    assert (best.score, best.score_low, best.score_high) == (
        pytest.approx(4),
        pytest.approx(3.18),
        pytest.approx(4.82),
    )
    assert table.notes == ("Only plate A could be used, so this is the ranking of that plate.",)


def test_a_plate_that_failed_its_gate_is_left_out_with_the_reason() -> None:
    table = rank_specimen(
        [plate("A", *scores(0, 4)), failed("B", *scores(9, 9)), plate("C", *scores(0, 4))], seed=1
    )
    assert left_out(table) == {"B": "its quality gate failed; 2 of 18 untreated wells were scored"}
    assert [alone.plate for alone in table.treatments[0].plates] == ["A", "C"]


def test_a_plate_without_treatments_is_left_out() -> None:
    assert left_out(rank_specimen([plate("A", *scores(0, 4)), plate("B")], seed=1)) == {
        "B": "none of its treatments could be ranked"
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_id": "f" * 64}, f"its encoder is {'f' * 64}; expected {'e' * 64}"),
        ({"method": "deterioration"}, "its method is deterioration; expected departure"),
        ({"representation": "measures"}, "its representation is measures; expected embedding"),
    ],
)
def test_plates_ranked_by_another_method_are_excluded(changes: dict[str, str], words: str) -> None:
    other = plate("A", *scores(9, 9), **changes)
    table = rank_specimen([other, plate("B", *scores(0, 4)), plate("C", *scores(0, 4))], seed=1)
    assert left_out(table) == {
        "A": f"{words} as on the other plates, because their scores cannot be compared"
    }


def test_with_equally_many_plates_of_two_encoders_the_newest_decides() -> None:
    newer = plate("A", *scores(0, 4), encoder_id="f" * 64, created_at=NOW.replace(year=2027))
    table = rank_specimen([newer, plate("B", *scores(0, 4))], seed=1)
    assert table.encoder_id == "f" * 64
    assert set(left_out(table)) == {"B"}


def test_an_excluded_plate_does_not_determine_the_encoder() -> None:
    broken = [
        failed("A", *scores(1)).model_copy(update={"encoder_id": "f" * 64}),
        plate("B", encoder_id="f" * 64),
    ]
    table = rank_specimen([*broken, plate("C", *scores(0, 4))], seed=1)
    assert table.encoder_id == "e" * 64
    assert set(left_out(table)) == {"A", "B"}


def test_a_specimen_without_usable_plates_has_no_treatments_and_a_note() -> None:
    table = rank_specimen([failed("A", *scores(1, 2)), plate("B")], seed=1)
    assert table.treatments == ()
    assert "No plate could be used: there is no ranking of this specimen." in table.notes


def test_different_readout_days_are_noted() -> None:
    assert any(
        "days: 10, 12" in note
        for note in rank_specimen(
            [plate("A", *scores(0, 4)), plate("B", *scores(0, 4), day=12)], seed=1
        ).notes
    )


def test_no_ranking_and_two_of_one_plate_are_refused() -> None:
    with pytest.raises(ProfileError, match="no plate has a ranking"):
        rank_specimen([], seed=1)
    with pytest.raises(ProfileError, match="plate A: has more than one ranking"):
        rank_specimen([plate("A", *scores(1)), plate("A", *scores(1), revision=2)], seed=1)


def test_p_values_are_combined_as_published() -> None:
    p, wells = np.array([0.03, 0.2]), np.array([3, 6])
    z = (np.sqrt(3) * norm.isf(0.03) + np.sqrt(6) * norm.isf(0.2)) / 3
    assert combine_p_values(p, wells) == pytest.approx(norm.sf(z))
    assert combine_p_values(np.array([0.04]), np.array([3])) == 0.04
    assert 0 < combine_p_values(np.array([1.0, 1e-4]), np.array([3, 3])) < 0.6


def test_combined_p_values_without_effect_are_uniform() -> None:
    rng = np.random.default_rng(1)
    made = np.array(
        [combine_p_values(rng.uniform(size=3), np.array([3, 2, 6])) for _ in range(4000)]
    )
    assert [np.mean(made <= level) for level in (0.01, 0.05, 0.5)] == pytest.approx(
        [0.01, 0.05, 0.5], abs=0.02
    )


def test_a_treatment_in_two_units_is_one_treatment_of_the_specimen() -> None:
    other = tuple(
        each.model_copy(update={"treatment": each.treatment.upper().replace(":1 UM", ":1000 nM")})
        for each in scores(0, 2, 4, 6)
    )
    table = rank_specimen([plate("A", *scores(0, 2, 4, 6)), plate("B", *other)], seed=1)
    assert [each.treatment for each in table.treatments] == [
        f"drug-{number}:1 uM" for number in (3, 2, 1, 0)
    ]
    assert all(len(each.plates) == 2 for each in table.treatments)


@pytest.mark.parametrize("representation", ["measures", "embedding"])
def test_a_plate_that_another_method_measured_is_excluded_where_measures_are_compared(
    representation: str,
) -> None:
    of = {"representation": representation}
    table = rank_specimen(
        [
            plate("A", *scores(0, 4), measured_by=None, **of),
            plate("B", *scores(0, 4), **of),
            plate("C", *scores(0, 4), **of),
        ],
        seed=1,
    )
    reason = table.plates[0].left_out
    if representation == "embedding":
        assert (reason, table.measured_by) == (None, None)
    else:
        assert reason is not None
        assert "its method of the measures is not recorded; expected classical-4" in reason
        assert table.measured_by == MEASURED_BY
