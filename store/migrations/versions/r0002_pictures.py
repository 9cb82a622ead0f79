"""A small picture of each observation, with the outline of its tissue."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table of pictures; observations from before have none."""
    op.create_table(
        "picture",
        sa.Column("observation_id", sa.Integer, sa.ForeignKey("observation.id"), primary_key=True),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
    )
