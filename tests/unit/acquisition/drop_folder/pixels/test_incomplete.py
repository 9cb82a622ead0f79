"""Files whose last bytes are missing or zero, and images that end in black for another reason."""

import io
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage, decode
from benchmarks.vendor_files import stk, tiff
from schemas.errors import ImageError, IncompleteImageError

RANDOM = np.random.default_rng(5)
BRIGHT: npt.NDArray[np.uint16] = RANDOM.normal(20_000, 900, (200, 333)).astype(np.uint16)
BRIGHT_8: npt.NDArray[np.uint8] = RANDOM.normal(120, 8, (200, 333)).astype(np.uint8)
NOISE: npt.NDArray[np.uint16] = RANDOM.integers(0, 65536, (200, 333)).astype(np.uint16)
SHARES = (0.03, 0.3, 0.5, 0.9, 0.947)


def read(content: bytes) -> RawImage:
    return decode(content, "x.tif", ImageLimits())


def zeroed(content: bytes, share: float, block: int = 1) -> bytes:
    """Return a file whose last blocks are zero, from a share of its length on."""
    kept = max(8, int(len(content) * share) // block * block)
    return content[:kept] + bytes(len(content) - kept)


def libtiff(*pages: npt.NDArray[Any], **options: Any) -> bytes:  # noqa: ANN401 - options of tifffile
    """Return a TIFF whose directory is behind the pixels, as libtiff and MetaXpress write it."""
    content = tiff(*pages, **options)
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        page = tif.pages.first
        start, end = page.dataoffsets[0], page.dataoffsets[-1] + page.databytecounts[-1]
    directory, pixels = content[8:start], content[start:end]
    moved = bytearray(directory)
    shift = end - start
    count = struct.unpack_from("<H", moved)[0]
    for entry in range(2, 2 + 12 * count, 12):
        code, kind, values, value = struct.unpack_from("<HHII", moved, entry)
        size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}[kind] * values
        if size > 4:
            struct.pack_into("<I", moved, entry + 8, value + shift)
        elif code in (273, 324):
            struct.pack_into("<I", moved, entry + 8, 8)
        if code in (273, 324) and size > 4:
            for offset in range(value - 8, value - 8 + size, 4):
                old = struct.unpack_from("<I", moved, offset)[0]
                struct.pack_into("<I", moved, offset, old - start + 8)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + bytes(moved)


FILES = {
    "uint16": tiff(BRIGHT),
    "uint8": tiff(BRIGHT_8),
    "big-endian": tiff(BRIGHT, byteorder=">"),
    "BigTIFF": tiff(BRIGHT, bigtiff=True),
    "strips of 8 rows": tiff(BRIGHT, rowsperstrip=8),
    "tiles": tiff(BRIGHT, tile=(64, 64)),
    "RGB": tiff(np.repeat(BRIGHT_8[..., None], 3, axis=2), photometric="rgb"),
    "stack": tiff(BRIGHT, BRIGHT, BRIGHT),
    "contiguous stack": tiff(np.stack([BRIGHT] * 3), metadata={"axes": "ZYX"}),
    "MetaMorph stack": stk([BRIGHT] * 3),
    "directory at the end": libtiff(BRIGHT, rowsperstrip=8),
    "LZW": tiff(BRIGHT, compression="lzw", rowsperstrip=16),
    "LZW with predictor": tiff(BRIGHT, compression="lzw", predictor=True, rowsperstrip=16),
    "deflate": tiff(BRIGHT, compression="zlib", rowsperstrip=16),
    "deflate, tiles": tiff(BRIGHT, compression="zlib", tile=(64, 64)),
    "zstd": tiff(BRIGHT, compression="zstd"),
    "PackBits": tiff(BRIGHT_8, compression="packbits", rowsperstrip=16),
    "JPEG in TIFF": tiff(BRIGHT_8, compression="jpeg", rowsperstrip=16),
    "PNG": imagecodecs.png_encode(BRIGHT),
    "JPEG": imagecodecs.jpeg_encode(BRIGHT_8, level=90),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_a_complete_file_is_decoded(content: bytes) -> None:
    assert read(content).planes


@pytest.mark.parametrize("block", [1, 512, 4096])
@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_a_file_whose_end_is_zero_may_still_be_written(content: bytes, block: int) -> None:
    for share in SHARES:
        with pytest.raises(IncompleteImageError):
            read(zeroed(content, share, block))


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_a_file_whose_end_is_missing_may_still_be_written(content: bytes) -> None:
    for share in SHARES:
        with pytest.raises(IncompleteImageError):
            read(content[: max(8, int(len(content) * share))])


def with_bar(pixels: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    barred = pixels.copy()
    barred[-rows:] = 0
    return barred


def circle(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an image that is black outside a circle, as through an eyepiece."""
    y, x = np.mgrid[-1 : 1 : pixels.shape[0] * 1j, -1 : 1 : pixels.shape[1] * 1j]
    return np.where(x**2 + y**2 < 1, pixels, 0).astype(pixels.dtype)


def vignette(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an image whose corners are so dark that some of their pixels are zero."""
    y, x = np.mgrid[-1 : 1 : pixels.shape[0] * 1j, -1 : 1 : pixels.shape[1] * 1j]
    return np.where(x**2 + y**2 < 1.8, pixels, 0).astype(pixels.dtype)


DARK = RANDOM.poisson(1.0, (200, 333)).astype(np.uint16)
BLACK_ENDS = {
    "a dark image": DARK,
    "a black image": np.zeros_like(BRIGHT),
    "a bar of one row": with_bar(BRIGHT, 1),
    "a bar of 3 %": with_bar(BRIGHT, 6),
    "a bar of 10 %": with_bar(BRIGHT, 20),
    "a bar in 8 bits": with_bar(BRIGHT_8, 10),
    "a bar below dim pixels": with_bar(np.minimum(BRIGHT, 255), 10),
    "a bar below random pixels": with_bar(NOISE, 10),
    "a circle": circle(BRIGHT),
    "a circle in 8 bits": circle(BRIGHT_8),
    "dark corners": vignette(BRIGHT),
    "dark corners and a bar": with_bar(vignette(BRIGHT), 10),
    "a mask": (circle(BRIGHT) > 0).astype(np.uint8) * 255,
    "a dark frame of 5 px": np.pad(BRIGHT[5:-5, 5:-5], 5),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 8},
    "tiles": {"tile": (64, 64)},
    "deflate": {"compression": "zlib"},
    "LZW": {"compression": "lzw"},
    "PackBits": {"compression": "packbits"},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("pixels", BLACK_ENDS.values(), ids=BLACK_ENDS.keys())
def test_an_image_that_ends_in_black_is_decoded(
    pixels: npt.NDArray[Any], layout: dict[str, Any]
) -> None:
    assert np.array_equal(read(tiff(pixels, **layout)).planes[0], pixels)


@pytest.mark.parametrize("height", range(150, 170))
def test_a_bar_is_no_cut_whatever_the_size_of_the_image(height: int) -> None:
    pixels = with_bar(BRIGHT[:height, : height * 2], 8)
    assert np.array_equal(read(tiff(pixels)).planes[0], pixels)


def test_the_last_plane_of_a_stack_that_is_zero_was_not_written() -> None:
    stack = np.stack([BRIGHT, BRIGHT, np.zeros_like(BRIGHT)])
    for options in ({}, {"compression": "zlib"}):
        with pytest.raises(IncompleteImageError, match="all pixels of page 3 of 3 are zero"):
            read(tiff(stack, metadata={"axes": "ZYX"}, **options))


def test_the_planes_of_a_dark_stack_may_be_zero() -> None:
    assert len(read(tiff(DARK, np.zeros_like(DARK), DARK)).planes) == 3


def test_zeros_in_the_middle_of_a_compressed_file_are_damage_and_not_a_cut() -> None:
    content = tiff(BRIGHT, compression="zlib")
    with pytest.raises(ImageError) as refusal:
        read(content[:300] + bytes(4000) + content[4300:])
    assert not isinstance(refusal.value, IncompleteImageError)


def chunked(content: bytes, change: bytes) -> bytes:
    """Return a PNG with an additional chunk before its end chunk."""
    body = b"tEXt" + change
    chunk = struct.pack(">I", len(change)) + body + struct.pack(">I", zlib.crc32(body))
    return content[:-12] + chunk + content[-12:]


def test_a_png_without_its_end_chunk_may_still_be_written() -> None:
    content = imagecodecs.png_encode(BRIGHT)
    for cut in (content[:-12], content[:-4] + bytes(4), chunked(content, b"a\0b")[:-12]):
        with pytest.raises(IncompleteImageError):
            read(cut)


def test_a_png_with_a_wrong_checksum_is_damaged() -> None:
    content = bytearray(chunked(imagecodecs.png_encode(BRIGHT), b"Comment\0text"))
    content[-20] ^= 1
    with pytest.raises(ImageError, match="checksum of the PNG's chunk") as refusal:
        read(bytes(content))
    assert not isinstance(refusal.value, IncompleteImageError)


def test_the_end_of_a_thumbnail_is_not_the_end_of_a_jpeg() -> None:
    content = imagecodecs.jpeg_encode(BRIGHT_8, level=90)
    thumbnail = imagecodecs.jpeg_encode(BRIGHT_8[:64, :64])
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = content[:2] + segment + content[2:]
    assert read(whole).planes[0].shape == (200, 333)
    with pytest.raises(IncompleteImageError, match="end marker is missing"):
        read(whole[: len(whole) // 2])


def test_a_jpeg_whose_last_rows_have_no_data_may_still_be_written() -> None:
    content = imagecodecs.jpeg_encode(BRIGHT_8, level=90)
    with pytest.raises(IncompleteImageError, match="last rows are missing"):
        read(content[: len(content) // 2] + b"\xff\xd9")


def test_zeros_behind_the_end_of_a_png_or_jpeg_are_ignored() -> None:
    for content in (imagecodecs.png_encode(BRIGHT), imagecodecs.jpeg_encode(BRIGHT_8, level=90)):
        assert read(content + bytes(5000)).planes


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left"), TimeoutError()])
def test_an_error_of_the_machine_is_not_taken_for_a_bad_file(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(type(error)):
        read(tiff(BRIGHT))


@pytest.mark.parametrize("error", [RecursionError("deep"), ZeroDivisionError(), OSError("odd")])
def test_any_other_error_of_a_decoder_is_a_refusal(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(ImageError, match="damaged or cut short"):
        read(tiff(BRIGHT))


@pytest.mark.parametrize("shape", [(0, 333), (200, 0), (200, 332), (199, 333), (200,)])
def test_pixels_that_differ_from_their_header_are_refused(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_, **__: np.full(shape, 9, np.uint16))
    with pytest.raises(ImageError, match="damaged"):
        read(tiff(BRIGHT))
