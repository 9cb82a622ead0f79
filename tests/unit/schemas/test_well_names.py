"""Names of wells on plates of every size, from 6 to 1536 wells."""

import pytest

from acquisition.drop_folder.naming import compile_pattern
from acquisition.microscope.settings import ARCHIVE_PATTERN
from schemas.plate_grids import grid_wells
from schemas.well import PLATE_SHAPES, parse_well, plate_shape, row_column, well_at


@pytest.mark.parametrize("wells", sorted(PLATE_SHAPES))
def test_every_well_of_a_plate_has_one_name_that_leads_back_to_its_place(wells: int) -> None:
    rows, columns = PLATE_SHAPES[wells]
    places = [(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)]
    names = [well_at(*place) for place in places]
    assert len(set(names)) == wells == rows * columns
    assert [row_column(name) for name in names] == places
    assert [parse_well(name.lower()) for name in names] == names


@pytest.mark.parametrize(
    ("last", "shape"), [("H12", (8, 12)), ("I01", (16, 24)), ("Q01", (32, 48)), ("A25", (32, 48))]
)
def test_a_plate_is_as_large_as_its_wells_need(last: str, shape: tuple[int, int]) -> None:
    assert plate_shape(["A01", last]) == shape


@pytest.mark.parametrize("text", ["AG01", "BA01", "A49", "A00", "AAA1", "1A", "ß1", "A٣"])
def test_a_text_that_is_no_well_of_1536_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a well; expected a row letter A–P"):
        parse_well(text)


def test_the_rows_of_a_grid_continue_after_z_with_aa() -> None:
    assert grid_wells([47, 48], "AA", ["", "DMSO"], "Z") == [("AA48", "DMSO")]
    with pytest.raises(ValueError, match="row AB follows row Z; expected the next letter"):
        grid_wells([1, 2], "AB", ["DMSO"], "Z")


def test_the_archive_has_names_of_1536_wells() -> None:
    name = "P1/day07/AF48_20261116T150000.123+0100.ome.tif"
    assert compile_pattern(ARCHIVE_PATTERN).parse(name).well == "AF48"


def test_a_time_point_or_plane_is_no_well_unless_the_pattern_is_for_1536_wells() -> None:
    assert compile_pattern("{name}_{well}_{rest}.tif").parse("x_B02_T1.tif").well == "B02"
    assert compile_pattern("{name}_{well:aa00}_{rest}.tif").parse("x_AB02_T1.tif").well == "AB02"
