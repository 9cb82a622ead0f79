"""Read the tags of the TIFF standard: scale, time, and names and times of pages.

Format: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf (XResolution, YResolution,
ResolutionUnit, DateTime, PageName). Programs without a scale write 72 to 300 dots per inch.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.values import number, square_scale, time_of

SOURCE = "TIFF resolution tags"
LONGEST_STACK = timedelta(hours=1)
"""Longest time between the pages of one focal stack; pages further apart are time points."""

_UNITS_UM = {2: 25_400.0, 3: 10_000.0}  # ResolutionUnit: inch, centimetre
_FOCUS_WORDS = frozenset(
    {"", "z", "zum", "um", "slice", "plane", "page", "focus", "section", "layer", "depth", "zslice"}
)


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata in the standard tags of the pages of an open TIFF file."""
    del tif  # the standard tags are those of the pages
    scales = {_page_scale(page) for page in pages}
    times = [time_of(page.tags.valueof("DateTime", default="")) for page in pages]
    return FileMetadata(
        SOURCE,
        scales.pop() if len(scales) == 1 else Scale(None),
        times[0],
        pages=_named_pages(pages) if len(pages) > 1 else (),
        problem=time_problem(times),
    )


def resolution_scale(page: tifffile.TiffPage, unit_um: float) -> Scale | None:
    """Return the Scale, in µm per pixel, of the resolution tags of a page; None if one is missing.

    Parameters
    ----------
    page
        The page.
    unit_um
        The length of the unit in µm.

    Returns
    -------
    Scale or None
        None if a tag is missing; a scale without a value if x and y differ.
    """
    sizes = [_unit_per_pixel(page.tags.valueof(name)) for name in ("XResolution", "YResolution")]
    if None in sizes:
        return None
    x_um, y_um = (size * unit_um for size in sizes if size is not None)
    return square_scale(x_um, y_um)


def time_problem(times: Sequence[datetime | None]) -> str:
    """Return as text that page times are too far apart for one focal stack; "" if they are not."""
    known = [time.replace(tzinfo=None) for time in times if time is not None]
    if len(known) > 1 and (span := max(known) - min(known)) > LONGEST_STACK:
        hours = span / timedelta(hours=1)
        return (
            f"its pages were taken within {hours:.1f} hours; expected the focal planes of one image"
        )
    return ""


def _page_scale(page: tifffile.TiffPage) -> Scale | None:
    """Return the scale of one page in inches or centimetres; None if it is not stated."""
    unit = number(page.tags.valueof("ResolutionUnit", default=2))
    length_um = _UNITS_UM.get(int(unit)) if unit is not None else None
    return None if length_um is None else resolution_scale(page, length_um)


def _unit_per_pixel(rational: object) -> float | None:
    """Return the inverse of a rational number of a tag; None if it is missing or zero."""
    if isinstance(rational, tuple) and len(rational) == 2 and all(rational):  # noqa: PLR2004
        return float(rational[1]) / float(rational[0])
    return None


def _named_pages(pages: Sequence[tifffile.TiffPage]) -> tuple[PageIndex, ...]:
    """Return the PageIndex of each page from its name; empty if the pages have no names.

    Names that differ in more than a number, such as ``BF`` and ``GFP``, are channels.
    """
    names = [str(page.tags.valueof("PageName", default="")).strip("\0 ") for page in pages]
    words = [re.sub(r"[\W\d_]+", "", name).casefold().replace("µ", "u") for name in names]
    if not any(names) or (len(set(words)) == 1 and words[0] in _FOCUS_WORDS):
        return ()
    return tuple(PageIndex(channel=name) for name in names)
