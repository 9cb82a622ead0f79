"""Migration 10: the segmenter and the definitions by which an observation was measured.

Earlier observations have NULL: their method was not recorded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the empty column, and the index by which the images of each method are counted."""
    op.add_column("observation", sa.Column("measured_by", TEXT))
    op.create_index("observation_by_method", "observation", ["service", "plate", "measured_by"])
