"""Number of rows and bytes of each table and each plate of a store."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Float, FromClause, Table, cast, func, select
from sqlalchemy.types import LargeBinary

from store.database import Database
from store.tables import embeddings, file_versions, metadata, observations, pictures, rankings


@dataclass(frozen=True)
class Size:
    """The rows and the bytes of their values, without indexes, of a table or plate."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class StoreSize:
    """The sizes of the tables and of the plates of a store, and of its files."""

    tables: Sequence[Size]  # largest first
    plates: Sequence[Size]  # largest first; rows are images
    file_bytes: int | None  # of a SQLite database with its log


def measure_size(database: Database) -> StoreSize:
    """Return the sizes of a store. Every row is read."""
    tables = []
    plates: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    by_plate: list[tuple[Table, FromClause]] = [
        (observations, observations),
        (embeddings, embeddings.join(observations)),
        (pictures, pictures.join(observations)),
        (file_versions, file_versions),
        (rankings, rankings),
    ]
    with database.reading() as connection:
        for table in metadata.sorted_tables:
            rows, size = connection.execute(
                select(func.count(), _bytes_of(table, database.dialect)).select_from(table)
            ).one()
            tables.append(Size(table.name, rows, int(size or 0)))
        for table, origin in by_plate:
            plate = table.c.plate if "plate" in table.c else observations.c.plate
            query = select(plate, func.count(), _bytes_of(table, database.dialect))
            for name, rows, size in connection.execute(query.select_from(origin).group_by(plate)):
                plates[name][0] += rows if table is observations else 0
                plates[name][1] += int(size or 0)
    return StoreSize(
        _largest_first(tables),
        _largest_first([Size(name, *numbers) for name, numbers in plates.items() if name]),
        _file_bytes(database),
    )


def _largest_first(sizes: Sequence[Size]) -> Sequence[Size]:
    return sorted(sizes, key=lambda size: (-size.bytes, size.name))


def _bytes_of(table: Table, dialect: str) -> ColumnElement[float]:
    """Return the SQL expression for the bytes of all values of the selected rows."""
    sizes = [
        func.pg_column_size(column)
        if dialect == "postgresql"
        else func.length(cast(column, LargeBinary))
        for column in table.c
    ]
    each: ColumnElement[float] = func.coalesce(sizes[0], 0)
    for size in sizes[1:]:
        each = each + func.coalesce(size, 0)
    return cast(func.sum(each), Float)


def _file_bytes(database: Database) -> int | None:
    if database.file is None:
        return None
    files = [database.file.with_name(database.file.name + suffix) for suffix in ("", "-wal")]
    return sum(file.stat().st_size for file in files if file.exists())
