"""Read tables of wells: CSV text in any usual encoding, separator and line end, as rows of text."""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.errors import PlateMapError
from schemas.plate_grids import is_grid_header

SEPARATORS = (",", ";", "\t")
"""Separators of CSV files."""
MAX_CELL_CHARACTERS = 1000
"""Largest number of characters in one cell of a table."""
MAX_PROBLEMS = 50
"""Largest number of problems that one error lists."""
MAX_NAMED = 80
"""Largest number of characters of a value that an error repeats."""
MAX_LINES_ABOVE = 50
"""Largest number of lines in which a header is searched."""
_CONTROL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t])"?\s*', re.IGNORECASE)
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_FILES = {
    b"PK\x03\x04": "an Excel workbook or ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old or encrypted Excel workbook",
    b"%PDF": "a PDF file",
}
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"))


@dataclass(frozen=True)
class Row:
    """One row of a table that is not blank."""

    place: str
    """Place of the row in the file, such as ``line 3``."""
    cells: tuple[str, ...]
    """Text of each cell without surrounding white space."""
    numbers: frozenset[int] = frozenset()
    """Indices of the cells that contain a number instead of text, which is known for Excel."""


@dataclass(frozen=True)
class Table:
    """The rows of a file that are not blank."""

    name: str
    """Name of the file, for error messages."""
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Record:
    """The cells of one row by the name of their column."""

    place: str
    values: dict[str, str]
    numbers: frozenset[str]
    """Columns that contain a number instead of text."""


def decode_text(content: bytes, name: str) -> str:
    """Return the text in the bytes of a named file that is UTF-8, UTF-16 or Windows-1252.

    Raises
    ------
    PlateMapError
        If the bytes are no text in one of these encodings.
    """
    if kind := next((kind for mark, kind in _OTHER_FILES.items() if content.startswith(mark)), ""):
        raise PlateMapError(name, f"is {kind}; expected text")
    encoding = next(
        (encoding for mark, encoding in _ENCODINGS.items() if content.startswith(mark)), None
    )
    if encoding is None and b"\0" in content[:2]:  # UTF-16 without a mark starts with ASCII
        encoding = "utf-16-be" if content[0] == 0 else "utf-16-le"
    try:
        try:
            text = content.decode(encoding or "utf-8")
        except UnicodeDecodeError:
            if encoding is not None:
                raise
            text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise PlateMapError(
            name,
            f"is not UTF-8, UTF-16 or Windows-1252: {error.reason} at byte {error.start}; "
            "expected text in one of these encodings",
        ) from error
    if control := _CONTROL.search(text):
        line = len(_LINE_END.split(text[: control.start()]))
        raise PlateMapError(
            name, f"line {line} contains the control character {control[0]!r}; expected text"
        )
    return unicodedata.normalize("NFC", text)


def csv_table(content: bytes, name: str, columns: Sequence[str]) -> Table:
    """Return the bytes of a named CSV file that has the given columns as a Table.

    The separator is the one with which a row has these columns or is the header of a grid.

    Raises
    ------
    PlateMapError
        If the bytes are no text, or a cell is too long or has no closing quote.
    """
    text = decode_text(content, name)
    separator, start = _separator(text, columns)
    if text.count('"') % 2:
        raise PlateMapError(name, "has an odd number of quotes; expected each quote to be closed")
    # newline="": the csv module accepts the line ends of every system.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t"
    )
    rows = []
    try:
        for cells in reader:
            row = Row(f"line {reader.line_num}", tuple(map(clean_cell, cells)))
            if reader.line_num > start and any(row.cells):
                rows.append(row)
    except csv.Error as error:
        raise PlateMapError(
            name, f"line {reader.line_num}: {error}; expected a CSV file"
        ) from error
    return checked_table(name, rows)


def checked_table(name: str, rows: Sequence[Row]) -> Table:
    """Return a Table from a file name and rows; raise PlateMapError if a cell is too long.

    Raises
    ------
    PlateMapError
        If a cell has too many characters. No treatment is that long.
    """
    for row in rows:
        if (longest := max(map(len, row.cells))) > MAX_CELL_CHARACTERS:
            raise PlateMapError(
                name,
                f"{row.place}: a cell has {longest} characters; "
                f"expected at most {MAX_CELL_CHARACTERS}",
            )
    return Table(name, tuple(rows))


def records(
    table: Table, columns: Sequence[str], *, other_columns: bool = False
) -> tuple[list[Record], list[str]]:
    """Return a Record for each row of a Table with given columns, and a text for each wrong row.

    Names of columns are compared without case, spaces and order. Rows before the header with a
    single cell are titles, and are ignored.

    Parameters
    ----------
    table
        The rows of the file.
    columns
        Names of the required columns.
    other_columns
        Whether further columns are allowed; they are ignored.

    Raises
    ------
    PlateMapError
        If the header does not have each column once.
    """
    header, rows = header_and_rows(table, columns)
    names = list(map(column_name, header.cells))
    expected = ",".join(columns)
    found = f"{header.place} has columns {named(_without_trailing_blanks(header.cells))}"
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise PlateMapError(
            table.name, f"{found}: {', '.join(repeated)} twice; expected {expected}"
        )
    unknown = {name for name in names if name}.difference(columns)
    if not set(columns) <= set(names) or (unknown and not other_columns):
        raise PlateMapError(table.name, f"{found}; expected {expected}")
    found_records, problems = [], []
    for row in rows:
        unnamed = [
            index for index in range(len(row.cells)) if not "".join(names[index : index + 1])
        ]
        if any(row.cells[index] for index in unnamed):
            filled = len(_without_trailing_blanks(row.cells))
            problems.append(
                f"{row.place}: {filled} values; expected {len(columns)} (quote a value that "
                "contains the separator, such as a decimal comma)"
            )
            continue
        cells = row.cells + ("",) * (len(names) - len(row.cells))
        values = {name: cells[names.index(name)] for name in columns}
        numbers = frozenset(name for name in columns if names.index(name) in row.numbers)
        found_records.append(Record(row.place, values, numbers))
    return found_records, problems


def header_and_rows(table: Table, columns: Sequence[str]) -> tuple[Row, Sequence[Row]]:
    """Return the header of a Table, with these columns or of a grid, and the rows below it.

    Raises
    ------
    PlateMapError
        If there is no such header.
    """
    for number, row in enumerate(table.rows):
        if _header_score(row.cells, columns) > 0:
            return row, table.rows[number + 1 :]
        if sum(map(bool, row.cells)) > 1:
            break  # not the title of the table
    first = table.rows[0] if table.rows else Row("line 1", ())
    raise PlateMapError(
        table.name,
        f"{first.place} has columns {named(_without_trailing_blanks(first.cells))}; "
        f"expected {','.join(columns)}",
    )


def clean_cell(text: str) -> str:
    """Return the text of a cell in Unicode form NFC without invisible and surrounding spaces."""
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE)).strip()


def column_name(text: str) -> str:
    """Return the name of a column, or of a group, in lower case with ``_`` between words."""
    return re.sub(r"[\s_-]+", "_", text.strip().casefold())


def named(cells: Sequence[str]) -> str:
    """Return cells as one text, a list for an error message, shortened if they are long."""
    text = str(list(cells))
    return text if len(text) <= 2 * MAX_NAMED else text[: 2 * MAX_NAMED] + "…"


def joined(problems: Sequence[str]) -> str:
    """Return problems as one text; of very many problems, the first and a count of the rest."""
    shown = "; ".join(problems[:MAX_PROBLEMS])
    others = len(problems) - MAX_PROBLEMS
    return shown if others <= 0 else f"{shown}; and {others} more problems"


def _separator(text: str, columns: Sequence[str]) -> tuple[str, int]:
    """Return the separator of a CSV text, and the number of lines before its table."""
    lines = _LINE_END.split(text, MAX_LINES_ABOVE)[:MAX_LINES_ABOVE]
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if declared := _SEPARATOR_LINE.fullmatch(lines[first].translate(_INVISIBLE)):
        return declared[1], first + 1  # as Excel writes and reads it
    for line in lines:
        cells = {separator: _split(line, separator) for separator in SEPARATORS}
        scores = {each: _header_score(cells[each], columns) for each in SEPARATORS}
        if max(scores.values()) > 0:
            return max(SEPARATORS, key=lambda each: (scores[each], len(cells[each]))), 0
    return max(SEPARATORS, key=text.count), 0


def _split(line: str, separator: str) -> list[str]:
    """Return the cells of one line of a CSV file."""
    if len(line) > MAX_CELL_CHARACTERS * len(SEPARATORS):
        return []  # no header is that long
    return list(map(clean_cell, next(csv.reader([line], delimiter=separator), [])))


def _header_score(cells: Sequence[str], columns: Sequence[str]) -> int:
    """Return the number of columns that a row names; all of them for the header of a grid."""
    if is_grid_header(cells):
        return len(columns)
    return len(set(map(column_name, cells)).intersection(columns))


def _without_trailing_blanks(cells: Iterable[str]) -> list[str]:
    """Return cells without the blank ones at the end."""
    kept = list(cells)
    while kept and not kept[-1]:
        kept.pop()
    return kept
