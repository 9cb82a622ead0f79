"""Why an encoder that came later could not embed an observation."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table; so far every observation has the embedding of the encoder that took it in."""
    op.create_table(
        "embedding_refusal",
        sa.Column("observation_id", sa.Integer, sa.ForeignKey("observation.id"), nullable=False),
        sa.Column("encoder_id", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("observation_id", "encoder_id"),
    )
