"""Decode the bytes of a TIFF, PNG or JPEG file to grey planes.

A file that is not a grey image within the limits is refused with the reason, as far as possible
from its header, before memory is allocated for its pixels.
"""

import io
import logging
from dataclasses import dataclass

import imagecodecs
import numpy as np
import tifffile

from acquisition.drop_folder.metadata.image_metadata import (
    ImageMetadata,
    combine,
    focal_order,
    full_pages,
    read_formats,
    require_small_texts,
)
from acquisition.drop_folder.metadata.metamorph import plane_count
from acquisition.drop_folder.name_tokens import IMAGE_SUFFIXES
from acquisition.drop_folder.pixels.grey import Plane, grey_plane
from acquisition.drop_folder.pixels.png_jpeg import (
    jpeg_size,
    png_size,
    require_jpeg_end,
    require_jpeg_pixels,
    require_whole_png,
)
from acquisition.drop_folder.pixels.tiff_compressions import require_known_compression
from acquisition.drop_folder.pixels.tiff_pages import (
    decode_page,
    require_grey_page,
    require_segments,
)
from acquisition.drop_folder.pixels.tiff_structure import require_directories
from acquisition.drop_folder.pixels.zero_tail import (
    require_written_pixels,
    require_written_planes,
    zero_tail_start,
)
from schemas.errors import ImageError, IncompleteImageError
from schemas.machine_faults import is_machine_fault

# tifffile logs each oddity of a file. Those that matter are checked here and reported as an error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_CUT_ZEROS = 512
"""Zeros at the end of a file that cannot be decoded from which it counts as cut off."""


@dataclass(frozen=True)
class ImageLimits:
    """The largest and smallest image files that are decoded."""

    max_pixels: int = 100_000_000  # of one plane
    max_file_bytes: int = 2_000_000_000  # of the file, and of its decoded pixels
    max_planes: int = 200  # pages of one file
    min_side_px: int = 64


@dataclass(frozen=True, eq=False)
class RawImage:
    """The decoded planes of one file, before they are rescaled, with the metadata of the file."""

    planes: tuple[Plane, ...]  # each (H, W) uint8 or uint16
    bits: int | None  # significant bits of a uint16 pixel; None if the file does not contain them
    metadata: ImageMetadata


def decode(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the RawImage (planes and metadata) decoded from the bytes of a TIFF, PNG or JPEG file.

    Parameters
    ----------
    content
        All bytes of a TIFF, PNG or JPEG file.
    where
        The path, for error messages.
    limits
        The largest and smallest images that are decoded.

    Raises
    ------
    IncompleteImageError
        If bytes are missing at the end of the content, or are zero there.
    ImageError
        With the reason, if the content is not a grey image within the limits.
    MemoryError, OSError
        If the machine, and not the content, is the problem.
    """
    if not content:
        raise ImageError(where, f"0 bytes; expected an image ({' '.join(IMAGE_SUFFIXES)})")
    kind = next(
        (name for signature, name in _SIGNATURES.items() if content.startswith(signature)), None
    )
    try:
        match kind:
            case "TIFF":
                return _decode_tiff(content, where, limits)
            case "PNG":
                return _decode_png(content, where, limits)
            case "JPEG":
                return _decode_jpeg(content, where, limits)
    except ImageError:
        raise
    except Exception as error:  # a decoder may raise anything for bytes that it does not expect
        if is_machine_fault(error):
            raise
        is_cut = len(content) - zero_tail_start(content) >= _CUT_ZEROS
        raise (IncompleteImageError if is_cut else ImageError)(
            where,
            f"damaged or cut short: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
        ) from error
    raise ImageError(where, f"starts with {content[:8]!r}; expected a TIFF, PNG or JPEG image")


def _decode_tiff(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the full-size pages of a TIFF as planes, after checks of all headers."""
    tail_start = zero_tail_start(content)
    for width, height in require_directories(content, tail_start, limits.max_planes, where):
        _check_pixels(width, height, where, limits)
    with (
        np.errstate(divide="ignore", invalid="ignore"),  # of rational values of damaged tags
        tifffile.TiffFile(io.BytesIO(content), name=str(where)) as tif,
    ):
        pages = _checked_pages(tif, content, where, limits)
        require_small_texts(pages, where)
        found = read_formats(tif, pages)
        planes = sum(plane_count(page) for page in pages)
        order = focal_order(tif, found, planes, where)
        require_written_pixels(pages, content, tail_start, where)
        metadata = combine(found)
        stored_bits = {page.bitspersample for page in pages}.pop()
        bits = stored_bits if 8 < stored_bits < 16 else metadata.bits  # noqa: PLR2004 - packed
        decoded = [
            grey_plane(pixels, where, bits)
            for page in pages
            for pixels in decode_page(page, content, where)
        ]
        require_written_planes(decoded, where)
        ordered = tuple(decoded[index] for index in order)
        return RawImage(ordered, _significant_bits(ordered, bits, stored_bits), metadata)


def _checked_pages(
    tif: tifffile.TiffFile, content: bytes, where: object, limits: ImageLimits
) -> list[tifffile.TiffPage]:
    """Return the pages of full size after checks of their headers and of their number."""
    pages = full_pages(tif)
    if not pages:
        raise ImageError(where, "only thumbnails; expected a page of full size")
    for page in pages:
        _check_size(page.imagewidth, page.imagelength, where, limits)
        require_grey_page(page, where)
        require_segments(page, len(content), where)
        require_known_compression(page, content, where)
    if (decoded := sum(page.nbytes * plane_count(page) for page in pages)) > limits.max_file_bytes:
        raise ImageError(
            where, f"{decoded} bytes decoded; expected at most {limits.max_file_bytes}"
        )
    planes = sum(plane_count(page) for page in pages)
    if planes > limits.max_planes:
        raise ImageError(where, f"{planes} planes; expected at most {limits.max_planes}")
    return pages


def _significant_bits(planes: tuple[Plane, ...], bits: int | None, stored: int) -> int | None:
    """Return the significant bits of uint16 planes; None for uint8 and if they are unknown.

    They are the ``stored`` bits if pixels are packed, else the ``bits`` of the camera unless a
    pixel is brighter than these allow.
    """
    if planes[0].dtype != np.uint16 or bits is None:
        return None
    if bits == stored:
        return bits
    brightest = max(int(plane.max()) for plane in planes)
    return bits if brightest < 2**bits else None


def _decode_png(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the plane of a PNG, after checks of its size and of its chunks."""
    width, height = png_size(content, where)
    _check_size(width, height, where, limits)
    require_whole_png(content, where)
    plane = grey_plane(imagecodecs.png_decode(content), where)
    _require_size(plane, width, height, where)
    return RawImage((plane,), None, ImageMetadata())


def _decode_jpeg(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the plane of a JPEG, after checks of its size and of its end."""
    width, height = jpeg_size(content, where)
    _check_size(width, height, where, limits)
    require_jpeg_end(content, where)
    plane = grey_plane(imagecodecs.jpeg_decode(content), where)
    _require_size(plane, width, height, where)
    require_jpeg_pixels(plane, where)
    return RawImage((plane,), None, ImageMetadata())


def _require_size(plane: Plane, width: int, height: int, where: object) -> None:
    """Raise ImageError unless a decoded plane has the size in the header of its file."""
    if plane.shape != (height, width):
        raise ImageError(
            where,
            f"damaged: {plane.shape[1]}×{plane.shape[0]} pixels are decoded; "
            f"expected {width}×{height}, as its header says",
        )


def _check_size(width: int, height: int, where: object, limits: ImageLimits) -> None:
    """Raise ImageError if a plane of this size in pixels is too large or too small."""
    _check_pixels(width, height, where, limits)
    if min(width, height) < limits.min_side_px:
        raise ImageError(
            where,
            f"{width}×{height} pixels; expected at least {limits.min_side_px}×{limits.min_side_px}",
        )


def _check_pixels(width: int, height: int, where: object, limits: ImageLimits) -> None:
    """Raise ImageError if a plane of this size in pixels is too large."""
    if width * height > limits.max_pixels:
        raise ImageError(
            where,
            f"its header says {width}×{height} pixels; "
            f"expected at most {limits.max_pixels} per plane",
        )
