"""Migration 11: messages of final rankings, and acknowledgements by subscribers.

Final rankings that were published before are not listed, so that no subscriber has to acknowledge
them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the two empty tables."""
    op.create_table(
        "final_message",
        sa.Column("service", TEXT, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("plate", TEXT, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("service", "sequence"),
    )
    op.create_table(
        "acknowledgement",
        sa.Column("service", TEXT, nullable=False),
        sa.Column("subscriber", TEXT, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("service", "subscriber"),
    )
