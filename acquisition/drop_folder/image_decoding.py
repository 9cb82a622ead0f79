"""Decode the bytes of a TIFF, PNG or JPEG file to grey planes.

A file that is not a grey image within the limits is refused with the reason, as far as possible
from its header, before memory is allocated for its pixels.
"""

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from acquisition.drop_folder.image_metadata import ImageMetadata, read_metadata, stack_problem
from acquisition.drop_folder.name_tokens import IMAGE_SUFFIXES
from schemas.errors import ImageError

# tifffile logs each oddity of a file. Those that matter are checked here and reported as an error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

GREY_TOLERANCE = 0.06
"""Largest difference of R, G and B of a grey pixel, as a share of white; JPEG rounds colours."""

GREY_EXCEPTIONS = 0.001
"""Largest share of pixels with a larger difference of R, G and B in a grey image."""

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


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
    """Return the decoded planes and metadata of the content of an image file.

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
    ImageError
        With the reason, if the content is not a grey image within the limits.
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
        raise ImageError(
            where,
            f"damaged or cut short: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
        ) from error
    raise ImageError(where, f"starts with {content[:8]!r}; expected a TIFF, PNG or JPEG image")


def _decode_tiff(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the full-size pages of a TIFF as planes, after checks of all headers."""
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        pages = list(_full_pages(tif, where, limits))
        if not pages:
            raise ImageError(where, "only thumbnails; expected a page of full size")
        for page in pages:
            _check_size(page.imagewidth, page.imagelength, where, limits)
            _check_page(page, len(content), where)
        if (decoded := sum(page.nbytes for page in pages)) > limits.max_file_bytes:
            raise ImageError(
                where, f"{decoded} bytes decoded; expected at most {limits.max_file_bytes}"
            )
        if problem := stack_problem(tif, len(pages)):
            raise ImageError(where, problem)
        planes = tuple(_grey(_samples_last(page), where) for page in pages)
        metadata = read_metadata(tif)
        stored_bits = {page.bitspersample for page in pages}.pop()
        return RawImage(planes, _significant_bits(planes, stored_bits, metadata.bits), metadata)


def _significant_bits(planes: tuple[Plane, ...], stored: int, camera: int | None) -> int | None:
    """Return the significant bits of uint16 planes; None for uint8 and if they are unknown.

    They are the ``stored`` bits if pixels are packed, else the bits of the ``camera`` unless a
    pixel is brighter than these allow.
    """
    if planes[0].dtype != np.uint16:
        return None
    if stored < 16:  # noqa: PLR2004 - packed 10 or 12 bits
        return stored
    brightest = max(int(plane.max()) for plane in planes)
    return camera if camera is not None and brightest < 2**camera else None


def _full_pages(
    tif: tifffile.TiffFile, where: object, limits: ImageLimits
) -> Iterator[tifffile.TiffPage]:
    """Yield the pages that are not thumbnails; refuse a file with too many pages."""
    tif.pages.useframes = False
    for number, page in enumerate(tif.pages, start=1):
        if number > limits.max_planes:
            raise ImageError(
                where,
                f"more than {limits.max_planes} pages; expected the focal planes of one image",
            )
        if isinstance(page, tifffile.TiffPage) and not page.is_reduced:
            yield page


def _check_page(page: tifffile.TiffPage, size: int, where: object) -> None:
    """Raise ImageError if a page is not a grey image or its pixels are not all in the file."""
    if page.imagedepth > 1:
        raise ImageError(
            where, f"a volume of {page.imagedepth} slices in one page; expected one page per plane"
        )
    kind = (
        str(page.dtype)
        if page.dtype is not None
        else f"{page.bitspersample} bits of sample format {page.sampleformat}"
    )
    if kind not in ("uint8", "uint16") or page.bitspersample < 8:  # noqa: PLR2004 - fewer bits than a grey image has
        found = kind if page.bitspersample > 1 else "black and white, 1 bit"
        raise ImageError(where, f"pixels are {found}; expected uint8 or uint16 grey")
    photometric = tifffile.PHOTOMETRIC(page.photometric)
    if photometric not in (
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.YCBCR,
    ):
        raise ImageError(
            where,
            f"photometric interpretation is {photometric.name}; "
            "expected grey with black = 0, or RGB with equal channels",
        )
    ends = [
        offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    ]
    empty = sum(1 for count in page.databytecounts if not count)
    if not ends or empty or max(ends) > size:
        missing = (
            f"{empty or 'all'} of {len(ends)} strips are empty"
            if empty or not ends
            else f"pixels up to byte {max(ends)}, the file has {size}"
        )
        raise ImageError(where, f"cut short: {missing}; expected all pixels")


def _samples_last(page: tifffile.TiffPage) -> npt.NDArray[np.generic]:
    """Return the pixels of a page, (H, W) or (H, W, samples)."""
    pixels = page.asarray()
    planar = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    return np.moveaxis(pixels, 0, -1) if planar else pixels


def _decode_png(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the plane of a PNG, after a check of its size in the header chunk."""
    width, height = (int.from_bytes(content[start : start + 4]) for start in (16, 20))
    _check_size(width, height, where, limits)
    return RawImage((_grey(imagecodecs.png_decode(content), where),), None, ImageMetadata())


def _decode_jpeg(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the plane of a JPEG, after checks of its size and of its end."""
    _check_size(*_jpeg_size(content, where), where, limits)
    # The decoder fills missing pixels with grey and raises no error.
    if b"\xff\xd9" not in content[-65536:]:
        raise ImageError(
            where, "cut short: the JPEG's end marker is missing; expected the whole file"
        )
    return RawImage((_grey(imagecodecs.jpeg_decode(content), where),), None, ImageMetadata())


def _jpeg_size(content: bytes, where: object) -> tuple[int, int]:
    """Return width and height of a JPEG from its frame header."""
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:  # noqa: PLR2004 - every JPEG marker starts so
        marker = content[position + 1]
        if marker in _JPEG_FRAMES:
            return int.from_bytes(content[position + 7 : position + 9]), int.from_bytes(
                content[position + 5 : position + 7]
            )
        position += (
            1 if marker == 0xFF else 2 + int.from_bytes(content[position + 2 : position + 4])  # noqa: PLR2004 - fill bytes
        )
    raise ImageError(
        where, "damaged or cut short: a JPEG without a frame header; expected the whole file"
    )


def _check_size(width: int, height: int, where: object, limits: ImageLimits) -> None:
    """Raise ImageError if a plane of this size in pixels is too large or too small."""
    if width * height > limits.max_pixels:
        raise ImageError(
            where,
            f"its header says {width}×{height} pixels; "
            f"expected at most {limits.max_pixels} per plane",
        )
    if min(width, height) < limits.min_side_px:
        raise ImageError(
            where,
            f"{width}×{height} pixels; expected at least {limits.min_side_px}×{limits.min_side_px}",
        )


def _grey(pixels: npt.NDArray[np.generic], where: object) -> Plane:
    """Return the plane, (H, W), of pixels that are grey, or RGB or RGBA with equal channels."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(where, f"pixels are {pixels.dtype}; expected uint8 or uint16 grey")
    grey = cast("Plane", pixels)
    if grey.ndim == 3 and grey.shape[2] in (1, 2):  # noqa: PLR2004 - (H, W, grey and perhaps alpha)
        return cast("Plane", np.ascontiguousarray(grey[..., 0]))
    if grey.ndim == 3 and grey.shape[2] in (3, 4):  # noqa: PLR2004 - (H, W, RGB and perhaps alpha)
        return _grey_of_colour(grey, where)
    if grey.ndim != 2:  # noqa: PLR2004 - (H, W)
        raise ImageError(where, f"pixels have the shape {grey.shape}; expected one grey value each")
    return grey


def _grey_of_colour(colour: Plane, where: object) -> Plane:
    """Return the green channel, (H, W), of RGB or RGBA pixels whose three colours are equal."""
    red, green, blue = (colour[..., channel] for channel in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    difference = brightest - np.minimum(np.minimum(red, green), blue)
    white = np.iinfo(colour.dtype).max
    coloured = float((difference > GREY_TOLERANCE * white).mean())
    if coloured > GREY_EXCEPTIONS:
        raise ImageError(
            where,
            f"colour: red, green and blue differ in {coloured:.1%} of the pixels; expected grey",
        )
    return cast("Plane", np.ascontiguousarray(green))
