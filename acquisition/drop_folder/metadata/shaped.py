"""Read the axes in the JSON that tifffile writes into the description of a series of pages.

Source: https://github.com/cgohlke/tifffile, "shaped" series: ``{"shape": [3, 80, 100], "axes":
"CYX"}`` in the first page of each series.
"""

import json
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex

SOURCE = "tifffile"
_FOCUS_AXES = frozenset("ZIQ")  # z, and a sequence of no stated kind
_TIME_AXES = frozenset("TEF")
_MOST_PAGES = 1_000_000  # of one series; a larger number is damaged


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return FileMetadata with the axes that tifffile wrote into an open TIFF; None if absent."""
    del tif  # the first page of each series describes it
    found: list[PageIndex] = []
    is_shaped = False
    for page in pages:
        shape, axes = _series(page)
        is_shaped = is_shaped or bool(shape)
        if shape and len(found) < len(pages):
            found += _pages(shape, axes, len(found))
    if not is_shaped or len(pages) == 1:
        return None
    if len(found) != len(pages):
        return FileMetadata(SOURCE)  # pages that were appended by another program
    return FileMetadata(SOURCE, pages=tuple(found))


def _series(page: tifffile.TiffPage) -> tuple[list[int], str]:
    """Return the shape and axes of the series that starts with a page; empty if none does."""
    text = page.shaped_description
    if not text or not text.startswith("{"):
        return [], ""
    try:
        values = json.loads(text)
        shape = [int(size) for size in values["shape"]]
    except (ValueError, KeyError, TypeError):
        return [], ""
    axes = str(values.get("axes", "")).upper()
    if min(shape, default=0) < 1 or len(axes) not in (0, len(shape)):
        return [], ""
    return shape, axes or "Q" * max(0, len(shape) - 2) + "YX"


def _pages(shape: list[int], axes: str, first: int) -> Iterator[PageIndex]:
    """Yield the place of each page of a series; ``first`` numbers the series' focal planes."""
    outer = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "YXS"]
    if math.prod(size for _, size in outer) > _MOST_PAGES:
        return
    for place in np.ndindex(*(size for _, size in outer)):
        at = {axis: index for (axis, _), index in zip(outer, place, strict=True)}
        depth = [index for axis, index in at.items() if axis in _FOCUS_AXES]
        others = {axis: index for axis, index in at.items() if axis not in _FOCUS_AXES}
        channel = others.pop("C", 0)
        time = [index for axis, index in others.items() if axis in _TIME_AXES]
        rest = [index for axis, index in others.items() if axis not in _TIME_AXES]
        yield PageIndex(
            float(first + (depth[0] if depth else 0)) if len(depth) <= 1 else None,
            channel,
            "/".join(map(str, time)) or 0,
            "/".join(map(str, rest)) or 0,
        )
