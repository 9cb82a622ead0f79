"""Migration 13: the reason why an observation does not count, such as an image of a wrong place.

NULL: the observation counts, as all earlier ones do.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the empty column."""
    op.add_column("observation", sa.Column("excluded", TEXT))
