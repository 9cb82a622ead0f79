import errno
import io
import os
import shutil
import warnings
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile

from acquisition.drop_folder.image_reading import ImageLimits, decode, read_image
from acquisition.drop_folder.naming import compile_pattern
from acquisition.microscope.ome_tiff import (
    WellFrames,
    archive_name,
    bytes_needed,
    check_space,
    encode,
    prepare,
    save,
)
from acquisition.microscope.settings import ARCHIVE_PATTERN
from acquisition.ports import Frame, FrameFormat
from schemas.errors import MicroscopeError, OutputError

pytestmark = pytest.mark.micromanager

AT = datetime.fromisoformat("2026-11-16T15:00:00.123456+01:00")
HEIGHTS_UM = (-45.0, 0.5, 45.0)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive that awaits the visits of a day."""
    prepare(tmp_path, "PDAC-0042", 7)
    return tmp_path


def visit(bits: int = 12, brightest: int = 2000, planes: int = 3, **changes: Any) -> WellFrames:  # noqa: ANN401 - any field
    rng = np.random.default_rng(7)
    dtype = np.uint8 if bits <= 8 else np.uint16
    frames = tuple(
        Frame(
            rng.integers(0, brightest + 1, (80, 100)).astype(dtype),
            9000.5,
            -9000.25,
            z,
            12.5,
            AT + timedelta(seconds=number),
        )
        for number, z in enumerate(HEIGHTS_UM[:planes])
    )
    fields: dict[str, Any] = {
        "plate": "PDAC-0042",
        "well": "B02",
        "day": 7,
        "frames": frames,
        "format": FrameFormat(100, 80, bits, 1.36),
    }
    return WellFrames(
        **fields
        | {"planned_x_um": 9000.0, "planned_y_um": -9000.0, "planned_z_um": HEIGHTS_UM[:planes]}
        | changes
    )


def test_ome_types_reads_everything_without_a_warning(archive: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ome = ome_types.from_tiff(save(archive, visit()))
    (image,), (plate,) = ome.images, ome.plates
    pixels = image.pixels
    assert image.acquisition_date == AT
    assert (pixels.size_x, pixels.size_y, pixels.size_z, pixels.size_c, pixels.size_t) == (
        100,
        80,
        3,
        1,
        1,
    )
    assert (pixels.type.value, pixels.significant_bits) == ("uint16", 12)
    assert (pixels.physical_size_x, pixels.physical_size_y, pixels.physical_size_z) == (
        1.36,
        1.36,
        45.0,
    )
    assert pixels.physical_size_x_unit.value == pixels.planes[0].position_z_unit.value == "µm"
    assert [(plane.position_x, plane.position_y, plane.position_z) for plane in pixels.planes] == [
        (9000.5, -9000.25, z) for z in HEIGHTS_UM
    ]
    assert [plane.delta_t for plane in pixels.planes] == [0, 1, 2]
    assert {(plane.exposure_time, plane.exposure_time_unit.value) for plane in pixels.planes} == {
        (12.5, "ms")
    }
    assert [(block.ifd, block.first_z) for block in pixels.tiff_data_blocks] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    (well,) = plate.wells
    assert (plate.name, plate.rows, plate.columns) == ("PDAC-0042", 8, 12)
    assert (well.row, well.column, well.external_identifier) == (1, 1, "B02")
    assert well.well_samples[0].image_ref.id == image.id
    known = {each.k: each.value for each in ome.structured_annotations.map_annotations[0].value.ms}
    assert known["culture_day"] == "7"
    assert known["planned_z_um"] == "-45.000 0.500 45.000"
    assert known["software"].startswith("SpheroRank ")


@pytest.mark.parametrize(("bits", "brightest"), [(8, 255), (12, 4095), (16, 65535)])
def test_the_pixels_come_back_as_they_were(bits: int, brightest: int) -> None:
    well = visit(bits, brightest)
    with tifffile.TiffFile(io.BytesIO(encode(well))) as tif:
        assert (tif.series[0].axes, len(tif.pages)) == ("ZYX", 3)
        assert tif.asarray().dtype == well.frames[0].pixels.dtype
        np.testing.assert_array_equal(
            tif.asarray(), np.stack([frame.pixels for frame in well.frames])
        )


def test_one_plane_is_a_stack_of_one(archive: Path) -> None:
    path = save(archive, visit(planes=1))
    assert ome_types.from_tiff(path).images[0].pixels.physical_size_z is None
    assert read_image(path).planes.shape == (1, 80, 100)


@pytest.mark.parametrize(("bits", "brightest"), [(12, 1000), (14, 3000), (16, 3000)])
def test_white_is_the_camera_s_however_dark_the_image(
    archive: Path, bits: int, brightest: int
) -> None:
    path = save(archive, visit(bits, brightest))
    image = read_image(path)
    assert (image.um_per_px, image.taken_at) == (1.36, AT)
    assert int(image.planes.max()) == pytest.approx(brightest * 65535 / (2**bits - 1), abs=1)


@pytest.mark.parametrize(
    ("claimed", "brightest", "known"),
    [(12, 2000, 12), (12, 5000, None), (16, 2000, None), (4, 10, None)],
)
def test_of_other_programs_bits_are_believed_if_they_say_more_than_the_type_and_hold_every_pixel(
    claimed: int, brightest: int, known: int | None
) -> None:
    out = io.BytesIO()
    pixels = np.full((3, 80, 100), brightest, np.uint16)
    tifffile.imwrite(
        out,
        pixels,
        ome=True,
        photometric="minisblack",
        metadata={"axes": "ZYX", "SignificantBits": claimed},
    )
    assert decode(out.getvalue(), "B02.ome.tif", ImageLimits()).bits == known


@pytest.mark.parametrize("zone", ["+01:00", "-05:30", "+00:00"])
def test_the_name_says_plate_day_well_and_instant(archive: Path, zone: str) -> None:
    at = datetime.fromisoformat(f"2026-11-16T15:00:00.123456{zone}")
    well = visit()
    path = save(
        archive, replace(well, frames=(replace(well.frames[0], taken_at=at),), planned_z_um=())
    )
    reading = compile_pattern(ARCHIVE_PATTERN).parse(path.relative_to(archive).as_posix())
    assert (reading.plate, reading.day, reading.well) == ("PDAC-0042", 7, "B02")
    assert reading.taken_at == at.replace(microsecond=123_000)


def test_an_earlier_visit_is_never_overwritten_even_if_the_camera_s_clock_stands_still(
    archive: Path,
) -> None:
    first, second = save(archive, visit()), save(archive, visit())
    assert first.name == archive_name("B02", AT) == "B02_20261116T150000.123+0100.ome.tif"
    assert second.name == "B02_20261116T150000.124+0100.ome.tif"
    assert sorted(archive.rglob("*.*")) == sorted([first, second])


def test_a_full_disk_leaves_nothing_behind(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"B02_.*No space left on device"):
        save(archive, visit())
    assert list((archive / "PDAC-0042" / "day07").iterdir()) == []


def test_a_file_in_the_folder_s_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "PDAC-0042").write_text("")
    with pytest.raises(OutputError, match=r"Not a directory|File exists"):
        prepare(tmp_path, "PDAC-0042", 7)


def test_below_the_mount_point_of_a_share_that_vanished_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"day07: is gone; expected .*mounted"):
        save(tmp_path, visit())
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_half_written_is_removed_and_nothing_else(archive: Path) -> None:
    kept = save(archive, visit())
    kept.with_name(f".{kept.name}.part").write_bytes(b"half")
    prepare(archive, "PDAC-0042", 7)
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("well", "said"),
    [
        (
            visit(12, 5000),
            r"a pixel is 50\d\d|a pixel is 4\d{3}; expected at most 4095, as it counts in 12 bits",
        ),
        (
            visit(8, 255, format=FrameFormat(100, 80, 12, 1.36)),
            r"\(100, 80\) uint8; expected \(100, 80\) uint16",
        ),
        (visit(format=FrameFormat(512, 512, 12, 1.36)), r"expected \(512, 512\)"),
        (visit(planes=0), "no frames"),
    ],
)
def test_frames_that_are_not_what_the_camera_said_are_not_saved(
    well: WellFrames, said: str, archive: Path
) -> None:
    with pytest.raises(MicroscopeError, match=said):
        save(archive, well)
    assert list(archive.rglob("*.tif")) == []


def test_the_room_a_day_needs_is_reckoned_before_it_begins(tmp_path: Path) -> None:
    needed = bytes_needed(FrameFormat(2048, 2048, 12, 0.68), planes=3, wells=60)
    assert needed == pytest.approx(60 * 3 * 2048 * 2048 * 2, rel=0.01)
    assert len(encode(visit())) < bytes_needed(visit().format, planes=3, wells=1)
    free = shutil.disk_usage(tmp_path).free
    check_space(tmp_path / "not" / "there" / "yet", free // 4, free // 4)
    with pytest.raises(
        OutputError,
        match=rf"bytes free; expected {2 * free}: {free} for the images, and {free} that stay free",
    ):
        check_space(tmp_path, free, free)
