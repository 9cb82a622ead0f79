"""Migration 12: checksums of messages, rankings and the rows that rankings are made from.

Earlier rows have NULL: they are read without this check.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

TABLES = (
    "message",
    "observation",
    "embedding",
    "plate_map",
    "assay",
    "ranking",
    "specimen_ranking",
)


def upgrade() -> None:
    """Add the empty columns."""
    for table in TABLES:
        op.add_column(table, sa.Column("checksum", sa.BigInteger()))
