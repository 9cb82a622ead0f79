"""Deletes messages, pictures and saved images of closed plates some days after their last ranking.

A plate is closed when it has a final ranking and no work on it is left, see
:mod:`daemon.plate_states`. Observations, embeddings, plate maps, assays, calibrations, rankings and
their files are never deleted, nor messages about rankings. See ``docs/how-to/free-disk-space.md``.
"""

import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from daemon.config import Config
from schemas.errors import StoreError
from schemas.well_image import FileVersion
from store.ports import AcknowledgementStore, Outbox
from store.retention_ports import ImageRetentionStore, RetentionStore

log = structlog.get_logger()

STEP_S = 0.2
"""Time after which the service continues with images; one batch may take a little longer."""
INTERVAL = timedelta(days=1)
"""Interval of the deletions of a service."""
RETRY = timedelta(hours=1)
"""Wait after a deletion that failed."""


class PruningStore(RetentionStore, ImageRetentionStore, Outbox, AcknowledgementStore, Protocol):
    """The parts of the store from which old data are deleted."""


class Kind(StrEnum):
    """The kinds of data that are deleted."""

    MESSAGES = "messages"
    PICTURES = "pictures"
    IMAGES = "image files"


@dataclass(frozen=True)
class Batch:
    """A number of rows or files of one kind that were deleted, or would be deleted."""

    kind: Kind
    plate: str  # empty for alerts
    number: int


class _Find(Protocol):
    """Returns the ids of old rows, at most a number of them."""

    def __call__(self, limit: int | None = None) -> Sequence[int]: ...


@dataclass(frozen=True)
class Retention:
    """Finds and deletes the old data of closed plates.

    Parameters
    ----------
    messages, pictures, images
        Age at which they are deleted; None: never. It counts from the newest ranking of a plate,
        and for a message or picture from its own time if that is later.
    must_ack
        Names of the subscribers whose acknowledgement a deleted message must have.
    folder
        The folder of the saved images.
    batch
        Largest number of rows that one transaction deletes, and of files that one step deletes.
    """

    store: PruningStore
    messages: timedelta | None
    pictures: timedelta | None
    images: timedelta | None
    must_ack: Sequence[str]
    folder: Path
    now: Callable[[], datetime]
    batch: int = 200

    @property
    def is_set(self) -> bool:
        """True if anything is deleted at any age."""
        return any(age is not None for age in (self.messages, self.pictures, self.images))

    def batches(self, *, dry_run: bool) -> Iterator[Batch]:
        """Delete old data, and yield each Batch after it was deleted; a Batch may be empty.

        Each batch is a transaction of its own. If the iteration ends early, the next one deletes
        the remaining data.

        Parameters
        ----------
        dry_run
            Whether nothing is deleted.
        """
        if self.messages is not None:
            yield from self._delete_messages(self.now() - self.messages, dry_run=dry_run)
        if self.pictures is not None:
            before = self.now() - self.pictures
            for plate in self.store.closed_before(before):
                find = partial(self.store.old_pictures, plate, before)
                delete = self.store.delete_pictures
                yield from self._in_batches(Kind.PICTURES, plate, find, delete, dry_run=dry_run)
        if self.images is not None:
            for plate in self.store.plates_with_files(self.now() - self.images):
                yield from self._delete_files(plate, dry_run=dry_run)

    def _delete_messages(self, before: datetime, *, dry_run: bool) -> Iterator[Batch]:
        """Delete the messages of closed plates, and alerts about them or about no plate."""
        acknowledged = self.store.acknowledged()
        through = min(
            [self.store.published_through(), *(acknowledged.get(name, 0) for name in self.must_ack)]
        )
        plates = self.store.closed_before(before)
        finds = {each: partial(self.store.old_messages, each, before, through) for each in plates}
        finds[""] = partial(self.store.old_alerts, frozenset(plates), before, through)
        for plate, find in finds.items():
            delete = self.store.delete_messages
            yield from self._in_batches(Kind.MESSAGES, plate, find, delete, dry_run=dry_run)

    def _in_batches(
        self,
        kind: Kind,
        plate: str,
        find: _Find,
        delete: Callable[[Sequence[int]], None],
        *,
        dry_run: bool,
    ) -> Iterator[Batch]:
        """Delete rows in batches, and yield each Batch; the last one is empty."""
        if dry_run:
            yield Batch(kind, plate, len(find()))
            return
        while found := find(self.batch):
            delete(found)
            yield Batch(kind, plate, len(found))
        yield Batch(kind, plate, 0)

    def _delete_files(self, plate: str, *, dry_run: bool) -> Iterator[Batch]:
        """Delete the files of the stored images of a plate; other and changed files are kept.

        If a file cannot be deleted, the plate is tried again at the next deletion.
        """
        try:
            files = [each for each in self.store.image_files(plate) if self._is_unchanged(each)]
            if dry_run:
                yield Batch(Kind.IMAGES, plate, len(files))
                return
            for start in range(0, len(files), self.batch):
                batch = files[start : start + self.batch]
                for file in batch:
                    (self.folder / file.path).unlink(missing_ok=True)
                yield Batch(Kind.IMAGES, plate, len(batch))
        except OSError as error:
            log.warning("images.not_deleted", plate=plate, reason=str(error))
            return
        self.store.note_files_deleted(plate, self.now())

    def _is_unchanged(self, file: FileVersion) -> bool:
        """Return whether a file is a regular file and the version that was stored."""
        try:
            status = (self.folder / file.path).lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and FileVersion.of(file.path, status) == file


@dataclass
class DailyPruning:
    """Deletes old data once a day in short steps, between which the service does its work."""

    retention: Retention
    clock: Callable[[], float] = time.monotonic
    _due: datetime | None = None  # None: now
    _running: Iterator[Batch] | None = None
    _deleted: Counter[Kind] = field(default_factory=Counter)

    def step(self) -> None:
        """Delete for :data:`STEP_S` if a deletion is due or has begun."""
        if self._running is None:
            if not self.retention.is_set or (self._due and self.retention.now() < self._due):
                return
            self._running = self.retention.batches(dry_run=False)
        end_s = self.clock() + STEP_S
        try:
            while self.clock() < end_s:
                if (batch := next(self._running, None)) is None:
                    self._finish(INTERVAL)
                    return
                self._deleted[batch.kind] += batch.number
        except StoreError as error:
            log.warning("store.not_pruned", reason=str(error))
            self._finish(RETRY)

    def _finish(self, wait: timedelta) -> None:
        """Log the deleted numbers, and plan the next deletion after a time."""
        if deleted := {str(kind): number for kind, number in self._deleted.items() if number}:
            log.info("store.pruned", **deleted)
        self._deleted.clear()
        self._running = None
        self._due = self.retention.now() + wait


def open_retention(config: Config, store: PruningStore, now: Callable[[], datetime]) -> Retention:
    """Return the Retention of a configuration and store."""

    def age(days: int | None) -> timedelta | None:
        return None if days is None else timedelta(days=days)

    return Retention(
        store,
        messages=age(config.retention.messages_days),
        pictures=age(config.retention.pictures_days),
        images=age(config.retention.images_days),
        must_ack=config.publisher.must_ack,
        folder=config.source.path,
        now=now,
    )
