"""Ports of the store for the deletion of old data, see :mod:`daemon.retention`.

Every method raises :class:`schemas.errors.StoreError` when the database cannot be read or written.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from schemas.well_image import FileVersion


class RetentionStore(Protocol):
    """Finds and deletes messages and pictures of closed plates; each deletion is a transaction."""

    def closed_before(self, before: datetime) -> Sequence[str]:
        """Return the closed plates whose newest ranking was made before a time, by name."""
        ...

    def old_pictures(self, plate: str, before: datetime, limit: int | None = None) -> Sequence[int]:
        """Return observations (ids) of a plate with a picture that arrived before a time."""
        ...

    def delete_pictures(self, observation_ids: Collection[int]) -> None:
        """Delete the pictures of observations (ids)."""
        ...

    def old_messages(
        self, plate: str, before: datetime, through: int, limit: int | None = None
    ) -> Sequence[int]:
        """Return the numbers of messages about images of a plate that were made before a time.

        Numbers larger than ``through`` and the last message of each topic are never returned.
        """
        ...

    def old_alerts(
        self, plates: Collection[str], before: datetime, through: int, limit: int | None = None
    ) -> Sequence[int]:
        """Return the numbers of alert messages about some plates or none, as ``old_messages``."""
        ...

    def delete_messages(self, sequences: Collection[int]) -> None:
        """Delete messages by their numbers, and record the largest number of a deleted message."""
        ...


class ImageRetentionStore(Protocol):
    """Names the files of the saved images of closed plates."""

    def plates_with_files(self, before: datetime) -> Sequence[str]:
        """Return the closed plates whose newest ranking is old and whose files were not deleted.

        Plates with an assay are left out, because they calibrate later plates.
        """
        ...

    def image_files(self, plate: str) -> Sequence[FileVersion]:
        """Return the files of every stored image of a plate, in the order of their arrival."""
        ...

    def note_files_deleted(self, plate: str, now: datetime) -> None:
        """Record that the files of a plate were deleted at a time."""
        ...
