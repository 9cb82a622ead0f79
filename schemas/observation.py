"""What is kept of one well image."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from schemas.quality import Quality
from schemas.well_image import FileVersion, VisitKey


class Outcome(StrEnum):
    """How a version of a file ended; every version ends in exactly one."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # the same pixels of the same visit were stored before
    REJECTED = "rejected"


@dataclass(frozen=True, eq=False)
class Observation:
    """A well image after the encoder: everything a ranking needs, without the pixels."""

    key: VisitKey
    digest: str  # of the pixels
    day: int
    taken_at: datetime | None
    received_at: datetime  # by this computer's clock
    complete: bool
    files: tuple[FileVersion, ...]
    um_per_px: float | None
    quality: Quality
    encoder_id: str  # digest of the bundle
    embedding: npt.NDArray[np.float32]  # (dimension,)
    measures: dict[str, float] = field(
        default_factory=dict
    )  # name with unit: value; empty until tissue is measured


@dataclass(frozen=True)
class RejectedFile:
    """One row of ``spherorank rejected``."""

    path: str
    size: int
    mtime_ns: int
    plate: str
    well: str
    reason: str
    rejected_at: datetime


@dataclass(frozen=True)
class Imaged:
    """One stored version of one visit, without its embedding: enough to decide what counts and what is due."""

    observation_id: int
    key: VisitKey
    version: int  # of this visit, from 1
    digest: str
    day: int
    taken_at: datetime | None
    received_at: datetime
    complete: bool


@dataclass(frozen=True)
class StoredImage:
    """What another encoder needs of a stored image: where its pixels lie, and how to know them again."""

    observation_id: int
    key: VisitKey
    day: int
    digest: str  # of the pixels
    files: tuple[FileVersion, ...]  # in the order of their planes
    um_per_px: float | None
    sharpest_plane: int


@dataclass(frozen=True)
class Embedded:
    """How far an encoder came with the images of a plate."""

    plate: str
    images: int
    embedded: int
    refused: int  # their files are gone, changed or cannot be embedded

    @property
    def open(self) -> int:
        """Images that the encoder has not been shown."""
        return self.images - self.embedded - self.refused
