"""Migration 7: the scales of the files of an observation, and the digest of its pixels alone.

Earlier observations have NULL in both columns: their digest is that of the pixels, and the scales
of their files were not recorded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the two empty columns."""
    op.add_column("observation", sa.Column("pixel_digest", TEXT))
    op.add_column("observation", sa.Column("file_scales", sa.JSON))
