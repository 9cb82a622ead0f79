"""SQL implementation of :class:`store.ports.AcknowledgementStore`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from store.sql_part import SqlPart
from store.tables import acknowledgements, final_messages


@dataclass(frozen=True)
class StoredFinal:
    """The message of a final ranking: its sequence number, ranking and time."""

    sequence: int
    plate: str
    day: int
    revision: int
    created_at: datetime


class SqlAcknowledgements(SqlPart):
    """The messages of final rankings, and the number up to which each subscriber has them."""

    def acknowledge(self, subscriber: str, sequence: int, now: datetime) -> None:
        """Record, at a time, that a subscriber has every message up to a sequence number.

        The recorded number never decreases.
        """
        insert = self._insert(acknowledgements).values(
            service=self._service, subscriber=subscriber, sequence=sequence, at=now
        )
        newer = insert.on_conflict_do_update(
            index_elements=["service", "subscriber"],
            set_={"sequence": insert.excluded.sequence, "at": insert.excluded.at},
            where=acknowledgements.c.sequence < insert.excluded.sequence,
        )
        with self._database.writing() as connection:
            connection.execute(newer)

    def acknowledged(self) -> Mapping[str, int]:
        """Return the acknowledged sequence number of each subscriber that has acknowledged."""
        query = select(acknowledgements.c.subscriber, acknowledgements.c.sequence).where(
            acknowledgements.c.service == self._service
        )
        with self._database.reading() as connection:
            return {row.subscriber: row.sequence for row in connection.execute(query)}

    def finals_after(self, sequence: int, limit: int) -> Sequence[StoredFinal]:
        """Return the first final rankings that were published after a sequence number."""
        table = final_messages.c
        query = (
            select(table.sequence, table.plate, table.day, table.revision, table.created_at)
            .where(table.service == self._service, table.sequence > sequence)
            .order_by(table.sequence)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [StoredFinal(*row) for row in connection.execute(query)]
