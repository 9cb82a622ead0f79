"""Migration 8: runs of a plate; everything that is stored belongs to run 1 of its plate."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

NAMES = {"uq": "uq_%(table_name)s_%(column_0_N_name)s"}  # SQLite does not name its constraints


def upgrade() -> None:
    """Add the run to maps, assays and observations, and to the identity of an observation."""
    for name in ("plate_map", "assay", "observation"):
        op.add_column(name, sa.Column("run", sa.Integer, server_default="1", nullable=False))
    op.add_column("observation", sa.Column("day_from_time", sa.Boolean))
    names = _unique_constraints()
    for name in ("plate_map", "assay", "observation"):
        with op.batch_alter_table(name, naming_convention=NAMES) as table:
            table.alter_column("run", existing_type=sa.Integer, server_default=None)
            for columns in names if name == "observation" else {}:
                table.drop_constraint(names[columns], type_="unique")
                with_run = ["plate", "run", *columns[1:]]
                table.create_unique_constraint(f"observation_{'_'.join(with_run)}_key", with_run)


def _unique_constraints() -> dict[tuple[str, ...], str]:
    """Return the name of each unique constraint of the observations by its columns."""
    return {
        tuple(each["column_names"]): each["name"]
        or f"uq_observation_{'_'.join(each['column_names'])}"
        for each in sa.inspect(op.get_bind()).get_unique_constraints("observation")
    }
