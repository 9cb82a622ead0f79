"""Rankings of specimens, from the rankings of their plates."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the empty table of specimen rankings."""
    op.create_table(
        "specimen_ranking",
        sa.Column("specimen", TEXT),
        sa.Column("revision", sa.Integer),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("specimen", "revision"),
    )
