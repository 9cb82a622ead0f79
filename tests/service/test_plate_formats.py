"""The plate format and the stage limits: checked before anything moves, chosen for each plate."""

from pathlib import Path

import ome_types
import pytest

from schemas.well import INNER_60
from tests.laboratory import Laboratory

pytestmark = pytest.mark.micromanager


def set_keys(laboratory: Laboratory, *lines: str, without: str = " ") -> None:
    """Add lines to the section of the microscope, and remove the key ``without``."""
    config = laboratory.folder / "spherorank.toml"
    kept = [line for line in config.read_text().splitlines() if not line.startswith(without)]
    section = "[source.micromanager]"
    config.write_text("\n".join(kept).replace(section, "\n".join([section, *lines])) + "\n")


def map_lines(laboratory: Laboratory, *lines: str) -> None:
    """Add lines to the plate.toml of the first plate."""
    folder = laboratory.folder / "archive" / laboratory.plate
    with (folder / f"{laboratory.plate}.plate.toml").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory.make(tmp_path)


def test_check_refuses_a_384_well_plate_for_a_map_of_96_wells(laboratory: Laboratory) -> None:
    set_keys(laboratory, "plate = 384")
    for arguments in (["check"], ["run", laboratory.plate, "--day", "7"]):
        refused = laboratory.acquire(*arguments)
        assert refused.returncode != 0
        message = refused.stdout + refused.stderr
        assert "its wells fit a plate of 96 wells, and source.micromanager.plate is 384" in message
        assert "expected plate_wells = 384 or another of 6, 12, 24, 48, 96, 384, 1536" in message
    assert not laboratory.files()


def test_check_refuses_positions_that_nothing_limits_until_this_is_accepted(
    laboratory: Laboratory,
) -> None:
    set_keys(laboratory, without="stage_limits_um")
    refused = laboratory.acquire("check")
    assert refused.returncode == 78
    assert "stage_limits_um: is not set, so a wrong a1_um" in refused.stdout
    set_keys(laboratory, 'stage_limits_um = "unchecked"')
    accepted = laboratory.acquire("check")
    assert (accepted.returncode, accepted.stdout) == (0, "")


def test_a_plate_that_names_its_format_is_imaged_at_the_place_of_this_format(
    laboratory: Laboratory,
) -> None:
    map_lines(laboratory, "plate_wells = 384")
    refused = laboratory.acquire("check")
    assert refused.returncode == 78
    assert "source.micromanager.plates: has no place for 384 wells" in refused.stdout
    assert f"which plate_wells of plate {laboratory.plate} needs" in refused.stdout
    set_keys(laboratory, "plates = [{ wells = 384, a1_um = [11000, 76000], rotation_deg = 0.5 }]")
    assert laboratory.acquire("check").returncode == 0
    well = laboratory.wells[0]
    done = laboratory.image_plate(7, "--well", well)
    assert done.returncode == 0, done.stdout + done.stderr
    ome = ome_types.from_tiff(laboratory.files()[well][0])
    assert (ome.plates[0].rows, ome.plates[0].columns) == (16, 24)
    row, column = ome.plates[0].wells[0].row, ome.plates[0].wells[0].column
    position = ome.plates[0].wells[0].well_samples[0]
    assert position.position_x == pytest.approx(11_000 + 4500 * column, abs=200)
    assert position.position_y == pytest.approx(76_000 - 4500 * row, abs=200)


def test_a_listed_well_outside_the_format_of_its_map_is_a_problem_of_the_map(
    laboratory: Laboratory,
) -> None:
    map_lines(laboratory, "plate_wells = 12")
    refused = laboratory.image_plate()
    outside = next(well for well in laboratory.wells if well in INNER_60 and well > "C05")
    assert refused.returncode != 0
    assert outside in refused.stderr
    assert "is 12; expected wells up to C04" in refused.stderr
