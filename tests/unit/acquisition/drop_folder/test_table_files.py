"""Tables of wells in every usual form of CSV and Excel, damaged ones, and faults of the machine."""

import errno
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquisition.drop_folder import table_files
from acquisition.drop_folder.table_files import read_table, result_of
from acquisition.drop_folder.xlsx_tables import xlsx_table
from schemas.assay import ASSAY_COLUMNS, Assay, parse_assay
from schemas.errors import MachineError, PlateMapError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.plate_tables import Table, csv_table
from schemas.well import well_at
from schemas.well_texts import WELL_COLUMNS
from tests.workbooks import with_part, workbook

TOML = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
ROWS = [
    ("well", "group", "treatment"),
    ("B02", "untreated", "DMSO:0.1 %"),
    ("B03", "single_dose", "gemcitabine:0.5 uM"),
    ("C03", "screening", "émile:2 ug/mL + gemcitabine:0.25 uM"),
    ("D11", "blank", ""),
]
SEPARATORS = [",", ";", "\t"]
LINE_ENDS = ["\n", "\r\n", "\r"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]


def map_of(table: Table) -> PlateMap:
    return parse_plate_map(TOML, table, toml_name="P1.plate.toml")


def csv_map(text: str) -> PlateMap:
    return map_of(csv_table(text.encode(), "wells.csv", WELL_COLUMNS))


EXPECTED = csv_map("\n".join(",".join(row) for row in ROWS))


def as_csv(rows: Sequence[Sequence[str]], separator: str, line_end: str, *, comma: bool) -> str:
    """Return CSV text, with decimal commas where they are quoted or the separator is another."""
    written = [
        [re.sub(r"(\d)\.(\d)", r"\1,\2", cell) if comma else cell for cell in row] for row in rows
    ]
    return line_end.join(
        separator.join(f'"{cell}"' if separator in cell else cell for cell in row)
        for row in written
    )


@settings(deadline=None, max_examples=300)
@given(
    separator=st.sampled_from(SEPARATORS),
    line_end=st.sampled_from(LINE_ENDS),
    encoding=st.sampled_from(ENCODINGS),
    decimal_sign=st.sampled_from(".,"),
    blank_columns=st.integers(0, 3),
    blank_lines=st.integers(0, 2),
    spaces=st.sampled_from(["", " ", "  "]),
    change_case=st.sampled_from([str, str.upper, str.title]),
    order=st.permutations(range(3)),
    form=st.sampled_from(["NFC", "NFD"]),
    title=st.sampled_from(["", "map of P1"]),
)
def test_any_separator_encoding_and_line_end_gives_the_same_map(
    separator: str,
    line_end: str,
    encoding: str,
    decimal_sign: str,
    blank_columns: int,
    blank_lines: int,
    spaces: str,
    change_case: Callable[[str], str],
    order: Sequence[int],
    form: str,
    title: str,
) -> None:
    rows = [
        [spaces + row[column] + spaces for column in order] + [""] * blank_columns
        for row in [tuple(map(change_case, ROWS[0])), *ROWS[1:]]
    ]
    text = as_csv(rows, separator, line_end, comma=decimal_sign == ",")
    text = title + line_end + text
    text = line_end * blank_lines + text + line_end * (blank_lines + 1)
    if encoding != "cp1252":  # it cannot write a combining accent
        text = unicodedata.normalize(form, text)
    found = map_of(csv_table(text.encode(encoding), "wells.csv", WELL_COLUMNS))
    assert (found, found.digest) == (EXPECTED, EXPECTED.digest)


@settings(deadline=None, max_examples=100)
@given(
    separator=st.sampled_from(SEPARATORS),
    line_end=st.sampled_from(LINE_ENDS),
    encoding=st.sampled_from(ENCODINGS),
    decimal_sign=st.sampled_from(".,"),
    percent=st.sampled_from(["", "%", " %"]),
    values=st.lists(
        st.decimals(0, 200, places=3, allow_nan=False), min_size=2, max_size=9, unique=True
    ),
)
def test_any_separator_encoding_and_line_end_gives_the_same_assay(
    separator: str,
    line_end: str,
    encoding: str,
    decimal_sign: str,
    percent: str,
    values: list[object],
) -> None:
    wells = [well_at(2, column + 2) for column in range(len(values))]
    rows = [ASSAY_COLUMNS, *((w, f"{v}{percent}") for w, v in zip(wells, values, strict=True))]
    text = as_csv(rows, separator, line_end, comma=decimal_sign == ",")
    table = csv_table(text.encode(encoding), "assay.csv", ASSAY_COLUMNS)
    assay = parse_assay(table, plate="P1", wells=wells)
    assert list(assay.viability_percent.values()) == [float(str(value)) for value in values]


@pytest.mark.parametrize("above", [[], [["Map of PDAC-0042"], []]], ids=["plain", "with a title"])
def test_a_workbook_gives_the_same_map_as_csv(above: list[list[str]]) -> None:
    assert map_of(xlsx_table(workbook([*above, *ROWS]), "wells.xlsx")) == EXPECTED


@st.composite
def plates(draw: st.DrawFn) -> dict[str, str]:
    """Return treatments in the form of grid cells by well, of some wells of a 96-well plate."""
    doses = st.builds(
        "{}:{} {}".format,
        st.sampled_from(["gemcitabine", "paclitaxel", "émile"]),
        st.sampled_from(["0.5", "1", "20"]),
        st.sampled_from(["nM", "uM"]),
    )
    cells = st.one_of(
        st.sampled_from(["untreated", "blank", "DMSO:0.1 %", "untreated: ethanol:1 %"]),
        doses,
        st.builds("single_dose: {}".format, doses),
    )
    wells = [well_at(row, column) for row in range(1, 9) for column in range(1, 13)]
    return draw(st.dictionaries(st.sampled_from(wells), cells, min_size=1, max_size=20))


def listed(cell: str) -> tuple[str, str]:
    """Return group and treatment of the text of a grid cell."""
    group, _, treatment = cell.partition(": ")
    match group:
        case "untreated" | "blank" | "single_dose":
            return group, treatment
        case "DMSO:0.1 %":
            return "untreated", cell
        case _:
            return "screening", cell


@settings(deadline=None, max_examples=60)
@given(plate=plates(), separator=st.sampled_from(SEPARATORS))
def test_list_and_grid_in_csv_and_excel_give_the_same_map(
    plate: dict[str, str], separator: str
) -> None:
    plate = dict(sorted(plate.items()))
    rows = [WELL_COLUMNS, *((well, *listed(cell)) for well, cell in plate.items())]
    grid: list[list[str | int]] = [["", *range(1, 13)]]
    for row, letter in enumerate("ABCDEFGH", start=1):
        grid.append([letter, *(plate.get(well_at(row, column), "") for column in range(1, 13))])
    grid_text = as_csv([list(map(str, row)) for row in grid], separator, "\r\n", comma=False)
    expected = csv_map(as_csv(rows, ",", "\n", comma=False))
    assert map_of(xlsx_table(workbook(rows), "wells.xlsx")) == expected
    assert map_of(xlsx_table(workbook(grid), "wells.xlsx")) == expected
    assert csv_map(grid_text) == expected


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return content with some bytes changed, deleted, repeated or cut off."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        if not changed:
            break
        start = rng.randrange(len(changed))
        end = min(len(changed), start + rng.randint(1, 20))
        match rng.randrange(5):
            case 0:
                changed[start] = rng.randrange(256)
            case 1:
                del changed[start:end]
            case 2:
                changed[start:start] = changed[start:end] * rng.randint(1, 3)
            case 3:
                changed[start:start] = rng.choice(
                    [b'"', b"\r", b"\n", b",", b";", b"\t", b"\0", b"\xff", b"'", b"[" * 3000]
                )
            case 4:
                del changed[start:]
    return bytes(changed)


ASSAY_TEXT = "well,viability_percent\nB02,99.5\nB03,12\n"
SEEDS: dict[str, tuple[str, bytes]] = {
    "TOML": ("P1.plate.toml", TOML.encode()),
    "CSV": ("P1.wells.csv", as_csv(ROWS, ",", "\r\n", comma=True).encode()),
    "UTF-16": ("P1.wells.csv", as_csv(ROWS, ";", "\r", comma=False).encode("utf-16")),
    "grid": ("P1.wells.csv", b",1,2,3\nA,untreated,x:1 uM,\nB,blank,,DMSO:0.1 %\n"),
    "workbook": ("P1.wells.xlsx", workbook(ROWS)),
    "assay": ("P1.assay.csv", ASSAY_TEXT.encode()),
}


@pytest.mark.parametrize(("name", "content"), SEEDS.values(), ids=SEEDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_file_gives_a_result_or_the_error_of_its_plate(
    tmp_path: Path, name: str, content: bytes, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - no cryptography
    results: list[type] = []
    path = tmp_path / name
    for _ in range(40 if name.endswith(".xlsx") else 150):
        path.write_bytes(mutated(content, rng))
        result: object = result_of(lambda: read_any(tmp_path, name), name)
        results.append(type(result))
        assert isinstance(result, PlateMap | Assay | PlateMapError)
        if isinstance(result, PlateMapError):
            assert result.where.startswith(("P1.", "wells.csv"))
            assert len(result.problem) < 20_000
    assert PlateMapError in results


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_sheet_of_a_workbook_gives_a_result_or_an_error(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no cryptography
    content = workbook(ROWS)
    results = []
    for _ in range(60):
        damaged = with_part(content, lambda sheet: mutated(sheet, rng))
        result = result_of(lambda: map_of(xlsx_table(damaged, "P1")), "P1")  # noqa: B023 - called here
        results.append(type(result))
    assert PlateMapError in results
    assert {*results} <= {PlateMap, PlateMapError}


def read_any(root: Path, name: str) -> PlateMap | Assay:
    """Read a file of a plate together with valid other files."""
    if name.endswith(".toml"):
        text = table_files.read_text(root, name, "a plate map")
        wells = csv_table(as_csv(ROWS, ",", "\n", comma=False).encode(), "wells.csv", WELL_COLUMNS)
        return parse_plate_map(text, wells, toml_name=name)
    if ".assay." in name:
        table = read_table(root, name, ASSAY_COLUMNS, "an assay")
        return parse_assay(table, plate="P1", wells=["B02", "B03"])
    return map_of(read_table(root, name, WELL_COLUMNS, "a plate map"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError(),
        TimeoutError("timed out"),
    ],
)
def test_a_fault_of_the_machine_is_no_error_of_the_file(error: Exception) -> None:
    def read() -> None:
        raise error

    with pytest.raises(
        MachineError, match=r"P1\.wells\.csv: cannot be read: .*; it is tried again"
    ):
        result_of(read, "P1.wells.csv")


def test_an_unexpected_exception_is_an_error_of_the_file_with_its_type() -> None:
    def read() -> None:
        raise KeyError("sheet7")

    found = result_of(read, "P1.wells.xlsx")
    assert str(found) == "P1.wells.xlsx: cannot be processed: KeyError: 'sheet7'"
