"""From a file's bytes to grey planes. Whatever is not a grey image within the limits is refused with the reason, before memory is taken for it."""

import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from acquisition.drop_folder.image_metadata import ImageMetadata, read_metadata, stack_problem
from acquisition.drop_folder.naming import IMAGE_SUFFIXES
from schemas.errors import ImageError
from schemas.well_image import FileVersion

# tifffile reports oddities to the log; those that matter are looked for here and refuse the file, the others are noise on stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

GREY_TOLERANCE = (
    0.06  # of white: how far R, G and B may lie apart; JPEG's chroma is coarser than its grey
)
GREY_EXCEPTIONS = 0.001  # share of the pixels that may lie further apart
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
    """What a file may ask of us."""

    max_pixels: int = 100_000_000  # of one plane
    max_file_bytes: int = 2_000_000_000  # as it lies on the disk, and decoded
    max_planes: int = 200  # pages of one file
    min_side_px: int = 64


@dataclass(frozen=True, eq=False)
class RawImage:
    """The planes of one file as the camera wrote them."""

    planes: tuple[Plane, ...]  # each (H, W), all of one shape and dtype
    bits: (
        int | None
    )  # significant bits, where the file says; None for uint16 whose range only its maximum tells
    metadata: ImageMetadata


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One file on its own, ready to be looked at."""

    planes: npt.NDArray[np.uint16]  # (planes, H, W), stretched so that white = 65535
    um_per_px: float | None
    taken_at: datetime | None  # naive where the file has no time zone


def read_image(
    path: Path, *, bits: int | None = None, limits: ImageLimits | None = None
) -> ReadImage:
    """Return all planes of one file and what it says about itself.

    Raises
    ------
    ImageError
        With the reason, if the file is not a grey image within the limits.
    """
    limits = limits or ImageLimits()
    try:
        size = path.stat().st_size
        if size > limits.max_file_bytes:
            raise ImageError(path, f"{size} bytes; expected at most {limits.max_file_bytes}")
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror}") from error
    image = decode(content, path, limits)
    return ReadImage(
        stretch((image,), path, bits=bits), image.metadata.um_per_px, image.metadata.taken_at
    )


def read_version(root: Path, version: FileVersion, limits: ImageLimits) -> RawImage | None:
    """Return the planes of this version of a file below ``root``; None if it is there no more, or is another version by now.

    Raises
    ------
    ImageError
        With the reason, if it is not a grey image within the limits.
    """
    if version.size > limits.max_file_bytes:
        raise ImageError(
            version.path, f"{version.size} bytes; expected at most {limits.max_file_bytes}"
        )
    try:
        with (root / version.path).open("rb") as file:
            before = os.fstat(file.fileno())
            content = file.read(version.size + 1)
            after = os.fstat(file.fileno())
    except PermissionError as error:
        raise ImageError(version.path, f"cannot be read: {error.strerror}") from error
    except OSError:  # gone, or the share is: the next listing will tell
        return None
    if any(
        (status.st_size, status.st_mtime_ns) != (version.size, version.mtime_ns)
        for status in (before, after)
    ):
        return None
    return decode(content, version.path, limits)


FileResult = RawImage | ImageError | None
"""What became of reading one file; None: it is no longer there as that version."""


def read_versions(
    root: Path, versions: tuple[FileVersion, ...], limits: ImageLimits, *, one_plane: bool
) -> tuple[FileResult, ...]:
    """Read the files of one well image; ``one_plane``: each is one plane, as its name says which."""
    results: list[FileResult] = []
    for version in versions:
        try:
            image = read_version(root, version, limits)
            if one_plane and image is not None and len(image.planes) > 1:
                results.append(
                    ImageError(
                        version.path,
                        f"{len(image.planes)} pages; expected one, as the name says which plane it is",
                    )
                )
            else:
                results.append(image)
        except ImageError as error:
            results.append(error)
    return tuple(results)


def read_time(root: Path, version: FileVersion) -> datetime | None:
    """Return when a TIFF says that it was taken, from its header alone; None for whatever else."""
    try:
        with tifffile.TiffFile(root / version.path) as tif:
            return read_metadata(tif).taken_at
    except Exception:  # noqa: BLE001 - whatever is wrong with the file is found and said when its pixels are read
        return None


def decode(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    """Return the planes of a file's content; ``where`` names it in errors.

    Raises
    ------
    ImageError
        With the reason, if it is not a grey image within the limits.
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
    except Exception as error:  # a decoder fails on foreign bytes in any way it likes; whichever it is, this file cannot be used
        raise ImageError(
            where,
            f"damaged or cut short: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
        ) from error
    raise ImageError(where, f"starts with {content[:8]!r}; expected a TIFF, PNG or JPEG image")


def stretch(
    images: tuple[RawImage, ...], where: object, *, bits: int | None
) -> npt.NDArray[np.uint16]:
    """Return the planes of one well image, (planes, H, W) uint16, so that white = 65535.

    White is the same for all planes: 255 for uint8; for uint16 ``bits`` where it is set, else what the file says, else 12 bits when nothing in
    the well image is brighter than 4095, else 16.

    Raises
    ------
    ImageError
        If the planes differ in shape or dtype, or are brighter than ``bits`` allow.
    """
    planes = [plane for image in images for plane in image.planes]
    kinds = sorted({f"{plane.shape[1]}×{plane.shape[0]} {plane.dtype}" for plane in planes})
    if len(kinds) > 1:
        raise ImageError(where, f"its planes are {' and '.join(kinds)}; expected one size and kind")
    stack = np.stack(planes)
    if stack.dtype == np.uint8:
        return stack.astype(np.uint16) * np.uint16(257)
    brightest = int(stack.max())
    known_bits = (
        bits
        or max((image.bits or 0 for image in images), default=0)
        or (12 if brightest <= 4095 else 16)  # noqa: PLR2004 - 12 bits
    )
    white = 2**known_bits - 1
    if brightest > white:
        raise ImageError(
            where, f"a pixel is {brightest}; expected at most {white}, as source.bits is {bits}"
        )
    if white == np.iinfo(np.uint16).max:
        return stack.astype(np.uint16, copy=False)
    table = ((np.arange(white + 1, dtype=np.uint64) * 65535 + white // 2) // white).astype(
        np.uint16
    )
    return np.asarray(table[stack])


def _decode_tiff(content: bytes, where: object, limits: ImageLimits) -> RawImage:
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
        return RawImage(
            planes,
            _known_bits(planes, {page.bitspersample for page in pages}.pop(), metadata.bits),
            metadata,
        )


def _known_bits(planes: tuple[Plane, ...], stored: int, camera: int | None) -> int | None:
    """Return the bits that pixels are packed in, else the camera's, unless a pixel is brighter than these allow; None for uint8."""
    if planes[0].dtype != np.uint16:
        return None
    if stored < 16:  # noqa: PLR2004 - packed 10 or 12 bits
        return stored
    return (
        camera
        if camera is not None and max(int(plane.max()) for plane in planes) < 2**camera
        else None
    )


def _full_pages(
    tif: tifffile.TiffFile, where: object, limits: ImageLimits
) -> Iterator[tifffile.TiffPage]:
    """Yield the pages but thumbnails, as long as they are not too many."""
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
    """Refuse what is no grey image, and a page whose pixels are not all in the file."""
    if page.imagedepth > 1:
        raise ImageError(
            where, f"a volume of {page.imagedepth} slices in one page; expected one page a plane"
        )
    kind = (
        str(page.dtype)
        if page.dtype is not None
        else f"{page.bitspersample} bits of sample format {page.sampleformat}"
    )
    if kind not in ("uint8", "uint16") or page.bitspersample < 8:  # noqa: PLR2004 - fewer bits than a grey image has
        raise ImageError(
            where,
            f"pixels are {kind if page.bitspersample > 1 else 'black and white, 1 bit'}; expected uint8 or uint16 grey",
        )
    photometric = tifffile.PHOTOMETRIC(page.photometric)
    if photometric not in (
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.YCBCR,
    ):
        raise ImageError(
            where,
            f"photometric interpretation is {photometric.name}; expected grey with black = 0, or RGB that is grey",
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
    """Return the page's pixels, (H, W) or (H, W, samples)."""
    pixels = page.asarray()
    planar = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    return np.moveaxis(pixels, 0, -1) if planar else pixels


def _decode_png(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    width, height = (
        int.from_bytes(content[start : start + 4]) for start in (16, 20)
    )  # the IHDR chunk always comes first
    _check_size(width, height, where, limits)
    return RawImage((_grey(imagecodecs.png_decode(content), where),), None, ImageMetadata())


def _decode_jpeg(content: bytes, where: object, limits: ImageLimits) -> RawImage:
    _check_size(*_jpeg_size(content, where), where, limits)
    if (
        b"\xff\xd9" not in content[-65536:]
    ):  # a decoder fills what is missing with grey and says nothing
        raise ImageError(
            where, "cut short: the JPEG's end marker is missing; expected the whole file"
        )
    return RawImage((_grey(imagecodecs.jpeg_decode(content), where),), None, ImageMetadata())


def _jpeg_size(content: bytes, where: object) -> tuple[int, int]:
    """Return width and height from the frame header, walking the segments before it."""
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
    if width * height > limits.max_pixels:
        raise ImageError(
            where, f"claims {width}×{height} pixels; expected at most {limits.max_pixels} a plane"
        )
    if min(width, height) < limits.min_side_px:
        raise ImageError(
            where,
            f"{width}×{height} pixels; expected at least {limits.min_side_px}×{limits.min_side_px}",
        )


def _grey(pixels: npt.NDArray[np.generic], where: object) -> Plane:
    """Return (H, W) of grey, or of RGB or RGBA that is grey inside."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(where, f"pixels are {pixels.dtype}; expected uint8 or uint16 grey")
    grey = cast("Plane", pixels)
    if grey.ndim == 3 and grey.shape[2] in (1, 2):  # noqa: PLR2004 - (H, W, grey and perhaps alpha)
        return cast("Plane", np.ascontiguousarray(grey[..., 0]))
    if grey.ndim == 3 and grey.shape[2] in (3, 4):  # noqa: PLR2004 - (H, W, RGB and perhaps alpha)
        return _grey_inside(grey, where)
    if grey.ndim != 2:  # noqa: PLR2004 - (H, W)
        raise ImageError(where, f"pixels have the shape {grey.shape}; expected one grey value each")
    return grey


def _grey_inside(colour: Plane, where: object) -> Plane:
    red, green, blue = (colour[..., channel] for channel in range(3))
    apart = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    white = np.iinfo(colour.dtype).max
    coloured = float((apart > GREY_TOLERANCE * white).mean())
    if coloured > GREY_EXCEPTIONS:
        raise ImageError(
            where,
            f"colour: red, green and blue differ in {coloured:.1%} of the pixels; expected grey",
        )
    return cast("Plane", np.ascontiguousarray(green))
