"""Migration 6: table of the reasons why an encoder cannot embed an observation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the empty table of embedding refusals."""
    op.create_table(
        "embedding_refusal",
        sa.Column("observation_id", sa.Integer, sa.ForeignKey("observation.id"), nullable=False),
        sa.Column("encoder_id", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("observation_id", "encoder_id"),
    )
