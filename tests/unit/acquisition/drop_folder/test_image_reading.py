"""Image files that are decoded and rescaled, their metadata, and files that are refused."""

import io
import struct
from datetime import UTC, datetime

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage, decode
from acquisition.drop_folder.image_reading import stretch
from benchmarks.vendor_files import tiff
from schemas.errors import ImageError

LIMITS = ImageLimits()
GREY = np.random.default_rng(7).integers(0, 256, (80, 100)).astype(np.uint8)
STACK = np.random.default_rng(8).integers(0, 65536, (3, 80, 100)).astype(np.uint16)


def tiff_with_header(width: int, height: int) -> bytes:
    """Return a TIFF of 100 bytes of pixels whose header has another size."""
    tags = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 1,
        273: 200,
        277: 1,
        278: height,
        279: 100,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0").ljust(
        200, b"\0"
    ) + bytes(100)


def planes(content: bytes, bits: int | None = None) -> npt.NDArray[np.uint16]:
    return stretch((decode(content, "x.tif", LIMITS),), "x.tif", bits=bits)


RGB = np.repeat(GREY[..., None], 3, axis=2)
GREY_FILES = {
    "TIFF": tiff(GREY),
    "TIFF, LZW with predictor": tiff(GREY, compression="lzw", predictor=True),
    "TIFF, tiled deflate": tiff(GREY, compression="zlib", tile=(32, 32)),
    "TIFF, big-endian BigTIFF": tiff(GREY, bigtiff=True, byteorder=">"),
    "TIFF, RGB": tiff(RGB, photometric="rgb"),
    "TIFF, RGB in planes": tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"),
    "TIFF, RGBA": tiff(
        np.dstack([RGB, np.full_like(GREY, 255)]), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "OME-TIFF": tiff(GREY, ome=True, metadata={"axes": "YX"}),
    "ImageJ": tiff(GREY, imagej=True),
    "PNG": imagecodecs.png_encode(GREY),
    "PNG, RGB": imagecodecs.png_encode(RGB),
    "PNG, RGBA": imagecodecs.png_encode(np.dstack([RGB, np.full_like(GREY, 255)])),
    "JPEG": imagecodecs.jpeg_encode(GREY, lossless=True),
}


@pytest.mark.parametrize("content", GREY_FILES.values(), ids=GREY_FILES.keys())
def test_grey_of_8_bits_is_decoded_and_rescaled_to_16_bits(content: bytes) -> None:
    assert np.array_equal(planes(content), GREY[None].astype(np.uint16) * 257)


def test_the_pages_of_a_tiff_are_planes_in_the_same_order() -> None:
    assert np.array_equal(planes(tiff(*STACK)), STACK)


def test_the_z_stack_of_an_ome_tiff_is_decoded_as_planes() -> None:
    assert np.array_equal(planes(tiff(STACK, ome=True, metadata={"axes": "ZYX"})), STACK)


def test_the_z_stack_of_an_imagej_tiff_is_decoded_as_planes() -> None:
    assert np.array_equal(planes(tiff(STACK, imagej=True, metadata={"axes": "ZYX"})), STACK)


def test_a_thumbnail_is_not_a_plane() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY, photometric="minisblack", metadata=None)
        writer.write(GREY[::4, ::4], photometric="minisblack", metadata=None, subfiletype=1)
    assert planes(buffer.getvalue()).shape == (1, 80, 100)


@pytest.mark.parametrize(
    "content", [tiff(STACK[0]), imagecodecs.png_encode(STACK[0])], ids=["TIFF", "PNG"]
)
def test_pixels_of_16_bits_are_unchanged(content: bytes) -> None:
    assert np.array_equal(planes(content), STACK[:1])


def test_12_bits_in_uint16_are_recognised_by_the_brightest_pixel() -> None:
    dim = (STACK // 16).astype(np.uint16)
    dim[0, 0, 0] = 4095
    read = planes(tiff(*dim))
    assert read.max() == 65535
    assert np.abs(read.astype(np.int64) - np.round(dim * (65535 / 4095))).max() <= 1


def test_the_bits_setting_defines_white() -> None:
    assert planes(tiff(np.full((64, 64), 4095, np.uint16)), bits=14).max() == round(
        4095 * 65535 / 16383
    )


def test_packed_pixels_of_12_bits_are_decoded() -> None:
    dim = (STACK[0] // 16).astype(np.uint16)
    strip = _pack12(dim)
    tags = {256: 100, 257: 80, 258: 12, 259: 1, 262: 1, 273: 200, 277: 1, 278: 80, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0").ljust(
        200, b"\0"
    ) + strip
    assert np.array_equal(planes(content)[0], np.round(dim * (65535 / 4095)).astype(np.uint16))


def _pack12(pixels: npt.NDArray[np.uint16]) -> bytes:
    """Return 12-bit pixels, two in three bytes, most significant first."""
    pairs = pixels.astype(np.uint32).reshape(-1, 2)
    joined = pairs[:, 0] << 12 | pairs[:, 1]
    return (
        np.stack([joined >> 16, joined >> 8 & 255, joined & 255], axis=1).astype(np.uint8).tobytes()
    )


def test_white_is_the_same_for_all_planes_of_a_well_image() -> None:
    dark, bright = np.full((64, 64), 1000, np.uint16), np.full((64, 64), 40_000, np.uint16)
    files = tuple(decode(tiff(plane), "x.tif", LIMITS) for plane in (dark, bright))
    assert stretch(files, "x.tif", bits=None)[:, 0, 0].tolist() == [1000, 40_000]


COLOUR = RGB.copy()
COLOUR[:, :, 0] = 255 - COLOUR[:, :, 0]
BAD = {
    "empty": (b"", "0 bytes"),
    "text": (b"this is not an image at all", "expected a TIFF, PNG or JPEG"),
    "only a signature": (b"II*\0", "damaged or cut short"),
    "truncated": (tiff(STACK[0])[:8000], "cut short"),
    "truncated, compressed": (
        tiff(STACK[0], compression="zlib", rowsperstrip=8)[:9000],
        "cut short",
    ),
    "garbled": (
        tiff(GREY, compression="zlib")[:300] + bytes(4000) + tiff(GREY, compression="zlib")[4300:],
        "damaged",
    ),
    "float32": (tiff(GREY.astype(np.float32)), "float32; expected uint8 or uint16"),
    "float64": (tiff(GREY.astype(np.float64)), "float64; expected"),
    "int16": (tiff(GREY.astype(np.int16)), "int16; expected"),
    "int32": (tiff(GREY.astype(np.int32)), "int32; expected"),
    "uint32": (tiff(GREY.astype(np.uint32)), "uint32; expected"),
    "complex": (tiff(GREY.astype(np.complex64)), "complex64; expected"),
    "black and white": (tiff(GREY > 100), "1 bit; expected"),
    "a header of 100 000 × 100 000": (
        tiff_with_header(100_000, 100_000),
        "its header says 100000×100000 pixels; expected at most",
    ),
    "a PNG header of 100 000 × 100 000": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 100_000, 100_000),
        "its header says 100000×100000",
    ),
    "a JPEG header of 65 000 × 65 000": (
        b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65_000, 65_000) + bytes(10),
        "its header says 65000×65000",
    ),
    "too small": (tiff(GREY[:16, :16]), "16×16 pixels; expected at least 64×64"),
    "colour": (tiff(COLOUR, photometric="rgb"), "colour: red, green and blue differ"),
    "colour PNG": (imagecodecs.png_encode(COLOUR), "colour"),
    "palette": (
        tiff(GREY, photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
        "PALETTE",
    ),
    "white is zero": (tiff(GREY, photometric="miniswhite"), "MINISWHITE"),
    "planes of two sizes": (tiff(STACK[0], STACK[1][:70]), "100×70 uint16 and 100×80 uint16"),
    "planes of two kinds": (tiff(STACK[0], GREY), "100×80 uint16 and 100×80 uint8"),
    "more pages than planes can be": (tiff(*[GREY[:64, :64]] * 201), "more than 200 pages"),
    "channels": (
        tiff(STACK, ome=True, metadata={"axes": "CYX"}),
        "3 channels; expected the focal planes",
    ),
    "a time series": (
        tiff(STACK, ome=True, metadata={"axes": "TYX"}),
        "3 times; expected the focal planes",
    ),
    "an ImageJ time series": (tiff(STACK, imagej=True, metadata={"axes": "TYX"}), "3 times"),
    "an ImageJ stack cut short": (
        tiff(STACK[0], imagej=True).replace(b"images=1", b"images=9"),
        "says 9 images, the file has 1",
    ),
    "truncated PNG": (imagecodecs.png_encode(GREY)[:2000], "damaged or cut short"),
    "truncated JPEG": (imagecodecs.jpeg_encode(GREY)[:2000], "end marker is missing"),
}


def test_a_file_above_the_limit_of_decoded_bytes_is_refused_before_decoding() -> None:
    small = ImageLimits(max_file_bytes=100_000)
    content = tiff(*[np.zeros((200, 200), np.uint8)] * 3, compression="zlib")
    assert len(content) < 2_000
    with pytest.raises(ImageError, match="120000 bytes decoded; expected at most 100000"):
        decode(content, "x.tif", small)


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD.keys())
def test_a_file_that_is_not_a_grey_image_is_refused_with_the_reason(
    content: bytes, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImageError) as refusal:
        planes(content)
    assert reason in refusal.value.problem
    assert refusal.value.where == "x.tif"
    assert capfd.readouterr() == ("", "")


def test_a_pixel_that_is_brighter_than_the_bits_setting_allows_is_refused() -> None:
    with pytest.raises(
        ImageError, match=r"a pixel is 60000; expected at most 4095, as source.bits is 12"
    ):
        planes(tiff(np.full((64, 64), 60_000, np.uint16)), bits=12)


def test_a_truncated_tiff_is_refused_or_has_only_correct_planes() -> None:
    content = tiff(*STACK, compression="zlib")
    for length in range(0, len(content), 997):
        try:
            image = decode(content[:length], "x.tif", LIMITS)
        except ImageError:
            continue
        # A TIFF without its last pages is valid; the pages that are decoded have to be right.
        assert all(
            np.array_equal(plane, STACK[number]) for number, plane in enumerate(image.planes)
        )


def metadata_of(content: bytes) -> tuple[float | None, datetime | None]:
    image: RawImage = decode(content, "x.tif", LIMITS)
    return image.metadata.um_per_px, image.metadata.taken_at


def test_scale_and_time_are_read_from_ome_xml() -> None:
    axes = {
        "axes": "YX",
        "PhysicalSizeX": 650.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 650.0,
        "AcquisitionDate": "2026-11-16T15:00:00Z",
    }
    um_per_px, taken_at = metadata_of(tiff(GREY, ome=True, metadata=axes))
    assert um_per_px == pytest.approx(0.65)
    assert taken_at == datetime(2026, 11, 16, 15, tzinfo=UTC)


def test_the_scale_is_read_from_imagej_metadata() -> None:
    um_per_px, _ = metadata_of(
        tiff(GREY, imagej=True, resolution=(1 / 1.36, 1 / 1.36), metadata={"unit": "um"})
    )
    assert um_per_px == pytest.approx(1.36, rel=1e-4)


def test_scale_and_time_are_read_from_the_tags_of_a_tiff() -> None:
    um_per_px, taken_at = metadata_of(
        tiff(
            GREY,
            resolution=(10_000 / 1.36, 10_000 / 1.36),
            resolutionunit="CENTIMETER",
            datetime="2026:11:16 15:00:00",
        )
    )
    assert um_per_px == pytest.approx(1.36, rel=1e-4)
    assert taken_at == datetime(2026, 11, 16, 15)  # noqa: DTZ001 - the tag has no zone


@pytest.mark.parametrize("dpi", [72, 96, 300])
def test_a_default_resolution_of_a_program_is_not_a_scale(dpi: int) -> None:
    assert metadata_of(tiff(GREY, resolution=(dpi, dpi), resolutionunit="INCH"))[0] is None


def test_pixels_that_are_not_square_have_no_scale() -> None:
    assert (
        metadata_of(tiff(GREY, resolution=(10_000, 5_000), resolutionunit="CENTIMETER"))[0] is None
    )


@pytest.mark.parametrize(
    "content",
    [GREY_FILES["PNG"], GREY_FILES["JPEG"], tiff(GREY, datetime="0000:00:00 00:00:00")],
    ids=["PNG", "JPEG", "TIFF"],
)
def test_metadata_that_a_file_does_not_have_are_none(content: bytes) -> None:
    assert metadata_of(content) == (None, None)
