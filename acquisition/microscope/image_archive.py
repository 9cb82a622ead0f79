"""The archive of well images: one OME-TIFF file per image, in the layout of a drop folder.

A file is either complete or absent, and is never overwritten.
"""

import shutil
from datetime import timedelta
from pathlib import Path

from acquisition.durable_files import make_folder, write_durably
from acquisition.microscope.archive_names import visit_file_name
from acquisition.microscope.ome_tiff import WellFrames, encode_ome_tiff
from acquisition.ports import FrameFormat
from schemas.errors import OutputError

_MAX_METADATA_BYTES = 64 * 1024  # of one file


def prepare_day_folder(root: Path, plate: str, day: int) -> None:
    """Make the folder of a plate (id) and culture day in the archive; remove half-written files.

    Raises
    ------
    OutputError
        If the folder cannot be made or listed.
    """
    folder = _day_folder(root, plate, day)
    try:
        make_folder(folder)
        for leftover in folder.glob(".*.ome.tif.part"):
            leftover.unlink()
    except OSError as error:
        raise OutputError(
            folder, f"cannot be made or cleared ({error.strerror}); expected a writable archive"
        ) from error


def save_visit(root: Path, visit: WellFrames) -> Path:
    """Write the frames of one visit as an OME-TIFF file into the archive and return its path.

    The folder of the day must exist, see :func:`prepare_day_folder`. It is not made here: if the
    archive's share is unmounted, nothing may be written below the empty mount point.

    Raises
    ------
    MicroscopeError
        If the frames do not have the format of the camera.
    OutputError
        If the file cannot be written; nothing is left behind.
    """
    content = encode_ome_tiff(visit)
    folder = _day_folder(root, visit.plate, visit.day)
    if not folder.is_dir():
        raise OutputError(
            folder,
            "does not exist any more; expected the folder of this day's images "
            "(is the archive's share mounted?)",
        )
    at = visit.taken_at
    while (path := folder / visit_file_name(visit.well, at, visit.part)).exists():
        at += timedelta(milliseconds=1)  # the camera's clock stopped
    write_durably(path, content)
    return path


def bytes_needed(frame_format: FrameFormat, planes: int, wells: int) -> int:
    """Return the bytes of ``wells`` visits with ``planes`` frames of a format each."""
    return wells * (planes * frame_format.frame_bytes + _MAX_METADATA_BYTES)


def check_free_space(root: Path, needed: int, keep_free: int) -> None:
    """Raise OutputError unless the archive's disk has ``needed`` + ``keep_free`` bytes free.

    Parameters
    ----------
    needed
        Bytes to be written.
    keep_free
        Bytes that have to stay free.
    """
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    try:
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise OutputError(
            root,
            f"its free space cannot be read ({error.strerror}); expected a readable folder",
        ) from error
    if free < needed + keep_free:
        raise OutputError(
            root,
            f"{free} bytes free; expected {needed + keep_free}: "
            f"{needed} for the images and {keep_free} that must stay free",
        )


def _day_folder(root: Path, plate: str, day: int) -> Path:
    """Return the folder of a plate's culture day in the archive."""
    return root / plate / f"day{day:02d}"
