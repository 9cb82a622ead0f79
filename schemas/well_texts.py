"""Read the wells of a plate map from a table: a list of wells, or a grid of treatments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.decimal_text import has_decimal_comma, has_possible_thousands
from schemas.plate_grids import grid_columns, grid_group, grid_wells
from schemas.plate_tables import Row, Table, header_and_rows, records
from schemas.well import row_column

WELL_COLUMNS = ("well", "group", "treatment")
"""Columns of a list of wells."""


@dataclass(frozen=True)
class WellText:
    """The texts of one well, and their place in the table, such as ``line 3``."""

    place: str
    well: str
    group: str
    treatment: str


def well_texts(table: Table) -> tuple[list[WellText], list[str]]:
    """Return the texts of each well of a Table, and a sentence for each row that is wrong.

    Raises
    ------
    PlateMapError
        If the table has neither the columns of a list nor the header of a grid.
    """
    header, rows = header_and_rows(table, WELL_COLUMNS)
    columns = grid_columns(header.cells)
    texts, problems = _list_texts(table) if columns is None else _grid_texts(columns, rows)
    return texts, problems + _mixed_decimals(texts)


def _list_texts(table: Table) -> tuple[list[WellText], list[str]]:
    """Return the texts of each row of a list of wells, and a sentence for each wrong row."""
    found, problems = records(table, WELL_COLUMNS)
    problems += [
        f"{row.place}: {column} is the number {row.values[column]}; expected text "
        "(Excel changes texts such as 2E1; format the cells as text and enter them again)"
        for row in found
        for column in sorted(row.numbers)
    ]
    texts = [WellText(row.place, **row.values) for row in found if not row.numbers]
    return texts, problems


def _grid_texts(columns: Sequence[int], rows: Iterable[Row]) -> tuple[list[WellText], list[str]]:
    """Return the texts of each filled cell of a grid of wells, and a sentence for each problem."""
    texts: list[WellText] = []
    problems: list[str] = []
    previous = ""
    for row in rows:
        try:
            wells = grid_wells(columns, row.cells[0], row.cells[1:], previous)
        except ValueError as error:
            problems.append(f"{row.place}: {error}")
            continue
        previous = row.cells[0]
        for well, text in wells:
            place = f"{row.place}, well {well}"
            if columns.index(row_column(well)[1]) + 1 in row.numbers:
                problems.append(f"{place} is the number {text}; expected a treatment")
                continue
            try:
                texts.append(WellText(place, well, *grid_group(text)))
            except ValueError as error:
                problems.append(f"{place}: {error}")
    return texts, problems


def _mixed_decimals(texts: Sequence[WellText]) -> list[str]:
    """Return a problem if an amount such as 1.500 may be 1500 in this table, else no problem.

    A person who writes a decimal comma writes a point between thousands.
    """
    with_comma = [each.treatment for each in texts if has_decimal_comma(each.treatment)]
    unclear = [each for each in texts if has_possible_thousands(each.treatment)]
    if not with_comma or not unclear:
        return []
    problem = (
        f"{unclear[0].place}: {unclear[0].treatment!r} has a decimal point or a separator of "
        f"thousands, and {with_comma[0]!r} has a decimal comma; "
        "expected one of them in the whole table"
    )
    return [problem]
