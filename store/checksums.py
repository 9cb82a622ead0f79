"""Checksums of rows, so that a damaged row is an error and never a wrong number.

SQLite finds damage of the structure of its file, but not a changed value. The checksum of a row
covers every column except a number that the database assigns.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Column, Connection, Float, Row, Select, Table, and_, select
from sqlalchemy.exc import DBAPIError

from schemas.errors import DamagedRowError
from store.address import without_password
from store.tables import AnyText, storable

Built = TypeVar("Built")

_NAMING = ("plate", "specimen", "well", "visit", "day", "revision", "encoder_id")
_ADVICE = "restore a backup, or delete the row"


def with_checksum(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a new row of a table, by column, with its checksum."""
    return {**values, "checksum": checksum_of(table, values)}


def checksum_of(table: Table, values: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a row. A missing value is NULL; ``id`` and NULL take no part.

    Earlier rows therefore keep their checksum if a migration adds a column that is NULL in them. A
    migration that changes values of earlier rows sets their checksum to NULL.
    """
    columns = [column for column in table.c if column.name not in ("id", "checksum")]
    parts = {
        column.name: _canonical(column, values[column.name])
        for column in columns
        if values.get(column.name) is not None
    }
    return zlib.crc32(json.dumps(parts, sort_keys=True).encode())


def update_row(
    connection: Connection, table: Table, row_id: int, changes: Mapping[str, Any]
) -> None:
    """Change columns of the row with an id, and its checksum.

    Raises
    ------
    DamagedRowError
        If the row is damaged; a new checksum would hide this.
    """
    query = select(table).where(table.c.id == row_id)
    [row] = read_rows(connection, query, table, lambda row: row)
    new: dict[str, Any] = dict(changes)
    if row.checksum is not None:  # a row from before checksums is not certified
        new["checksum"] = checksum_of(table, {**_values(row), **changes})
    connection.execute(table.update().where(table.c.id == row_id).values(new))


def read_rows(
    connection: Connection,
    query: Select[Any],
    table: Table,
    build: Callable[[Row[Any]], Built],
) -> list[Built]:
    """Return the objects that a function builds from the rows of a query over whole rows.

    Parameters
    ----------
    table
        The table of which every column is in the query.

    Raises
    ------
    DamagedRowError
        If a row differs from its checksum, cannot be decoded, or gives no valid object. The error
        names the row. Rows from before checksums are read without this check.
    """
    built = []
    for row in fetch(connection, query, table):
        verify(connection, table, _values(row))
        try:
            built.append(build(row))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise damaged_row(connection, table, _values(row), str(error)) from error
    return built


def fetch(connection: Connection, query: Select[Any], table: Table) -> Sequence[Row[Any]]:
    """Return the rows of a query over some columns of a table, without a look at checksums.

    Raises
    ------
    DamagedRowError
        If a value cannot be decoded. The error names the row.
    """
    try:
        return connection.execute(query).all()
    except (ValueError, DBAPIError) as error:
        if not _is_undecodable(error):
            raise
        raise _undecodable_row(connection, query, table, error) from error


def verify(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Raise DamagedRowError if the values of a row differ from their checksum."""
    expected = values.get("checksum")
    if expected is not None and checksum_of(table, values) != expected:
        raise damaged_row(connection, table, values, "its values differ from its checksum")


def damaged_row(
    connection: Connection, table: Table, values: Mapping[str, Any], problem: str
) -> DamagedRowError:
    """Return the error about a row of a table, named by its key, plate and well."""
    keys = dict.fromkeys([*table.primary_key.columns.keys(), *_NAMING])
    named = " ".join(f"{key}={values[key]}" for key in keys if values.get(key) is not None)
    where = without_password(connection.engine.url)
    lines = [line.strip() for line in problem.splitlines()]
    problem = "; ".join(line for line in lines if line and not line.startswith("For further"))
    return DamagedRowError(
        where, f"the row {named} of table {table.name} is damaged: {problem}; {_ADVICE}"
    )


def _values(row: Row[Any]) -> dict[str, Any]:
    return row._asdict()


def _canonical(column: Column[Any], value: Any) -> Any:  # noqa: ANN401 - any value of a column
    """Return a value in the form in which every database returns it, for JSON."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, np.ndarray):
        return [value.size, zlib.crc32(np.asarray(value, "<f4").tobytes())]
    if isinstance(value, str) and isinstance(column.type, AnyText):
        return storable(value)
    return float(value) if isinstance(value, int) and isinstance(column.type, Float) else value


def _is_undecodable(error: Exception) -> bool:
    """Return whether a value of a row cannot be decoded, while the file itself can be read."""
    return not isinstance(error, DBAPIError) or "Could not decode" in str(error)


def _undecodable_row(
    connection: Connection, query: Select[Any], table: Table, error: Exception
) -> Exception:
    """Return the error about the first row of a query that cannot be decoded."""
    keys = list(table.primary_key.columns)
    rows = connection.execute(query.with_only_columns(*keys, maintain_column_froms=True)).all()
    for row in rows:
        this = and_(*(key == value for key, value in zip(keys, row, strict=True)))
        try:
            connection.execute(query.where(this)).all()
        except (ValueError, DBAPIError) as problem:
            return damaged_row(connection, table, _values(row), str(problem))
    return error
