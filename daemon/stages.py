"""Times of the stages of an image: ports that measure the time of another implementation."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from inference.ports import Encoder, Segmenter
from schemas.messages import MessageData
from schemas.tissue import Segmentation
from schemas.well_image import Rejected, VisitKey, WellImage
from store.ports import NewObservation, ObservationWriter

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Stage(StrEnum):
    """Stage of an image or of a ranking whose time is measured."""

    READ = "read"
    """The files of one well image, or the time or digest of one file, are read."""
    SEGMENT = "segment"
    """The tissue is found."""
    EMBED = "embed"
    """The encoder computes the embedding."""
    COMMIT = "commit"
    """The outcome and the message are committed."""
    IMAGE = "image"
    """All processing of a well image that was read, until its outcome is committed."""
    RANK = "rank"
    """One day of a plate is ranked, and its files are written."""


NoteStage = Callable[[Stage, float], None]
"""Records the time of a stage in seconds."""


@contextmanager
def _timed(note: NoteStage, stage: Stage) -> Iterator[None]:
    """Note the time of a stage, also if it raises an exception."""
    started_s = time.perf_counter()
    try:
        yield
    finally:
        note(stage, time.perf_counter() - started_s)


@dataclass(frozen=True)
class TimedEncoder:
    """An encoder that notes the time of each embedding."""

    encoder: Encoder
    note: NoteStage

    @property
    def encoder_id(self) -> str:
        """Digest of the bundle."""
        return self.encoder.encoder_id

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self.encoder.dimension

    def crop(self, image: WellImage) -> str | None:
        """Return the name of the part of a well image that is embedded; None for the whole."""
        return self.encoder.crop(image)

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return the embedding, (dimension,), of a well image."""
        with _timed(self.note, Stage.EMBED):
            return self.encoder.embed(image, sharpest_plane)


@dataclass(frozen=True)
class TimedSegmenter:
    """A segmenter that notes the time of each segmentation."""

    segmenter: Segmenter
    note: NoteStage

    @property
    def segmenter_id(self) -> str:
        """Name and version."""
        return self.segmenter.segmenter_id

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:
        """Return the Segmentation of a plane, (H, W) uint16, with a scale in µm per px or None."""
        with _timed(self.note, Stage.SEGMENT):
            return self.segmenter.segment(plane, um_per_px)


@dataclass(frozen=True)
class TimedWriter:
    """A writer of outcomes that notes the time of each commit, and the reason of each refusal."""

    store: ObservationWriter
    note: NoteStage
    note_refusal: Callable[[str], None]

    def version_of(self, key: VisitKey, digest: str) -> int | None:
        """Return the version number of a VisitKey that is stored with a digest, or None."""
        return self.store.version_of(key, digest)

    def scales(self, plate: str, run: int) -> Mapping[float | None, int]:
        """Return the number of stored images of a run of a plate by their scale in µm per pixel."""
        return self.store.scales(plate, run)

    def next_version(self, key: VisitKey) -> int:
        """Return the number that the next version of a VisitKey gets."""
        return self.store.next_version(key)

    def add_observations(self, new: Sequence[NewObservation]) -> None:
        """Commit observations with their messages and pictures in one transaction."""
        with _timed(self.note, Stage.COMMIT):
            self.store.add_observations(new)

    def add_duplicate(self, image: WellImage, now: datetime) -> None:
        """Record, at a time, that the pixels and scales of a WellImage are already stored."""
        with _timed(self.note, Stage.COMMIT):
            self.store.add_duplicate(image, now)

    def add_rejected(self, rejected: Rejected, message: MessageData, now: datetime) -> int:
        """Commit rejected files with their message and the time; return the message's number."""
        with _timed(self.note, Stage.COMMIT):
            number = self.store.add_rejected(rejected, message, now)
        self.note_refusal(rejected.reason)
        return number


class TimedReads(Executor):
    """An executor of file accesses that notes the time of each call."""

    def __init__(self, pool: Executor, note: NoteStage) -> None:
        self._pool = pool
        self._note = note

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Return the Future of a call."""

        def call() -> _T:
            with _timed(self._note, Stage.READ):
                return fn(*args, **kwargs)

        return self._pool.submit(call)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """End the threads of the executor."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
