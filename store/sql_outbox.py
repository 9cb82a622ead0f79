"""SQL implementation of :class:`store.ports.Outbox`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, select, update

from schemas.messages import MessageData, StatusData, topic_of
from store.checksums import read_rows
from store.sql_part import SqlPart
from store.tables import counters, messages

HEARTBEATS_KEPT = timedelta(days=1)


@dataclass(frozen=True)
class StoredMessage:
    """One row of the outbox: sequence number, topic and JSON body of a message."""

    sequence: int
    topic: str
    body: str


class SqlOutbox(SqlPart):
    """Committed messages in order, and the number up to which they were published."""

    def add_message(self, message: MessageData, now: datetime) -> int:
        """Commit a status or alert message with the time ``now``; return its sequence number.

        Such a message belongs to no other row. A heartbeat also deletes heartbeats older than a
        day; their numbers are not used again.
        """
        with self._database.writing() as connection:
            if isinstance(message, StatusData):
                old = messages.c.created_at < now - HEARTBEATS_KEPT
                connection.execute(
                    delete(messages).where(
                        messages.c.service == self._service,
                        messages.c.topic == topic_of(message),
                        old,
                    )
                )
            return self._enqueue(connection, message, now)

    def messages_after(
        self, sequence: int, topic_prefix: str = "", limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Return at most ``limit`` messages after a number with a topic prefix, in order.

        Only messages of this service are returned. Their numbers count as published, see
        :mod:`store.sequence_mark`.
        """
        query = (
            select(messages)
            .where(messages.c.service == self._service, messages.c.sequence > sequence)
            .where(
                func.substr(messages.c.topic, 1, len(topic_prefix)) == topic_prefix
            )  # not LIKE, which ignores case in SQLite
            .order_by(messages.c.sequence)
            .limit(limit)
        )
        with self._database.reading() as connection:
            found = read_rows(connection, query, messages, _message_of)
        if found:
            self._publishing(found[-1].sequence)
        return found

    def change_number(self) -> int | None:
        """Return a number that each commit of another connection changes; None if it is unknown."""
        return self._database.change_number()

    def last_sequence(self) -> int:
        """Return the largest sequence number issued, 0 before the first; it counts as published."""
        last = self._counter(counters.c.last)
        if last:
            self._publishing(last)
        return last

    def published_through(self) -> int:
        """Return the sequence number up to which messages were handed to the PUB socket."""
        return self._counter(counters.c.published_through)

    def deleted_through(self) -> int:
        """Return the largest number of a message that retention deleted, 0 if it deleted none."""
        return self._counter(counters.c.deleted_through)

    def mark_published(self, sequence: int) -> None:
        """Record that messages up to a sequence number were sent on the PUB socket.

        The recorded number never decreases.
        """
        with self._database.writing() as connection:
            connection.execute(
                update(counters)
                .where(counters.c.service == self._service, counters.c.published_through < sequence)
                .values(published_through=sequence)
            )

    def unpublished(self) -> int:
        """Return the number of committed messages that were not sent on the PUB socket."""
        return self._counter(counters.c.last - counters.c.published_through)

    def _counter(self, column: ColumnElement[int]) -> int:
        with self._database.reading() as connection:
            return connection.scalar(select(column).where(counters.c.service == self._service)) or 0


def _message_of(row: Row[Any]) -> StoredMessage:
    return StoredMessage(row.sequence, row.topic, row.body)
