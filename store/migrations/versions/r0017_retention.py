"""Migration 17: deleted messages, and plates whose saved images were deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add a column with 0, and an empty column."""
    op.add_column(
        "sequence_counter",
        sa.Column("deleted_through", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.add_column("plate_state", sa.Column("files_deleted_at", TIME))
