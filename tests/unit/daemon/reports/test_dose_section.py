import re
from html.parser import HTMLParser

import pytest

from daemon.reports.dose_section import dose_section
from daemon.reports.ranking_page import ranking_html
from tests.dosed_plates import of_fractions, of_scores, table, well, with_doses
from tests.samples import ranking

RISING = {"a:0.1 uM": 0.9, "a:0.3 uM": 2.3, "a:1 uM": 5.0, "a:3 uM": 7.5, "a:10 uM": 9.1}
FLAT = {f"flat:{dose} nM": 0.0 for dose in (1, 10, 100, 1000)}
RISING_FRACTION = {name: effect / 10 for name, effect in RISING.items()}


def section(effects: dict[str, float], *, fractions: bool = False) -> str:
    plate = of_fractions(effects) if fractions else of_scores(effects)
    return dose_section(with_doses(plate, 0))


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


class Tags(HTMLParser):
    """Collects the names of all opening tags of an HTML page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the parser's signature
        self.seen.add(tag)


def test_a_compound_that_responds_has_a_curve_its_wells_and_its_ic50() -> None:
    html = section(RISING)
    assert html.count("<polyline") == 1
    assert html.count("<circle") == 18 + 15
    assert re.search(
        r"a · score \(untreated spreads\) responds, p &lt;0\.001 "
        r"relative IC50 [\d.]+ uM \([\d.]+ … [\d.]+\) top",
        text_of(html),
    )


def test_a_flat_compound_has_no_response_and_no_ic50() -> None:
    text = text_of(section(FLAT))
    assert "flat · score (untreated spreads) no response, p" in text
    assert not re.search(r"IC50 [\d<>]", text)


def test_an_ic50_above_the_highest_dose_is_written_with_a_greater_than_sign() -> None:
    weak = {f"a:{dose} uM": 0.3 * dose / (dose + 1) for dose in (0.1, 0.3, 1, 3, 10, 30)}
    assert "IC50 (effect 0.5) &gt; 30 uM, the highest dose tested" in section(weak, fractions=True)


def test_a_compound_with_too_few_doses_is_named_and_has_no_plot() -> None:
    html = section({"a:1 uM": 2.0, "a:10 uM": 8.0, "b:1 uM": 3.0})
    assert "<svg" not in html
    assert "Too few doses or wells for a curve of four parameters: a (2 doses)." in html


def test_a_plate_without_doses_to_compare_has_no_dose_section() -> None:
    assert section({"a:1 uM": 2.0, "b:1 uM": 3.0}) == ""
    assert dose_section(ranking()) == ""


def test_a_combination_is_listed_with_its_excess_or_with_the_missing_data() -> None:
    doubled = RISING_FRACTION | {
        name.replace("a:", "b:"): effect for name, effect in RISING_FRACTION.items()
    }
    text = text_of(
        section(doubled | {"a:1 uM + b:1 uM": 0.99, "a:1 uM + c:1 uM": 0.9}, fractions=True)
    )
    assert re.search(
        r"a:1 uM \+ b:1 uM 3 \d\.\d\d(?: \+0\.\d\d \+0\.\d\d … \+0\.\d\d p (?:&lt;)?[\d.]+){3}",
        text,
    )
    assert re.search(r"a:1 uM \+ c:1 uM 3 \d\.\d\d – – –", text)
    assert (
        "– – – No wells received c:1 uM alone, so there is no Bliss and no highest-single-agent "
        "excess. c alone has no rising dose-response curve, so there is no Loewe excess." in text
    )


def test_names_from_the_plate_map_are_escaped() -> None:
    evil = '<script>alert("1")</script>'
    tags = Tags()
    tags.feed(
        section(
            {f"{evil}:{dose} uM": dose for dose in (1, 3, 10, 30)} | {f"{evil}:1 uM + b:1 uM": 3.0}
        )
    )
    assert "svg" in tags.seen
    assert "script" not in tags.seen


@pytest.mark.parametrize(
    "effects",
    [
        dict.fromkeys(RISING, 0.0),
        dict.fromkeys(RISING, 1e9),
        {name: -effect for name, effect in RISING.items()},
    ],
)
def test_extreme_effects_give_a_plot_with_finite_positions(effects: dict[str, float]) -> None:
    html = dose_section(with_doses(of_scores(effects, spread=0.0), 0))
    assert "<svg" in html
    assert not re.search(r"\b(nan|inf)\b", html)


def test_the_report_shows_the_section() -> None:
    seen = with_doses(of_scores(RISING), 0)
    html = ranking_html(ranking().model_copy(update={"dose_responses": seen.dose_responses}), {})
    assert "Dose and response" in html
    assert "Dose and response" not in ranking_html(ranking(), {})


def test_a_compound_in_two_kinds_of_unit_has_two_plots() -> None:
    wells = [well(f"u{n}", "", 0.1 * n) for n in range(6)]
    wells += [
        well(f"{unit}{dose}{n}", f"a:{dose} {unit}", dose + 0.1 * n)
        for unit in ("uM", "ug/mL")
        for dose in (1, 3, 10, 30)
        for n in range(3)
    ]
    html = dose_section(with_doses(table(wells), 0))
    assert "uM, logarithmic" in html
    assert "ug/mL, logarithmic" in html
