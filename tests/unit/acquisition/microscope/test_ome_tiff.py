import io
import warnings
from pathlib import Path

import numpy as np
import ome_types
import pytest
import tifffile

from acquisition.drop_folder.image_decoding import ImageLimits, decode
from acquisition.drop_folder.image_reading import read_image
from acquisition.microscope.ome_tiff import WellFrames, encode_ome_tiff
from acquisition.ports import FrameFormat
from schemas.errors import ImageError, MicroscopeError
from tests.well_frames import HEIGHTS_UM, TAKEN_AT, well_frames

pytestmark = pytest.mark.micromanager


def write_ome_tiff(folder: Path, visit: WellFrames) -> Path:
    """Write the frames of a visit as an OME-TIFF file and return its path."""
    path = folder / "B02.ome.tif"
    path.write_bytes(encode_ome_tiff(visit))
    return path


def test_ome_types_reads_all_metadata_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ome = ome_types.from_tiff(write_ome_tiff(tmp_path, well_frames()))
    (image,), (plate,) = ome.images, ome.plates
    pixels = image.pixels
    assert image.acquisition_date == TAKEN_AT
    assert (pixels.size_x, pixels.size_y, pixels.size_z) == (100, 80, 3)
    assert (pixels.size_c, pixels.size_t) == (1, 1)
    assert (pixels.type.value, pixels.significant_bits) == ("uint16", 12)
    assert (pixels.physical_size_x, pixels.physical_size_y) == (1.36, 1.36)
    assert pixels.physical_size_z == 45.0
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
def test_pixels_are_unchanged_after_encoding(bits: int, brightest: int) -> None:
    visit = well_frames(bits, brightest)
    with tifffile.TiffFile(io.BytesIO(encode_ome_tiff(visit))) as tif:
        assert (tif.series[0].axes, len(tif.pages)) == ("ZYX", 3)
        assert tif.asarray().dtype == visit.frames[0].pixels.dtype
        np.testing.assert_array_equal(
            tif.asarray(), np.stack([frame.pixels for frame in visit.frames])
        )


def test_a_visit_with_one_plane_is_read_as_a_stack_of_one_plane(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path, well_frames(planes=1))
    assert ome_types.from_tiff(path).images[0].pixels.physical_size_z is None
    assert read_image(path).planes.shape == (1, 80, 100)


@pytest.mark.parametrize(("bits", "brightest"), [(12, 1000), (14, 3000), (16, 3000)])
def test_pixels_are_scaled_by_the_bits_of_the_camera_and_not_by_the_brightest_pixel(
    tmp_path: Path, bits: int, brightest: int
) -> None:
    image = read_image(write_ome_tiff(tmp_path, well_frames(bits, brightest)))
    assert (image.um_per_px, image.taken_at) == (1.36, TAKEN_AT)
    assert int(image.planes.max()) == pytest.approx(brightest * 65535 / (2**bits - 1), abs=1)


@pytest.mark.parametrize(
    ("claimed", "brightest", "known"),
    [(12, 2000, 12), (12, 5000, None), (16, 2000, None), (4, 10, None)],
)
def test_the_bits_in_files_of_other_programs_are_used_only_if_plausible(
    claimed: int, brightest: int, known: int | None
) -> None:
    """They must be fewer than the bits of the pixel type, and no pixel may be larger."""
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


@pytest.mark.parametrize(
    ("visit", "message"),
    [
        (
            well_frames(12, 5000),
            r"a pixel is 50\d\d|a pixel is 4\d{3}; expected at most 4095 with 12 bits",
        ),
        (
            well_frames(8, 255, format=FrameFormat(100, 80, 12, 1.36)),
            r"\(100, 80\) uint8; expected \(100, 80\) uint16",
        ),
        (well_frames(format=FrameFormat(512, 512, 12, 1.36)), r"expected \(512, 512\)"),
        (well_frames(planes=0), "no frames"),
    ],
)
def test_frames_that_contradict_the_format_of_the_camera_are_refused(
    visit: WellFrames, message: str
) -> None:
    with pytest.raises(MicroscopeError, match=message):
        encode_ome_tiff(visit)


@pytest.mark.parametrize("planes", [1, 3])
def test_an_image_of_another_channel_is_refused_under_any_name(tmp_path: Path, planes: int) -> None:
    visit = well_frames(planes=planes, channel="calcein", is_ranked=False)
    assert (visit.part, well_frames(field=2, is_ranked=False).part) == ("calcein", "field02")
    with pytest.raises(ImageError, match="in the channel calcein, which is not bright field"):
        read_image(write_ome_tiff(tmp_path, visit))


def test_a_single_field_in_bright_field_can_be_read(tmp_path: Path) -> None:
    image = read_image(write_ome_tiff(tmp_path, well_frames(field=2, is_ranked=False)))
    assert image.planes.shape == (3, 80, 100)
