"""Stored records of well images: observations, rejected files and versions of visits."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from schemas.arrays import Float32Array
from schemas.embedding_id import embedding_id
from schemas.quality import Flag, Quality
from schemas.scale import FileScale
from schemas.tissue import Unsure
from schemas.well_image import FileVersion, VisitKey


class Outcome(StrEnum):
    """Final result of processing one version of a file; every version has exactly one."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same pixels of the same visit were already stored."""
    REJECTED = "rejected"


@dataclass(frozen=True, eq=False)
class Observation:
    """A well image after encoding and measuring: the data that a ranking needs, without pixels."""

    key: VisitKey
    digest: str
    """SHA-256 of the pixels, the scale and the scales of the files."""
    pixel_digest: str
    """SHA-256 of the pixels."""
    day: int
    """Culture day."""
    taken_at: datetime | None
    """Time of the microscope; None if unknown."""
    received_at: datetime
    """Time of this computer's clock."""
    complete: bool
    files: tuple[FileVersion, ...]
    um_per_px: float | None
    """The scale that was used; None if neither plate map nor files had one."""
    file_scales: tuple[FileScale, ...] | None
    """The different scales of the files; None if an earlier version did not record them."""
    quality: Quality
    encoder_id: str
    """Digest of the encoder bundle."""
    embedding: Float32Array  # (dimension,)
    measures: dict[str, float] = field(default_factory=dict)
    """Value of each measure by its name with unit; empty if the tissue was not measured."""
    measured_by: str | None = None
    """Segmenter and definitions of the measures; None if an earlier version did not record them.
    Measures by different methods are never compared.
    """
    crop: str | None = None
    """Name of the part of the image that was embedded; None for the whole field of the encoder, and
    if an earlier version did not record it. Embeddings of different crops are never compared.
    """
    unsure: tuple[Unsure, ...] = ()
    """Reasons to doubt the outline of the tissue; empty if an earlier version did not record them.
    """
    day_from_time: bool | None = False
    """True if the culture day follows from a time and ``seeded_at``, False if the name has it; None
    if it was stored by a version that did not record this.
    """

    @property
    def embedding_id(self) -> str:
        """Encoder and crop; embeddings with different ids are never compared."""
        return embedding_id(self.encoder_id, self.crop)

    @property
    def is_refused(self) -> bool:
        """True if the segmenter refused the image, which then has no measures of its tissue."""
        return Unsure.NO_BACKGROUND in self.unsure and not self.measures

    @property
    def saved_at(self) -> datetime | None:
        """Modification time of the first file; None without files."""
        return self.files[0].modified_at if self.files else None


@dataclass(frozen=True)
class RejectedFile:
    """A rejected version of a file, with its plate, well, reason and time of rejection."""

    path: str
    size: int
    mtime_ns: int
    plate: str
    well: str
    reason: str
    rejected_at: datetime


@dataclass(frozen=True)
class VisitVersion:
    """One stored version of a visit without its embedding.

    It is sufficient to select images and to find due plates.
    """

    observation_id: int
    key: VisitKey
    version: int
    """Version of the visit, from 1."""
    digest: str
    """SHA-256 of the pixels, the scale and the scales of the files."""
    pixel_digest: str
    """SHA-256 of the pixels."""
    day: int
    taken_at: datetime | None
    received_at: datetime
    complete: bool
    um_per_px: float | None
    """The scale that was used."""
    file_scales: tuple[FileScale, ...] | None
    """The different scales of the files; None if an earlier version did not record them."""
    saved_at: datetime | None = None
    """Modification time of the first file; None if unknown, or if ``taken_at`` is known."""
    measured_by: str | None = None
    """Segmenter and definitions of its measures; None if an earlier version did not record them."""
    crop: str | None = None
    """Name of the part of the image that an encoder embedded; None for its whole field, and for an
    image without an embedding.
    """
    excluded: str | None = None
    """Reason why the image does not count, such as that it shows another well; None if it counts.
    """


@dataclass(frozen=True)
class StoredImage:
    """Location and digest of a stored image's pixels, to embed or measure the image again."""

    observation_id: int
    key: VisitKey
    day: int
    pixel_digest: str
    """SHA-256 of the pixels."""
    files: tuple[FileVersion, ...]
    """Files in the order of their planes."""
    um_per_px: float | None
    sharpest_plane: int
    flags: tuple[Flag, ...] = ()
    """Quality flags of the image."""


@dataclass(frozen=True)
class NewMeasures:
    """The results of measuring a stored image again, which replace its earlier ones."""

    observation_id: int
    quality: Quality
    measures: dict[str, float]
    unsure: tuple[Unsure, ...]
    picture: bytes
    """JPEG of the sharpest plane with the outline of the tissue."""


@dataclass(frozen=True)
class MeasuringProgress:
    """Number of images of a plate that one method has not measured."""

    plate: str
    images: int
    outdated: int
    """Images that were measured by another method, or by an earlier version."""


@dataclass(frozen=True)
class EmbeddingProgress:
    """Number of images of one run of a plate that one encoder has embedded or refused."""

    plate: str
    images: int
    embedded: int
    refused: int
    """Images whose files are missing, changed or cannot be embedded."""
    run: int = 1
    """Number of the use of the plate id; 0 for images outside the run of their plate."""

    @property
    def open(self) -> int:
        """Number of images that the encoder has not processed."""
        return self.images - self.embedded - self.refused
