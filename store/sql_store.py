"""The store in a relational database: observations, files, plate maps, rankings, and the outbox of messages that tell of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from schemas.assay import Assay
from schemas.calibration import CalibrationCard, CalibrationPlate
from schemas.errors import StoreError
from schemas.events import to_event
from schemas.messages import MessageData, StatusData, topic_of
from schemas.observation import Observation, Outcome, RejectedFile, VisitVersion
from schemas.plate_map import PlateMap
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking
from schemas.well_image import FileVersion, Rejected, VisitKey, WellImage
from store.database import Database
from store.rows import is_of, next_version_of, observation_of, select_newest
from store.tables import (
    assays,
    calibrations,
    counters,
    embeddings,
    file_versions,
    messages,
    observations,
    pictures,
    plate_maps,
    rankings,
    specimen_rankings,
)

HEARTBEATS_KEPT = timedelta(days=1)
_IN_ORDER = (observations.c.well, observations.c.day, observations.c.visit, observations.c.version)
_ROWS_AT_ONCE = 5000  # of a long listing, so that it never stands in memory as a whole


@dataclass(frozen=True)
class StoredMessage:
    """A row of the outbox."""

    sequence: int
    topic: str
    body: str


class SqlStore:
    """Implements :class:`inference.ports.Store`, and is the ledger that a source asks for the files that ended.

    Parameters
    ----------
    url
        ``sqlite:////folder/file.sqlite`` (folder and file are made) or ``postgresql+psycopg://user:password@host/database``.
    service
        Whose messages and files these are: several services may share one database, each with its own series of sequence numbers.
    timeout_s
        Longest wait for a connection or a lock.

    Raises
    ------
    StoreError
        If the database cannot be opened, or was made by a newer version.
    """

    def __init__(self, url: str, *, service: str = "spherorank", timeout_s: float = 10.0) -> None:
        self._service = service
        self._database = Database(url, timeout_s=timeout_s)
        self._insert = (
            postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        )

    # Files

    def ended_files(self) -> Iterator[FileVersion]:
        """Return every version of a file that has an outcome."""
        query = select(file_versions.c.path, file_versions.c.size, file_versions.c.mtime_ns).where(
            file_versions.c.service == self._service
        )
        with self._database.reading() as connection:
            for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query):
                yield FileVersion(row.path, row.size, row.mtime_ns)

    def rejected(self) -> Sequence[RejectedFile]:
        """Return the newest refusal of each path that no later version of it undid, oldest first."""
        later = file_versions.alias("later")
        undone = and_(
            later.c.service == file_versions.c.service,
            later.c.path == file_versions.c.path,
            tuple_(later.c.ended_at, later.c.mtime_ns)
            > tuple_(file_versions.c.ended_at, file_versions.c.mtime_ns),
        )
        query = (
            select(file_versions)
            .where(
                file_versions.c.service == self._service,
                file_versions.c.outcome == Outcome.REJECTED,
                ~select(1).where(undone).exists(),
            )
            .order_by(file_versions.c.ended_at, file_versions.c.path)
        )
        with self._database.reading() as connection:
            return [
                RejectedFile(
                    row.path, row.size, row.mtime_ns, row.plate, row.well, row.reason, row.ended_at
                )
                for row in connection.execute(query)
            ]

    def add_rejected(self, rejected: Rejected, message: MessageData, now: datetime) -> int:
        """Commit the refusal of files and its message in one transaction; return the message's sequence number."""
        with self._database.writing() as connection:
            sequence = self._tell(connection, message, now)
            self._end_files(
                connection,
                rejected.files,
                Outcome.REJECTED,
                at=now,
                plate=rejected.plate,
                well=rejected.well,
                reason=rejected.reason,
            )
            return sequence

    def add_duplicate(self, image: WellImage, now: datetime) -> None:
        """Record that these files hold pixels that are stored already."""
        with self._database.writing() as connection:
            self._end_files(
                connection,
                image.files,
                Outcome.DUPLICATE,
                at=now,
                plate=image.key.plate,
                well=image.key.well,
            )

    # Observations

    def version_of(self, key: VisitKey, digest: str) -> int | None:
        """Return the version under which these pixels of this visit are stored, or None if they are new."""
        with self._database.reading() as connection:
            return connection.scalar(
                select(observations.c.version).where(is_of(key), observations.c.digest == digest)
            )

    def next_version(self, key: VisitKey) -> int:
        """Return the number the next version of this visit gets, from 1."""
        with self._database.reading() as connection:
            return next_version_of(connection, key)

    def add_observation(
        self, observation: Observation, message: MessageData, picture: bytes = b""
    ) -> int:
        """Commit observation, message, picture and the outcome of its files in one transaction; return the message's sequence number.

        Pixels of this visit that are stored already make no second observation or message: the first one's number is returned.
        """
        at, key = observation.received_at, observation.key
        with self._database.writing() as connection:
            same = and_(is_of(key), observations.c.digest == observation.digest)
            told: int | None = connection.scalar(select(observations.c.sequence).where(same))
            if told is not None:
                self._end_files(
                    connection,
                    observation.files,
                    Outcome.DUPLICATE,
                    at=at,
                    plate=key.plate,
                    well=key.well,
                )
                return told
            sequence = self._tell(connection, message, at)
            self._keep(connection, observation, sequence, picture)
            self._end_files(
                connection, observation.files, Outcome.STORED, at=at, plate=key.plate, well=key.well
            )
            return sequence

    def imaged(self, plate: str, encoder_id: str) -> Sequence[VisitVersion]:
        """Return every version of every visit of a plate that this encoder embedded, by well, day, visit and version."""
        columns = [
            observations.c[name]
            for name in (
                "id",
                "plate",
                "well",
                "visit",
                "version",
                "digest",
                "day",
                "taken_at",
                "received_at",
                "complete",
            )
        ]
        query = (
            select(*columns)
            .join(embeddings)
            .where(observations.c.plate == plate, embeddings.c.encoder_id == encoder_id)
            .order_by(*_IN_ORDER)
        )
        with self._database.reading() as connection:
            return [
                VisitVersion(
                    row.id,
                    VisitKey(row.plate, row.well, row.visit),
                    row.version,
                    row.digest,
                    row.day,
                    row.taken_at,
                    row.received_at,
                    complete=row.complete,
                )
                for row in connection.execute(query)
            ]

    def observations(
        self, images: Sequence[VisitVersion], encoder_id: str
    ) -> Sequence[Observation]:
        """Return these images with their embeddings, by well, day, visit and version."""
        query = (
            select(observations, embeddings.c.encoder_id, embeddings.c.vector)
            .join(embeddings)
            .where(
                observations.c.id.in_([image.observation_id for image in images]),
                embeddings.c.encoder_id == encoder_id,
            )
            .order_by(*_IN_ORDER)
        )
        with self._database.reading() as connection:
            return [observation_of(row) for row in connection.execute(query).all()]

    def pictures(self, images: Sequence[VisitVersion]) -> Mapping[int, bytes]:
        """Return the JPEG of each of these images that has one, by observation id."""
        query = select(pictures).where(
            pictures.c.observation_id.in_([image.observation_id for image in images])
        )
        with self._database.reading() as connection:
            return {row.observation_id: row.jpeg for row in connection.execute(query)}

    # Plate maps

    def save_plate_map(self, plate_map: PlateMap, now: datetime) -> None:
        """Keep the newest map of a plate; a map equal to the kept one changes nothing."""
        with self._database.writing() as connection:
            newest = connection.execute(select_newest(plate_maps, plate_map.plate)).first()
            if newest is None or newest.digest != plate_map.digest:
                row = {
                    name: getattr(plate_map, name)
                    for name in ("plate", "digest", "line", "dosed_on_day", "seeded_at")
                }
                connection.execute(
                    plate_maps.insert().values(
                        row | {"content": plate_map.model_dump(mode="json"), "saved_at": now}
                    )
                )

    def plate_map(self, plate: str, digest: str | None = None) -> PlateMap | None:
        """Return the newest map of a plate, or the newest with this digest."""
        with self._database.reading() as connection:
            row = connection.execute(select_newest(plate_maps, plate, digest)).first()
            return None if row is None else PlateMap.model_validate(row.content)

    def plates(self) -> Sequence[str]:
        """Return the plates that have a map, in alphabetical order."""
        with self._database.reading() as connection:
            return connection.scalars(
                select(plate_maps.c.plate).distinct().order_by(plate_maps.c.plate)
            ).all()

    def earlier_plates(
        self, plate_map: PlateMap, day: int, encoder_id: str, most: int
    ) -> Sequence[PlateMap]:
        """Return the newest maps of plates of the same line and dosing day, seeded before this one, with images of a day by this encoder, newest first."""
        newest = select(func.max(plate_maps.c.id)).group_by(plate_maps.c.plate)
        of_day = and_(
            observations.c.plate == plate_maps.c.plate,
            observations.c.day == day,
            embeddings.c.encoder_id == encoder_id,
        )
        query = (
            select(plate_maps.c.content)
            .where(
                plate_maps.c.id.in_(newest),
                plate_maps.c.plate != plate_map.plate,
                plate_maps.c.line.is_not_distinct_from(plate_map.line),
            )
            .where(
                plate_maps.c.dosed_on_day == plate_map.dosed_on_day,
                plate_maps.c.seeded_at < plate_map.seeded_at,
            )
            .where(select(1).select_from(observations.join(embeddings)).where(of_day).exists())
            .order_by(plate_maps.c.seeded_at.desc(), plate_maps.c.plate)
            .limit(most)
        )
        with self._database.reading() as connection:
            return [PlateMap.model_validate(content) for content in connection.scalars(query)]

    def plates_of(self, specimen: str) -> Sequence[str]:
        """Return the plates whose newest map names this specimen, in alphabetical order."""
        newest = select(func.max(plate_maps.c.id)).group_by(plate_maps.c.plate)
        of_it = plate_maps.c.content["specimen"].as_string() == specimen
        with self._database.reading() as connection:
            return connection.scalars(
                select(plate_maps.c.plate)
                .where(plate_maps.c.id.in_(newest), of_it)
                .order_by(plate_maps.c.plate)
            ).all()

    # Assays and calibrations

    def save_assay(self, assay: Assay, now: datetime) -> None:
        """Keep the newest assay of a plate; an assay equal to the kept one changes nothing."""
        with self._database.writing() as connection:
            newest = connection.execute(select_newest(assays, assay.plate)).first()
            if newest is None or newest.digest != assay.digest:
                connection.execute(
                    assays.insert().values(
                        plate=assay.plate,
                        digest=assay.digest,
                        content=assay.model_dump(mode="json"),
                        saved_at=now,
                    )
                )

    def assay(self, plate: str, digest: str) -> Assay | None:
        """Return the assay of a plate with this digest, the newest or an earlier one."""
        with self._database.reading() as connection:
            row = connection.execute(select_newest(assays, plate, digest)).first()
            return None if row is None else Assay.model_validate(row.content)

    def assays(self) -> Sequence[Assay]:
        """Return the newest assay of each plate that has one, in alphabetical order of plates."""
        newest = select(func.max(assays.c.id)).group_by(assays.c.plate)
        with self._database.reading() as connection:
            rows = connection.scalars(
                select(assays.c.content).where(assays.c.id.in_(newest)).order_by(assays.c.plate)
            )
            return [Assay.model_validate(content) for content in rows]

    def calibration(self, digest: str) -> tuple[CalibrationCard, Sequence[CalibrationPlate]] | None:
        """Return the card of a calibration and what it was learned from."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(calibrations).where(calibrations.c.digest == digest)
            ).first()
            return (
                None
                if row is None
                else (
                    CalibrationCard.model_validate(row.card),
                    [CalibrationPlate.model_validate(plate) for plate in row.plates],
                )
            )

    def add_calibration(
        self, card: CalibrationCard, plates: Sequence[CalibrationPlate], now: datetime
    ) -> None:
        """Keep the card of a calibration and what it was learned from; one of its digest that is kept already stays."""
        row = {
            "digest": card.digest,
            "card": card.model_dump(mode="json"),
            "plates": [plate.model_dump(mode="json") for plate in plates],
            "saved_at": now,
        }
        with self._database.writing() as connection:
            connection.execute(
                self._insert(calibrations)
                .values(row)
                .on_conflict_do_nothing(index_elements=["digest"])
            )

    # Rankings

    def rankings(self, plate: str) -> Sequence[Ranking]:
        """Return every ranking of a plate, by day and revision."""
        query = (
            select(rankings.c.content)
            .where(rankings.c.plate == plate)
            .order_by(rankings.c.day, rankings.c.revision)
        )
        with self._database.reading() as connection:
            return [Ranking.model_validate(content) for content in connection.scalars(query)]

    def add_ranking(self, ranking: Ranking, message: MessageData) -> int:
        """Commit a ranking and its message in one transaction; return the message's sequence number.

        Raises
        ------
        StoreError
            Also if this revision exists: a published ranking never changes.
        """
        with self._database.writing() as connection:
            this = and_(rankings.c.plate == ranking.plate, rankings.c.day == ranking.day)
            newest = connection.scalar(select(func.max(rankings.c.revision)).where(this)) or 0
            if connection.scalar(select(1).where(this, rankings.c.revision == ranking.revision)):
                raise StoreError(
                    self._database.where,
                    f"the ranking {ranking.plate} {ranking.name} exists already; expected revision {newest + 1}",
                )
            sequence = self._tell(connection, message, ranking.created_at)
            row = {
                name: getattr(ranking, name)
                for name in ("plate", "day", "revision", "final", "created_at")
            }
            connection.execute(
                rankings.insert().values(
                    row
                    | {
                        "content": ranking.model_dump(
                            mode="json", include=set(Ranking.model_fields)
                        )
                    }
                )
            )
            return sequence

    def specimen_rankings(self, specimen: str) -> Sequence[SpecimenRanking]:
        """Return every ranking of a specimen, by revision."""
        query = (
            select(specimen_rankings.c.content)
            .where(specimen_rankings.c.specimen == specimen)
            .order_by(specimen_rankings.c.revision)
        )
        with self._database.reading() as connection:
            return [
                SpecimenRanking.model_validate(content) for content in connection.scalars(query)
            ]

    def add_specimen_ranking(self, ranking: SpecimenRanking, message: MessageData) -> int:
        """Commit a specimen's ranking and its message in one transaction; return the message's sequence number.

        Raises
        ------
        StoreError
            Also if this revision exists: a published ranking never changes.
        """
        with self._database.writing() as connection:
            this = specimen_rankings.c.specimen == ranking.specimen
            newest = (
                connection.scalar(select(func.max(specimen_rankings.c.revision)).where(this)) or 0
            )
            if ranking.revision <= newest:
                raise StoreError(
                    self._database.where,
                    f"the ranking {ranking.name} of specimen {ranking.specimen} exists already; expected r{newest + 1}",
                )
            sequence = self._tell(connection, message, ranking.created_at)
            row = {name: getattr(ranking, name) for name in ("specimen", "revision", "created_at")}
            content = ranking.model_dump(mode="json", include=set(SpecimenRanking.model_fields))
            connection.execute(specimen_rankings.insert().values(row | {"content": content}))
            return sequence

    # The outbox

    def add_message(self, message: MessageData, now: datetime) -> int:
        """Put a message that belongs to no other row (status, alert) into the outbox; return its sequence number.

        A heartbeat takes the place of those older than a day: they are deleted, and their numbers are not used again.
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
            return self._tell(connection, message, now)

    def messages_after(
        self, sequence: int, topic_prefix: str = "", limit: int = 1000
    ) -> Sequence[StoredMessage]:
        """Return messages of this service with a larger sequence number, in order."""
        query = (
            select(messages.c.sequence, messages.c.topic, messages.c.body)
            .where(messages.c.service == self._service, messages.c.sequence > sequence)
            .where(
                func.substr(messages.c.topic, 1, len(topic_prefix)) == topic_prefix
            )  # not LIKE, which ignores case in SQLite
            .order_by(messages.c.sequence)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [
                StoredMessage(row.sequence, row.topic, row.body)
                for row in connection.execute(query)
            ]

    def last_sequence(self) -> int:
        """Return the largest sequence number issued, 0 before the first."""
        return self._counter(counters.c.last)

    def published_through(self) -> int:
        """Return the sequence number up to which messages were handed to the PUB socket."""
        return self._counter(counters.c.published_through)

    def mark_published(self, sequence: int) -> None:
        """Record that messages up to here were handed to the PUB socket; never goes back."""
        with self._database.writing() as connection:
            connection.execute(
                update(counters)
                .where(counters.c.service == self._service, counters.c.published_through < sequence)
                .values(published_through=sequence)
            )

    def close(self) -> None:
        """Release connections. Safe to call twice."""
        self._database.close()

    # Steps of the transactions above

    def _counter(self, column: ColumnElement[int]) -> int:
        with self._database.reading() as connection:
            return connection.scalar(select(column).where(counters.c.service == self._service)) or 0

    def _tell(self, connection: Connection, data: MessageData, at: datetime) -> int:
        """Put a message into the outbox under the next number.

        The counter's row stays locked until the transaction ends, so numbers are committed in their order: a reader of the outbox that has
        seen a number never meets a smaller one later. A transaction that fails gives its number back.
        """
        first = self._insert(counters).values(service=self._service, last=1, published_through=0)
        taking = first.on_conflict_do_update(
            index_elements=["service"], set_={"last": counters.c.last + 1}
        ).returning(counters.c.last)
        sequence: int = connection.execute(taking).scalar_one()
        body = to_event(data, sequence=sequence, service=self._service, at=at)
        connection.execute(
            messages.insert().values(
                service=self._service,
                sequence=sequence,
                topic=topic_of(data),
                body=body,
                created_at=at,
            )
        )
        return sequence

    def _keep(self, connection: Connection, of: Observation, sequence: int, picture: bytes) -> None:
        row = {
            "service": self._service,
            "sequence": sequence,
            "plate": of.key.plate,
            "well": of.key.well,
            "visit": of.key.visit,
            "version": next_version_of(connection, of.key),
            "digest": of.digest,
            "day": of.day,
            "taken_at": of.taken_at,
            "received_at": of.received_at,
            "complete": of.complete,
            "files": [[file.path, file.size, file.mtime_ns] for file in of.files],
            "um_per_px": of.um_per_px,
            "quality": of.quality.model_dump(mode="json"),
            "measures": of.measures,
        }
        observation_id = connection.execute(
            observations.insert().values(row).returning(observations.c.id)
        ).scalar_one()
        connection.execute(
            embeddings.insert().values(
                observation_id=observation_id, encoder_id=of.encoder_id, vector=of.embedding
            )
        )
        if picture:
            connection.execute(
                pictures.insert().values(observation_id=observation_id, jpeg=picture)
            )

    def _end_files(
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
        """Record how these files ended. The latest outcome of a version stands, but a file that an observation rests on stays stored."""
        told: dict[str, Any] = {
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
            | told
            for file in files
        ]
        if rows:
            insert = self._insert(file_versions)
            ending = insert.on_conflict_do_update(
                index_elements=list(file_versions.primary_key),
                set_={name: insert.excluded[name] for name in told},
                where=None
                if outcome is Outcome.STORED
                else file_versions.c.outcome != Outcome.STORED,
            )
            connection.execute(ending, rows)
