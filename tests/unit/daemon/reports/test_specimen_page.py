import csv
import io
import re
from pathlib import Path

import pytest

from daemon.reports.specimen_files import specimen_csv, write_specimen
from daemon.reports.specimen_page import specimen_html
from schemas.errors import OutputError
from schemas.ranking import FOR_RESEARCH_USE_ONLY
from schemas.specimen import Agreement, SpecimenRanking
from tests.samples import NOW, specimen_ranking
from tests.unit.daemon.reports.test_ranking_page import Balanced


def parsed(of: SpecimenRanking) -> Balanced:
    page = Balanced()
    page.feed(specimen_html(of))
    page.close()
    assert page.open == []
    return page


def text_of(of: SpecimenRanking) -> str:
    return " ".join(" ".join(parsed(of).text).split())


def with_row(**changes: object) -> SpecimenRanking:
    base = specimen_ranking()
    return base.model_copy(
        update={"treatments": tuple(row.model_copy(update=changes) for row in base.treatments)}
    )


def test_the_page_identifies_the_ranking_and_its_permitted_use() -> None:
    text = text_of(specimen_ranking(2, notes=("No treatment stands on two plates.",)))
    for words in (
        "Specimen PAT-07",
        "2 of 2 plates",
        "revision 2",
        "replaces revision 1",
        "No treatment stands on two plates.",
        FOR_RESEARCH_USE_ONLY,
    ):
        assert words in text


def test_a_treatment_is_listed_with_its_score_and_the_score_on_each_plate() -> None:
    text = text_of(specimen_ranking())
    assert "4.40 3.30 … 5.50" in text
    assert "PDAC-0042: 4.20 , rank 1, effective" in text
    assert "PDAC-0043: 4.90 , rank 1, effective" in text
    assert "plates agree (p 0.600, I² 0%)" in text


def test_each_plate_is_marked_on_the_bar_at_its_corrected_score() -> None:
    html = specimen_html(specimen_ranking())
    score, *marks = (
        float(x)
        for x in re.findall(
            r'<(?:circle c|line )x1?="([\d.]+)"[^>]*(?:r="4"|stroke-width="2")', html
        )
    )
    assert marks == [pytest.approx(4 + 192 * value / 5.5, abs=0.1) for value in (4.3, 4.8)]
    assert score == pytest.approx(4 + 192 * 4.4 / 5.5, abs=0.1)


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        (Agreement.DISAGREE, "plates disagree"),
        (Agreement.CONTRADICT, "plates contradict one another"),
        (Agreement.ONE_PLATE, "on one plate only"),
    ],
)
def test_the_agreement_of_the_plates_is_shown(agreement: Agreement, words: str) -> None:
    assert words in text_of(with_row(agreement=agreement))


def test_a_left_out_plate_is_named_with_the_reason() -> None:
    base = with_row(plates=specimen_ranking().treatments[0].plates[:1])
    failed = base.plates[1].model_copy(
        update={"left_out": "its quality gate failed", "gain": None, "offset": None}
    )
    text = text_of(base.model_copy(update={"plates": (base.plates[0], failed)}))
    assert "1 of 2 plates" in text
    assert "LEFT OUT: its quality gate failed" in text


def test_names_from_the_plate_map_are_escaped() -> None:
    evil = '<script>alert("1")</script>&<b id=x>'
    base = with_row(treatment=evil)
    plates = tuple(plate.model_copy(update={"left_out": evil}) for plate in base.plates)
    attacked = base.model_copy(
        update={"specimen": evil, "notes": (evil,), "encoder_id": evil, "plates": plates}
    )
    assert "script" not in parsed(attacked).tags
    assert evil in text_of(attacked)


def test_the_page_loads_no_other_file() -> None:
    assert (
        re.findall(r"""(?:src|href)\s*=|@import|url\((?!#)""", specimen_html(specimen_ranking()))
        == []
    )


def test_a_specimen_without_treatments_has_a_page() -> None:
    assert "No treatment could be ranked." in text_of(specimen_ranking(treatments=()))


def test_the_csv_has_one_row_a_treatment_and_columns_for_each_plate() -> None:
    [row] = csv.DictReader(io.StringIO(specimen_csv(specimen_ranking())))
    assert (row["specimen"], row["score"], row["agreement"]) == ("PAT-07", "4.4", "agree")
    assert (row["PDAC-0042.score"], row["PDAC-0043.score"], row["PDAC-0042.wells"]) == (
        "4.2",
        "4.9",
        "D02",
    )
    assert row["notice"] == FOR_RESEARCH_USE_ONLY


def test_a_plate_without_the_treatment_has_empty_cells() -> None:
    base = specimen_ranking()
    [row] = csv.DictReader(
        io.StringIO(specimen_csv(with_row(plates=base.treatments[0].plates[:1])))
    )
    assert (row["PDAC-0042.score"], row["PDAC-0043.score"], row["PDAC-0043.verdict"]) == (
        "4.2",
        "",
        "",
    )


def test_files_have_the_contract_names_and_latest_json_holds_the_newest_revision(
    tmp_path: Path,
) -> None:
    first = write_specimen(specimen_ranking(), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in first] == [
        f"specimen-PAT-07/{name}" for name in ("r1.json", "r1.csv", "r1.html", "latest.json")
    ]
    write_specimen(specimen_ranking(2), tmp_path)
    write_specimen(specimen_ranking(), tmp_path)
    assert SpecimenRanking.model_validate_json(first[-1].read_bytes()).revision == 2
    assert SpecimenRanking.model_validate_json(first[0].read_bytes()) == specimen_ranking()


def test_another_ranking_of_this_name_is_not_overwritten(tmp_path: Path) -> None:
    write_specimen(specimen_ranking(), tmp_path)
    with pytest.raises(OutputError, match="holds another ranking"):
        write_specimen(specimen_ranking(created_at=NOW.replace(year=2027)), tmp_path)
