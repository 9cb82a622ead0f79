"""What a report says of predicted deterioration."""

import re

import pytest

from daemon.jobs.rank import title_of
from daemon.reports.deterioration_section import deterioration_facts, deterioration_in_words
from daemon.reports.gallery import gallery
from daemon.reports.ranking_page import report_html
from schemas.calibration import Drift
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


def by_deterioration(x: int | None = 1, n: int = 2, **changes: object) -> Ranking:
    of = ranking()
    wells = (of.wells[0].model_copy(update=EXPLODED), of.wells[1].model_copy(update=INTACT))
    fields = {
        "wells": wells,
        "method": "deterioration",
        "scale": Scale(x=x, n=n),
        "calibration": calibration_card(),
        "drift": Drift(distance=0.8, percentile=25.0, outside=False),
    }
    return of.model_copy(update=fields | changes)


def test_a_well_is_told_with_its_interval_and_an_exploded_one_as_assumed() -> None:
    exploded, intact = by_deterioration().wells
    assert deterioration_in_words(intact) == "deterioration 43 % (35 … 51)"
    assert deterioration_in_words(exploded) == "deterioration 100 % (assumed)"
    assert deterioration_in_words(ranking().wells[0]) == ""


def test_it_stands_in_the_plates_picture_and_below_the_pictures_of_wells() -> None:
    of = by_deterioration()
    html = report_html(of, {})
    assert "deterioration 43 % (35 … 51)" in html
    assert "deterioration 100 % (assumed)" in html
    assert re.findall(r">(?:0|50|100)</text>", html) == [">0</text>", ">50</text>", ">100</text>"]
    below = gallery(of, {"B02": b"jpeg", "D02": b"jpeg"})
    assert "<b>B02</b><br>deterioration 43 % (35 … 51)" in below
    assert "<b>D02</b> · exploded<br>deterioration 100 % (assumed)" in below


@pytest.mark.parametrize(
    ("x", "n", "said"),
    [
        (5, 7, "1…5 intact by predicted deterioration, 6…7 exploded by degree"),
        (7, 7, "1…7 intact by predicted deterioration, none exploded"),
        (0, 7, "none intact, 1…7 exploded by degree"),
        (None, 7, "1…7 by predicted deterioration"),
    ],
)
def test_the_scale_is_told_in_a_sentence(x: int | None, n: int, said: str) -> None:
    assert deterioration_facts(by_deterioration(x, n))["Scale"] == said


def test_the_calibration_is_told_with_plates_error_range_and_model() -> None:
    facts = deterioration_facts(by_deterioration())
    assert facts["Calibration"] == (
        "ridge on measures; 4 assay plates (A-1, A-2, A-3, A-4), 8 wells; off by 7.5 points on plates left out (40.0 without images); "
        f"Spearman 0.91 (worst plate 0.85); seen from -3 to 99 %; digest {'d' * 64}"
    )
    assert (
        facts["Drift"]
        == "0.8 spreads from the calibration plates, further than 25 % of these from one another: within the range seen"
    )
    assert "How it was made" in (html := report_html(by_deterioration(), {}))
    assert facts["Calibration"] in html


def test_a_calibration_that_does_not_speak_for_the_plate_is_told_as_not_used() -> None:
    facts = deterioration_facts(
        by_deterioration(
            method="departure", drift=Drift(distance=9.0, percentile=100.0, outside=True)
        )
    )
    assert "Scale" not in facts
    assert "Calibration (not used)" in facts
    assert facts["Drift"].endswith("outside the range seen")


def test_without_a_calibration_nothing_is_said() -> None:
    assert deterioration_facts(ranking()) == {}
    assert "Calibration" not in report_html(ranking(), {})


def test_the_terminal_says_what_a_score_counts() -> None:
    assert (
        title_of(by_deterioration())
        == "PDAC-0042 day10-r1, final, score in percent of predicted deterioration"
    )
    assert title_of(ranking()) == "PDAC-0042 day10-r1, final, score in untreated spreads"
