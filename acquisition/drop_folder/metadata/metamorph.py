"""Read the tags of a MetaMorph stack (STK), which holds several planes in one page.

Format: "MetaMorph Stack (.STK) Image File Format", tags UIC1 to UIC4 (33628 to 33631), as read by
https://github.com/cgohlke/tifffile; the values of UIC1 that MetaXpress writes are in
https://github.com/ome/bioformats/pull/1792. The planes follow each other with a constant distance.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.values import positive, square_scale, time_of, unit_um

SOURCE = "MetaMorph STK"
_UIC_TAGS = (33628, 33630, 33631, 33629)  # the values of a later one replace those before
_UIC2 = 33629
_JULIAN_OF_DAY_0 = 1_721_425  # the Julian day of date.fromordinal(0)


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata of an open MetaMorph stack file; None for other TIFF files."""
    del tif  # the first page has all tags
    found = [pages[0].tags.valueof(code) for code in _UIC_TAGS]
    if all(value is None for value in found):
        return None
    values = {name: value for tag in found if isinstance(tag, dict) for name, value in tag.items()}
    planes = plane_count(pages[0])
    problem = _problem(values, planes, len(pages))
    return FileMetadata(
        SOURCE,
        _scale(values),
        _time(values),
        pages=tuple(PageIndex(z) for z in range(planes)) if planes > 1 and not problem else (),
        problem=problem,
    )


def plane_count(page: tifffile.TiffPage) -> int:
    """Return the number of planes in a page: 1 unless it is a MetaMorph stack."""
    tag = page.tags.get(_UIC2)
    return 1 if tag is None else max(1, int(tag.count))


def _scale(values: Mapping[str, object]) -> Scale | None:
    """Return the scale in the values of a stack; None if the stack is not calibrated."""
    x, y = (positive(values.get(f"{axis}Calibration")) for axis in "XY")
    if x is None or values.get("SpatialCalibration", 1) == 0:
        return None
    length_um = unit_um(values.get("CalibrationUnits", ""))
    if length_um is None:
        return Scale(None)
    return square_scale(x * length_um, None if y is None else y * length_um)


def _time(values: Mapping[str, Any]) -> datetime | None:
    """Return the time at which the first plane was taken; None if it is not stated."""
    try:
        day = int(values["DateCreated"][0]) - _JULIAN_OF_DAY_0
        time = datetime.fromordinal(day) + timedelta(milliseconds=int(values["TimeCreated"][0]))
    except (KeyError, IndexError, ValueError, OverflowError):
        return time_of(values.get("CreateTime", ""))  # of a file with one plane
    return time_of(time)


def _problem(values: Mapping[str, object], planes: int, pages: int) -> str:
    """Return as text why the planes of a stack are not focal planes; "" if they are."""
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
