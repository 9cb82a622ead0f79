import csv
import io
import math

from pydantic import BaseModel

from schemas.quality import Flag
from schemas.ranking import FOR_RESEARCH_USE_ONLY, TreatmentRank, WellRank
from schemas.tables import treatments_csv, wells_csv
from tests.samples import ranking


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def named(model: type[BaseModel]) -> list[str]:
    return [name for name in model.model_fields if name not in ("measures", "departures")]


def test_the_columns_are_the_names_of_the_json() -> None:
    table = ranking()
    assert list(rows(treatments_csv([({"plate": "P"}, table)]))[0]) == [
        "plate",
        *named(TreatmentRank),
        "notice",
    ]
    assert list(rows(wells_csv([({"plate": "P"}, table)]))[0]) == [
        "plate",
        *named(WellRank),
        "notice",
    ]


def test_each_measure_that_any_row_has_is_a_column() -> None:
    base = ranking()
    first = base.wells[0].model_copy(update={"measures": {"od_mean": 0.5, "area_um2": 2.0}})
    second = base.wells[1].model_copy(update={"measures": {"circularity": 0.25}})
    read = rows(wells_csv([({}, base.model_copy(update={"wells": (first, second)}))]))
    assert list(read[0])[-4:] == ["area_um2", "circularity", "od_mean", "notice"]
    assert [(row["area_um2"], row["circularity"]) for row in read] == [("2.0", ""), ("", "0.25")]


def test_numbers_keep_their_full_precision() -> None:
    base = ranking()
    unusual = base.treatments[0].model_copy(
        update={"score": 0.1 + 0.2, "p_value": 1e-17, "score_low": -math.pi}
    )
    read = rows(treatments_csv([({}, base.model_copy(update={"treatments": (unusual,)}))]))[0]
    assert (float(read["score"]), float(read["p_value"]), float(read["score_low"])) == (
        unusual.score,
        unusual.p_value,
        unusual.score_low,
    )


def test_text_with_commas_quotes_and_micro_signs_is_unchanged_after_reading() -> None:
    base = ranking()
    unusual = base.treatments[0].model_copy(
        update={"treatment": 'a,"b"\nµ:1 uM', "wells": ("B02", "B03")}
    )
    read = rows(treatments_csv([({}, base.model_copy(update={"treatments": (unusual,)}))]))[0]
    assert (read["treatment"], read["wells"]) == (unusual.treatment, "B02 B03")


def test_unknown_values_are_empty_and_enumerations_are_words() -> None:
    base = ranking()
    flagged = base.wells[1].model_copy(update={"flags": (Flag.BLURRED, Flag.CUT)})
    read = rows(wells_csv([({"final": False}, base.model_copy(update={"wells": (flagged,)}))]))[0]
    assert (read["efficacy_rank"], read["group"], read["flags"], read["final"]) == (
        "",
        "untreated",
        "blurred cut",
        "false",
    )


def test_every_row_has_the_research_use_notice() -> None:
    assert {row["notice"] for row in rows(wells_csv([({}, ranking())]))} == {FOR_RESEARCH_USE_ONLY}


def test_a_table_without_rows_still_has_its_header() -> None:
    assert (
        treatments_csv([({"plate": "P"}, ranking(treatments=()))])
        == ",".join(["plate", *named(TreatmentRank), "notice"]) + "\n"
    )


def test_several_plates_share_one_header() -> None:
    read = rows(treatments_csv([({"plate": "P"}, ranking()), ({"plate": "Q"}, ranking())]))
    assert [row["plate"] for row in read] == ["P", "Q"]
