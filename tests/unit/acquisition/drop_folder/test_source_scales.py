"""Scales of well images: plate map, files, contradictions, and images that are read again."""

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import tifffile

from schemas.quality import Flag
from schemas.scale import FileScale
from schemas.well_image import WellImage
from tests.robot_folder import PLATE_TOML, RobotFolder, images

PIXELS = np.random.default_rng(0).integers(0, 65536, (64, 64)).astype(np.uint16)
NO_SCALE = PLATE_TOML.replace("um_per_px = 1.36\n", "")


def tiff(um_per_px: float | None = None, **options: Any) -> bytes:  # noqa: ANN401 - options of tifffile
    """Return a TIFF with a scale in its resolution tags."""
    buffer = io.BytesIO()
    if um_per_px is not None:
        options |= {"resolution": (1e4 / um_per_px,) * 2, "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(buffer, PIXELS, **{"metadata": None} | options)
    return buffer.getvalue()


def write_map(robot: RobotFolder, text: str) -> None:
    robot.write("P1/P1.plate.toml", text.encode(), at_ns=robot_time(robot))


def robot_time(robot: RobotFolder) -> int:
    """Return another time of change for each version of a file."""
    return int(robot.clock.now_s * 1e9)


def well(robot: RobotFolder, *planes: bytes, name: str = "B02", day: int = 7) -> None:
    for plane, content in enumerate(planes, start=1):
        robot.write(f"P1/day{day:02d}/{name}_z{plane}.tif", content)


def only_image(robot: RobotFolder) -> WellImage:
    (image,) = images(robot.open())
    return image


@pytest.mark.parametrize(
    ("plate_toml", "planes", "um_per_px", "flags"),
    [
        (PLATE_TOML, (1.36, 1.36, 1.36), 1.36, ()),
        (PLATE_TOML, (1.3622, 1.3622, 1.3622), 1.36, ()),
        (PLATE_TOML, (None, None, None), 1.36, ()),
        (PLATE_TOML, (0.68, 0.68, 0.68), 1.36, (Flag.SCALE_DISAGREES,)),
        (PLATE_TOML, (1.36, 1.36, 0.68), 1.36, (Flag.SCALE_DISAGREES,)),
        (PLATE_TOML + 'um_per_px_from = "map"\n', (0.68, 0.68, 0.68), 1.36, ()),
        (PLATE_TOML + 'um_per_px_from = "file"\n', (0.68, 0.68, 0.68), 0.68, ()),
        (PLATE_TOML + 'um_per_px_from = "file"\n', (None,) * 3, 1.36, (Flag.SCALE_DISAGREES,)),
        (NO_SCALE, (0.68, 0.68, 0.68), 0.68, ()),
        (NO_SCALE, (0.68, None, None), 0.68, ()),
        (NO_SCALE, (0.68, 1.36, 1.36), 0.68, (Flag.SCALE_DISAGREES,)),
        (NO_SCALE, (None, None, None), None, ()),
    ],
)
def test_the_scale_of_an_image_follows_from_map_and_files(
    robot: RobotFolder,
    plate_toml: str,
    planes: tuple[float | None, ...],
    um_per_px: float | None,
    flags: tuple[Flag, ...],
) -> None:
    write_map(robot, plate_toml)
    well(robot, *(tiff(plane) for plane in planes))
    image = only_image(robot)
    assert image.um_per_px == (um_per_px and pytest.approx(um_per_px, rel=1e-4))
    assert image.flags == flags


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (
            tiff(ome=True, metadata={"axes": "YX", "PhysicalSizeX": 2.5, "PhysicalSizeY": 2.5}),
            "OME-XML",
        ),
        (tiff(imagej=True, resolution=(0.4, 0.4), metadata={"unit": "um"}), "ImageJ"),
        (tiff(2.5), "TIFF resolution tags"),
    ],
)
def test_the_scale_of_a_file_is_kept_with_its_source(
    robot: RobotFolder, content: bytes, source: str
) -> None:
    well(robot, content, content, content)
    (scale,) = only_image(robot).file_scales
    assert scale == FileScale(pytest.approx(2.5, rel=1e-5), source)  # type: ignore[arg-type]


def test_the_digest_differs_when_the_scale_or_that_of_the_files_differs(robot: RobotFolder) -> None:
    seen = []
    for of_map, of_file in ((1.36, 1.36), (1.37, 1.36), (1.36, 1.37), (1.36, 1.36)):
        write_map(robot, PLATE_TOML.replace("1.36", str(of_map)))
        well(robot, *[tiff(of_file)] * 3)
        seen.append(only_image(robot))
        robot.clock.wait(1)
    assert len({image.digest for image in seen}) == 3
    assert seen[0].digest == seen[-1].digest
    assert len({image.pixel_digest for image in seen}) == 1


def test_files_that_are_requested_again_are_read_with_the_newest_map(robot: RobotFolder) -> None:
    well(robot, *[tiff(0.68)] * 3)
    source = robot.open()
    (first,) = images(source)
    write_map(robot, PLATE_TOML + 'um_per_px_from = "file"\n')
    assert images(source) == []
    source.read_again(first.files)
    assert source.status(datetime.now(UTC)).pending == {"P1": 1}
    (again,) = images(source)
    assert (again.key, again.files, again.flags) == (first.key, first.files, ())
    assert again.um_per_px == pytest.approx(0.68, rel=1e-4)
    assert source.status(datetime.now(UTC)).pending == {}


def test_files_that_are_gone_are_returned_when_they_are_back(robot: RobotFolder) -> None:
    well(robot, *[tiff(0.68)] * 3)
    source = robot.open()
    (first,) = images(source)
    folder = robot.root / "P1" / "day07"
    folder.rename(robot.root.parent / "away")
    assert images(source) == []
    source.read_again(first.files)
    assert source.status(datetime.now(UTC)).pending == {}
    assert images(source) == []
    (robot.root.parent / "away").rename(folder)
    (again,) = images(source)
    assert again.files == first.files
