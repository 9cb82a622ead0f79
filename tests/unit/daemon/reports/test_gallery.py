import re

from daemon.reports.gallery import format_measures, gallery_section
from schemas.ranking import Condition, Ranking
from tests.samples import ranking


def with_measures() -> Ranking:
    of = ranking()
    measures = {
        "area_um2": 80_000.0,
        "area_um2_change": -0.6931471805599453,
        "circularity": 0.91,
        "od_mean": 0.44,
    }
    wells = tuple(
        row.model_copy(update={"measures": measures, "condition": Condition.EXPLODED})
        for row in of.wells
    )
    return of.model_copy(update={"wells": wells})


def test_every_well_with_a_picture_is_shown_once_with_its_measures() -> None:
    of = with_measures()
    shown = {
        row.well for row in of.wells if row.efficacy_rank is not None or row.group == "untreated"
    }
    html = gallery_section(of, dict.fromkeys(shown, b"jpeg"))
    assert sorted(re.findall(r"<b>(\w+)</b>", html)) == sorted(shown)
    assert html.count("exploded") == len(shown)
    assert "size -50 %" in html


def test_without_pictures_there_is_no_gallery() -> None:
    assert gallery_section(with_measures(), {}) == ""


def test_missing_measures_are_left_out() -> None:
    assert format_measures({}) == ""
    assert format_measures({"circularity": 0.5}) == "circularity 0.50"
    assert format_measures({"area_px_change": 0.0953101798}) == "size +10 %"


def test_a_predicted_stain_is_called_predicted_and_shown_with_its_deviation() -> None:
    shown = format_measures(
        {"predicted_dead_share_core": 0.42, "predicted_dead_share_core_sd": 0.05}
    )
    assert "predicted dead share of the core 42 ± 5 %" in shown
    assert "not measured" in shown
