"""Put the wells of a plate in the order in which they are visited."""

from collections.abc import Iterable, Sequence

from acquisition.microscope.settings import WellOrder
from schemas.well import row_column

Place = tuple[int, int]
"""Row and column of a well, counted from 1."""


def ordered_places(wells: Iterable[str], order: WellOrder) -> list[Place]:
    """Return the row and column of each named well, once each, in the order of visits.

    With a ``_snake`` order every other row or column is visited backwards. Rows and columns
    without wells do not count.
    """
    places = {row_column(well) for well in wells}
    by_column = order in (WellOrder.COLUMN_WISE, WellOrder.COLUMN_WISE_SNAKE)
    is_snake = order in (WellOrder.ROW_WISE_SNAKE, WellOrder.COLUMN_WISE_SNAKE)
    axis = 1 if by_column else 0
    ordered: list[Place] = []
    for number, line in enumerate(sorted({place[axis] for place in places})):
        in_line = sorted(place for place in places if place[axis] == line)
        ordered += reversed(in_line) if is_snake and number % 2 == 1 else in_line
    return ordered


def places_of_plan(wells: Iterable[str], plan: Sequence[str]) -> list[Place]:
    """Return the row and column of each named well, once each, in the order of a plan's wells.

    Every well has to be in the plan.
    """
    return [row_column(well) for well in sorted(set(wells), key=plan.index)]
