"""Migration 14: the states of plates, and the number of changes since which each is valid.

No state is stored for the plates of earlier versions, so the service examines each of them once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the two empty tables."""
    op.create_table(
        "plate_change",
        sa.Column("plate", TEXT, primary_key=True),
        sa.Column("changes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "plate_state",
        sa.Column("service", TEXT),
        sa.Column("plate", TEXT),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("changes", sa.BigInteger, nullable=False),
        sa.Column("basis", TEXT, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("service", "plate"),
    )
