"""File names of the archive: the ranked image of a visit, and its other images.

The name of a ranked image is that of :data:`acquisition.microscope.settings.ARCHIVE_PATTERN`. The
name of every other image has a part after the time, so that no reader of this pattern takes it for
a ranked image, whatever the name of the channel is.
"""

import re
from datetime import datetime

_TIME = r"\d{8}T\d{6}\.\d{3}[+-]\d{4}"
_OTHER_IMAGE = re.compile(rf"(?:^|/)[A-Z]{{1,2}}\d{{2}}_{_TIME}_[A-Za-z0-9-]+\.ome\.(?:tif|zarr)$")


def visit_file_name(well: str, taken_at: datetime, part: str = "", ending: str = ".ome.tif") -> str:
    """Return the file name of an image, from the well and the time of its first plane.

    Parameters
    ----------
    well, taken_at
        The well, and the time of the first plane.
    part
        The channel and field of an image that is not ranked; empty for the ranked image.
    ending
        The ending of the archive's format.
    """
    milliseconds = taken_at.microsecond // 1000
    time = f"{taken_at:%Y%m%dT%H%M%S}.{milliseconds:03d}{taken_at:%z}"
    return f"{well}_{time}{f'_{part}' if part else ''}{ending}"


def is_other_image(path: str) -> bool:
    """Return whether a path of the archive is that of an image that is saved and never ranked."""
    return bool(_OTHER_IMAGE.search(path))
