"""Migration 16: the part of an image that an encoder embedded.

Earlier embeddings have NULL, as those of the whole field of the encoder.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the empty column."""
    op.add_column("embedding", sa.Column("crop", TEXT))
