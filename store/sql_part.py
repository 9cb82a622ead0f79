"""Connection and shared transaction steps of the classes that implement the ports of the store."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from schemas.errors import StoreError
from schemas.events import to_event
from schemas.messages import MessageData, topic_of
from schemas.observation import Outcome
from schemas.well_image import FileVersion
from store.checksums import with_checksum
from store.database import Database
from store.sequence_mark import SequenceMark, mark_file
from store.tables import counters, file_versions, messages

log = structlog.get_logger()


class SqlPart:
    """Base class of the SQL stores: opens the database at a URL for one named service.

    Parameters
    ----------
    url
        ``sqlite:////folder/file.sqlite`` (missing folders and files are created) or
        ``postgresql+psycopg://user:password@host/database``.
    service
        Name of the service that owns the messages and files. Several services may share one
        database; each has its own series of sequence numbers.
    timeout_s
        Longest wait for a connection or a lock, in seconds.
    before_migration
        Called before tables are created or migrated, which may take minutes.

    Raises
    ------
    StoreError
        If the database cannot be opened, or was created by a newer version.
    """

    def __init__(
        self,
        url: str,
        *,
        service: str = "spherorank",
        timeout_s: float = 10.0,
        before_migration: Callable[[], None] = lambda: None,
    ) -> None:
        self._service = service
        self._database = Database(url, timeout_s=timeout_s, before_migration=before_migration)
        self._insert = (
            postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        )
        file = self._database.file
        self._mark = SequenceMark(mark_file(file, service)) if file else None
        try:
            self._continue_sequence()
        except StoreError:
            self._database.close()
            raise

    def check_in_place(self) -> None:
        """Raise StoreError if the database was deleted, moved or replaced since it was opened."""
        self._database.check_in_place()

    def check_structure(self, most_bytes: int) -> None:
        """Raise StoreError if the structure of a SQLite file is damaged; a larger file is skipped.

        Parameters
        ----------
        most_bytes
            The largest file that is checked; the whole file is read.
        """
        file = self._database.file
        if file is None or file.stat().st_size > most_bytes:
            return
        if found := self._database.structure_problems():
            raise StoreError(
                self._database.where,
                f"is damaged, {len(found)} problems, first: {found[0]}; restore a backup "
                "(spherorank store restore)",
            )

    def check_writable(self) -> None:
        """Raise StoreError unless a change can be committed now; any thread may call it."""
        # SQLite writes nothing for an update that leaves all values as they are.
        service = f"{self._service} (test of writing)"
        with self._database.writing() as connection:
            connection.execute(
                counters.insert().values(service=service, last=0, published_through=0)
            )
            connection.execute(delete(counters).where(counters.c.service == service))

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self._database.close()
        if self._mark is not None:
            self._mark.close()

    def _publishing(self, sequence: int) -> None:
        """Record that other processes may learn the sequence numbers up to this one.

        On SQLite, a restored database continues after this number.
        """
        if self._mark is not None:
            self._mark.raise_to(sequence)

    def _continue_sequence(self) -> None:
        """Continue the sequence numbers after the published ones, as after a restored backup."""
        published = self._mark.floor() if self._mark is not None else 0
        mine = counters.c.service == self._service
        with self._database.reading() as connection:
            last: int = connection.scalar(select(counters.c.last).where(mine)) or 0
        if last >= published:
            return
        first = self._insert(counters).values(
            service=self._service, last=published, published_through=0
        )
        raising = first.on_conflict_do_update(
            index_elements=["service"], set_={"last": published}, where=counters.c.last < published
        )
        with self._database.writing() as connection:
            connection.execute(raising)
        log.warning(
            "store.sequence_continued", service=self._service, database=last, published=published
        )

    def _enqueue(self, connection: Connection, data: MessageData, at: datetime) -> int:
        """Add a message to the outbox, and return its sequence number.

        The row of the counter stays locked until the transaction ends, so numbers are committed in
        order. A failed transaction does not use up its number.
        """
        first = self._insert(counters).values(service=self._service, last=1, published_through=0)
        taking = first.on_conflict_do_update(
            index_elements=["service"], set_={"last": counters.c.last + 1}
        ).returning(counters.c.last)
        sequence: int = connection.execute(taking).scalar_one()
        body = to_event(data, sequence=sequence, service=self._service, at=at)
        row = {
            "service": self._service,
            "sequence": sequence,
            "topic": topic_of(data),
            "body": body,
            "created_at": at,
        }
        connection.execute(messages.insert(), with_checksum(messages, row))
        return sequence

    def _record_outcome(
        self,
        connection: Connection,
        files: Iterable[FileVersion],
        outcome: Outcome,
        *,
        at: datetime,
        plate: str,
        well: str,
        reason: str = "",
    ) -> None:
        """Record the outcome of file versions; the latest replaces earlier ones except stored."""
        values: dict[str, Any] = {
            "outcome": outcome,
            "reason": reason,
            "plate": plate,
            "well": well,
            "ended_at": at,
        }
        rows = [
            {
                "service": self._service,
                "path": file.path,
                "size": file.size,
                "mtime_ns": file.mtime_ns,
            }
            | values
            for file in files
        ]
        if rows:
            insert = self._insert(file_versions)
            ending = insert.on_conflict_do_update(
                index_elements=list(file_versions.primary_key),
                set_={name: insert.excluded[name] for name in values},
                where=None
                if outcome is Outcome.STORED
                else file_versions.c.outcome != Outcome.STORED,
            )
            connection.execute(ending, rows)
