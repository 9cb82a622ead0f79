"""Sheets of Excel workbooks: the cells that are read, and those that are refused."""

import io
import re
import time
import zipfile
from collections.abc import Callable
from datetime import datetime

import pytest
from openpyxl.worksheet.worksheet import Worksheet

from acquisition.drop_folder.xlsx_tables import xlsx_table
from schemas.assay import ASSAY_COLUMNS, parse_assay
from schemas.errors import PlateMapError
from schemas.plate_map import PlateMap, parse_plate_map
from schemas.plate_tables import Table
from tests.samples import wells_table
from tests.workbooks import with_part, workbook

TOML = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
ROWS = [
    ("well", "group", "treatment"),
    ("B02", "untreated", "DMSO:0.1 %"),
    ("B03", "single_dose", "gemcitabine:0.5 uM"),
    ("C03", "screening", "émile:2 ug/mL + gemcitabine:0.25 uM"),
    ("D11", "blank", ""),
]


def map_of(table: Table) -> PlateMap:
    return parse_plate_map(TOML, table, toml_name="P1.plate.toml")


EXPECTED = map_of(wells_table("\n".join(map(",".join, ROWS))))


def set_cell(name: str, value: object) -> Callable[[Worksheet], object]:
    return lambda sheet: setattr(sheet[name], "value", value)


WRONG_WORKBOOKS: dict[str, tuple[Callable[[Worksheet], object], str]] = {
    "a number as well": (set_cell("A3", 2e1), "row 3: well is the number 20; expected text"),
    "a date": (
        set_cell("C3", datetime(2026, 3, 1)),  # noqa: DTZ001 - Excel knows no zones
        "cell C3 is the date or time 2026-03-01 00:00:00; expected text",
    ),
    "a truth value": (set_cell("B3", value=True), "cell B3 is TRUE; expected text"),
    "an error": (set_cell("C3", "#N/A"), "cell C3 has the error #N/A; expected text"),
    "a formula that was never computed": (
        set_cell("C3", "=C2"),
        "cell C3 has the formula '=C2' without a saved value",
    ),
    "merged cells": (
        lambda sheet: sheet.merge_cells("B3:B4"),
        "cells B3:B4 are merged; expected one value in each cell",
    ),
    "a second sheet": (
        lambda sheet: sheet.parent.create_sheet("old").append(["x"]),
        "has 2 visible sheets with content ('Sheet', 'old'); expected one",
    ),
    "a far cell": (set_cell("XFD1048576", "x"), "has 1048576 rows and 16384 columns"),
    "one column twice": (set_cell("D1", "Treatment"), "treatment twice"),
    "one well twice": (set_cell("A3", "b2"), "row 3: well B02 is already on row 2"),
    "nothing": (lambda sheet: sheet.delete_rows(1, 9), "has 0 visible sheets with content"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_WORKBOOKS.values(), ids=WRONG_WORKBOOKS)
def test_a_wrong_workbook_is_refused_with_its_cell_and_value(
    change: Callable[[Worksheet], object], message: str
) -> None:
    with pytest.raises(PlateMapError, match=r"wells\.xlsx") as refused:
        map_of(xlsx_table(workbook(ROWS, change), "wells.xlsx"))
    assert message in refused.value.problem


def test_a_grid_with_a_number_in_a_cell_is_refused() -> None:
    with pytest.raises(PlateMapError, match="row 2, well A02 is the number 100; expected a treat"):
        map_of(xlsx_table(workbook([["", 1, 2], ["A", "untreated", 100]]), "wells.xlsx"))


def test_hidden_and_empty_sheets_are_ignored() -> None:
    def hide(sheet: Worksheet) -> None:
        hidden = sheet.parent.create_sheet("lists")
        hidden.append(["untreated"])
        hidden.sheet_state = "hidden"
        sheet.parent.create_sheet("Sheet2")

    assert map_of(xlsx_table(workbook(ROWS, hide), "wells.xlsx")) == EXPECTED


def test_the_saved_value_of_a_formula_is_used() -> None:
    content = workbook(ROWS, set_cell("C3", '="gemcitabine:"&"0.5 uM"'))

    def save_value(sheet: bytes) -> bytes:
        assert b'<c r="C3"><f>' in sheet
        changed = sheet.replace(b'<c r="C3"><f>', b'<c r="C3" t="str"><f>')
        return re.sub(rb"(</f>)<v ?/?>(</v>)?", rb"\1<v>gemcitabine:0.5 uM</v>", changed)

    assert map_of(xlsx_table(with_part(content, save_value), "wells.xlsx")) == EXPECTED


def test_an_empty_result_of_a_formula_is_an_empty_cell() -> None:
    content = workbook(ROWS, set_cell("C5", '=IF(A5="","x","")'))
    with_result = with_part(
        content, lambda sheet: sheet.replace(b'<c r="C5"><f>', b'<c r="C5" t="str"><f>')
    )
    assert map_of(xlsx_table(with_result, "wells.xlsx")) == EXPECTED


def test_a_huge_merged_range_is_refused_before_it_is_read() -> None:
    content = with_part(
        workbook(ROWS, lambda sheet: sheet.merge_cells("E1:F2")),
        lambda sheet: sheet.replace(b"E1:F2", b"E1:XFD1048576"),
    )
    started_s = time.monotonic()
    with pytest.raises(PlateMapError, match="has a range of cells E1:XFD1048576; expected at most"):
        xlsx_table(content, "wells.xlsx")
    assert time.monotonic() - started_s < 10


def test_a_workbook_that_is_very_large_unpacked_is_refused() -> None:
    content = with_part(workbook(ROWS), lambda sheet: sheet + b" " * 30_000_000)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for part in old.namelist():
            new.writestr(part, old.read(part))
    assert len(out.getvalue()) < 1_000_000
    with pytest.raises(PlateMapError, match="bytes unpacked; expected at most 20000000"):
        xlsx_table(out.getvalue(), "wells.xlsx")


def percentages(sheet: Worksheet) -> None:
    """Format 99.5 % and 12 % as percentages of Excel, whose values are 0.995 and 0.12."""
    for name, value in (("B2", 0.995), ("B3", 0.12)):
        sheet[name].value = value
        sheet[name].number_format = "0.0%"


def literal_signs(sheet: Worksheet) -> None:
    for name in ("B2", "B3"):
        sheet[name].number_format = '0.0" %"'


@pytest.mark.parametrize("change", [str, percentages, literal_signs])
def test_numbers_and_percentages_of_a_workbook_are_a_viability(
    change: Callable[[Worksheet], object],
) -> None:
    content = workbook([ASSAY_COLUMNS, ("B02", 99.5), ("b3", 12)], change)
    assay = parse_assay(xlsx_table(content, "assay.xlsx"), plate="P1", wells=["B02", "B03"])
    assert assay.viability_percent == {"B02": 99.5, "B03": 12.0}
