"""Read one sheet of an Excel workbook as a table of text."""

import io
import re
import warnings
import zipfile
from collections.abc import Sequence
from datetime import date, time, timedelta

from openpyxl import load_workbook
from openpyxl.cell.cell import Cell, MergedCell
from openpyxl.utils import range_boundaries
from openpyxl.workbook.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from schemas.errors import PlateMapError
from schemas.machine_faults import is_machine_fault
from schemas.plate_tables import Row, Table, checked_table, clean_cell, joined

MAX_UNPACKED_BYTES = 20_000_000
"""Largest size of the unpacked files of a workbook."""
MAX_CELLS = 100_000
"""Largest number of cells of a sheet, or of a range of cells, from its first to its last cell."""
_LITERAL = re.compile(r'"[^"]*"|\\.')  # of a number format; it does not change the value
_RANGE = re.compile(rb"<(?:\w+:)?(?:mergeCell|hyperlink)\s[^>]*?\bref=[\"']([^\"']*)[\"']")


def xlsx_table(content: bytes, name: str) -> Table:
    """Return the only filled sheet in the bytes of a workbook with a file name as a Table.

    Hidden sheets are ignored. Of a formula, the value that was saved with it is used.

    Raises
    ------
    PlateMapError
        If the bytes are no workbook, several sheets are filled, or a cell is merged or contains
        a date, a truth value, an error or a formula without a saved value.
    """
    try:
        _check_sizes(content, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and validations, which are not read
            values, formulas = (
                load_workbook(io.BytesIO(content), data_only=data_only, keep_links=False)
                for data_only in (True, False)
            )
    except PlateMapError:
        raise
    except Exception as error:
        if is_machine_fault(error):
            raise
        raise PlateMapError(
            name,
            f"cannot be read as an Excel workbook ({type(error).__name__}); "
            "expected .xlsx without a password",
        ) from error
    sheet = _filled_sheet(formulas, name)
    if merged := sorted(str(cells.coord) for cells in values[sheet].merged_cells.ranges):
        raise PlateMapError(
            name, f"cells {', '.join(merged)} are merged; expected one value in each cell"
        )
    rows: list[Row] = []
    problems: list[str] = []
    for cells in formulas[sheet].iter_rows():
        try:
            row = _row(cells, values[sheet])
        except ValueError as error:
            problems.append(str(error))
            continue
        if any(row.cells):
            rows.append(row)
    if problems:
        raise PlateMapError(name, joined(problems))
    return checked_table(name, rows)


def _check_sizes(content: bytes, name: str) -> None:
    """Raise PlateMapError if the parts of a workbook or its ranges of cells are very large."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(part.file_size for part in archive.infolist())
        if size > MAX_UNPACKED_BYTES:
            raise PlateMapError(
                name, f"has {size} bytes unpacked; expected at most {MAX_UNPACKED_BYTES}"
            )
        # A part that is larger than it says fails its checksum here, after its declared size.
        parts = {part.filename: _unpacked(archive, part) for part in archive.infolist()}
    sheets = [
        content
        for path, content in parts.items()
        if path.lower().endswith(".xml") and "worksheets" in path.lower()
    ]
    for sheet in sheets:
        for found in _RANGE.finditer(sheet):
            text = found[1].decode("ascii", "replace")
            left, top, right, bottom = range_boundaries(text)
            if None in (left, top, right, bottom) or (
                (right - left + 1) * (bottom - top + 1) > MAX_CELLS
            ):
                raise PlateMapError(
                    name, f"has a range of cells {text}; expected at most {MAX_CELLS} cells"
                )


def _unpacked(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bytes:
    """Return the content of a part of a workbook, at most its declared size."""
    with archive.open(part) as file:
        return file.read(part.file_size + 1)


def _filled_sheet(workbook: Workbook, name: str) -> str:
    """Return the title of the only visible sheet with content in a workbook with a file name.

    Raise PlateMapError if there is none or more than one, or if it is very large.
    """
    filled: list[str] = []
    for sheet in workbook.worksheets:
        if sheet.sheet_state != "visible":
            continue
        if sheet.max_row * sheet.max_column > MAX_CELLS:
            raise PlateMapError(
                name,
                f"sheet {sheet.title!r} has {sheet.max_row} rows and {sheet.max_column} columns; "
                f"expected at most {MAX_CELLS} cells (delete the empty rows and columns)",
            )
        if any(cell is not None for row in sheet.iter_rows(values_only=True) for cell in row):
            filled.append(sheet.title)
    if len(filled) != 1:
        found = f"has {len(filled)} visible sheets with content"
        names = f" ({', '.join(map(repr, filled))})" if filled else ""
        raise PlateMapError(name, f"{found}{names}; expected one")
    return filled[0]


def _row(cells: Sequence[Cell | MergedCell], values: Worksheet) -> Row:
    """Return one row of a sheet with formulas, given the sheet with their saved values.

    Raise ValueError if a cell does not contain text or a number.
    """
    texts: list[str] = []
    numbers: list[int] = []
    for index, cell in enumerate(cells):
        saved = values[cell.coordinate]
        if cell.data_type == "f" and saved.value is None and saved.data_type != "str":
            raise ValueError(
                f"cell {cell.coordinate} has the formula {str(cell.value)[:80]!r} without a saved "
                "value; expected text (open and save the workbook in Excel, or paste the values)"
            )
        texts.append(_text(saved))
        if isinstance(saved.value, int | float):
            numbers.append(index)
    while texts and not texts[-1]:
        texts.pop()
    return Row(f"row {cells[0].row}", tuple(texts), frozenset(numbers))


def _text(cell: Cell) -> str:
    """Return the text of a cell; a percentage is multiplied by 100, as Excel shows it.

    Raise ValueError if the cell contains neither text nor a number.
    """
    value = cell.value
    wrong = ""
    if isinstance(value, bool):
        wrong = f"is {str(value).upper()}; expected text"
    elif isinstance(value, date | time | timedelta):
        wrong = (
            f"is the date or time {value}; expected text "
            "(Excel changes some texts to dates; format the cell as text and enter it again)"
        )
    elif cell.data_type == "e":
        wrong = f"has the error {value}; expected text"
    if wrong:
        raise ValueError(f"cell {cell.coordinate} {wrong}")
    if isinstance(value, int | float):
        is_percentage = "%" in _LITERAL.sub("", str(cell.number_format))
        number = round(value * 100, 10) if is_percentage else value
        return str(int(number)) if float(number).is_integer() else repr(float(number))
    return clean_cell("" if value is None else str(value))
