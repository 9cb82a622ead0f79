"""Read the JSON that Squid (Cephla) writes into each page of a multi-page TIFF.

Source: https://github.com/Cephla-Lab/Squid, docs/data-saving and ``SaveImageJob``: the description
has ``z_level``, ``channel``, ``region_id``, ``fov`` and ``time``; the tag PageName has the channel.
The scale is in a file beside the images, not in the TIFF.
"""

import json
from collections.abc import Mapping, Sequence

import tifffile

from acquisition.drop_folder.metadata.statements import FileMetadata, PageIndex
from acquisition.drop_folder.metadata.values import earliest, number, time_of

SOURCE = "Squid"


def read(tif: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> FileMetadata | None:
    """Return the FileMetadata of an open TIFF file from Squid; None for a file from elsewhere."""
    del tif  # each page describes itself
    found = [_values(page) for page in pages]
    known = [values for values in found if values is not None]
    if not known:
        return None
    return FileMetadata(
        SOURCE,
        taken_at=earliest(time_of(values.get("time", "")) for values in known),
        pages=tuple(_page(values, page) for values, page in zip(known, pages, strict=False)),
        problem=(
            f"Squid describes {len(known)} of its {len(pages)} pages; expected all of them"
            if len(known) < len(pages)
            else ""
        ),
    )


def _values(page: tifffile.TiffPage) -> Mapping[str, object] | None:
    """Return the JSON values of a page by name; None if the page is not from Squid."""
    if not page.description.startswith("{"):
        return None
    try:
        values = json.loads(page.description)
    except ValueError:
        return None
    return values if isinstance(values, dict) and "z_level" in values else None


def _page(values: Mapping[str, object], page: tifffile.TiffPage) -> PageIndex:
    """Return the place of a page in the axes of its acquisition from the values of the page."""
    names = (values.get("channel"), page.tags.valueof("PageName", default=None))
    channel = "/".join(dict.fromkeys(str(name).strip("\0 ") for name in names if name))
    position = f"{values.get('region_id', '')}/{values.get('fov', '')}"
    time = values.get("time_point")
    return PageIndex(
        number(values.get("z_level")),
        channel or None,
        None if time is None else str(time),
        position,
    )
