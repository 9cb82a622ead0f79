"""A well image with its files and pixels, before it is embedded; rejected files; source status."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from schemas.arrays import Uint16Array
from schemas.quality import Flag
from schemas.scale import FileScale

_FIELD = re.compile(r"-f(\d+)$")
_LAST_NS = 2**63 - 1  # a database stores 64 bits; some file systems allow later times


@dataclass(frozen=True, order=True)
class FileVersion:
    """One version of one file; a file with another size or time is another version.

    ``path`` is relative to the drop folder.
    """

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> "FileVersion":
        """Return the version of a file from its path below the drop folder and its stat result.

        A modification time outside the years 1677 to 2262 is replaced by the nearest of these.
        """
        return cls(path, status.st_size, min(max(status.st_mtime_ns, -_LAST_NS), _LAST_NS))

    @property
    def modified_at(self) -> datetime:
        """Modification time of the file, in UTC."""
        return datetime.fromtimestamp(self.mtime_ns / 1e9, tz=UTC)


@dataclass(frozen=True, order=True)
class VisitKey:
    """Identity of one imaging of one well; a new version of the visit replaces the previous one.

    ``visit`` is unique within plate, run and well, and sorts by time within a day. Examples:
    ``day07``, ``day07-20261116T150000``, ``day08-007d06h00m``, ``day07-f02``.

    ``run`` is the number of the use of the plate id, as in the plate map; 0 for an image that was
    outside the run of its plate when it arrived. A source does not know it.
    """

    plate: str
    well: str
    visit: str
    run: int = 1

    @property
    def field(self) -> int | None:
        """The field (site) in the name of the visit; None if it has none."""
        found = _FIELD.search(self.visit)
        return int(found[1]) if found else None


@dataclass(frozen=True, eq=False)
class WellImage:
    """All planes of one well at one time: the unit that is embedded."""

    key: VisitKey
    day: int
    """Culture day, from 1."""
    taken_at: datetime | None
    """Time in the file name, else in the TIFF; None if neither contains it."""
    files: tuple[FileVersion, ...]
    planes: Uint16Array
    """(planes, H, W), scaled so that white is 65535 for every bit depth."""
    um_per_px: float | None
    """The scale to measure with, as :func:`schemas.scale.decide_scale` decides."""
    complete: bool
    """True if every expected plane is present."""
    flags: tuple[Flag, ...] = ()
    """Flags that follow from reading the files: PLANES_MISSING, and others."""
    file_scales: tuple[FileScale, ...] = ()
    """The different scales in the metadata of the files."""
    day_from_time: bool = False
    """True if the culture day follows from a time and ``seeded_at``; False if the name has it."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of pixels, scale and scales of the files; equal content has one digest."""
        scales = [self.um_per_px, *(scale.um_per_px for scale in self.file_scales)]
        return hashlib.sha256(f"{self.pixel_digest} {scales}".encode()).hexdigest()

    @cached_property
    def pixel_digest(self) -> str:
        """SHA-256 of the pixels and their shape."""
        content = hashlib.sha256(repr(self.planes.shape).encode())
        content.update(np.ascontiguousarray(self.planes).data)
        return content.hexdigest()


@dataclass(frozen=True)
class Rejected:
    """Files that cannot become a well image, with the reason.

    ``plate`` and ``well`` are empty if the file name does not contain them.
    """

    files: tuple[FileVersion, ...]
    reason: str
    plate: str = ""
    well: str = ""


@dataclass(frozen=True, order=True)
class PendingImages:
    """Well images of one plate that are pending for one reason."""

    plate: str
    reason: str
    images: int


@dataclass(frozen=True)
class SourceStatus:
    """State of the image source: pending images, problems of plates, and why it is gone."""

    pending: dict[str, int] = field(default_factory=dict)
    """Number of well images that were found and not yet ingested, by plate."""
    held: dict[str, str] = field(default_factory=dict)
    """Reason why the images of a plate are pending (no valid plate map), by plate."""
    wrong_assays: dict[str, str] = field(default_factory=dict)
    """Problem of the assay file, by plate."""
    unread_assays: frozenset[str] = frozenset()
    """Plates whose first assay is still being written; they are pending too."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Reason why a file or its well image cannot be read or processed now, by path."""
    waiting: tuple[PendingImages, ...] = ()
    """Every pending well image by plate and reason, also those of pending plates, whose wells with
    new files are counted.
    """
    gone: str | None = None
    """Reason why the folder cannot be read; None while it can."""
    is_listed: bool = True
    """False until the folder was listed for the first time; any image may be pending then."""
