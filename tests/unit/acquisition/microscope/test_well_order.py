import itertools

import pytest
import useq

from acquisition.microscope.settings import WellOrder
from acquisition.microscope.well_order import ordered_places, places_of_plan
from schemas.well import well_at

pytestmark = pytest.mark.micromanager

NAMES = [well_at(row, column) for row in (1, 2, 3) for column in (1, 2, 3, 4)]


@pytest.mark.parametrize("order", WellOrder)
def test_the_orders_are_those_of_the_same_names_in_useq_schema(order: WellOrder) -> None:
    grid = useq.GridRowsColumns(rows=3, columns=4, mode=order.value, fov_width=1, fov_height=1)
    expected = [(position.y, position.x) for position in grid]
    places = [(-(row - 2.0), column - 2.5) for row, column in ordered_places(NAMES, order)]
    assert places == expected


def test_a_column_without_wells_does_not_reverse_the_next_column() -> None:
    places = ordered_places(["A01", "B01", "A03", "B03", "B03"], WellOrder.COLUMN_WISE_SNAKE)
    assert places == [(1, 1), (2, 1), (2, 3), (1, 3)]


def test_the_wells_of_a_plan_keep_its_order() -> None:
    assert places_of_plan(["A01", "AF48", "A01"], ["AF48", "B02", "A01"]) == [(32, 48), (1, 1)]


def test_every_order_visits_every_well_once() -> None:
    for order, rows in itertools.product(WellOrder, (1, 2, 3)):
        wells = NAMES[: 4 * rows]
        assert sorted(ordered_places(wells, order)) == ordered_places(wells, WellOrder.ROW_WISE)
