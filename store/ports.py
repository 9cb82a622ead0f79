"""Ports of the store: small protocols, each for one kind of caller.

Every method raises :class:`schemas.errors.StoreError` when the database cannot be reached, read or
written, and is safe to call from several threads. Each port has a contract suite in
``tests/contract`` that every implementation passes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schemas.assay import Assay
from schemas.calibration import CalibrationCard, CalibrationPlate
from schemas.closed_folder import ClosedFolder
from schemas.messages import MessageData
from schemas.observation import (
    EmbeddingProgress,
    MeasuringProgress,
    NewMeasures,
    Observation,
    RejectedFile,
    StoredImage,
    VisitVersion,
)
from schemas.plate_map import PlateMap
from schemas.plate_state import StoredPlateState
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking
from schemas.well_image import FileVersion, Rejected, VisitKey, WellImage


class FileLedger(Protocol):
    """The recorded outcomes of file versions."""

    def ended_files(self, paths: Iterable[str]) -> Iterable[FileVersion]:
        """Return every FileVersion of some paths that has an outcome."""
        ...

    def rejected(self) -> Sequence[RejectedFile]:
        """Return the newest RejectedFile of each path, oldest first.

        Paths whose later version was accepted are left out.
        """
        ...


@dataclass(frozen=True, eq=False)
class NewObservation:
    """An observation with its message and its JPEG picture, which is empty without one."""

    observation: Observation
    message: MessageData
    picture: bytes = b""


class ObservationWriter(Protocol):
    """Commits the outcome of one well image together with its message."""

    def version_of(self, key: VisitKey, digest: str) -> int | None:
        """Return the version number of a VisitKey that is stored with a digest, or None."""
        ...

    def scales(self, plate: str, run: int) -> Mapping[float | None, int]:
        """Return the number of stored images of a run of a plate by their scale in µm per pixel."""
        ...

    def next_version(self, key: VisitKey) -> int:
        """Return the number that the next version of a VisitKey gets; the first version is 1."""
        ...

    def add_observations(self, new: Sequence[NewObservation]) -> None:
        """Commit observations with their messages and JPEG pictures, in one transaction.

        The outcomes of their files are in the same transaction. None is added if one of them cannot
        be stored.
        """
        ...

    def add_duplicate(self, image: WellImage, now: datetime) -> None:
        """Record, at a time, that the pixels and scales of a WellImage are already stored."""
        ...

    def add_rejected(self, rejected: Rejected, message: MessageData, now: datetime) -> int:
        """Commit rejected files with their message and the time; return the message's number."""
        ...


class ObservationReader(Protocol):
    """Reads stored well images."""

    def imaged(self, plate: str, encoder_id: str) -> Sequence[VisitVersion]:
        """Return every VisitVersion of a plate that an encoder has embedded.

        They are of any run, and ordered by well, day, visit, run and version.
        """
        ...

    def arrived(self, plate: str) -> Sequence[VisitVersion]:
        """Return every version of every visit of a plate, by any encoder, in the same order."""
        ...

    def observations(
        self, images: Sequence[VisitVersion], encoder_id: str
    ) -> Sequence[Observation]:
        """Return the Observations of some VisitVersions with the embeddings of one encoder.

        They are ordered by well, day, visit and version.
        """
        ...

    def pictures(self, images: Sequence[VisitVersion]) -> Mapping[int, bytes]:
        """Return JPEG bytes by observation id, for those VisitVersions that have a picture."""
        ...


class ImageExclusions(Protocol):
    """Leaves stored images out of every ranking, with the reasons."""

    def exclude_images(self, plate: str, reasons: Mapping[str, str]) -> Sequence[VisitKey]:
        """Record by path of a file why images of a plate do not count.

        Return the keys of the images that are excluded by this call. Only images of this service
        are included, because the paths of others belong to other folders.
        """
        ...


class MeasureLedger(Protocol):
    """Replaces the measures of stored images by those of a later method.

    A method is a segmenter with the definitions of the measures. Only images of this service are
    included, because the paths of others belong to other folders.
    """

    def outdated_measures(self, measured_by: str) -> Sequence[MeasuringProgress]:
        """Return the numbers of stored images of each plate and of those by other methods."""
        ...

    def images_to_measure(self, plate: str, measured_by: str) -> Sequence[StoredImage]:
        """Return the StoredImages of a plate that a method has not measured, as they arrived."""
        ...

    def replace_measures(self, results: Sequence[NewMeasures], measured_by: str) -> None:
        """Replace the measures of stored images by those of a method, in one transaction.

        Quality, doubts and picture are replaced with them. The embeddings are unchanged.
        """
        ...


@dataclass(frozen=True)
class StoredPlateMap:
    """One stored version of a plate map, with the time at which it was stored."""

    plate_map: PlateMap
    digest: str
    saved_at: datetime


class PlateMapStore(Protocol):
    """Keeps every version of every plate map."""

    def save_plate_map(self, plate_map: PlateMap, now: datetime) -> None:
        """Store a plate map as the newest of its plate, unless it equals the newest stored one.

        Where ``seeded_at`` or the run differs from the newest one, the runs and culture days of the
        stored observations are changed with it.
        """
        ...

    def plate_map(
        self, plate: str, digest: str | None = None, *, run: int | None = None
    ) -> PlateMap | None:
        """Return the newest map of a plate, optionally with a digest or of a run."""
        ...

    def run_maps(self, plate: str) -> Sequence[PlateMap]:
        """Return the newest map of each run of a plate, from run 1 to the current run."""
        ...

    def map_versions(self, plate: str, run: int) -> Sequence[StoredPlateMap]:
        """Return every stored version of the map of a run of a plate, oldest first."""
        ...

    def plates(self) -> Sequence[str]:
        """Return the ids of all plates that have a map, in alphabetical order."""
        ...

    def plates_of_line(self, line: str | None) -> Sequence[str]:
        """Return the ids of the plates of which any map names a cell line, in order."""
        ...


class AssayStore(Protocol):
    """Keeps viability assays and the calibrations that were learned from them."""

    def save_assay(self, assay: Assay, now: datetime) -> None:
        """Store an assay as the newest of its plate, unless it equals the newest stored one.

        An assay that stays in the drop folder when the plate id is used again is not stored again:
        it remains the assay of the earlier run.
        """
        ...

    def assay(self, plate: str, digest: str) -> Assay | None:
        """Return the assay of a plate with this digest, or None."""
        ...

    def assays(self) -> Sequence[Assay]:
        """Return the newest assay of each run that has one, ordered by plate and run."""
        ...

    def calibration(self, digest: str) -> tuple[CalibrationCard, Sequence[CalibrationPlate]] | None:
        """Return (card, training plates) of the calibration with a digest, or None."""
        ...

    def add_calibration(
        self, card: CalibrationCard, plates: Sequence[CalibrationPlate], now: datetime
    ) -> None:
        """Store a calibration's card, plates and time, unless its digest is already stored."""
        ...


class RankingStore(Protocol):
    """Keeps every revision of the rankings of plates."""

    def rankings(self, plate: str) -> Sequence[Ranking]:
        """Return every ranking of a plate, ordered by day and revision."""
        ...

    def add_ranking(self, ranking: Ranking, message: MessageData) -> int:
        """Commit a ranking and its message in one transaction; return the message's number."""
        ...


class PlateStateStore(Protocol):
    """Keeps the state of each plate, and counts the changes of everything that it depends on.

    Every method of another port that changes an image, a measure, an embedding, a plate map, an
    assay, a calibration or a ranking counts a change of each plate concerned, in its transaction.
    """

    def live_plates(self, basis: str) -> Mapping[str, int]:
        """Return each plate that has a map and is not closed, with its number of changes.

        A plate is closed if its stored state is ``closed`` with this basis, and has the present
        number of changes.
        """
        ...

    def closed_plates(self, basis: str) -> Mapping[str, int]:
        """Return each closed plate with its number of changes, in alphabetical order."""
        ...

    def save_plate_state(self, plate: str, state: StoredPlateState) -> None:
        """Store the state of a plate (id) in place of an earlier one."""
        ...

    def closed_folders(self) -> Sequence[ClosedFolder]:
        """Return the stored ClosedFolders of this service, ordered by path."""
        ...

    def save_closed_folder(self, folder: ClosedFolder) -> None:
        """Store a ClosedFolder in place of an earlier one with its path."""
        ...


class SpecimenStore(Protocol):
    """Keeps every revision of the rankings of specimens."""

    def plates_of_specimen(self, specimen: str) -> Sequence[str]:
        """Return the ids of the plates of which a run's newest map names a specimen, in order."""
        ...

    def specimen_rankings(self, specimen: str) -> Sequence[SpecimenRanking]:
        """Return every ranking of a specimen, ordered by revision."""
        ...

    def add_specimen_ranking(self, ranking: SpecimenRanking, message: MessageData) -> int:
        """Commit a specimen's ranking and its message together; return the message's number."""
        ...


class PublishedMessage(Protocol):
    """One row of the outbox: sequence number, topic and JSON body of a message."""

    @property
    def sequence(self) -> int:
        """Sequence number, from 1; a number is never used again."""
        ...

    @property
    def topic(self) -> str:
        """Topic of the message, a text of ASCII characters."""
        ...

    @property
    def body(self) -> str:
        """Body of the message: a CloudEvents 1.0 event in structured mode, as JSON."""
        ...


class Outbox(Protocol):
    """Keeps committed messages until they are published, and afterwards for replay."""

    def add_message(self, message: MessageData, now: datetime) -> int:
        """Commit a status or alert message with the time ``now``; return its sequence number.

        Such a message belongs to no other row.
        """
        ...

    def messages_after(
        self, sequence: int, topic_prefix: str = "", limit: int = 1000
    ) -> Sequence[PublishedMessage]:
        """Return at most ``limit`` messages after a number with a topic prefix, in order."""
        ...

    def change_number(self) -> int | None:
        """Return a number that each commit of another connection changes; None if it is unknown.

        It is called often and from one thread. While it is unchanged, there is no new message.
        """
        ...

    def last_sequence(self) -> int:
        """Return the largest sequence number in use, 0 before the first message."""
        ...

    def published_through(self) -> int:
        """Return the sequence number up to which messages were sent on the PUB socket."""
        ...

    def mark_published(self, sequence: int) -> None:
        """Record that messages up to this sequence number were sent on the PUB socket."""
        ...

    def deleted_through(self) -> int:
        """Return the largest number of a message that retention deleted, 0 if it deleted none."""
        ...

    def unpublished(self) -> int:
        """Return the number of committed messages that were not sent on the PUB socket."""
        ...


class FinalMessage(Protocol):
    """The message of a final ranking: its sequence number, ranking and time."""

    @property
    def sequence(self) -> int:
        """Sequence number of the message."""
        ...

    @property
    def plate(self) -> str:
        """Plate id of the ranking."""
        ...

    @property
    def day(self) -> int:
        """Culture day of the ranking."""
        ...

    @property
    def revision(self) -> int:
        """Revision of the ranking."""
        ...

    @property
    def created_at(self) -> datetime:
        """Time of the ranking."""
        ...


class AcknowledgementStore(Protocol):
    """Keeps the acknowledgements of subscribers; one for a number covers all smaller numbers."""

    def acknowledge(self, subscriber: str, sequence: int, now: datetime) -> None:
        """Record, at a time, that a subscriber has every message up to a sequence number.

        The recorded number never decreases.
        """
        ...

    def acknowledged(self) -> Mapping[str, int]:
        """Return the acknowledged sequence number of each subscriber that has acknowledged."""
        ...

    def finals_after(self, sequence: int, limit: int) -> Sequence[FinalMessage]:
        """Return the first final rankings that were published after a sequence number."""
        ...


class EmbeddingLedger(Protocol):
    """Keeps the embeddings of stored images by encoders that were installed later."""

    def has_embedded_all(self, encoder_id: str) -> bool:
        """Return whether an encoder has embedded every stored image of every service."""
        ...

    def embedded(self, encoder_id: str) -> Sequence[EmbeddingProgress]:
        """Return the numbers of stored, embedded and refused images of each run of each plate."""
        ...

    def not_embedded(
        self, plate: str, encoder_id: str, *, again: bool = False
    ) -> Sequence[StoredImage]:
        """Return the StoredImages of a plate that an encoder has not embedded, in order of arrival.

        Refused images are included.

        Parameters
        ----------
        again
            Include images of which no crop is recorded: their embedding is that of the whole field,
            or of an earlier version.
        """
        ...

    def add_embedding(
        self,
        observation_id: int,
        encoder_id: str,
        embedding: npt.NDArray[np.float32],
        crop: str | None = None,
    ) -> None:
        """Store an encoder's embedding of the image with an observation id; delete its refusal.

        An embedding of the same crop that is already stored is unchanged; one of another crop is
        replaced.

        Parameters
        ----------
        crop
            Name of the part of the image; None for the whole field of the encoder.
        """
        ...

    def add_refusal(self, observation_id: int, encoder_id: str, reason: str) -> None:
        """Store the reason why an encoder cannot embed the image with an observation id.

        It replaces an earlier reason.
        """
        ...

    def close(self) -> None:
        """Close the connections. It is safe to call this twice."""
        ...
