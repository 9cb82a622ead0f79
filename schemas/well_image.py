"""One visit to one well, from the files that were found to the pixels that are embedded."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from schemas.quality import Flag


@dataclass(frozen=True, order=True)
class FileVersion:
    """One version of one file: a file whose size or time changed is another version. ``path`` is relative to the drop folder."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, order=True)
class VisitKey:
    """Which imaging of which well: the identity under which versions replace one another.

    ``visit`` is unique within plate and well, sorts by time within a day and reads like ``day07``, ``day07-20261116T150000`` or ``day07-f02``.
    """

    plate: str
    well: str
    visit: str


@dataclass(frozen=True, eq=False)
class WellImage:
    """All planes of one well at one time: the unit that is embedded."""

    key: VisitKey
    day: int  # culture day, from 1
    taken_at: datetime | None  # from the name, else the TIFF's own time; None where neither tells
    files: tuple[FileVersion, ...]
    planes: npt.NDArray[
        np.uint16
    ]  # (planes, H, W), stretched so that white = 65535 whatever the camera's bits
    um_per_px: float | None
    complete: bool  # every expected plane is there
    flags: tuple[Flag, ...] = ()  # what reading already knows: PLANES_MISSING, DAY_DISAGREES

    @property
    def digest(self) -> str:
        """SHA-256 of the pixels and their number of planes: equal content is one version however often it is written."""
        content = hashlib.sha256(repr(self.planes.shape).encode())
        content.update(np.ascontiguousarray(self.planes).data)
        return content.hexdigest()


@dataclass(frozen=True)
class Rejected:
    """Files that cannot become a well image, and why. ``plate`` and ``well`` are empty where the name does not tell."""

    files: tuple[FileVersion, ...]
    reason: str
    plate: str = ""
    well: str = ""


@dataclass(frozen=True)
class SourceStatus:
    """What the source knows, for ``spherorank status``."""

    pending: dict[str, int] = field(
        default_factory=dict
    )  # plate: well images seen and not yet taken
    held: dict[str, str] = field(
        default_factory=dict
    )  # plate: why its images wait (no map yet, or what is wrong with it)
    wrong_assays: dict[str, str] = field(
        default_factory=dict
    )  # plate: what is wrong with its assay file
    gone: str | None = None  # why the folder cannot be read, None while it can
