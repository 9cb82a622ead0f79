"""The section of a report with the wells in the order of the scales."""

import re

import pytest

from daemon.reports.ranking_page import ranking_html
from daemon.reports.scale_section import all_wells_text, conditions_text, scale_section
from schemas.ranking import Condition, Ranking, Scale
from tests.samples import ranking


def on_scales(scale: Scale, **changes: object) -> Ranking:
    """Return a ranking of D02, exploded and last, and B02, untreated and first."""
    of = ranking()
    dosed, untreated = of.wells
    wells = (
        dosed.model_copy(
            update={"scale_position": 2, "condition_position": 1, "condition": Condition.EXPLODED}
        ),
        untreated.model_copy(update={"scale_position": 1}),
    )
    return of.model_copy(update={"wells": wells, "scale": scale} | changes)


def test_wells_are_listed_from_the_weakest_effect_with_group_and_condition() -> None:
    html = scale_section(on_scales(Scale(x=0, n=1, wells=2, untreated_first=1.0)))
    assert re.findall(r"<li class=\"([a-z_ ]+)\".*?>(\w+)</li>", html) == [
        ("untreated", "B02"),
        ("single_dose exploded", "D02"),
        ("single_dose exploded", "D02"),
    ]
    assert "gemcitabine:1 uM · place 2, by condition 1" in html
    assert html in ranking_html(on_scales(Scale(x=0, n=1, wells=2, untreated_first=1.0)), {})


def test_a_ranking_without_scores_has_no_section() -> None:
    assert scale_section(ranking()) == ""


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (Scale(x=5, n=7), "1…5 intact by departure, 6…7 exploded by degree of explosion."),
        (Scale(x=7, n=7), "1…7 intact by departure, none exploded."),
        (Scale(x=0, n=7), "none intact, 1…7 exploded by degree of explosion."),
    ],
)
def test_the_scale_by_condition_is_explained(scale: Scale, text: str) -> None:
    assert conditions_text(on_scales(scale)) == f"Treated wells by condition: {text}"


def test_the_section_reports_an_unknown_condition() -> None:
    assert "is not known" in conditions_text(on_scales(Scale(x=None, n=7)))


def test_the_share_of_untreated_wells_in_the_first_places_is_a_percentage() -> None:
    assert "94% are among" in all_wells_text(Scale(x=1, n=2, wells=60, untreated_first=17 / 18))
    assert all_wells_text(Scale(x=1, n=2, wells=60)) == "All wells by score, 1…60."
