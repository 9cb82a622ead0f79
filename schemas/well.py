"""Well names, such as ``B02``, and the shapes of well plates."""

import re
import string

_WELL = re.compile(r"([A-Pa-p])0*([1-9]\d?)")
PLATE_SHAPES: dict[int, tuple[int, int]] = {
    24: (4, 6),
    96: (8, 12),
    384: (16, 24),
}
"""Rows and columns of a plate by its number of wells."""


def parse_well(text: str) -> str:
    """Return the normalised well name, ``B02``, for ``b2``, ``B2`` or ``B02``.

    Raises
    ------
    ValueError
        If ``text`` is not a row letter A–P and a column 1–24.
    """
    match = _WELL.fullmatch(text.strip())
    if match is None or int(match[2]) > PLATE_SHAPES[384][1]:
        raise ValueError(
            f"{text!r} is not a well; expected a row letter A–P and a column 1–24, such as B02"
        )
    return f"{match[1].upper()}{int(match[2]):02d}"


def is_well(text: str) -> bool:
    """Return True if a text is the name of a well on a plate."""
    try:
        parse_well(text)
    except ValueError:
        return False
    return True


def well_at(row: int, column: int) -> str:
    """Return the name of the well at a row and column, both counted from 1."""
    return parse_well(f"{string.ascii_uppercase[row - 1]}{column}")


def row_column(well: str) -> tuple[int, int]:
    """Return row and column, both counted from 1, of a normalised well name."""
    return string.ascii_uppercase.index(well[0]) + 1, int(well[1:])


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
