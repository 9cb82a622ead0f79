"""Read a plate drawn as a grid: row letters down, column numbers across, a treatment per cell."""

import re
from collections.abc import Sequence

from schemas.treatment import Treatment, parse_treatment
from schemas.well import MAX_COLUMNS, row_number, well_at

MAX_VEHICLE_PERCENT = 1.0
"""Largest concentration of DMSO that is read as a vehicle."""
VEHICLE = "dmso"
"""Compound that is a vehicle unless a group is written before it."""
_NUMBER = re.compile(r"0*([1-9]\d?)")
_MARKED = re.compile(
    r"(untreated|single[\s_-]*dose|screening|blank)\s*(?::\s*(.*))?", re.IGNORECASE | re.DOTALL
)


def grid_columns(cells: Sequence[str]) -> list[int] | None:
    """Return the column numbers in the cells of a grid header; None if they are no header.

    They are consecutive, such as 1 to 12 or 2 to 11.
    """
    texts = list(cells[1:])
    while texts and not texts[-1]:
        texts.pop()
    matches = [_NUMBER.fullmatch(text) for text in texts]
    numbers = [int(match[1]) for match in matches if match]
    consecutive = numbers == list(range(numbers[0], numbers[0] + len(texts))) if numbers else False
    enough = len(numbers) == len(texts) > 1
    return numbers if enough and consecutive and numbers[-1] <= MAX_COLUMNS else None


def is_grid_header(cells: Sequence[str]) -> bool:
    """Return whether cells are the header of a grid: column numbers after a first cell."""
    return grid_columns(cells) is not None


def grid_wells(
    columns: Sequence[int], letter: str, cells: Sequence[str], previous: str
) -> list[tuple[str, str]]:
    """Return (well, text) for each filled cell of a row of a grid, from columns and row letter.

    Parameters
    ----------
    columns
        Column numbers of the grid.
    letter, cells
        First cell and further cells of the row.
    previous
        Letter of the row above; empty for the first row.

    Raises
    ------
    ValueError
        If the letter does not name the next row, or a cell is right of the last column.
    """
    row, row_above = row_number(letter), row_number(previous)
    if row is None:
        raise ValueError(f"{letter!r} is no row of a plate; expected a letter A–P, or up to AF")
    if row_above is not None and row != row_above + 1:
        raise ValueError(f"row {letter} follows row {previous}; expected the next letter")
    if beyond := [cell for cell in cells[len(columns) :] if cell]:
        raise ValueError(f"{beyond[0]!r} is right of column {columns[-1]}; expected an empty cell")
    return [
        (well_at(row, column), text) for column, text in zip(columns, cells, strict=False) if text
    ]


def grid_group(text: str) -> tuple[str, str]:
    """Return (group, treatment) as texts from the text of one filled cell of a grid.

    A treatment is ``screening``. ``untreated``, ``blank`` and DMSO up to 1 % are no treatment. A
    group before a colon decides: ``single_dose: gemcitabine:1 uM``.

    Raises
    ------
    ValueError
        If the text is neither a group nor a treatment, or is DMSO at a concentration above 1 %.
    """
    if marked := _MARKED.fullmatch(text):
        group = "_".join(re.split(r"[\s_-]+", marked[1].lower()))
        return group.replace("singledose", "single_dose"), (marked[2] or "").strip()
    if text.casefold() == VEHICLE:
        return "untreated", ""
    try:
        treatment = parse_treatment(text)
    except ValueError as error:
        raise ValueError(
            f"{error}, or untreated, blank, DMSO:0.1 %, or a group before a colon"
        ) from None
    if not _is_only_vehicle(treatment):
        return "screening", text
    dose = treatment.doses[0]
    if dose.kind != "percent" or dose.amount > MAX_VEHICLE_PERCENT:
        raise ValueError(
            f"{text!r} is DMSO, but not at most {MAX_VEHICLE_PERCENT:g} %; "
            f"expected a group before it, such as untreated: {text}"
        )
    return "untreated", text


def _is_only_vehicle(treatment: Treatment) -> bool:
    """Return whether DMSO is the only compound of a treatment."""
    return [dose.compound_key for dose in treatment.doses] == [VEHICLE]
