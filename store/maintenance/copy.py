"""Copy of a store to another database: SQLite to PostgreSQL or the reverse."""

from sqlalchemy import Connection, Integer, Table, func, select, text

from schemas.errors import StoreError
from store.database import Database
from store.maintenance.check import find_problems
from store.tables import metadata

ROWS_AT_ONCE = 1000


def copy_store(source: Database, target: Database) -> dict[str, int]:
    """Copy every table to an empty database in one transaction; return the rows of each table.

    Raises
    ------
    StoreError
        If the target has rows, a row is damaged, or the numbers of rows differ. The target is
        unchanged then.
    """
    if problems := list(find_problems(source)):
        raise StoreError(
            source.where, f"has {len(problems)} problems and is not copied, first: {problems[0]}"
        )
    copied = {}
    with source.reading() as of, target.writing() as to:
        for table in metadata.sorted_tables:
            if to.scalar(select(func.count()).select_from(table)):
                raise StoreError(
                    target.where, f"has rows in table {table.name}; expected an empty database"
                )
        for table in metadata.sorted_tables:
            copied[table.name] = _copy_table(of, to, table)
            found = to.scalar(select(func.count()).select_from(table))
            if found != copied[table.name]:
                raise StoreError(
                    target.where,
                    f"has {found} rows in table {table.name} after the copy; expected "
                    f"{copied[table.name]}",
                )
            if target.dialect == "postgresql":
                _continue_ids(to, table)
    return copied


def _copy_table(of: Connection, to: Connection, table: Table) -> int:
    rows = of.execution_options(yield_per=ROWS_AT_ONCE).execute(
        select(table).order_by(*table.primary_key.columns)
    )
    copied = 0
    for batch in rows.mappings().partitions():
        to.execute(table.insert(), [dict(row) for row in batch])
        copied += len(batch)
    return copied


def _continue_ids(to: Connection, table: Table) -> None:
    """Let PostgreSQL assign the next id of a table after the copied ones."""
    if "id" in table.c and isinstance(table.c.id.type, Integer):
        to.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) "  # noqa: S608 - a table of ours
                f"FROM {table.name} HAVING max(id) IS NOT NULL"
            )
        )
