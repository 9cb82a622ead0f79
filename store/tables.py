"""The tables, and the three column types that make SQLite and PostgreSQL keep the same values."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

# File names that are not UTF-8 contain lone surrogates, which no database stores. PostgreSQL also
# refuses NUL. Both are mapped to the private use area and back.
_STORABLE = {0xDC80 + byte: 0xEF80 + byte for byte in range(0x80)} | {0: 0xEF00}
_ORIGINAL = {kept: original for original, kept in _STORABLE.items()}


def storable(value: str) -> str:
    """Return a text with the characters replaced that a database cannot store."""
    return value if value.isascii() and "\0" not in value else value.translate(_STORABLE)


class AnyText(TypeDecorator[str]):
    """Text with any character, compared and ordered by code point in both databases."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Return the column type for a dialect; PostgreSQL gets the order of SQLite."""
        return Text(collation="C") if dialect.name == "postgresql" else Text()

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the text with characters that the database cannot store replaced."""
        return None if value is None else storable(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the original text of a stored text."""
        return value if value is None or value.isascii() else value.translate(_ORIGINAL)


class UtcTime(TypeDecorator[datetime]):
    """An instant: time zone aware in Python, UTC in the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC; without a time zone for SQLite, which has none."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(
                f"the time {value.isoformat()} has no time zone; expected one, such as "
                f"{value.isoformat()}+00:00"
            )
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored time in UTC with its time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Float32Vector(TypeDecorator[npt.NDArray[np.float32]]):
    """A vector, (dimension,) float32, as little-endian bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(
        self,
        value: npt.NDArray[np.float32] | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> bytes | None:
        """Return the vector as little-endian bytes."""
        return None if value is None else np.asarray(value, dtype="<f4").tobytes()

    def process_result_value(
        self,
        value: bytes | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> npt.NDArray[np.float32] | None:
        """Return the stored bytes as a read-only float32 vector."""
        return None if value is None else np.frombuffer(value, dtype="<f4")


metadata = MetaData()

counters = Table(
    "sequence_counter",
    metadata,
    Column("service", AnyText, primary_key=True),
    Column("last", BigInteger, nullable=False),  # the largest number given out; never goes back
    Column("published_through", BigInteger, nullable=False),
    # The largest number of a message that retention has deleted; never goes back.
    Column("deleted_through", BigInteger, nullable=False, server_default="0"),
)

messages = Table(
    "message",
    metadata,
    Column("service", AnyText),
    Column("sequence", BigInteger),
    Column("topic", AnyText, nullable=False),
    Column("body", Text, nullable=False),  # the event as it is published, byte by byte
    Column("created_at", UtcTime, nullable=False),
    Column("checksum", BigInteger),  # of the row, see store/checksums.py; NULL: not recorded
    PrimaryKeyConstraint("service", "sequence"),
    Index("message_by_topic", "service", "topic", "created_at"),
)

final_messages = Table(
    "final_message",  # messages about final rankings, which subscribers acknowledge
    metadata,
    Column("service", AnyText),
    Column("sequence", BigInteger),
    Column("plate", AnyText, nullable=False),
    Column("day", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("service", "sequence"),
)

acknowledgements = Table(
    "acknowledgement",
    metadata,
    Column("service", AnyText),
    Column("subscriber", AnyText),
    Column("sequence", BigInteger, nullable=False),  # with every smaller number; never goes back
    Column("at", UtcTime, nullable=False),
    PrimaryKeyConstraint("service", "subscriber"),
)

observations = Table(
    "observation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("service", AnyText, nullable=False),
    Column("sequence", BigInteger, nullable=False),  # of the message about it
    Column("plate", AnyText, nullable=False),
    Column("well", AnyText, nullable=False),
    Column("visit", AnyText, nullable=False),
    Column("run", Integer, nullable=False),  # 0: outside the run of its plate when it arrived
    Column("version", Integer, nullable=False),
    Column("digest", AnyText, nullable=False),  # of pixels and scales
    Column("pixel_digest", AnyText),  # NULL: the same as digest, before scales were part of it
    Column("day", Integer, nullable=False),
    Column("day_from_time", Boolean),  # None: stored before revision 0008
    Column("taken_at", UtcTime),
    Column("received_at", UtcTime, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("files", JSON, nullable=False),  # [[path, size, mtime_ns], …]
    Column("um_per_px", Float),
    Column("file_scales", JSON(none_as_null=True)),  # [[um_per_px, source], …]; NULL: not recorded
    Column("quality", JSON, nullable=False),
    Column("measures", JSON, nullable=False),
    Column("unsure", JSON(none_as_null=True)),  # doubts about the outline; NULL: not recorded
    Column("measured_by", AnyText),  # segmenter and definitions of measures; NULL: not recorded
    Column("checksum", BigInteger),  # as of a message
    Column("excluded", AnyText),  # why the image does not count; NULL: it counts
    UniqueConstraint("plate", "run", "well", "visit", "version"),
    UniqueConstraint("plate", "run", "well", "visit", "digest"),
    Index("observation_by_day", "plate", "day"),
    Index("observation_by_method", "service", "plate", "measured_by"),
)

embeddings = Table(
    "embedding",
    metadata,
    Column("observation_id", Integer, ForeignKey("observation.id")),
    Column("encoder_id", AnyText),
    Column("crop", AnyText),  # part of the image; NULL: the whole field, or not recorded
    Column("vector", Float32Vector, nullable=False),
    Column("checksum", BigInteger),  # as of a message
    PrimaryKeyConstraint("observation_id", "encoder_id"),
)

embedding_refusals = Table(
    "embedding_refusal",
    metadata,
    Column("observation_id", Integer, ForeignKey("observation.id")),
    Column("encoder_id", AnyText),  # of an encoder that came later than the observation
    Column("reason", AnyText, nullable=False),
    PrimaryKeyConstraint("observation_id", "encoder_id"),
)

pictures = Table(
    "picture",
    metadata,
    Column("observation_id", Integer, ForeignKey("observation.id"), primary_key=True),
    Column("jpeg", LargeBinary, nullable=False),
)

file_versions = Table(
    "file_version",
    metadata,
    Column("service", AnyText),  # paths are relative to the drop folder of one service
    Column("path", AnyText),
    Column("size", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("outcome", AnyText, nullable=False),
    Column("reason", AnyText, nullable=False),
    Column("plate", AnyText, nullable=False),
    Column("well", AnyText, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("service", "path", "size", "mtime_ns"),
    Index("file_version_by_outcome", "service", "outcome"),
)

plate_maps = Table(
    "plate_map",
    metadata,
    Column("id", Integer, primary_key=True),  # the largest id is the newest map
    Column("plate", AnyText, nullable=False, index=True),
    Column("run", Integer, nullable=False),  # number of the use of the plate id, from 1
    Column("digest", AnyText, nullable=False),
    Column("content", JSON, nullable=False),
    Column("saved_at", UtcTime, nullable=False),
    Column("line", AnyText),  # as in the content, as are the next two
    Column("dosed_on_day", Integer, nullable=False),
    Column("seeded_at", UtcTime, nullable=False),
    Column("checksum", BigInteger),  # as of a message
    Index("plate_map_by_line", "line", "dosed_on_day", "seeded_at"),
)

plate_changes = Table(
    "plate_change",  # counts the changes of everything that a ranking of a plate depends on
    metadata,
    Column("plate", AnyText, primary_key=True),
    Column("changes", BigInteger, nullable=False),  # never decreases
)

plate_states = Table(
    "plate_state",  # of the current run of each plate, as a service has found it
    metadata,
    Column("service", AnyText),
    Column("plate", AnyText),
    Column("run", Integer, nullable=False),
    Column("state", AnyText, nullable=False),
    Column("changes", BigInteger, nullable=False),  # of plate_change, when the state was found
    Column("basis", AnyText, nullable=False),  # settings and version by which it was found
    Column("at", UtcTime, nullable=False),
    Column("files_deleted_at", UtcTime),  # when retention deleted the saved images; NULL: never
    PrimaryKeyConstraint("service", "plate"),
)

closed_folders = Table(
    "closed_folder",  # folders of the drop folder of a service with files of closed plates only
    metadata,
    Column("service", AnyText),
    Column("path", AnyText),
    Column("fingerprint", AnyText, nullable=False),  # of all files in it
    Column("plates", JSON, nullable=False),
    PrimaryKeyConstraint("service", "path"),
)

assays = Table(
    "assay",
    metadata,
    Column("id", Integer, primary_key=True),  # the largest id is the newest assay
    Column("plate", AnyText, nullable=False, index=True),
    Column("run", Integer, nullable=False),  # the run of the plate that was assayed
    Column("digest", AnyText, nullable=False),
    Column("content", JSON, nullable=False),
    Column("saved_at", UtcTime, nullable=False),
    Column("checksum", BigInteger),  # as of a message
)

calibrations = Table(
    "calibration",
    metadata,
    Column("digest", AnyText, primary_key=True),
    Column("card", JSON, nullable=False),
    Column(
        "plates", JSON, nullable=False
    ),  # which assay, map and images of each, by content: the model itself is never kept
    Column("saved_at", UtcTime, nullable=False),
)

rankings = Table(
    "ranking",
    metadata,
    Column("plate", AnyText),
    Column("day", Integer),
    Column("revision", Integer),
    Column("final", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("content", JSON, nullable=False),
    Column("checksum", BigInteger),  # as of a message
    PrimaryKeyConstraint("plate", "day", "revision"),
)

specimen_rankings = Table(
    "specimen_ranking",
    metadata,
    Column("specimen", AnyText),
    Column("revision", Integer),
    Column("created_at", UtcTime, nullable=False),
    Column("content", JSON, nullable=False),
    Column("checksum", BigInteger),  # as of a message
    PrimaryKeyConstraint("specimen", "revision"),
)
