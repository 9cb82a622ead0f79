"""Read the tags of a MetaMorph stack (STK), which holds several planes in one page.

Format: "MetaMorph Stack (.STK) Image File Format", tags UIC1 to UIC4 (33628 to 33631), as read by
https://github.com/cgohlke/tifffile; the values of UIC1 that MetaXpress writes are in
https://github.com/ome/bioformats/pull/1792. The planes follow each other with a constant distance.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.values import positive, square_scale, unit_um

SOURCE = "MetaMorph STK"
_UIC2 = 33629
_JULIAN_OF_DAY_0 = 1_721_425  # the Julian day of date.fromordinal(0)


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the metadata of a MetaMorph stack; None if the file is none."""
    if not tif.is_stk:
        return None
    values = tif.stk_metadata or {}
    planes = plane_count(pages[0])
    problem = _problem(values, planes, len(pages))
    return FileMetadata(
        SOURCE,
        _scale(values),
        _time(pages[0]),
        pages=tuple(PageIndex(z) for z in range(planes)) if planes > 1 and not problem else (),
        problem=problem,
    )


def plane_count(page: tifffile.TiffPage) -> int:
    """Return the number of planes in a page: 1 unless it is a MetaMorph stack."""
    tag = page.tags.get(_UIC2)
    return 1 if tag is None else max(1, int(tag.count))


def _scale(values: Mapping[str, object]) -> Scale | None:
    """Return the scale; None if the stack is not calibrated."""
    x, y = (positive(values.get(f"{axis}Calibration")) for axis in "XY")
    if x is None or values.get("SpatialCalibration", 1) == 0:
        return None
    length_um = unit_um(values.get("CalibrationUnits", ""))
    if length_um is None:
        return Scale(None)
    return square_scale(x * length_um, None if y is None else y * length_um)


def _time(page: tifffile.TiffPage) -> datetime | None:
    """Return the time at which the first plane was taken; None if it is not stated."""
    uic2 = page.tags.valueof(_UIC2)
    if not isinstance(uic2, dict):
        return None
    try:
        day = int(uic2["DateCreated"][0]) - _JULIAN_OF_DAY_0
        start = datetime.fromordinal(day)
        time = start + timedelta(milliseconds=int(uic2["TimeCreated"][0]))
    except (KeyError, IndexError, ValueError, OverflowError):
        return None
    return time if 1990 <= time.year <= 2200 else None  # noqa: PLR2004 - plausible years


def _problem(values: Mapping[str, object], planes: int, pages: int) -> str:
    """Return why the planes of a stack are not focal planes; "" if they are."""
    if planes == 1:
        return ""
    if pages > 1:
        return f"a MetaMorph stack of {planes} planes with {pages} pages; expected one page"
    if (channels := _distinct(values.get("Wavelengths"))) > 1:
        return f"a stack of {channels} channels; expected the focal planes of one image"
    if not any(_is_focus(values.get(name), planes) for name in ("ZDistance", "AbsoluteZ")):
        return (
            f"a MetaMorph stack of {planes} planes without their positions in z, which may be "
            "channels or times; expected the focal planes of one image"
        )
    return ""


def _distinct(values: object) -> int:
    """Return the number of different values of the planes; 0 if they are not stated."""
    return len(np.unique(np.asarray(values))) if isinstance(values, np.ndarray) else 0


def _is_focus(values: object, planes: int) -> bool:
    """Return whether the planes have different positions, or a distance to the one before."""
    if not isinstance(values, np.ndarray) or values.shape != (planes,):
        return False
    if not np.isfinite(values).all():
        return False
    return len(np.unique(values)) == planes or bool((values[1:] != 0).all())
