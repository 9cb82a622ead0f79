import io

from rich.console import Console

from daemon.jobs.ranking_tables import NO_DOUBT, label_doubts_table
from daemon.reports.ranking_page import ranking_html
from schemas.ranking import LabelDoubt, Ranking
from tests.samples import ranking

EXCHANGED = LabelDoubt(
    wells=("B02", "C03"),
    said="untreated and gemcitabine:1 uM",
    seems="exchanged",
    probability=0.999,
)
SLIPPED = LabelDoubt(wells=("D04",), said="untreated", seems="<olaparib:1 uM>", probability=0.25)
TURNED = LabelDoubt(
    wells=("B02", "C03", "D04"), said="the plate as mapped", seems="turned by 180°", probability=0.8
)


def with_doubts(*doubts: LabelDoubt) -> Ranking:
    return ranking().model_copy(update={"label_doubts": doubts})


def printed(of: Ranking) -> str:
    screen = Console(file=io.StringIO(), width=140)
    screen.print(label_doubts_table(of, "P1"))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_each_doubt_is_a_row_with_a_probability_of_at_most_0_99() -> None:
    (row,) = [
        line.split()
        for line in printed(with_doubts(EXCHANGED, SLIPPED)).splitlines()
        if "exchanged" in line
    ]
    assert row == ["0.99", "B02", "C03", "untreated", "and", "gemcitabine:1", "uM", "exchanged"]


def test_a_turned_plate_is_one_row_with_the_number_of_wells() -> None:
    text = printed(with_doubts(TURNED))
    assert "3 wells" in text
    assert "C03" not in text


def test_without_doubts_a_message_names_the_limits_of_the_audit() -> None:
    assert label_doubts_table(with_doubts(), "P1") == NO_DOUBT.format(plate="P1")
    assert "no label is in doubt" not in printed(with_doubts(SLIPPED))


def test_the_report_lists_doubts_among_the_wells_to_check() -> None:
    page = ranking_html(with_doubts(EXCHANGED, SLIPPED), {})
    section = page[page.index("Wells to check") :]
    assert (
        "label in doubt, probability 0.99: untreated and gemcitabine:1 uM, seems exchanged (2)"
        "</dt><dd>B02, C03"
    ) in section
    assert "seems &lt;olaparib:1 uM&gt; (1)</dt><dd>D04" in section


def test_a_doubt_says_what_to_check() -> None:
    assert EXCHANGED.sentence == (
        "Wells B02 and C03, labelled untreated and gemcitabine:1 uM, look exchanged "
        "(probability 0.99): check both labels."
    )
    assert SLIPPED.sentence.startswith(
        "Well D04 is labelled untreated and looks like <olaparib:1 uM> (probability 0.25)"
    )
    assert TURNED.sentence == (
        "The plate looks turned by 180° (probability 0.80): check the plate map against the plate."
    )
