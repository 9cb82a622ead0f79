"""The text of a report about predicted deterioration."""

import re

from daemon.jobs.ranking_tables import title_of
from daemon.reports.deterioration_section import deterioration_facts, format_deterioration
from daemon.reports.gallery import gallery_section
from daemon.reports.ranking_page import ranking_html
from schemas.calibration import Drift, ErrorModel
from schemas.ranking import Condition, Ranking, Scale
from tests.samples import calibration_card, ranking

INTACT = {
    "deterioration_percent": 43.2,
    "deterioration_low": 35.1,
    "deterioration_high": 51.4,
    "score": 43.2,
    "condition": Condition.INTACT,
}
EXPLODED = {
    "deterioration_percent": 100.0,
    "deterioration_assumed": True,
    "score": 100.0,
    "condition": Condition.EXPLODED,
}


def by_deterioration(**changes: object) -> Ranking:
    of = ranking()
    wells = (of.wells[0].model_copy(update=EXPLODED), of.wells[1].model_copy(update=INTACT))
    fields = {
        "wells": wells,
        "method": "deterioration",
        "scale": Scale(x=0, n=1),
        "calibration": calibration_card(),
        "drift": Drift(distance=0.8, percentile=25.0, outside=False),
    }
    return of.model_copy(update=fields | changes)


def test_a_well_has_its_deterioration_with_an_interval_and_an_exploded_well_an_assumed_one() -> (
    None
):
    exploded, intact = by_deterioration().wells
    assert format_deterioration(intact) == "deterioration 43 % (35 … 51)"
    assert format_deterioration(exploded) == "deterioration 100 % (assumed)"
    assert format_deterioration(ranking().wells[0]) == ""


def test_deterioration_is_in_the_plate_map_and_below_the_pictures_of_the_wells() -> None:
    of = by_deterioration()
    html = ranking_html(of, {})
    assert "deterioration 43 % (35 … 51)" in html
    assert "deterioration 100 % (assumed)" in html
    assert re.findall(r">(?:0|50|100)</text>", html) == [">0</text>", ">50</text>", ">100</text>"]
    below = gallery_section(of, {"B02": b"jpeg", "D02": b"jpeg"})
    assert "<b>B02</b><br>deterioration 43 % (35 … 51)" in below
    assert "<b>D02</b> · exploded<br>deterioration 100 % (assumed)" in below


def test_the_calibration_is_described_by_its_model_plates_error_and_range() -> None:
    facts = deterioration_facts(by_deterioration())
    assert facts["Calibration"] == (
        "ridge on measures; 4 assay plates (A-1, A-2, A-3, A-4), 8 wells; "
        "mean error on plates left out 7.5 points (40.0 without images); "
        f"Spearman 0.91 (worst plate 0.85); measured deterioration -3 to 99 %; digest {'d' * 64}"
    )
    assert facts["Drift"] == (
        "0.8 spreads from the calibration plates; 25 % of these are closer to the others: "
        "within their range"
    )
    assert "How this ranking was computed" in (html := ranking_html(by_deterioration(), {}))
    assert facts["Calibration"] in html


def test_a_calibration_that_does_not_apply_to_the_plate_is_reported_as_not_used() -> None:
    facts = deterioration_facts(
        by_deterioration(
            method="departure", drift=Drift(distance=9.0, percentile=100.0, outside=True)
        )
    )
    assert "Calibration (not used)" in facts
    assert facts["Drift"].endswith("outside their range")


def test_without_a_calibration_the_report_does_not_mention_one() -> None:
    assert deterioration_facts(ranking()) == {}
    assert "Calibration" not in ranking_html(ranking(), {})


def test_the_title_on_the_terminal_names_the_unit_of_the_score() -> None:
    assert (
        title_of(by_deterioration())
        == "PDAC-0042 day10-r1, final, score in percent of predicted deterioration"
    )
    assert title_of(ranking()) == "PDAC-0042 day10-r1, final, score in untreated spreads"


def test_percentages_of_one_assay_plate_are_marked_as_driven_by_the_prior() -> None:
    errors = ErrorModel(
        basis="prior",
        slope_sd=0.07,
        treatment_points=9.0,
        well_points=4.0,
        untreated_points=4.0,
        degrees_of_freedom=4.0,
        reach=2.13,
    )
    card = calibration_card(
        plates=("A-1",),
        errors=errors,
        treated_error_points=9.1,
        single_treatment="gemcitabine:1 uM",
        confounded=("A-1",),
    )
    of = by_deterioration(calibration=card, drift=None)
    below = {"percent_basis": "prior", "deterioration_low": -4.0}
    of = of.model_copy(
        update={
            "treatments": (of.treatments[0].model_copy(update={"percent_basis": "prior"}),),
            "wells": (of.wells[0], of.wells[1].model_copy(update=below)),
        }
    )
    assert format_deterioration(of.wells[1]) == "deterioration 43 % (-4 … 51), driven by the prior"
    facts = deterioration_facts(of)
    assert "1 assay plate (A-1), 8 wells; mean error on treatments left out" in facts["Calibration"]
    assert "of treated wells 9.1 points" in facts["Calibration"]
    limits = facts["Limits of the calibration"]
    assert "one treatment, gemcitabine:1 uM" in limits
    assert "the effects of the treatment and of the side of the plate" in limits
    html = ranking_html(of, {})
    assert "<small>driven by the prior</small>" in html
    assert "was not checked whether this plate is like the calibration plates" in html
