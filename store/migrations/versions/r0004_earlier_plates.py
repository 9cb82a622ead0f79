"""Migration 4: columns and an index for the search of earlier plates of a line."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Copy three keys of the plate maps into columns, and add an index by plate and day."""
    with op.batch_alter_table("plate_map") as table:
        table.add_column(sa.Column("line", TEXT))
        table.add_column(sa.Column("dosed_on_day", sa.Integer))
        table.add_column(sa.Column("seeded_at", TIME))
    _fill()
    with op.batch_alter_table("plate_map") as table:
        table.alter_column("dosed_on_day", existing_type=sa.Integer, nullable=False)
        table.alter_column("seeded_at", existing_type=TIME, nullable=False)
    op.create_index("plate_map_by_line", "plate_map", ["line", "dosed_on_day", "seeded_at"])
    op.create_index("observation_by_day", "observation", ["plate", "day"])


def _fill() -> None:
    connection = op.get_bind()
    maps = sa.table(
        "plate_map",
        sa.column("id"),
        sa.column("content", sa.JSON),
        sa.column("dosed_on_day"),
        sa.column("seeded_at", TIME),
    )
    for number, content in connection.execute(
        sa.select(maps.c.id, maps.c.content)
    ).all():  # none of them names a line: the key is new
        seeded_at = datetime.fromisoformat(content["seeded_at"]).astimezone(UTC)
        if connection.dialect.name == "sqlite":
            seeded_at = seeded_at.replace(tzinfo=None)
        connection.execute(
            sa.update(maps)
            .where(maps.c.id == number)
            .values(dosed_on_day=content["dosed_on_day"], seeded_at=seeded_at)
        )
