"""SQL implementation of :class:`store.ports.RetentionStore` and its part for saved images."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, delete, func, select, update

from schemas.messages import TOPIC_PREFIX, topic_about
from schemas.plate_state import PlateState
from schemas.well_image import FileVersion
from store.sql_part import SqlPart
from store.tables import (
    assays,
    counters,
    messages,
    observations,
    pictures,
    plate_changes,
    plate_maps,
    plate_states,
    rankings,
)

_KINDS = ("observation", "rejected", "acquisition")  # of the messages that are deleted
_ALERTS = f"{TOPIC_PREFIX}.alert"


class SqlRetention(SqlPart):
    """Finds and deletes old data of closed plates; each deletion is one short transaction."""

    def closed_before(self, before: datetime) -> Sequence[str]:
        """Return the closed plates whose newest ranking was made before a time, by name.

        A plate is left out if its messages have the topics of a plate that is not returned.
        """
        query = _closed(self._service, before)
        with self._database.reading() as connection:
            closed = {row.plate for row in connection.execute(query)}
            known = {
                row.plate
                for table in (plate_maps, observations)
                for row in connection.execute(select(table.c.plate).distinct())
            }
        others = {topic_about("observation", plate) for plate in known - closed}
        return sorted(plate for plate in closed if topic_about("observation", plate) not in others)

    def old_pictures(self, plate: str, before: datetime, limit: int | None = None) -> Sequence[int]:
        """Return observations (ids) of a plate with a picture that arrived before a time."""
        query = (
            select(pictures.c.observation_id)
            .join(observations)
            .where(
                observations.c.service == self._service,
                observations.c.plate == plate,
                observations.c.received_at < before,
            )
            .order_by(pictures.c.observation_id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def delete_pictures(self, observation_ids: Collection[int]) -> None:
        """Delete the pictures of observations (ids)."""
        with self._database.writing() as connection:
            connection.execute(
                delete(pictures).where(pictures.c.observation_id.in_(observation_ids))
            )

    def old_messages(
        self, plate: str, before: datetime, through: int, limit: int | None = None
    ) -> Sequence[int]:
        """Return the numbers of messages about images of a plate that were made before a time.

        Messages about rankings and the last message of each topic are never returned.

        Parameters
        ----------
        through
            The largest number that may be returned.
        """
        topics = messages.c.topic.in_([topic_about(kind, plate) for kind in _KINDS])
        query = select(messages.c.sequence).where(self._deletable(topics, before, through))
        with self._database.reading() as connection:
            return list(connection.scalars(query.order_by(messages.c.sequence).limit(limit)))

    def old_alerts(
        self, plates: Collection[str], before: datetime, through: int, limit: int | None = None
    ) -> Sequence[int]:
        """Return the numbers of alert messages about some plates or none, as :meth:`old_messages`.

        The last alert is never returned.
        """
        query = select(messages.c.sequence, messages.c.body).where(
            self._deletable(messages.c.topic == _ALERTS, before, through)
        )
        with self._database.reading() as connection:
            found = [
                row.sequence
                for row in connection.execute(query.order_by(messages.c.sequence))
                if (plate := json.loads(row.body)["data"]["plate"]) is None or plate in plates
            ]
        return found[:limit]

    def delete_messages(self, sequences: Collection[int]) -> None:
        """Delete messages by their numbers, and record the largest number of a deleted message."""
        last = max(sequences)
        mine = counters.c.service == self._service
        with self._database.writing() as connection:
            connection.execute(
                delete(messages).where(
                    messages.c.service == self._service, messages.c.sequence.in_(sequences)
                )
            )
            connection.execute(
                update(counters)
                .where(mine, counters.c.deleted_through < last)
                .values(deleted_through=last)
            )

    def plates_with_files(self, before: datetime) -> Sequence[str]:
        """Return the closed plates, as :meth:`closed_before`, whose files were not deleted.

        Plates with an assay are left out, because they calibrate later plates.
        """
        states = plate_states.c
        query = _closed(self._service, before).where(
            states.files_deleted_at.is_(None) | (states.files_deleted_at < states.at),
            states.plate.not_in(select(assays.c.plate)),
        )
        with self._database.reading() as connection:
            return sorted(connection.scalars(query))

    def image_files(self, plate: str) -> Sequence[FileVersion]:
        """Return the files of every stored image of a plate, in the order of their arrival."""
        query = (
            select(observations.c.files)
            .where(observations.c.service == self._service, observations.c.plate == plate)
            .order_by(observations.c.id)
        )
        with self._database.reading() as connection:
            return [
                FileVersion(*file) for files in connection.scalars(query).all() for file in files
            ]

    def note_files_deleted(self, plate: str, now: datetime) -> None:
        """Record that the files of a plate were deleted at a time."""
        with self._database.writing() as connection:
            connection.execute(
                update(plate_states)
                .where(plate_states.c.service == self._service, plate_states.c.plate == plate)
                .values(files_deleted_at=now)
            )

    def _deletable(
        self, topics: ColumnElement[bool], before: datetime, through: int
    ) -> ColumnElement[bool]:
        """Return the condition for old messages of some topics except the last one of each."""
        newest = (
            select(func.max(messages.c.sequence))
            .where(messages.c.service == self._service, topics)
            .group_by(messages.c.topic)
        )
        return (
            (messages.c.service == self._service)
            & topics
            & (messages.c.created_at < before)
            & (messages.c.sequence <= through)
            & messages.c.sequence.not_in(newest)
        )


def _closed(service: str, before: datetime) -> Select[tuple[str]]:
    """Return the query for the closed plates of a service whose rankings are older than a time."""
    newest = (
        select(rankings.c.plate, func.max(rankings.c.created_at).label("at"))
        .group_by(rankings.c.plate)
        .subquery()
    )
    states = plate_states.c
    return (
        select(states.plate)
        .join(newest, newest.c.plate == states.plate)
        .outerjoin(plate_changes, plate_changes.c.plate == states.plate)
        .where(
            states.service == service,
            states.state == PlateState.CLOSED.value,
            states.changes == func.coalesce(plate_changes.c.changes, 0),
            newest.c.at < before,
        )
    )
