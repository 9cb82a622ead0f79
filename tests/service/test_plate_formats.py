"""The plate format and the stage limits: checked before anything moves, chosen for each plate."""

from pathlib import Path

import ome_types
import pytest

from acquisition.drop_folder.plate_map_files import read_plate_maps
from daemon.config import load_config
from daemon.microscope.microscope_check import check_microscope
from schemas.errors import PlateMapError
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


def check(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str], *, is_finished: bool = False
) -> tuple[int, str]:
    """Return the exit code and output of ``acquire check`` on the first or a later day of a plate.

    There is no process of its own.
    """
    path = laboratory.folder / "archive" / laboratory.plate / f"{laboratory.plate}.plate.toml"
    before = path.read_text()  # the virtual plate was seeded long ago
    if not is_finished:
        laboratory.seed_today()
    code = check_microscope(load_config(laboratory.folder / "spherorank.toml"))
    path.write_text(before)
    return code, capsys.readouterr().out


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory.make(tmp_path)


def test_check_refuses_a_384_well_plate_for_a_map_of_96_wells(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    set_keys(laboratory, "plate = 384")
    run = laboratory.image_plate()
    for code, message in (check(laboratory, capsys), (run.returncode, run.stdout + run.stderr)):
        assert code != 0
        assert "its wells fit a plate of 96 wells, and source.micromanager.plate is 384" in message
        assert "expected plate_wells = 384 or another of 6, 12, 24, 48, 96, 384, 1536" in message
    assert not laboratory.files()


def test_check_refuses_positions_that_nothing_limits_until_this_is_accepted(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    set_keys(laboratory, without="stage_limits_um")
    code, problems = check(laboratory, capsys)
    assert code == 78
    assert "stage_limits_um: is not set, so a wrong a1_um" in problems
    set_keys(laboratory, 'stage_limits_um = "unchecked"')
    assert check(laboratory, capsys) == (0, "")


def test_check_reports_no_plate_whose_readout_day_is_over(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    set_keys(laboratory, "plate = 384")
    assert check(laboratory, capsys)[0] == 78
    assert check(laboratory, capsys, is_finished=True) == (0, "")


def test_a_plate_that_names_its_format_is_imaged_at_the_place_of_this_format(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    map_lines(laboratory, "plate_wells = 384")
    code, problems = check(laboratory, capsys)
    assert code == 78
    assert "source.micromanager.plates: has no place for 384 wells" in problems
    assert f"which plate_wells of plate {laboratory.plate} needs" in problems
    set_keys(laboratory, "plates = [{ wells = 384, a1_um = [11000, 76000], rotation_deg = 0.5 }]")
    assert check(laboratory, capsys) == (0, "")
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
    plate_map = read_plate_maps(laboratory.folder / "archive")[laboratory.plate]
    outside = next(well for well in laboratory.wells if well > "C05")
    assert isinstance(plate_map, PlateMapError)
    assert outside in str(plate_map)
    assert "is 12; expected wells up to C04" in str(plate_map)
