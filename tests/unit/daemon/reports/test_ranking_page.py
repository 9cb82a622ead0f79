import re
from html.parser import HTMLParser

import pytest

from daemon.reports.doubt_words import DOUBT_HINT, DOUBT_WORDS
from daemon.reports.plate_svg import have_plate_positions, plate_svg
from daemon.reports.ranking_page import ranking_html
from schemas.plate_map import Group
from schemas.quality import Flag
from schemas.ranking import (
    FOR_RESEARCH_USE_ONLY,
    Direction,
    Gate,
    LeftOut,
    Ranking,
    Reason,
    WellRank,
)
from schemas.tissue import Unsure
from tests.samples import ranking

VOID = {"meta", "line", "rect", "circle", "path", "br", "link"}


class Balanced(HTMLParser):
    """Collects the text and tags of an HTML page, and fails on a closing tag that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the parser's signature
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(of: Ranking) -> Balanced:
    parsed = Balanced()
    parsed.feed(ranking_html(of, {}))
    parsed.close()
    assert parsed.open == []
    return parsed


def text_of(of: Ranking) -> str:
    return " ".join(" ".join(page(of).text).split())


def plate_of(of: Ranking) -> str:
    """Return the SVG of the plate map of a ranking."""
    return plate_svg(of.wells, {}, unit="untreated spreads")


def with_quality(**changes: object) -> Ranking:
    base = ranking()
    return base.model_copy(update={"quality": base.quality.model_copy(update=changes)})


def test_the_page_identifies_the_ranking_and_its_permitted_use() -> None:
    text = text_of(ranking(revision=2, notes=("Day 3 has no images.",), specimen="PAT-07"))
    for words in (
        "PDAC-0042 · day 10",
        "Final",
        "revision 2",
        "replaces revision 1",
        "specimen PAT-07",
        "Day 3 has no images.",
        FOR_RESEARCH_USE_ONLY,
    ):
        assert words in text


def test_a_provisional_ranking_is_marked_as_provisional() -> None:
    assert "PROVISIONAL" in text_of(ranking(final=False))
    assert "PROVISIONAL" not in text_of(ranking())


def test_a_failed_quality_gate_is_shown_with_its_reasons() -> None:
    text = text_of(with_quality(gate=Gate.FAILED, reasons=("Z′ is 0.1; expected 0.3 or more",)))
    assert "Quality gate FAILED" in text
    assert "Z′ is 0.1; expected 0.3 or more" in text


def with_treatment(**changes: object) -> Ranking:
    base = ranking()
    return base.model_copy(update={"treatments": (base.treatments[0].model_copy(update=changes),)})


def test_a_treatment_is_listed_with_score_interval_ranks_effect_and_verdict() -> None:
    text = text_of(
        with_treatment(chance_best=0.62, effect_size=5.0, effect_low=3.2, effect_high=6.8)
    )
    assert (
        "gemcitabine:1 uM single dose 1 4.20 3.10 … 5.30 1 best: 62% 0.001 0.001 "
        "5.0 (3.2 … 6.8) effective"
    ) in text


def test_the_share_of_the_embedding_is_shown_where_both_are_compared() -> None:
    assert "4.20 3.10 … 5.30 embedding: 34% 1" in text_of(with_treatment(embedding_share=0.34))
    assert "embedding:" not in text_of(with_treatment(embedding_share=None))


def test_an_observed_change_is_shown_with_its_first_day() -> None:
    reasons = (
        Reason(measure="log_area", seen="smaller", spreads=-3.14, from_day=8, wells=("D02",)),
    )
    assert "smaller -3.1 from day 8" in text_of(with_treatment(reasons=reasons))


def test_undecided_growth_is_shown_beside_the_verdict() -> None:
    assert "effective or growth: undecided" in text_of(
        with_treatment(direction=Direction.UNDECIDED)
    )


def test_corrected_position_effects_are_named() -> None:
    assert "Corrected for: row, edge." in text_of(with_quality(corrected_for=("row", "edge")))


def with_doubts(*doubts: Unsure) -> Ranking:
    base = ranking()
    first, *others = base.wells
    return base.model_copy(update={"wells": (first.model_copy(update={"unsure": doubts}), *others)})


def test_doubts_about_an_outline_are_shown_in_words_at_the_well_with_an_explanation() -> None:
    of = with_doubts(Unsure.FAINT, Unsure.OTHER_OBJECT)
    text = text_of(of)
    assert "outline in doubt: tissue hardly darker than the background (1) D02" in text
    assert "outline in doubt: another large object in the field (1) D02" in text
    assert DOUBT_HINT in text
    tooltip = "tissue hardly darker than the background, another large object in the field"
    assert f"outline in doubt: {tooltip}" in plate_of(of)
    figure = ranking_html(of, {"D02": b"jpeg", "B02": b"jpeg"})
    assert figure.count(f'<span class="apart">{tooltip}</span>') == 1


def test_a_page_without_doubts_explains_the_mark_in_the_legend_only() -> None:
    assert DOUBT_HINT not in text_of(ranking())
    assert plate_of(ranking()).count("in doubt") == 1
    marks = [plate_of(of).count("#ffd54f") for of in (ranking(), with_doubts(Unsure.CUT))]
    assert marks == [1, 2]


@pytest.mark.parametrize("doubt", Unsure)
def test_every_doubt_has_its_own_words(doubt: Unsure) -> None:
    assert f"outline in doubt: {DOUBT_WORDS[doubt]}" in text_of(with_doubts(doubt))
    assert len(set(DOUBT_WORDS.values())) == len(Unsure)


def test_names_from_the_plate_map_are_escaped() -> None:
    evil = '<script>alert("1")</script>&<b>'
    base = ranking(plate=f"P {evil}", notes=(evil,), encoder_id=evil, specimen=evil)
    treatments = tuple(row.model_copy(update={"treatment": evil}) for row in base.treatments)
    wells = tuple(well.model_copy(update={"treatment": evil}) for well in base.wells)
    quality = base.quality.model_copy(
        update={"reasons": (evil,), "left_out": (LeftOut(well="B02", reason=evil),)}
    )
    attacked = base.model_copy(
        update={"treatments": treatments, "wells": wells, "quality": quality}
    )
    assert not {"script", "b"} & set(page(attacked).tags)
    assert evil in text_of(attacked)


def test_the_page_loads_no_other_file() -> None:
    html = ranking_html(ranking(), {})
    assert re.findall(r"""(?:src|href)\s*=|@import|url\((?!#)""", html) == []


def test_wells_without_positions_have_no_plate_map_and_the_page_gives_the_reason() -> None:
    base = ranking()
    opaque = base.model_copy(
        update={
            "wells": tuple(
                well.model_copy(update={"well": f"spheroid {n}"})
                for n, well in enumerate(base.wells)
            )
        }
    )
    assert "not positions on a plate" in text_of(opaque)
    assert not have_plate_positions(opaque.wells)
    assert have_plate_positions(base.wells)


@pytest.mark.parametrize(
    ("well", "rows", "columns"), [("B02", 8, 12), ("H12", 8, 12), ("P24", 16, 24)]
)
def test_the_plate_map_has_the_rows_and_columns_of_the_plate(
    well: str, rows: int, columns: int
) -> None:
    only = ranking().wells[0].model_copy(update={"well": well})
    numbers = re.findall(
        r'<text class="axis" x="\d+" y="18">(\d+)<',
        plate_svg((only,), {}, unit="untreated spreads"),
    )
    letters = re.findall(
        r'<text class="axis" x="12" y="\d+">(\w)<', plate_svg((only,), {}, unit="untreated spreads")
    )
    assert (len(letters), len(numbers)) == (rows, columns)


def test_a_strong_effect_is_dark_orange_growth_is_purple_and_a_left_out_well_is_hatched() -> None:
    base = ranking().wells[0]
    wells = tuple(
        base.model_copy(update={"well": name, "score": score})
        for name, score in (("B02", 8.0), ("B03", -8.0), ("B04", 0.0), ("B05", 5.0))
    )
    fills = dict(
        re.findall(
            r"<title>(\w+) ·[^<]*</title><circle [^>]*fill=\"([^\"]+)\"",
            plate_svg(wells, {"B05": "cut"}, unit="untreated spreads"),
        )
    )
    assert fills == {
        "B02": "rgb(127,59,8)",
        "B03": "rgb(84,39,136)",
        "B04": "rgb(247,247,247)",
        "B05": "url(#hatch)",
    }


def test_flagged_left_out_and_missing_wells_are_listed() -> None:
    base = with_quality(
        left_out=(LeftOut(well="D02", reason="empty"),), missing_images=("E05", "E06")
    )
    wells = tuple(well.model_copy(update={"flags": (Flag.PLANES_MISSING,)}) for well in base.wells)
    text = text_of(base.model_copy(update={"wells": wells}))
    for words in (
        "planes missing (2) D02, B02",
        "left out: empty (1) D02",
        "no image of this day (2) E05, E06",
    ):
        assert words in text


def test_a_ranking_without_treatments_has_a_page() -> None:
    blank = WellRank(
        well="B02",
        group=Group.BLANK,
        treatment="",
        efficacy_rank=None,
        scale_position=None,
        score=None,
        condition=None,
        deterioration_percent=None,
        deterioration_low=None,
        deterioration_high=None,
        flags=(),
    )
    assert "No treatment could be ranked." in text_of(ranking(treatments=(), wells=(blank,)))
    assert "not positions on a plate" in text_of(ranking(treatments=(), wells=()))


def test_an_untreated_well_far_from_the_other_untreated_wells_is_listed_for_a_check() -> None:
    base = ranking()
    odd = tuple(
        row.model_copy(update={"departures": {"mahalanobis": 9.0}})
        if row.group is Group.UNTREATED
        else row
        for row in base.wells
    )
    words = "untreated, but far from the other untreated wells (1)"
    assert words in text_of(base.model_copy(update={"wells": odd}))
    assert words not in text_of(base)
