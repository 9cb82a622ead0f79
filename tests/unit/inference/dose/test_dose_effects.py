import time
import warnings
from collections.abc import Mapping

import numpy as np
import pytest

from schemas.dose_response import Combination, DoseResponse, Effect, Response
from schemas.plate_map import Group
from schemas.ranking import TreatmentTable
from tests.dosed_plates import of_fractions, of_scores, table, well, with_doses

HALF_AT_1_UM = {
    0.01: 0.1,
    0.1: 0.9,
    0.3: 2.3,
    1: 5.0,
    3: 7.5,
    10: 9.1,
}  # nearly 10 / (1 + 1 / dose)


def curve_of(
    compound: str,
    effects: Mapping[float, float] = HALF_AT_1_UM,
    unit: str = "uM",
    scale: float = 1.0,
) -> dict[str, float]:
    return {f"{compound}:{dose:g} {unit}": scale * effect for dose, effect in effects.items()}


def one(
    responses: tuple[DoseResponse, ...], compound: str, effect: Effect = Effect.DEPARTURE
) -> DoseResponse:
    (found,) = [each for each in responses if (each.compound, each.effect) == (compound, effect)]
    return found


def of(combinations: tuple[Combination, ...], treatment: str) -> Combination:
    (found,) = [each for each in combinations if each.treatment == treatment]
    return found


def test_a_compound_that_kills_by_dose_responds_and_one_that_does_not_is_flat() -> None:
    seen = with_doses(of_scores(curve_of("a") | curve_of("b", scale=0.0)), 0).dose_responses
    assert one(seen, "a").verdict is Response.RESPONDS
    assert one(seen, "b").verdict is Response.NO_RESPONSE
    half = one(seen, "a").relative_ic50
    assert half is not None
    assert half.low is not None
    assert half.low < 1.2 < (half.high or 11)


def test_units_of_one_kind_are_one_curve_in_the_unit_that_most_wells_have() -> None:
    spelled = {"a:10 nM": 0.1, "a:100 nM": 0.9} | curve_of(
        "a", {0.3: 2.3, 1: 5.0, 3: 7.5, 0.01e3: 9.1}
    )
    seen = one(with_doses(of_scores(spelled), 0).dose_responses, "a")
    assert seen.unit == "uM"
    assert [point.amount for point in seen.doses] == [0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0]


def test_wells_of_one_dose_in_two_units_are_one_dose() -> None:
    seen = one(with_doses(of_scores({"a:0.57 uM": 1.0, "a:570 nM": 1.0}), 0).dose_responses, "a")
    assert [len(point.wells) for point in seen.doses] == [18, 6]


def test_mass_and_molar_doses_of_a_compound_are_never_mixed() -> None:
    seen = with_doses(of_scores(curve_of("a") | curve_of("a", unit="ug/mL")), 0).dose_responses
    assert sorted(each.unit for each in seen) == ["uM", "ug/mL"]
    assert {len(each.doses) for each in seen} == {7}


def test_the_single_dose_belongs_to_the_curve_of_its_compound() -> None:
    plate = of_scores(curve_of("a"))
    clinical = tuple(well(f"s{n}", "a:2 uM", 6.5, group=Group.SINGLE_DOSE) for n in range(4))
    seen = one(
        with_doses(plate.model_copy(update={"wells": plate.wells + clinical}), 0).dose_responses,
        "a",
    )
    assert {point.amount: len(point.wells) for point in seen.doses}[2.0] == 4


def test_untreated_wells_are_dose_zero_and_blank_or_excluded_wells_take_no_part() -> None:
    plate = of_scores(curve_of("a"))
    lost = (
        well("lost", "a:1 uM", None),
        well("blank", group=Group.BLANK),
        well("odd", "a:1 uM", 50.0),
    )
    given = table(plate.wells + lost, left_out=["odd"])
    assert with_doses(given, 0).dose_responses == with_doses(plate, 0).dose_responses
    assert one(with_doses(plate, 0).dose_responses, "a").doses[0].wells == tuple(
        f"w{n}" for n in range(18)
    )


def test_what_untreated_wells_carry_is_the_vehicle_and_no_dose() -> None:
    plate = of_scores(curve_of("a"))
    in_vehicle = [
        row.model_copy(
            update={"treatment": f"{row.treatment} + DMSO:0.1 %" if row.treatment else "DMSO:0.1 %"}
        )
        for row in plate.wells
    ]
    seen = with_doses(table(in_vehicle), 0)
    assert seen.combinations == ()
    assert [each.compound for each in seen.dose_responses] == ["a"]
    assert seen.dose_responses == with_doses(plate, 0).dose_responses


def test_two_doses_of_three_wells_are_too_few() -> None:
    seen = one(with_doses(of_scores({"a:1 uM": 5.0, "a:10 uM": 9.0}), 0).dose_responses, "a")
    assert (seen.verdict, seen.p_value, seen.curve, seen.relative_ic50) == (
        Response.TOO_FEW_DOSES,
        None,
        None,
        None,
    )
    assert [round(point.mean) for point in seen.doses[1:]] == pytest.approx([5, 9], abs=1)


def test_where_every_well_has_a_percentage_a_fraction_is_fitted_and_else_the_score() -> None:
    calibrated = of_fractions(curve_of("a", scale=0.1))
    seen = one(with_doses(calibrated, 0).dose_responses, "a", Effect.DETERIORATION)
    assert seen.absolute_ic50 is not None
    assert seen.absolute_ic50.amount == pytest.approx(1.0, rel=0.4)
    partly = table(
        [
            calibrated.wells[0].model_copy(update={"deterioration_percent": None}),
            *calibrated.wells[1:],
        ]
    )
    assert one(with_doses(partly, 0).dose_responses, "a", Effect.DEPARTURE).absolute_ic50 is None


@pytest.mark.parametrize("unit", ["um2", "px"])
def test_where_the_untreated_grew_there_is_a_gr_curve(unit: str) -> None:
    rng = np.random.default_rng(0)

    def sized(row_score: float, name: str, treatment: str) -> object:
        grew = np.log(1.8) * (1 - row_score / 6) + 0.03 * rng.standard_normal()
        return well(
            name,
            treatment,
            row_score,
            **{f"area_{unit}": 20_000 * float(np.exp(grew)), f"area_{unit}_change": float(grew)},
        )

    plate = of_scores(curve_of("a"), spread=0.3)
    seen = with_doses(
        table(sized(row.score or 0.0, row.well, row.treatment) for row in plate.wells), 0
    )  # type: ignore[misc]  # a well, by test only
    rate = one(seen.dose_responses, "a", Effect.GROWTH_RATE)
    assert rate.verdict is Response.RESPONDS
    assert rate.doses[0].mean == pytest.approx(0.0, abs=0.1)
    assert rate.doses[-1].mean > 1.0  # shrinks
    assert rate.absolute_ic50 is not None
    assert rate.absolute_ic50.amount == pytest.approx(0.7, rel=0.6)


def test_a_well_whose_tissue_is_gone_has_the_lowest_gr_value() -> None:
    wells = [
        well(f"u{n}", area_px=200.0 + n, area_px_change=float(np.log(2 + n / 100)))
        for n in range(6)
    ]
    wells += [
        well(f"{dose}-{n}", f"a:{dose} uM", 5.0, area_px=0.0)
        for dose in (1, 2, 3)
        for n in range(3)
    ]
    rate = one(with_doses(table(wells), 0).dose_responses, "a", Effect.GROWTH_RATE)
    assert {point.mean for point in rate.doses[1:]} == {2.0}


def test_without_growth_of_the_untreated_a_note_says_why_there_is_no_gr_curve() -> None:
    plate = of_scores(curve_of("a"))
    seen = with_doses(
        table(
            row.model_copy(update={"measures": {"area_px": 100.0, "area_px_change": 0.0}})
            for row in plate.wells
        ),
        0,
    )
    assert [each.effect for each in seen.dose_responses] == [Effect.DEPARTURE]
    assert seen.notes == (
        (
            "No GR curves: untreated wells grew by a factor of 1; "
            "expected growth that exceeds the spread between wells (without it a GR value is not "
            "defined)."
        ),
    )


def combined(extra: Mapping[str, float], **changes: float) -> TreatmentTable:
    alone = curve_of("a", scale=0.1) | curve_of("b", scale=0.08)
    return of_fractions(alone | dict(extra), replicates=4, **changes)  # type: ignore[arg-type]  # only spread is changed, a float


def test_a_combination_is_compared_with_its_parts_by_every_model() -> None:
    seen = of(with_doses(combined({"a:1 uM + b:1 uM": 0.95}), 0).combinations, "a:1 uM + b:1 uM")
    assert seen.bliss is not None
    assert seen.hsa is not None
    assert seen.loewe is not None
    assert seen.missing == ()
    assert seen.bliss.expected == pytest.approx(1 - 0.5 * 0.6, abs=0.06)
    assert seen.hsa.expected == pytest.approx(0.5, abs=0.06)
    assert all(each.p_value < 0.01 and each.low > 0 for each in (seen.bliss, seen.hsa, seen.loewe))


def test_a_part_that_was_not_given_alone_is_named() -> None:
    seen = of(
        with_doses(combined({"a:1 uM + b:2 uM": 0.8, "a:1 uM + c:5 nM": 0.8}), 0).combinations,
        "a:1 uM + b:2 uM",
    )
    assert (seen.bliss, seen.hsa) == (None, None)
    assert seen.loewe is not None
    assert seen.missing == (
        "No wells received b:2 uM alone, so there is no Bliss and no highest-single-agent excess.",
    )
    other = of(with_doses(combined({"a:1 uM + c:5 nM": 0.8}), 0).combinations, "a:1 uM + c:5 nM")
    assert other.loewe is None
    assert other.missing == (
        "No wells received c:5 nM alone, so there is no Bliss and no highest-single-agent excess.",
        "c alone has no rising dose-response curve, so there is no Loewe excess.",
    )


def test_a_combination_in_other_units_finds_its_parts() -> None:
    seen = with_doses(combined({"a:1000 nM + b:0.001 mM": 0.7}), 0).combinations[0]
    assert seen.missing == ()


def test_without_an_assay_a_fraction_is_a_share_of_the_strongest_effect_with_a_note() -> None:
    plate = of_scores(curve_of("a") | curve_of("b", scale=0.8) | {"a:1 uM + b:1 uM": 8.0})
    seen = with_doses(plate, 0)
    (both,) = seen.combinations
    assert both.full_effect_of == "a:10 uM"
    assert both.full_effect == pytest.approx(9.1, abs=1.0)
    assert both.fraction == pytest.approx(8.0 / 9.1, abs=0.1)
    assert "fractions of the strongest effect on this plate (a:10 uM, score" in seen.notes[-1]


def test_a_combination_that_is_itself_the_strongest_has_no_bliss_excess() -> None:
    (both,) = with_doses(
        of_scores(curve_of("a") | curve_of("b", scale=0.8) | {"a:1 uM + b:1 uM": 14.0}), 0
    ).combinations
    assert both.bliss is None
    assert both.hsa is not None
    assert both.loewe is not None
    assert "strongest" in both.missing[0]


@pytest.mark.parametrize(
    ("plate", "why"),
    [
        (of_scores({"a:1 uM + b:1 uM": 5.0}, untreated=0), "There are no untreated wells"),
        (of_scores({"a:1 uM + b:1 uM": -5.0}), "No treatment has a stronger effect"),
        (
            of_scores(
                {"a:1 uM + b:1 uM": 5.0, "a:1 uM": 2.0, "b:1 uM": 2.0}, replicates=1, untreated=1
            ),
            "No treatment has replicates",
        ),
    ],
    ids=["no untreated", "nothing has an effect", "no replicates"],
)
def test_a_combination_without_an_excess_has_a_reason(plate: TreatmentTable, why: str) -> None:
    (both,) = with_doses(plate, 0).combinations
    assert (both.bliss, both.hsa, both.loewe, both.fraction) == (None, None, None, None)
    assert why in both.missing[0]


@pytest.mark.parametrize(
    "plate",
    [
        table([]),
        table([well("B02")]),
        table([well("B02", score=None), well("B03", "a:1 uM", None)]),
        table([well("B03", "a:1 uM", 1.0)]),
        of_scores(curve_of("a", scale=0.0) | {"a:1 uM + b:1 uM": 0.0, "b:1 uM": 0.0}, spread=0.0),
        of_scores(curve_of("a") | {"a:1 uM + a2:1 uM": 5.0}, replicates=1, untreated=0),
        of_scores(curve_of("a", scale=-1.0) | curve_of("b") | {"a:1 uM + b:1 uM": 5.0}),
        of_scores(curve_of("a", scale=1e12) | {"a:1 uM + b:1 uM": 1e12}, spread=1e-9),
        of_fractions(
            curve_of("a", scale=0.1) | {"a:1 uM + b:1 uM": 1.0, "b:1 uM": 1.0},
            untreated=1,
            spread=0.0,
        ),
    ],
    ids=[
        "no wells",
        "one well",
        "no scores",
        "one dose",
        "all equal",
        "single wells",
        "falling",
        "huge",
        "exact",
    ],
)
def test_a_poor_plate_has_honest_verdicts_and_can_be_published(plate: TreatmentTable) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = with_doses(plate, 0)
    assert TreatmentTable(**seen.model_dump()) == seen  # every number is finite


def test_treatments_that_are_no_doses_are_named_once() -> None:
    wells = [
        well("B02"),
        *(well(f"C0{n}", "the new one", 3.0) for n in range(3)),
        well("D02", "etoposide 5", 2.0),
    ]
    seen = with_doses(table(wells), 0)
    assert seen.dose_responses == ()
    assert seen.notes == (
        (
            "No dose could be read from etoposide 5, the new one; "
            "expected compound:amount unit, such as gemcitabine:1 uM."
        ),
    )


def test_a_whole_plate_takes_less_than_a_third_of_a_second() -> None:
    treatments = {
        f"c{n}:{dose} uM": n * dose / 5 for n in range(4) for dose in (0.1, 0.5, 2, 10)
    } | {f"c0:{dose} uM + c1:{dose} uM": 3.0 for dose in (0.1, 0.5, 2, 10)}
    plate = of_scores(treatments, replicates=2)
    with_doses(plate, 0)
    started = time.process_time()
    with_doses(plate, 0)
    assert time.process_time() - started < 0.3
