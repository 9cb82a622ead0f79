"""What the daemon needs from encoders, morphology and the store. Each port has one contract suite that every implementation passes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from schemas.assay import Assay
from schemas.calibration import CalibrationCard, CalibrationPlate
from schemas.messages import MessageData
from schemas.observation import (
    EmbeddingProgress,
    Observation,
    RejectedFile,
    StoredImage,
    VisitVersion,
)
from schemas.plate_map import PlateMap
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking
from schemas.tissue import Segmentation
from schemas.trajectory import Trajectories
from schemas.well_image import FileVersion, Rejected, VisitKey, WellImage


class Encoder(Protocol):
    """Turns a well image into an embedding."""

    @property
    def encoder_id(self) -> str:
        """Digest of the bundle: embeddings with different ids are never compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        ...

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return the embedding, (dimension,).

        Raises
        ------
        ImageError
            If the image cannot be embedded: too small, or the wrong number of planes for the bundle.
        """
        ...


class Segmenter(Protocol):
    """Finds the tissue in one plane of a well image."""

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:
        """Return the tissue of a plane, (H, W), white = 65535."""
        ...


class PublishedMessage(Protocol):
    """A row of the outbox."""

    @property
    def sequence(self) -> int:
        """From 1, never reused."""
        ...

    @property
    def topic(self) -> str:
        """ASCII."""
        ...

    @property
    def body(self) -> str:
        """A CloudEvents 1.0 event in structured mode, JSON."""
        ...


class Store(Protocol):
    """Everything that survives a restart. Safe to call from the loop and from the I/O thread.

    All methods raise :class:`schemas.errors.StoreError` when the database cannot be reached, read or written.
    """

    def ended_files(self) -> Iterable[FileVersion]:
        """Return every version of a file that has an outcome."""
        ...

    def version_of(self, key: VisitKey, digest: str) -> int | None:
        """Return the version under which these pixels of this visit are stored, or None if they are new."""
        ...

    def next_version(self, key: VisitKey) -> int:
        """Return the number the next version of this visit gets, from 1."""
        ...

    def add_observation(
        self, observation: Observation, message: MessageData, picture: bytes = b""
    ) -> int:
        """Commit observation, message, picture and the outcome of its files in one transaction; return the message's sequence number."""
        ...

    def add_duplicate(self, image: WellImage, now: datetime) -> None:
        """Record that these files hold pixels that are stored already."""
        ...

    def add_rejected(self, rejected: Rejected, message: MessageData, now: datetime) -> int:
        """Commit the refusal of files and its message in one transaction; return the message's sequence number."""
        ...

    def rejected(self) -> Sequence[RejectedFile]:
        """Return the newest refusal of each path that no later version of it undid, oldest first."""
        ...

    def pictures(self, images: Sequence[VisitVersion]) -> Mapping[int, bytes]:
        """Return the JPEG of each of these images that has one, by observation id."""
        ...

    def save_plate_map(self, plate_map: PlateMap, now: datetime) -> None:
        """Keep the newest map of a plate; a map equal to the kept one changes nothing."""
        ...

    def plate_map(self, plate: str, digest: str | None = None) -> PlateMap | None:
        """Return the newest map of a plate, or the newest with this digest."""
        ...

    def plates(self) -> Sequence[str]:
        """Return the plates that have a map, in alphabetical order."""
        ...

    def earlier_plates(
        self, plate_map: PlateMap, day: int, encoder_id: str, most: int
    ) -> Sequence[PlateMap]:
        """Return the newest maps of plates of the same line and dosing day, seeded before this one, with images of a day by this encoder, newest first."""
        ...

    def save_assay(self, assay: Assay, now: datetime) -> None:
        """Keep the newest assay of a plate; an assay equal to the kept one changes nothing."""
        ...

    def assay(self, plate: str, digest: str) -> Assay | None:
        """Return the assay of a plate with this digest, the newest or an earlier one."""
        ...

    def assays(self) -> Sequence[Assay]:
        """Return the newest assay of each plate that has one, in alphabetical order of plates."""
        ...

    def calibration(self, digest: str) -> tuple[CalibrationCard, Sequence[CalibrationPlate]] | None:
        """Return the card of a calibration and what it was learned from."""
        ...

    def add_calibration(
        self, card: CalibrationCard, plates: Sequence[CalibrationPlate], now: datetime
    ) -> None:
        """Keep the card of a calibration and what it was learned from; one of its digest that is kept already stays."""
        ...

    def imaged(self, plate: str, encoder_id: str) -> Sequence[VisitVersion]:
        """Return every version of every visit of a plate that this encoder embedded, by well, day, visit and version."""
        ...

    def observations(
        self, images: Sequence[VisitVersion], encoder_id: str
    ) -> Sequence[Observation]:
        """Return these images with their embeddings, by well, day, visit and version."""
        ...

    def rankings(self, plate: str) -> Sequence[Ranking]:
        """Return every ranking of a plate, by day and revision."""
        ...

    def add_ranking(self, ranking: Ranking, message: MessageData) -> int:
        """Commit a ranking and its message in one transaction; return the message's sequence number."""
        ...

    def plates_of(self, specimen: str) -> Sequence[str]:
        """Return the plates whose newest map names this specimen, in alphabetical order."""
        ...

    def specimen_rankings(self, specimen: str) -> Sequence[SpecimenRanking]:
        """Return every ranking of a specimen, by revision."""
        ...

    def add_specimen_ranking(self, ranking: SpecimenRanking, message: MessageData) -> int:
        """Commit a specimen's ranking and its message in one transaction; return the message's sequence number."""
        ...

    def add_message(self, message: MessageData, now: datetime) -> int:
        """Put a message that belongs to no other row (status, alert) into the outbox; return its sequence number."""
        ...

    def messages_after(
        self, sequence: int, topic_prefix: str = "", limit: int = 1000
    ) -> Sequence[PublishedMessage]:
        """Return messages of this service with a larger sequence number, in order."""
        ...

    def last_sequence(self) -> int:
        """Return the largest sequence number issued, 0 before the first."""
        ...

    def published_through(self) -> int:
        """Return the sequence number up to which messages were handed to the PUB socket."""
        ...

    def mark_published(self, sequence: int) -> None:
        """Record that messages up to here were handed to the PUB socket."""
        ...

    def close(self) -> None:
        """Release connections. Safe to call twice."""
        ...


class EmbeddingLedger(Protocol):
    """What each encoder made of the stored images, where it came to them later than the images. Errors are those of :class:`Store`."""

    def embedded(self, encoder_id: str) -> Sequence[EmbeddingProgress]:
        """Return, for each plate with images, how many there are and what became of them with this encoder, by plate."""
        ...

    def not_embedded(self, plate: str, encoder_id: str) -> Sequence[StoredImage]:
        """Return the images of a plate that this encoder has not embedded, those it was refused among them, in the order they came."""
        ...

    def add_embedding(
        self, observation_id: int, encoder_id: str, embedding: npt.NDArray[np.float32]
    ) -> None:
        """Keep the embedding of an image beside those of other encoders; one that is kept already stays. What refused it before is forgotten."""
        ...

    def add_refusal(self, observation_id: int, encoder_id: str, reason: str) -> None:
        """Keep why an image cannot be embedded; the newest reason counts."""
        ...

    def close(self) -> None:
        """Release connections. Safe to call twice."""
        ...


@dataclass(frozen=True, eq=False)
class EarlierWells:
    """The m untreated wells of another plate, as they differ from their own mean."""

    past: npt.NDArray[np.float64]  # (m, P)
    readout: npt.NDArray[np.float64]  # (m, K)
    similarity: float = 1.0  # 0…1: what one of its wells counts beside one of this plate's


@dataclass(frozen=True, eq=False)
class Forecast:
    """What was learned from n untreated wells."""

    predict: Callable[
        [npt.NDArray[np.float64]], npt.NDArray[np.float64]
    ]  # (N, P) past of any wells -> (N, K) readout they would have untreated
    left_out: npt.NDArray[
        np.float64
    ]  # (n, K): the forecast of each of the n wells as learned from the others


class SequenceModel(Protocol):
    """Foresees, from all that was seen of a well up to dosing, what its image will be if it stays untreated; learned elsewhere, on many plates."""

    @property
    def name(self) -> str:
        """Of the model, with the digest that tells it from every other."""
        ...

    @property
    def days(self) -> Sequence[int]:
        """Days up to dosing of which a plate needs images."""
        ...

    def check_fits(self, feature_names: Sequence[str], encoder_id: str) -> None:
        """Hold what wells are compared by to what the model was made for; ``encoder_id`` is that of the embedding among the features, "" without one.

        Raises
        ------
        ProfileError
            If they differ.
        """
        ...

    def predict(
        self, trajectories: Trajectories, before: Sequence[int], day: int
    ) -> npt.NDArray[np.float64]:
        """Return (N, D): the features of every well on ``day`` as foreseen from the days ``before``, NaN for a well without an image on any of these.

        Raises
        ------
        ProfileError
            If encoder, features or days of the plate are not those that the model was made for, or if it foresees no number.
        """
        ...


class Forecaster(Protocol):
    """Learns from untreated wells what a well becomes."""

    def fit(
        self,
        past: npt.NDArray[np.float64],
        readout: npt.NDArray[np.float64],
        earlier: Sequence[EarlierWells] = (),
    ) -> Forecast:
        """Learn from the (n, P) past, days up to dosing, and the (n, K) readout of n ≥ 2 untreated wells, and of wells of other plates; all are finite.

        Past and readout are positions in the same K directions; P is K or more where more is known of a well.
        """
        ...
