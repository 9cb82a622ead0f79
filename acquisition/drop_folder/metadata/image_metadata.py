"""Combine the metadata that the format modules read from one TIFF file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import tifffile

from acquisition.drop_folder.metadata import (
    gen5,
    harmony,
    imagej,
    metamorph,
    metaseries,
    micromanager,
    ome,
    shaped,
    squid,
    tiff_tags,
)
from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex
from schemas.errors import ImageError, IncompleteImageError

CREDIBLE_UM_PER_PX = (0.05, 20.0)
"""Range of plausible scales, whatever their source; 72 to 300 dots per inch are 85 to 353 µm."""

FORMATS: tuple[
    Callable[[tifffile.TiffFile, Sequence[tifffile.TiffPage]], FileMetadata | None], ...
] = (
    micromanager.read,
    ome.read,
    harmony.read,
    gen5.read,
    metaseries.read,
    metamorph.read,
    squid.read,
    imagej.read,
    shaped.read,
    tiff_tags.read,
)
"""The formats in the order in which each value is searched.

Those that describe each page come first, then the descriptions of a whole file, then the tags.
"""

MAX_TEXT_BYTES = 4_000_000
"""Largest metadata text of a page; parsed JSON takes 70 times its size in memory."""
MAX_TEXTS_BYTES = 32_000_000
"""Largest size of the metadata texts of all pages of a file."""
_TEXT_TAGS = (270, harmony.TAG, micromanager.TAG)  # 270: ImageDescription

_OTHER_STACKS = (
    "andor", "bif", "eer", "fluoview", "gel", "lsm", "ndpi", "nih", "philips", "qpi", "scanimage",
    "scn", "sis", "svs", "tvips", "vista",
)  # fmt: skip


@dataclass(frozen=True)
class ImageMetadata:
    """The scale, acquisition time and camera bits in a file; None if the file has none."""

    um_per_px: float | None = None
    taken_at: datetime | None = None  # naive if the file has no time zone
    bits: int | None = None  # significant bits of a pixel
    scale_source: str = ""  # the format that has the scale, such as "OME-XML"; "" without a scale


def full_pages(tif: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """Return the pages of a TIFF file that are not thumbnails or reduced copies."""
    tif.pages.useframes = False
    return [
        page for page in tif.pages if isinstance(page, tifffile.TiffPage) and not page.is_reduced
    ]


def read_metadata(tif: tifffile.TiffFile) -> ImageMetadata:
    """Return the scale, acquisition time and camera bits of a TIFF file.

    Each value is taken from the first of ``FORMATS`` that states it. A scale that is stated but not
    usable (x and y differ, the unit is no length, outside ``CREDIBLE_UM_PER_PX``) is not replaced
    by that of a later format: the image then has no scale.
    """
    pages = full_pages(tif)
    require_small_texts(pages, tif.filename)
    return combine(read_formats(tif, pages)) if pages else ImageMetadata()


def require_small_texts(pages: Sequence[tifffile.TiffPage], where: object) -> None:
    """Raise ImageError if a metadata text is so large that its parsing would take much memory.

    The texts of a file are not read for this check.
    """
    total = 0
    for page in pages:
        sizes = [tag.count for tag in page.tags if tag.code in _TEXT_TAGS]
        total += sum(sizes)
        if max(sizes, default=0) > MAX_TEXT_BYTES or total > MAX_TEXTS_BYTES:
            raise ImageError(
                where,
                f"{max(sizes)} bytes in one metadata text, {total} in all; expected at most "
                f"{MAX_TEXT_BYTES} in one and {MAX_TEXTS_BYTES} in all",
            )


def read_formats(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> list[FileMetadata]:
    """Return the metadata of a TIFF file in each format that it has, in the order of FORMATS."""
    return [found for read in FORMATS if (found := read(tif, pages)) is not None]


def combine(found: Sequence[FileMetadata]) -> ImageMetadata:
    """Return the ImageMetadata of a file, each value from the first format that states it."""
    um_per_px, source = None, ""
    stated = next((metadata for metadata in found if metadata.scale is not None), None)
    if stated is not None and stated.scale is not None:
        low, high = CREDIBLE_UM_PER_PX
        value = stated.scale.um_per_px
        if value is not None and low <= value <= high:
            um_per_px, source = value, stated.source
    return ImageMetadata(
        um_per_px,
        next((metadata.taken_at for metadata in found if metadata.taken_at is not None), None),
        next((metadata.bits for metadata in found if metadata.bits is not None), None),
        source,
    )


def focal_order(
    tif: tifffile.TiffFile,
    found: Sequence[FileMetadata],
    planes: int,
    where: object,
) -> list[int]:
    """Return the indexes of the planes of a file in the order of their focus.

    Parameters
    ----------
    tif
        The file.
    found
        Its metadata in each format.
    planes
        The number of its planes.
    where
        The path, for error messages.

    Raises
    ------
    IncompleteImageError
        If the file has fewer planes than its metadata describe.
    ImageError
        If the planes are channels, times or positions, or may be.
    """
    for metadata in found:
        if metadata.missing:
            raise IncompleteImageError(where, f"{metadata.missing}; expected all of them")
        if metadata.problem:
            raise ImageError(where, metadata.problem)
    if planes == 1:
        return [0]
    other = [name for name in _OTHER_STACKS if getattr(tif, f"is_{name}", False)]
    if other:
        raise ImageError(
            where,
            f"{planes} pages in the format {other[0].upper()}, whose axes are unknown; "
            "expected the focal planes of one image",
        )
    order = list(range(planes))
    for metadata in reversed(found):
        if len(metadata.pages) == planes:
            _require_one_stack(metadata, where)
            depths = [page.z for page in metadata.pages]
            if None not in depths:
                order = sorted(range(planes), key=lambda index: depths[index] or 0.0)
    return order


def _require_one_stack(metadata: FileMetadata, where: object) -> None:
    """Raise ImageError if the pages of a file differ in more than their focus."""
    pages = metadata.pages
    counts = {
        "positions": len({page.position for page in pages}),
        "channels": len({page.channel for page in pages}),
        "times": len({page.time for page in pages}),
    }
    several = [f"{count} {kind}" for kind, count in counts.items() if count > 1]
    if several:
        names = _channel_names(pages) if counts["channels"] > 1 else ""
        raise ImageError(
            where,
            f"a stack of {' and '.join(several)}{names}; expected the focal planes of one image",
        )
    depths = [page.z for page in pages if page.z is not None]
    if len(set(depths)) < len(depths):
        raise ImageError(
            where,
            f"{len(depths)} pages with {len(set(depths))} focal planes by {metadata.source}; "
            "expected one page per plane",
        )


def _channel_names(pages: Sequence[PageIndex]) -> str:
    """Return the names of the channels in brackets; "" if they have only numbers."""
    names = list(dict.fromkeys(str(page.channel) for page in pages))
    return "" if all(name.isdigit() for name in names) else f" ({', '.join(names[:6])})"
