"""Check the header of a TIFF page and decode its pixels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tifffile

from acquisition.drop_folder.metadata.metamorph import plane_count
from schemas.errors import ImageError, IncompleteImageError

_MOST_DECODED_OVERHEAD = 4  # a tile may be larger than the page, but not by more
_COLOUR_SAMPLES = 3


def require_grey_page(page: tifffile.TiffPage, where: object) -> None:
    """Raise ImageError unless the header of a page describes grey pixels, or RGB."""
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
    _require_known_samples(page, photometric, where)
    if page.is_tiled and not 0 < page.tilewidth * page.tilelength <= max(
        _MOST_DECODED_OVERHEAD * page.imagewidth * page.imagelength, 2**20
    ):
        raise ImageError(
            where,
            f"damaged: tiles of {page.tilewidth}×{page.tilelength} pixels for "
            f"{page.imagewidth}×{page.imagelength}; expected tiles within the image",
        )


def _require_known_samples(
    page: tifffile.TiffPage, photometric: tifffile.PHOTOMETRIC, where: object
) -> None:
    """Raise ImageError unless the samples of a pixel are grey or RGB, and perhaps alpha."""
    base = 1 if photometric == tifffile.PHOTOMETRIC.MINISBLACK else _COLOUR_SAMPLES
    extra = page.samplesperpixel - base
    alpha = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
    is_alpha = extra == 1 and len(page.extrasamples) == 1 and page.extrasamples[0] in alpha
    if extra and not is_alpha:
        names = "grey" if base == 1 else "red, green, blue"
        raise ImageError(
            where,
            f"{page.samplesperpixel} samples per pixel: {names}, and others that are not declared "
            f"as alpha (ExtraSamples) and may be channels; expected {names}, and perhaps alpha",
        )


def require_segments(page: tifffile.TiffPage, size: int, where: object) -> None:
    """Raise IncompleteImageError unless all strips or tiles of a page are within the file."""
    counts, offsets = page.databytecounts, page.dataoffsets
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    empty = sum(1 for offset, count in zip(offsets, counts, strict=False) if not (offset and count))
    end = max(ends, default=0) + (plane_count(page) - 1) * plane_distance(page)
    if not ends or empty or end > size:
        missing = (
            f"{empty or 'all'} of {len(ends)} strips are empty"
            if empty or not ends
            else f"pixels up to byte {end}, the file has {size}"
        )
        raise IncompleteImageError(where, f"cut short: {missing}; expected all pixels")


def plane_distance(page: tifffile.TiffPage) -> int:
    """Return the bytes from one plane to the next in a page of a MetaMorph stack."""
    if not page.dataoffsets or not page.databytecounts:
        return 0
    return int(page.dataoffsets[-1] + page.databytecounts[-1] - page.dataoffsets[0])


def decode_page(
    page: tifffile.TiffPage, content: bytes, where: object
) -> Sequence[npt.NDArray[np.generic]]:
    """Return the decoded planes of a TIFF page, (H, W) or (H, W, samples) each: one or a stack.

    Each is (H, W) or (H, W, samples).

    Raises
    ------
    ImageError
        If the size of the decoded pixels is not that of the header.
    """
    planes = plane_count(page)
    decoded = [page.asarray()] if planes == 1 else _stack_planes(page, planes, content, where)
    is_planar = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    arrays = [np.moveaxis(pixels, 0, -1) if is_planar else pixels for pixels in decoded]
    for pixels in arrays:
        if pixels.shape[:2] != (page.imagelength, page.imagewidth):
            raise ImageError(
                where,
                f"damaged: {pixels.shape} pixels are decoded; "
                f"expected {page.imagewidth}×{page.imagelength}, as its header says",
            )
    return arrays


def _stack_planes(
    page: tifffile.TiffPage, planes: int, content: bytes, where: object
) -> list[npt.NDArray[np.generic]]:
    """Return the planes of a MetaMorph stack, which follow each other in the file."""
    distance = plane_distance(page)
    if page.compression != tifffile.COMPRESSION.NONE or page.is_tiled or distance != page.nbytes:
        raise ImageError(
            where,
            f"a MetaMorph stack of {planes} planes with compressed or separated pixels; "
            "expected pixels without compression",
        )
    kind = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    start = int(page.dataoffsets[0])
    return [
        np.frombuffer(content, kind, page.nbytes // kind.itemsize, start + plane * distance)
        .reshape(page.shape)
        .astype(kind.newbyteorder("="))
        for plane in range(planes)
    ]
