"""Migration 9: the doubts about the outline of the tissue in an observation.

Earlier observations have NULL: their doubts were not recorded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the empty column."""
    op.add_column("observation", sa.Column("unsure", sa.JSON))
