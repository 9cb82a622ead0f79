from datetime import datetime, time

import pytest

from schemas.errors import PlateMapError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.well import INNER_60, well_at
from tests.samples import plate_map, wells_table

TOML = 'plate = "PDAC-0042"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
CSV = "well,group,treatment\nB02,untreated,\n"


def read(more: str = "") -> PlateMap:
    return parse_plate_map(TOML + more, wells_table(CSV), toml_name="P.plate.toml")


@pytest.mark.parametrize("written", ["10:30:00", '"10:30"', '"10:30:00"'])
def test_the_hour_of_imaging_is_a_local_time_or_its_text(written: str) -> None:
    assert read(f"acquire_at = {written}\n").acquire_at == time(10, 30)


def test_a_plate_may_have_its_own_imaging_days_or_none() -> None:
    assert read("acquire_days = [1, 3, 5]\n").acquire_days == (1, 3, 5)
    assert read().acquire_days is None
    assert read().acquire_at is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("acquire_at = 36000\n", "36000 is not a time of day; expected one such as 10:00"),
        ('acquire_at = "10:00Z"\n', "'10:00Z' is not a time of day"),
        ('acquire_at = "25:00"\n', "acquire_at is '25:00'; expected"),
        ('acquire_at = ""\n', "'' is not a time of day"),
        ("acquire_at = 2026-11-10T10:00:00Z\n", "is not a time of day"),
        ("acquire_days = []\n", "acquire_days is []; expected"),
        ("acquire_days = [0]\n", "acquire_days.0 is 0; expected"),
        ('acquire_days = "all"\n', "acquire_days is 'all'; expected"),
    ],
)
def test_an_invalid_imaging_time_or_day_is_refused_with_its_key(more: str, message: str) -> None:
    with pytest.raises(PlateMapError) as refused:
        read(more)
    assert refused.value.where == "P.plate.toml"
    assert message in refused.value.problem


def test_imaging_times_do_not_change_the_digest_of_a_plate_map() -> None:
    # The constant is from a version without imaging times; its rankings must stay valid.
    assert plate_map().digest == "ef0d259d3b681a237ad720a80f9d83c72d98de66131e531f8d1a8def69ba95db"
    assert plate_map(acquire_at="10:00", acquire_days=(1, 7)).digest == plate_map().digest
    assert plate_map(readout_day=9).digest != plate_map().digest


def test_a_map_with_imaging_times_survives_serialisation() -> None:
    kept = plate_map(acquire_at=time(10, 0, 0, 500), acquire_days=(1, 7))
    assert PlateMap.model_validate(kept.model_dump(mode="json")) == kept


@pytest.mark.parametrize(
    ("more", "decided_by"),
    [
        ("um_per_px = 1.36\n", None),
        ('um_per_px = 1.36\num_per_px_from = "map"\n', "map"),
        ('um_per_px = 1.36\num_per_px_from = "file"\n', "file"),
        ('um_per_px_from = "file"\n', "file"),
    ],
)
def test_a_map_may_decide_which_scale_is_used(more: str, decided_by: str | None) -> None:
    assert read(more).um_per_px_from == decided_by


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('um_per_px_from = "map"\n', 'um_per_px_from is "map"; expected the key um_per_px too'),
        ('um_per_px_from = "OME"\n', "um_per_px_from is 'OME'; expected 'file' or 'map'"),
    ],
)
def test_an_impossible_decision_about_the_scale_is_refused(more: str, message: str) -> None:
    with pytest.raises(PlateMapError) as refused:
        read(more)
    assert message in refused.value.problem


def test_a_decision_about_the_scale_changes_the_digest_of_a_plate_map() -> None:
    digests = {plate_map(um_per_px_from=each).digest for each in (None, "file", "map")}
    assert len(digests) == 3


MOMENTS = {
    "20261102": "seeded_at is 20261102, no date and time",
    "1762070400.5": "seeded_at is 1762070400.5, no date and time",
    "true": "seeded_at is true; expected no truth value",
    "2026-11-02": "seeded_at is 2026-11-02, a date without a time",
    '"2026-11-02"': "seeded_at is 2026-11-02, a date without a time",
    '"20261102"': "seeded_at is 20261102, a date without a time",
    "2026-11-02T09:00:00": "seeded_at is 2026-11-02 09:00:00, a time without a zone",
    '"2026-11-02T09:00:00"': "seeded_at is 2026-11-02T09:00:00, a time without a zone",
    "09:00:00": "seeded_at is datetime.time(9, 0), no date and time",
    '"1762070400"': "seeded_at is '1762070400'; expected a date and time with zone",
    '"yesterday"': "seeded_at is 'yesterday'; expected a date and time with zone",
    "1970-08-23T12:00:00Z": "expected a year from 1990 to 2100",
    "2206-11-02T09:00:00+01:00": "expected a year from 1990 to 2100",
    "[2026-11-02T09:00:00Z]": "no date and time",
}


@pytest.mark.parametrize(("written", "message"), MOMENTS.items(), ids=MOMENTS)
@pytest.mark.parametrize("key", ["seeded_at", "dosed_at"])
def test_a_value_that_is_no_date_and_time_with_zone_is_refused(
    key: str, written: str, message: str
) -> None:
    seeded_at = "" if key == "seeded_at" else "seeded_at = 2026-11-10T09:00:00+01:00\n"
    with pytest.raises(PlateMapError) as refused:
        parse_plate_map(
            f'plate = "P"\nreadout_day = 0\n{seeded_at}{key} = {written}\n',
            wells_table(CSV),
            toml_name="P.plate.toml",
        )
    assert message.replace("seeded_at", key) in refused.value.problem
    assert "readout_day is 0" in refused.value.problem  # every problem is listed


@pytest.mark.parametrize(
    "written", ["2026-11-10T09:00:00+01:00", '"2026-11-10T08:00Z"', "2026-11-10 08:00:00Z"]
)
def test_a_date_and_time_with_zone_is_read(written: str) -> None:
    toml = f'plate = "P"\nseeded_at = {written}\n'
    read_map = parse_plate_map(toml, wells_table(CSV), toml_name="P.plate.toml")
    assert read_map.seeded_at == datetime.fromisoformat("2026-11-10T09:00:00+01:00")


def test_a_truth_value_is_not_read_as_a_number() -> None:
    with pytest.raises(PlateMapError, match="dosed_on_day is true; expected no truth value"):
        read("dosed_on_day = true\n")


def entries(text: str) -> list[tuple[str, str, str]]:
    found = parse_plate_map(TOML, wells_table(text), toml_name="t").entries
    return [(each.well, str(each.group), each.treatment) for each in found]


def test_one_treatment_in_two_units_has_the_first_form_and_a_note() -> None:
    text = (
        "well,group,treatment\nB02,screening,Gem:1 uM\nB03,screening,gem:1000 nM\n"
        "B04,single_dose,gem:0.001 mM\nB05,screening,gem:2 uM\n"
    )
    found = parse_plate_map(TOML, wells_table(text), toml_name="t")
    assert [each.treatment for each in found.entries] == ["Gem:1 uM"] * 3 + ["Gem:2 uM"]
    assert found.notes == (
        "'Gem' and 'gem' are read as one compound, Gem.",
        "'1 uM' and '1000 nM' and '0.001 mM' of Gem are one dose.",
    )
    plain = parse_plate_map(
        TOML,
        wells_table(
            text.replace("gem", "Gem").replace("1000 nM", "1 uM").replace("0.001 m", "1 u")
        ),
        toml_name="t",
    )
    assert (plain.notes, plain.digest) == ((), found.digest)


def test_a_stored_map_keeps_its_digest_and_its_notes() -> None:
    found = plate_map().model_copy(update={"notes": ("A note.",)})
    assert found.digest == plate_map().digest
    assert PlateMap.model_validate(found.model_dump(mode="json")) == found
    stored_before = {k: v for k, v in found.model_dump(mode="json").items() if k != "notes"}
    assert PlateMap.model_validate(stored_before) == plate_map()


def test_groups_and_headers_are_read_in_any_case_with_spaces() -> None:
    text = " Treatment ,WELL,Group,,\n,b2,Untreated,,\nx:1 uM, C3 ,Single Dose,,\n,,,,\n"
    assert entries(text) == [("B02", "untreated", ""), ("C03", "single_dose", "x:1 uM")]


GRID = """\
PDAC-0042 layout
,1,2,3,4,5,6
a,,untreated,DMSO:0.1 %,dmso,Blank,gem:1 uM
B,single dose: gem:2 uM,screening: dmso:5 %,untreated: ethanol:1 %,"gem:0,5 uM + x:1 nM",,
"""


def test_a_grid_gives_the_wells_of_its_filled_cells() -> None:
    assert entries(GRID) == [
        ("A02", "untreated", ""),
        ("A03", "untreated", "DMSO:0.1 %"),
        ("A04", "untreated", ""),
        ("A05", "blank", ""),
        ("A06", "screening", "gem:1 uM"),
        ("B01", "single_dose", "gem:2 uM"),
        ("B02", "screening", "dmso:5 %".replace("dmso", "DMSO")),
        ("B03", "untreated", "ethanol:1 %"),
        ("B04", "screening", "gem:0.5 uM + x:1 nM"),
    ]


@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (8, 12), (16, 24)])
def test_a_grid_of_a_whole_plate_has_every_well(rows: int, columns: int) -> None:
    header = "".join(f";{column}" for column in range(1, columns + 1))
    lines = [
        "ABCDEFGHIJKLMNOP"[row] + "".join(f";x:{row + 1},{column} uM" for column in range(columns))
        for row in range(rows)
    ]
    found = entries("\r".join([header, *lines]))
    assert len(found) == rows * columns
    assert found[-1] == (well_at(rows, columns), "screening", f"x:{rows}.{columns - 1} uM")


def test_a_grid_of_the_inner_wells_has_their_names() -> None:
    lines = ["Row\t" + "\t".join(map(str, range(2, 12)))]
    lines += [letter + "\tuntreated" * 10 for letter in "BCDEFG"]
    assert [well for well, *_ in entries("\n".join(lines))] == list(INNER_60)


WRONG_TABLES = {
    "a column twice": (
        "well,group,treatment,Treatment\nB02,screening,a:1 uM,b:1 uM\n",
        "line 1 has columns ['well', 'group', 'treatment', 'Treatment']: treatment twice",
    ),
    "an unknown column": (
        "well,group,treatment,dose\n",
        "expected well,group,treatment",
    ),
    "one well in two writings": (
        CSV + "B2,untreated,\n",
        "line 3: well B02 is already on line 2; expected each well once",
    ),
    "a value without a column": (
        "well,group,treatment,\nB02,untreated,,note\n",
        "line 2: 4 values; expected 3",
    ),
    "an unquoted decimal comma": (
        CSV + "B03,screening,x:0,5 uM\n",
        "line 3: 4 values; expected 3 (quote a value that contains the separator",
    ),
    "a separator of thousands": (
        "well;group;treatment\nB02;screening;x:0,5 uM\nB03;screening;x:1.000 nM\n",
        "line 3: 'x:1.000 nM' has a decimal point or a separator of thousands, and 'x:0,5 uM'",
    ),
    "an open quote": (CSV + 'B03,screening,"x:1 uM', "has an odd number of quotes"),
    "a very long cell": (CSV + "B03,screening," + "x" * 200_000, "expected a CSV file"),
    "a long cell": (CSV + "B03,screening," + "x" * 2000, "line 3: a cell has 2000 characters"),
    "a control character": (CSV + "B03,screening,\0:1 uM", "line 3 contains the control character"),
    "an unknown group": (
        CSV + "B03,control,\n",
        "line 3: group is 'control'; expected 'untreated'",
    ),
    "a grid with a wrong row": (",1,2\nA,,untreated\nC,,x:1 uM\n", "line 3: row C follows row A"),
    "a grid with a legend below": (
        ",1,2\nA,,untreated\nred = single dose,,\n",
        "line 3: 'red = single dose' is no row of a plate",
    ),
    "a grid with a legend beside": (
        ",1,2,,\nA,,untreated,,red\n",
        "line 2: 'red' is right of column 2",
    ),
    "a grid that lacks a column": (",1,3\nA,,untreated\n", "line 1 has columns ['', '1', '3']"),
    "a grid with free text": (
        ",1,2\nA,,control\n",
        "such as gemcitabine:1 uM, or untreated, blank, DMSO:0.1 %, or a group before a colon",
    ),
    "a grid with DMSO as a drug": (",1,2\nA,,DMSO:5 %\n", "line 2, well A02: 'DMSO:5 %' is DMSO"),
    "a grid with a letter that no plate has": (",1,2\nß,untreated,\n", "'ß' is no row of a plate"),
    "a grid with an empty row label": (",1,2\nA,,blank\n,untreated,\n", "line 3: '' is no row"),
    "a grid without wells": (",1,2\nA,,\n", "no wells"),
    "a workbook": ("PK\x03\x04", "is an Excel workbook or ZIP archive; expected text"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_a_wrong_table_of_wells_is_refused_with_its_place_and_value(
    text: str, message: str
) -> None:
    with pytest.raises(PlateMapError) as refused:
        entries(text)
    assert message in refused.value.problem
    assert refused.value.where == "wells.csv"


def test_of_very_many_problems_the_first_are_listed() -> None:
    with pytest.raises(PlateMapError, match=r"and 950 more problems$") as refused:
        entries("well,group,treatment\n" + "Z99,untreated,\n" * 1000)
    assert len(str(refused.value)) < 10_000


HALVES = {"B02": "", "C03": "", "B07": "a:1 uM + b:2 uM", "C08": "a:1 uM + b:2 uM"}


def read_divided(by: str, treatments: dict[str, str]) -> PlateMap:
    rows = "".join(
        f"{well},{'screening' if treatment else 'untreated'},{treatment}\n"
        for well, treatment in treatments.items()
    )
    table = wells_table("well,group,treatment\n" + rows)
    return parse_plate_map(TOML + f'divided_by = "{by}"\n', table, toml_name="P.plate.toml")


def test_a_half_divided_plate_is_read_and_keeps_the_digest_of_maps_without_the_key() -> None:
    halves = read_divided("columns", HALVES)
    assert halves.divided_by == "columns"
    assert halves.treatments == {"a:1 uM + b:2 uM"}
    assert halves.untreated_wells == {"B02", "C03"}
    assert halves.digest != halves.model_copy(update={"divided_by": None}).digest


@pytest.mark.parametrize(
    ("by", "changes", "message"),
    [
        (
            "columns",
            {"D10": ""},
            "untreated wells from B02 to D10 are in both halves, but `divided_by` in P.plate.toml",
        ),
        ("rows", {}, "untreated wells from B02 to C03 are in both halves"),
        (
            "columns",
            {"C08": "a:2 uM"},
            "2 treatments (a:1 uM + b:2 uM, a:2 uM), but `divided_by` in P.plate.toml is 'columns'",
        ),
        ("columns", {"B07": "", "C08": ""}, "no treated wells, but `divided_by`"),
        ("columns", {"B02": "c:1 uM", "C03": "c:1 uM"}, "no untreated wells, but `divided_by`"),
    ],
)
def test_a_half_divided_plate_with_another_layout_is_refused(
    by: str, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(PlateMapError) as refused:
        read_divided(by, HALVES | changes)
    assert message in refused.value.problem
