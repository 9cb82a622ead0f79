"""Migration 15: the folders of the drop folder with files of closed plates only."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the empty table."""
    op.create_table(
        "closed_folder",
        sa.Column("service", TEXT),
        sa.Column("path", TEXT),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("plates", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("service", "path"),
    )
