"""The commands ``acquire calibrate`` and ``acquire export-plan``, and a plan as configuration."""

import math
import subprocess
import tomllib
from pathlib import Path

import pytest
import tifffile
import useq
from rich.console import Console

from daemon.config import Config, load_config
from daemon.microscope.microscope_check import check_microscope
from daemon.microscope.plate_calibrator import MeasuredPoints, calibrate
from schemas.errors import ConfigError, PlateMapError, SpheroRankError
from tests.laboratory import Laboratory

pytestmark = pytest.mark.micromanager

CORNERS = "well,x_um,y_um,at\nA1,12040,75010,middle\nA12,110990,76060,middle\n"


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory.make(tmp_path)


def add_keys(laboratory: Laboratory, *lines: str, without: tuple[str, ...] = (" ",)) -> None:
    config = laboratory.folder / "spherorank.toml"
    kept = [line for line in config.read_text().splitlines() if not line.startswith(without)]
    section = "[source.micromanager]"
    config.write_text("\n".join(kept).replace(section, "\n".join([section, *lines])) + "\n")


def test_points_of_a_file_and_of_a_rim_give_the_lines_of_the_configuration(
    laboratory: Laboratory,
) -> None:
    points = laboratory.folder / "points.csv"
    points.write_text(CORNERS)
    rim = [
        f"H1={12_700 + 3200 * math.cos(angle):.0f},{12_000 + 3200 * math.sin(angle):.0f}"
        for angle in (0, 2, 4)
    ]
    arguments = ["--points", str(points), *(word for each in rim for word in ("--rim", each))]
    done = laboratory.acquire("calibrate", *arguments)
    assert done.returncode == 0, done.stderr
    assert "rotation  0.6" in done.stdout
    assert "(limit 270 µm)" in done.stdout
    toml = tomllib.loads(done.stdout[done.stdout.index("[source.micromanager]") :])
    section = toml["source"]["micromanager"]
    assert section["a1_um"] == pytest.approx([12_040, 75_010], abs=60)
    assert section["spacing_um"] == pytest.approx(9000, abs=10)
    assert section["rotation_deg"] == pytest.approx(0.62, abs=0.03)


@pytest.mark.parametrize(
    ("middles", "rims", "plate", "message"),
    [
        (["A01=1,2", "A12=9"], [], 96, "--point A12=9: is no point (could not convert string"),
        (["A01=1,2"], ["B99=1,2"], 96, "--rim B99=1,2: is no point ('B99' is not a well"),
        (["A01=1,2", "a1=3,4"], [], 96, "--point a1=3,4: is a second middle of A01; expected"),
        (["A01=1,nan"], [], 96, "is (1.0, nan) at 'middle'; expected finite µm"),
        (["A01=1,2"], ["A01=1,2"], 96, "has A01 by middle and rim; expected one"),
        (["A01=1,2"], [], 96, "has 1 wells; expected at least 3"),
        (["A01=1,2"], [], 60, "--plate: is 60; expected one of 6, 12"),
    ],
)
def test_wrong_points_are_refused_without_opening_the_microscope(
    middles: list[str], rims: list[str], plate: int, message: str
) -> None:
    def fit() -> int:
        points = MeasuredPoints.from_texts(middles, rims)
        return calibrate(Config(), plate, points, ask=lambda text: text, screen=Console())

    with pytest.raises(SpheroRankError) as refused:
        fit()
    assert message in str(refused.value)


def test_a_table_of_points_needs_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    with pytest.raises(ConfigError, match=r"points.csv: cannot be read: No such file"):
        MeasuredPoints().add_file(path)
    path.write_text("well,x_um,y_um\nA01,1,2\n")
    with pytest.raises(PlateMapError, match=r"expected well,x_um,y_um,at"):
        MeasuredPoints().add_file(path)
    path.write_text(CORNERS.replace("middle", "edge"))
    with pytest.raises(ConfigError, match=r"line 2: is .* at 'edge'; expected finite µm at middle"):
        MeasuredPoints().add_file(path)


def test_without_points_the_operator_moves_to_the_corner_wells(laboratory: Laboratory) -> None:
    done = subprocess.run(
        laboratory.command("calibrate", "--plate", "384"),
        input="\n\ns\n\n",
        capture_output=True,
        text=True,
        check=False,
        env=laboratory.environment,
    )
    # The virtual stage has no joystick, so all wells are measured at one position.
    assert done.stdout.count("under the objective and press Enter") == 4
    assert all(f"well {well} under" in done.stdout for well in ("A01", "A24", "P24", "P01"))
    assert done.returncode == 1
    assert "has wells 0 µm apart; expected 4500 µm ± 3% with 384 wells" in done.stderr


def test_an_exported_plan_is_imaged_by_the_configuration_that_names_it(
    laboratory: Laboratory,
) -> None:
    dim = '{ name = "Dim", preset = "Channel:Dim", exposure_ms = 7.0, offset_um = 5.0 }'
    keys = ("exposure_ms = 11.0", "fields = [2, 1]", f"channels = [{dim}]")
    add_keys(laboratory, 'well_order = "column_wise"', *keys)
    out = laboratory.folder / "plan.yaml"
    exported = laboratory.acquire("export-plan", laboratory.plate, "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    assert f"{len(laboratory.wells)} wells, 2 fields, 3 planes, 2 channels" in exported.stdout
    plan = useq.MDASequence.from_file(out)
    assert isinstance(plan.stage_positions, useq.WellPlatePlan)
    names = [f"{name[0]}{int(name[1:]):02d}" for name in plan.stage_positions.selected_well_names]
    assert names == sorted(laboratory.wells, key=lambda well: (well[1:], well[0]))

    add_keys(
        laboratory, 'plan = "plan.yaml"', without=("well_order", "exposure_ms", "fields", "channel")
    )
    done = laboratory.image_plate()
    assert done.returncode == 0, done.stdout + done.stderr
    saved = [each for each in laboratory.journal() if each["step"] == "saved"]
    assert [each["well"] for each in saved if "channel" not in each] == names
    files = laboratory.files()[names[0]]
    dim_files = [path for path in files if "_Dim" in path.name]
    assert (len(files), len(dim_files)) == (4, 2)  # each of two fields in both channels
    for path in files:
        exposure = "7.0" if path in dim_files else "11.0"
        with tifffile.TiffFile(path) as tif:
            assert f'ExposureTime="{exposure}"' in str(tif.ome_metadata)


def test_a_plan_that_cannot_be_carried_out_is_refused_by_check(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    (laboratory.folder / "plan.yaml").write_text("time_plan: {interval: 60, loops: 3}\n")
    add_keys(laboratory, 'plan = "plan.yaml"')
    assert check_microscope(load_config(laboratory.folder / "spherorank.toml")) == 78
    problems = capsys.readouterr().out
    assert (
        "plan.yaml, time_plan: has several time points (TIntervalLoops); expected one" in problems
    )
    assert "plan.yaml, z_plan: is 1, and source.planes is 3" in problems
