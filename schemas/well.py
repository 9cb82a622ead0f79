"""Well names, such as ``B02`` or ``AF48``, and the shapes of well plates."""

import re
import string

PLATE_SHAPES: dict[int, tuple[int, int]] = {
    6: (2, 3),
    12: (3, 4),
    24: (4, 6),
    48: (6, 8),
    96: (8, 12),
    384: (16, 24),
    1536: (32, 48),
}
"""Rows and columns of a plate by its number of wells."""
MAX_ROWS, MAX_COLUMNS = max(PLATE_SHAPES.values())
_WELL = re.compile(r"([A-Z]{1,2})0*([1-9]\d?)")


def parse_well(text: str) -> str:
    """Return the normalised well name, ``B02``, for ``b2``, ``B2`` or ``B02``.

    Raises
    ------
    ValueError
        If ``text`` is not a row A–AF and a column 1–48.
    """
    match = _WELL.fullmatch(text.strip().upper())
    if match is None or match[1] not in _ROW_NUMBERS or int(match[2]) > MAX_COLUMNS:
        raise ValueError(
            f"{text!r} is not a well; expected a row letter A–P and a column 1–24, such as B02 "
            "(1536 wells: A–AF and 1–48)"
        )
    return f"{match[1]}{int(match[2]):02d}"


def row_label(row: int) -> str:
    """Return the letters of a row, counted from 1: A to Z, then AA to AF."""
    letters = string.ascii_uppercase
    return letters[row - 1] if row <= len(letters) else f"A{letters[row - 1 - len(letters)]}"


_ROW_NUMBERS = {row_label(row): row for row in range(1, MAX_ROWS + 1)}


def row_number(label: str) -> int | None:
    """Return the number of a row, counted from 1, by its letters; None if there is no such row."""
    return _ROW_NUMBERS.get(label.upper())


def is_well(text: str) -> bool:
    """Return True if a text is the name of a well on a plate."""
    try:
        parse_well(text)
    except ValueError:
        return False
    return True


def well_at(row: int, column: int) -> str:
    """Return the name of the well at a row and column, both counted from 1."""
    return parse_well(f"{row_label(row)}{column}")


def row_column(well: str) -> tuple[int, int]:
    """Return row and column, both counted from 1, of a normalised well name."""
    label = well.rstrip(string.digits)
    return _ROW_NUMBERS[label], int(well[len(label) :])


def plate_shape(wells: list[str]) -> tuple[int, int]:
    """Return (rows, columns) of the smallest standard plate that contains all these wells.

    The smallest plate is the 96-well plate, so that maps stay readable.
    """
    rows, columns = zip(*map(row_column, wells), strict=True) if wells else ((1,), (1,))
    return next(
        shape
        for count, shape in PLATE_SHAPES.items()
        if count >= 96 and max(rows) <= shape[0] and max(columns) <= shape[1]  # noqa: PLR2004 - the 96-well plate
    )


INNER_60: tuple[str, ...] = tuple(
    well_at(row, column) for row in range(2, 8) for column in range(2, 12)
)
"""Rows B–G, columns 2–11: the wells in use by default, away from the evaporating edge."""
