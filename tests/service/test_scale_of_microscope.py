"""Contradicting scales of section, hardware configuration, camera and plate map, on a real core."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.settings import MicroscopeScaleFrom, MicroscopeSettings
from daemon.config import load_config
from daemon.microscope.microscope_check import check_microscope
from schemas.errors import ScaleError
from tests.laboratory import Laboratory

pytestmark = pytest.mark.micromanager

DEVICES = """\
Property,Core,Initialize,0
Device,Camera,DemoCamera,DCam
Device,XY,DemoCamera,DXYStage
Device,Z,DemoCamera,DStage
Device,Lamp,DemoCamera,DShutter
Device,Objective,DemoCamera,DObjective
Device,Optovar,DemoCamera,DOptovar
Property,Core,Initialize,1
Property,Core,Camera,Camera
Property,Core,Shutter,Lamp
Property,Core,Focus,Z
Property,Core,XYStage,XY
"""
LOW = "ConfigPixelSize,Low,Objective,State,0\nPixelSize_um,Low,2.5\n"
HIGH = "ConfigPixelSize,High,Objective,State,1\nPixelSize_um,High,1.25\n"
BINNED = "Property,Camera,Binning,2\n"


@contextmanager
def microscope(folder: Path, lines: str, **settings: Any) -> Iterator[MicroManager]:  # noqa: ANN401 - any setting
    """Open Micro-Manager's demo devices with more lines of configuration, and close them."""
    config = folder / "MMConfig.cfg"
    config.write_text(DEVICES + lines)
    scope = MicroManager(
        replace(MicroscopeSettings(config=config, a1_um=(0.0, 0.0)), **settings),
        lambda: datetime.now(UTC),
    )
    try:
        yield scope
    finally:
        scope.close()


def refusal(folder: Path, lines: str, **settings: Any) -> str:  # noqa: ANN401 - as above
    with pytest.raises(ScaleError) as refused, microscope(folder, lines, **settings):
        pass
    return str(refused.value)


def test_micromanager_multiplies_the_pixel_size_by_the_binning(tmp_path: Path) -> None:
    with microscope(tmp_path, LOW + BINNED) as scope:
        assert scope.format.um_per_px == 5.0
    with microscope(tmp_path, LOW + BINNED, um_per_px=5.05) as scope:
        assert scope.format.um_per_px == 5.05


CONTRADICTIONS: dict[str, tuple[str, float | None, str]] = {
    "section and pixel size": (
        LOW,
        10.0,
        (
            "is 10, and {config} says 2.5 µm per pixel (pixel size Low, binning 1); "
            'expected um_per_px_from = "file" or "section"'
        ),
    ),
    "scale noted at binning 1": (LOW + BINNED, 2.5, "says 5 µm per pixel (pixel size Low, binning"),
    "binning alone": (
        BINNED,
        2.5,
        (
            "is 2.5, the camera's binning is 2, and no pixel size of {config} applies now "
            "(defined: none); expected um_per_px of the binned pixels"
        ),
    ),
    "pixel size measured at binning 2": (
        "ConfigPixelSize,Binned,Camera,Binning,2\nPixelSize_um,Binned,5\n" + BINNED,
        None,
        (
            "says 10 µm per pixel (pixel size Binned, binning 2) and "
            "5 µm per pixel (pixel size Binned, if it was measured at binning 2); "
            'expected um_per_px with um_per_px_from = "section"'
        ),
    ),
    "two pixel sizes": (
        LOW + "ConfigPixelSize,Old,Camera,Binning,1\nPixelSize_um,Old,2.7\n",
        None,
        "says 2.5 µm per pixel (pixel size Low, binning 1) and 2.7 µm per pixel (pixel size Old)",
    ),
    "affine transform": (
        LOW + "PixelSizeAffine,Low,0.0,-1.7,0.0,1.7,0.0,0.0\n",
        None,
        "and 1.7 µm per pixel (affine transform of Low)",
    ),
    "one axis of the affine transform": (
        LOW + "PixelSizeAffine,Low,2.5,0.0,0.0,0.0,3.0,0.0\n",
        None,
        "and 3 µm per pixel (affine transform of Low)",
    ),
    "another objective": (
        HIGH,
        1.25,
        (
            "is 1.25, and no pixel size of {config} applies now (defined: High); "
            'expected um_per_px with um_per_px_from = "section"'
        ),
    ),
    "no scale": (HIGH, None, "is not set, and no pixel size of {config} applies now"),
    "millimetres": (
        LOW.replace("2.5", "0.0025"),
        None,
        "the microscope has 0.0025 µm per pixel; expected 0.05 to 20",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_is_refused_until_the_section_decides(tmp_path: Path, case: str) -> None:
    lines, um_per_px, message = CONTRADICTIONS[case]
    found = refusal(tmp_path, lines, um_per_px=um_per_px)
    assert found.startswith("source.micromanager.um_per_px: ")
    assert message.format(config=tmp_path / "MMConfig.cfg") in found
    decided = {"um_per_px": 3.0, "um_per_px_from": MicroscopeScaleFrom.SECTION}
    with microscope(tmp_path, lines, **decided) as scope:
        assert scope.format.um_per_px == 3.0


def test_the_file_decides_against_the_section_but_not_against_itself(tmp_path: Path) -> None:
    by_file = {"um_per_px": 10.0, "um_per_px_from": MicroscopeScaleFrom.FILE}
    with microscope(tmp_path, LOW, **by_file) as scope:
        assert scope.format.um_per_px == 2.5
    two, _, message = CONTRADICTIONS["two pixel sizes"]
    assert message in refusal(tmp_path, two, **by_file)
    assert "is declared wrong by um_per_px_from" in refusal(tmp_path, HIGH, **by_file)


def test_equal_pixel_sizes_and_a_rotated_affine_transform_are_no_contradiction(
    tmp_path: Path,
) -> None:
    lines = LOW + "PixelSizeAffine,Low,0.0,-2.49,0.0,2.51,0.0,0.0\n"
    also = "ConfigPixelSize,Also,Camera,Binning,1\nPixelSize_um,Also,2.52\n"
    with microscope(tmp_path, lines + also) as scope:
        assert scope.format.um_per_px == 2.52  # the first by name


@pytest.mark.parametrize(
    ("device", "name", "value", "message"),
    [
        ("Objective", "State", "1", "1.25 µm per pixel at binning 1, and had 2.5 µm per pixel"),
        ("Camera", "Binning", "2", "5 µm per pixel at binning 2, and had 2.5 µm per pixel"),
        ("Camera", "PixelType", "16bit", "16 bits with 2.5 µm per pixel, and took 512×512"),
    ],
)
def test_a_change_after_the_start_is_noticed_also_with_a_decided_scale(
    tmp_path: Path, device: str, name: str, value: str, message: str
) -> None:
    decided = {"um_per_px": 2.5, "um_per_px_from": MicroscopeScaleFrom.SECTION}
    for settings in ({}, decided):
        with microscope(tmp_path, LOW + HIGH, **settings) as scope:
            scope.check_unchanged()
            scope._core.setProperty(device, name, value)
            with pytest.raises(ScaleError, match=message):
                scope.check_unchanged()


def plate_toml(laboratory: Laboratory) -> Path:
    folder = laboratory.folder / "archive" / laboratory.plate
    return folder / f"{laboratory.plate}.plate.toml"


def change_map(laboratory: Laboratory, *lines: str, without: tuple[str, ...]) -> None:
    """Replace keys of the plate map; the plate is seeded today, so that its days are to come."""
    seeded_at = datetime.now(UTC).isoformat(timespec="seconds")
    kept = [
        line
        for line in plate_toml(laboratory).read_text().splitlines()
        if not line.startswith(("seeded_at", "dosed_at", *without))
    ]
    new = [*kept, f"seeded_at = {seeded_at}", *lines]
    plate_toml(laboratory).write_text("\n".join(new) + "\n")


def check(laboratory: Laboratory, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit code and the output of ``acquire check``, without a process of its own."""
    code = check_microscope(load_config(laboratory.folder / "spherorank.toml"))
    return code, capsys.readouterr().out


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory.make(tmp_path, own_clock=False)  # the plate is seeded today


def test_a_plate_map_with_another_scale_is_refused_by_check_and_before_the_first_move(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    change_map(laboratory, "um_per_px = 2.72", without=("um_per_px",))
    run = laboratory.image_plate(1)
    checked = check(laboratory, capsys)
    assert (checked[0], run.returncode) == (78, 1)
    for problem in (checked[1], run.stdout):
        expected = f"the file says {laboratory.world.um_per_px:g} µm per pixel (microscope), "
        assert expected + "the plate map 2.72 µm per pixel" in problem
        assert 'expected um_per_px_from = "file" or "map" in the plate map' in problem
    assert not laboratory.files(day=1)
    change_map(laboratory, 'um_per_px_from = "file"', without=())
    assert check(laboratory, capsys) == (0, "")
    assert laboratory.image_plate(1, "--well", "C05").returncode == 0


def test_another_objective_than_of_earlier_images_is_refused_without_a_scale_in_the_map(
    laboratory: Laboratory,
) -> None:
    change_map(laboratory, without=("um_per_px",))
    assert laboratory.image_plate(1, "--well", "C05").returncode == 0
    config = laboratory.folder / "MMConfig.cfg"
    text = config.read_text()
    config.write_text(text.replace(f"{laboratory.world.um_per_px:.6g}", "1.25"))
    before = laboratory.files(day=1)
    refused = laboratory.image_plate(1, "--well", "C05")
    assert refused.returncode == 1
    assert "the microscope has 1.25 µm per pixel, and its earlier image" in refused.stdout
    assert laboratory.files(day=1) == before


def test_a_refused_day_raises_the_alert_about_scales_in_the_service(
    laboratory: Laboratory,
) -> None:
    change_map(laboratory, "um_per_px = 2.72", 'acquire_at = "00:00"', without=("um_per_px",))
    with laboratory.serving() as process:
        assert process.stdout is not None
        alert = next(line for line in process.stdout if '"alert"' in line)
        process.terminate()
        assert process.wait(30) == 0
    assert '"kind": "scale_disagrees"' in alert
    assert "cannot be imaged now" in alert
    assert not laboratory.files(day=1)


def test_a_past_plate_with_another_scale_is_no_problem(
    laboratory: Laboratory, capsys: pytest.CaptureFixture[str]
) -> None:
    change_map(laboratory, "um_per_px = 2.72", without=("um_per_px",))
    seeded_at = (datetime.now(UTC) - timedelta(days=30)).isoformat(timespec="seconds")
    text = plate_toml(laboratory).read_text()
    head, _, rest = text.partition("seeded_at = ")
    plate_toml(laboratory).write_text(
        f"{head}seeded_at = {seeded_at}\n{rest.partition(chr(10))[2]}"
    )
    assert check(laboratory, capsys) == (0, "")
