"""Migration 1: the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# The types are those of this revision; later changes of store.tables do not apply here.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create all tables in an empty database."""
    _outbox()
    _observations()
    op.create_table(
        "file_version",
        sa.Column("service", TEXT),
        sa.Column("path", TEXT),
        sa.Column("size", sa.BigInteger),
        sa.Column("mtime_ns", sa.BigInteger),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("plate", TEXT, nullable=False),
        sa.Column("well", TEXT, nullable=False),
        sa.Column("ended_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("service", "path", "size", "mtime_ns"),
    )
    op.create_index("file_version_by_outcome", "file_version", ["service", "outcome"])
    op.create_table(
        "plate_map",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("plate", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("saved_at", TIME, nullable=False),
    )
    op.create_index("ix_plate_map_plate", "plate_map", ["plate"])
    op.create_table(
        "ranking",
        sa.Column("plate", TEXT),
        sa.Column("day", sa.Integer),
        sa.Column("revision", sa.Integer),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("plate", "day", "revision"),
    )


def _outbox() -> None:
    op.create_table(
        "sequence_counter",
        sa.Column("service", TEXT, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("published_through", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "message",
        sa.Column("service", TEXT),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("topic", TEXT, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("service", "sequence"),
    )
    op.create_index("message_by_topic", "message", ["service", "topic", "created_at"])


def _observations() -> None:
    op.create_table(
        "observation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("service", TEXT, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("plate", TEXT, nullable=False),
        sa.Column("well", TEXT, nullable=False),
        sa.Column("visit", TEXT, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("taken_at", TIME),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("um_per_px", sa.Float),
        sa.Column("quality", sa.JSON, nullable=False),
        sa.Column("measures", sa.JSON, nullable=False),
        sa.UniqueConstraint("plate", "well", "visit", "version"),
        sa.UniqueConstraint("plate", "well", "visit", "digest"),
    )
    op.create_table(
        "embedding",
        sa.Column("observation_id", sa.Integer, sa.ForeignKey("observation.id")),
        sa.Column("encoder_id", TEXT),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("observation_id", "encoder_id"),
    )
