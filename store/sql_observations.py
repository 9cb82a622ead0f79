"""SQL implementation of the ports ObservationWriter and ObservationReader of the store."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, null, select

from schemas.messages import MessageData
from schemas.observation import Observation, Outcome, VisitVersion
from schemas.well_image import VisitKey
from store.checksums import fetch, read_rows, update_row, verify, with_checksum
from store.plate_changes import note_changes
from store.ports import NewObservation
from store.rows import (
    file_scales_of,
    is_of,
    key_of,
    modified_at,
    next_version_of,
    observation_of,
)
from store.sql_part import SqlPart
from store.tables import embeddings, observations, pictures

_IN_ORDER = (
    observations.c.well,
    observations.c.day,
    observations.c.visit,
    observations.c.run,
    observations.c.version,
)
# The files give the time of an image that has no other; reading them takes a third of the time.
_FILES_OF_UNDATED = case((observations.c.taken_at.is_(None), observations.c.files)).label("files")
_VERSION_COLUMNS = [
    observations.c[name]
    for name in (
        "id",
        "plate",
        "well",
        "visit",
        "run",
        "version",
        "digest",
        "pixel_digest",
        "day",
        "taken_at",
        "received_at",
        "complete",
        "um_per_px",
        "file_scales",
        "measured_by",
        "excluded",
    )
] + [_FILES_OF_UNDATED]


class SqlObservations(SqlPart):
    """Stored well images with their embeddings, measures and pictures."""

    def version_of(self, key: VisitKey, digest: str) -> int | None:
        """Return the version number of a VisitKey that is stored with a digest, or None."""
        with self._database.reading() as connection:
            return connection.scalar(
                select(observations.c.version).where(is_of(key), observations.c.digest == digest)
            )

    def scales(self, plate: str, run: int) -> Mapping[float | None, int]:
        """Return the number of stored images of a run of a plate by their scale in µm per pixel."""
        query = (
            select(observations.c.um_per_px, func.count().label("images"))
            .where(observations.c.plate == plate, observations.c.run == run)
            .group_by(observations.c.um_per_px)
        )
        with self._database.reading() as connection:
            return {row.um_per_px: row.images for row in connection.execute(query)}

    def next_version(self, key: VisitKey) -> int:
        """Return the number that the next version of a VisitKey gets; the first version is 1."""
        with self._database.reading() as connection:
            return next_version_of(connection, key)

    def add_observation(
        self, observation: Observation, message: MessageData, picture: bytes = b""
    ) -> int:
        """Commit an observation with its message and JPEG picture; return the message's number.

        Return the sequence number of the message. If the visit is already stored with this digest,
        nothing is added, and the number of the first message is returned.
        """
        with self._database.writing() as connection:
            [sequence] = self._add(connection, [NewObservation(observation, message, picture)])
        return sequence

    def add_observations(self, new: Sequence[NewObservation]) -> None:
        """Commit several observations as :meth:`add_observation` does, in one transaction.

        None is added if one of them cannot be stored.
        """
        if new:
            with self._database.writing() as connection:
                self._add(connection, new)

    def _add(self, connection: Connection, new: Sequence[NewObservation]) -> list[int]:
        """Add observations in a transaction; return the sequence numbers of their messages."""
        added = [self._add_one(connection, each) for each in new]
        plates = [each.observation.key.plate for each in new]
        note_changes(
            connection, [plate for plate, (_, is_new) in zip(plates, added, strict=True) if is_new]
        )
        return [sequence for sequence, _ in added]

    def _add_one(self, connection: Connection, new: NewObservation) -> tuple[int, bool]:
        """Add an observation; return the sequence number of its message, and if it was added."""
        observation = new.observation
        at, key = observation.received_at, observation.key
        same = and_(is_of(key), observations.c.digest == observation.digest)
        sequence_of_same: int | None = connection.scalar(
            select(observations.c.sequence).where(same)
        )
        outcome = Outcome.STORED if sequence_of_same is None else Outcome.DUPLICATE
        self._record_outcome(
            connection, observation.files, outcome, at=at, plate=key.plate, well=key.well
        )
        if sequence_of_same is not None:
            return sequence_of_same, False
        sequence = self._enqueue(connection, new.message, at)
        self._insert_observation(connection, observation, sequence, new.picture)
        return sequence, True

    def imaged(self, plate: str, encoder_id: str) -> Sequence[VisitVersion]:
        """Return every VisitVersion of a plate that an encoder has embedded, in order."""
        return self._versions(
            select(*_VERSION_COLUMNS, embeddings.c.crop)
            .join(embeddings)
            .where(observations.c.plate == plate, embeddings.c.encoder_id == encoder_id)
        )

    def arrived(self, plate: str) -> Sequence[VisitVersion]:
        """Return every VisitVersion of a plate, with and without embeddings, in order."""
        return self._versions(
            select(*_VERSION_COLUMNS, null().label("crop")).where(observations.c.plate == plate)
        )

    def observations(
        self, images: Sequence[VisitVersion], encoder_id: str
    ) -> Sequence[Observation]:
        """Return the Observations of some VisitVersions with one encoder's embeddings, in order."""
        query = (
            select(observations, *(each.label(f"embedding_{each.name}") for each in embeddings.c))
            .join(embeddings)
            .where(
                observations.c.id.in_([image.observation_id for image in images]),
                embeddings.c.encoder_id == encoder_id,
            )
            .order_by(*_IN_ORDER)
        )
        with self._database.reading() as connection:
            return read_rows(connection, query, observations, partial(_observation_of, connection))

    def pictures(self, images: Sequence[VisitVersion]) -> Mapping[int, bytes]:
        """Return JPEG bytes by observation id, for those VisitVersions that have a picture."""
        query = select(pictures).where(
            pictures.c.observation_id.in_([image.observation_id for image in images])
        )
        with self._database.reading() as connection:
            return {row.observation_id: row.jpeg for row in connection.execute(query)}

    def exclude_images(self, plate: str, reasons: Mapping[str, str]) -> Sequence[VisitKey]:
        """Record by path of a file why images of a plate do not count; return the new ones."""
        query = select(observations).where(
            observations.c.service == self._service,
            observations.c.plate == plate,
            observations.c.excluded.is_(None),
        )
        excluded = []
        with self._database.writing() as connection:
            for row in connection.execute(query).all():
                why = [reasons[path] for path, *_ in row.files if path in reasons]
                if why:
                    update_row(connection, observations, row.id, {"excluded": why[0]})
                    excluded.append(key_of(row))
            note_changes(connection, [plate] if excluded else [])
        return excluded

    def _versions(self, query: Select[Any]) -> Sequence[VisitVersion]:
        with self._database.reading() as connection:
            return [
                VisitVersion(
                    row.id,
                    key_of(row),
                    row.version,
                    row.digest,
                    row.pixel_digest or row.digest,
                    row.day,
                    row.taken_at,
                    row.received_at,
                    complete=row.complete,
                    um_per_px=row.um_per_px,
                    file_scales=file_scales_of(row),
                    saved_at=modified_at(row.files),
                    measured_by=row.measured_by,
                    crop=row.crop,
                    excluded=row.excluded,
                )
                for row in fetch(connection, query.order_by(*_IN_ORDER), observations)
            ]

    def _insert_observation(
        self, connection: Connection, of: Observation, sequence: int, picture: bytes
    ) -> None:
        row = {
            "service": self._service,
            "sequence": sequence,
            "plate": of.key.plate,
            "well": of.key.well,
            "visit": of.key.visit,
            "run": of.key.run,
            "version": next_version_of(connection, of.key),
            "digest": of.digest,
            "pixel_digest": of.pixel_digest,
            "day": of.day,
            "day_from_time": of.day_from_time,
            "taken_at": of.taken_at,
            "received_at": of.received_at,
            "complete": of.complete,
            "files": [[file.path, file.size, file.mtime_ns] for file in of.files],
            "um_per_px": of.um_per_px,
            "file_scales": [[scale.um_per_px, scale.source] for scale in of.file_scales or ()],
            "quality": of.quality.model_dump(mode="json"),
            "measures": of.measures,
            "measured_by": of.measured_by,
            "unsure": list(of.unsure),
        }
        row = with_checksum(observations, row)
        observation_id = connection.execute(
            observations.insert().returning(observations.c.id), row
        ).scalar_one()
        embedding = {
            "observation_id": observation_id,
            "encoder_id": of.encoder_id,
            "crop": of.crop,
            "vector": of.embedding,
        }
        connection.execute(embeddings.insert(), with_checksum(embeddings, embedding))
        if picture:
            connection.execute(
                pictures.insert(), {"observation_id": observation_id, "jpeg": picture}
            )


def _observation_of(connection: Connection, row: Row[Any]) -> Observation:
    """Build an observation from its row with the columns of its embedding, which are checked."""
    embedding = {each.name: getattr(row, f"embedding_{each.name}") for each in embeddings.c}
    verify(connection, embeddings, embedding)
    return observation_of(row)
