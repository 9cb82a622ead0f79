"""Migration 5: tables of assays and calibrations."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the empty tables of assays and calibrations."""
    op.create_table(
        "assay",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("plate", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("saved_at", TIME, nullable=False),
    )
    op.create_index("ix_assay_plate", "assay", ["plate"])
    op.create_table(
        "calibration",
        sa.Column("digest", TEXT, primary_key=True),
        sa.Column("card", sa.JSON, nullable=False),
        sa.Column("plates", sa.JSON, nullable=False),
        sa.Column("saved_at", TIME, nullable=False),
    )
