"""Read the tag that Micro-Manager 1.4 and 2 write into each page of a TIFF.

Format: https://micro-manager.org/Micro-Manager_File_Formats; the tag 51123 of each page holds JSON
(https://github.com/cgohlke/tifffile/issues/39). The time is ``Time`` in version 1.4 and
``ReceivedTime`` in version 2. Files of NDTiff have the place of a page in ``Axes``
(https://github.com/micro-manager/NDTiffStorage).
"""

import json
from collections.abc import Mapping, Sequence

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex, Scale
from acquisition.drop_folder.metadata.values import earliest, number, positive, time_of

SOURCE = "Micro-Manager"
TAG = 51123
_AXES = {
    "z": "SliceIndex",
    "channel": "ChannelIndex",
    "time": "FrameIndex",
    "position": "PositionIndex",
}
"""The axes of NDTiff with the name of the same value in other files of Micro-Manager."""


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata of an open TIFF file from Micro-Manager; None for other files."""
    del tif  # each page describes itself
    found = [_values(page) for page in pages]
    known = [values for values in found if values is not None]
    if not known:
        return None
    scales = {_scale(values) for values in known}
    bits = {round(number(values.get("BitDepth")) or 0) for values in known}
    times = [time_of(values.get("ReceivedTime", values.get("Time", ""))) for values in known]
    return FileMetadata(
        SOURCE,
        scales.pop() if len(scales) == 1 else Scale(None),
        earliest(times),
        next(iter(bits)) if len(bits) == 1 and 8 <= min(bits) <= 16 else None,  # noqa: PLR2004
        pages=tuple(_page(values) for values in known) if len(known) == len(pages) else (),
        problem=(
            f"Micro-Manager describes {len(known)} of its {len(pages)} pages; expected all of them"
            if len(known) < len(pages)
            else ""
        ),
    )


def _values(page: tifffile.TiffPage) -> Mapping[str, object] | None:
    """Return the values that Micro-Manager wrote for a page, by name; None if there are none."""
    value = page.tags.valueof(TAG)
    if isinstance(value, (str, bytes)):
        try:
            value = json.loads(value.strip("\0") if isinstance(value, str) else value.strip(b"\0"))
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    values = {
        str(name): entry.get("PropVal") if isinstance(entry, dict) else entry
        for name, entry in value.items()
    }
    axes = value.get("Axes")
    if isinstance(axes, dict):
        values |= {index: axes[axis] for axis, index in _AXES.items() if axis in axes}
    return values


def _scale(values: Mapping[str, object]) -> Scale | None:
    """Return the scale in the values of a page; None if the microscope was not calibrated."""
    size = positive(values.get("PixelSizeUm"))
    if size is None:
        return None
    aspect = positive(values.get("PixelAspect")) or 1.0
    return Scale(size if aspect == 1 else None)


def _page(values: Mapping[str, object]) -> PageIndex:
    """Return the place of a page in the axes of its acquisition from the values of the page."""
    z = number(values.get("SliceIndex", values.get("Slice")))
    named = [
        values.get(name, values.get(other))
        for name, other in (
            ("ChannelIndex", "Channel"),
            ("FrameIndex", "Frame"),
            ("PositionIndex", "PositionName"),
        )
    ]
    channel, time, position = (None if value is None else str(value) for value in named)
    return PageIndex(z, channel, time, position)
