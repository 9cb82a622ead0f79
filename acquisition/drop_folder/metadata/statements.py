"""The data that one format module reads from a TIFF file."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Scale:
    """The scale that a file states; ``um_per_px`` is None if it is stated but cannot be used."""

    um_per_px: float | None


@dataclass(frozen=True)
class PageIndex:
    """The place of one page in the axes of its file; None for an axis that is not stated.

    Equal values mean the same focus, channel, time point or position.
    """

    z: float | None = None
    channel: str | int | None = None
    time: str | int | None = None
    position: str | int | None = None


@dataclass(frozen=True)
class FileMetadata:
    """The metadata of a TIFF file in one format."""

    source: str  # the name of the format, for reports
    scale: Scale | None = None  # None: not stated, so that the next format is tried
    taken_at: datetime | None = None  # naive if the file has no time zone
    bits: int | None = None  # significant bits of a pixel
    pages: tuple[PageIndex, ...] = ()  # one for each page of full size; empty if not stated
    missing: str = ""  # the planes that the file should have but has not; "" if none
    problem: str = ""  # the reason why the pages are not focal planes; "" if none is known
