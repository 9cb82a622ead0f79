"""Search for damage in a store: its file, its references, its rows and its sequence numbers."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Row, Select, Table, func, select, tuple_

from schemas.assay import Assay
from schemas.calibration import CalibrationCard, CalibrationPlate
from schemas.errors import DamagedRowError, StoreError
from schemas.observation import Outcome
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking
from schemas.tissue import Unsure
from store.checksums import fetch, read_rows
from store.database import Database
from store.rows import file_scales_of, plate_map_of, stored_image_of
from store.tables import (
    assays,
    calibrations,
    counters,
    embedding_refusals,
    embeddings,
    file_versions,
    messages,
    observations,
    pictures,
    plate_maps,
    rankings,
    specimen_rankings,
)

ROWS_AT_ONCE = 500
_JPEG_START = b"\xff\xd8"


def find_problems(database: Database) -> Iterator[str]:
    """Return every problem of the rows, references and sequence numbers of a database.

    A row that is damaged is named. Reading continues with the next row, and after damage of the
    file with the next table.
    """
    yield from _each(database, _file_problems)
    for table, build in _BUILDERS.items():
        yield from _each(database, partial(_row_problems, table, build))
    yield from _each(database, _embedding_problems)
    yield from _each(database, _counter_problems)


def _each(database: Database, search: Callable[[Database], Iterator[str]]) -> Iterator[str]:
    """Return the problems that a search finds, and the error that ends it."""
    try:
        yield from search(database)
    except StoreError as error:
        yield str(error)


def _file_problems(database: Database) -> Iterator[str]:
    """Return the problems of the structure and the references of a SQLite file."""
    yield from (f"{database.where}: {each}" for each in database.structure_problems())
    if database.dialect == "sqlite":
        with database.reading() as connection:
            for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                yield f"{database.where}: row {row} of table {table} refers to no row of {parent}"


def _row_problems(
    table: Table, build: Callable[[Row[Any]], object], database: Database
) -> Iterator[str]:
    """Return the problem of each damaged row of a table."""
    keys = list(table.primary_key.columns)
    with database.reading() as connection:
        rows = fetch(connection, select(*keys).order_by(*keys), table)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            batch = rows[start : start + ROWS_AT_ONCE]
            try:
                read_rows(connection, _with_keys(table, batch), table, build)
            except DamagedRowError:
                for row in batch:
                    try:
                        read_rows(connection, _with_keys(table, [row]), table, build)
                    except DamagedRowError as error:
                        yield str(error)


def _with_keys(table: Table, rows: Sequence[Row[Any]]) -> Select[Any]:
    keys = tuple_(*table.primary_key.columns)
    return select(table).where(keys.in_([tuple(row) for row in rows]))


def _embedding_problems(database: Database) -> Iterator[str]:
    """Return observations without embedding, and embeddings of another length than the others."""
    without = select(observations.c.id).where(
        ~select(1).where(embeddings.c.observation_id == observations.c.id).exists()
    )
    sizes = select(
        embeddings.c.encoder_id, embeddings.c.observation_id, func.length(embeddings.c.vector)
    )
    by_encoder: defaultdict[str, dict[int, int]] = defaultdict(dict)
    with database.reading() as connection:
        for row_id in connection.scalars(without):
            yield f"{database.where}: observation {row_id} has no embedding"
        for encoder_id, row_id, size in connection.execute(sizes):
            by_encoder[encoder_id][row_id] = size
    for encoder_id, size_by_id in by_encoder.items():
        [(usual, _)] = Counter(size_by_id.values()).most_common(1)
        for row_id, size in size_by_id.items():
            if size != usual:
                yield (
                    f"{database.where}: the embedding of observation {row_id} by the encoder "
                    f"{encoder_id[:12]} has {size} bytes; expected {usual} as of the others"
                )


def _counter_problems(database: Database) -> Iterator[str]:
    """Return the services whose counter is smaller than a sequence number in use."""
    with database.reading() as connection:
        numbers = connection.execute(select(counters.c.service, counters.c.last))
        last = {row.service: row.last for row in numbers}
        for table in (messages, observations):
            newest = select(table.c.service, func.max(table.c.sequence)).group_by(table.c.service)
            for service, sequence in connection.execute(newest):
                if last.get(service, 0) < sequence:
                    yield (
                        f"{database.where}: the sequence counter of the service {service} is "
                        f"{last.get(service, 0)}; expected at least {sequence}, the largest number "
                        f"in table {table.name}"
                    )
        for service, through in connection.execute(
            select(counters.c.service, counters.c.published_through).where(
                counters.c.published_through > counters.c.last
            )
        ):
            yield (
                f"{database.where}: the service {service} has published up to {through}; expected "
                f"at most its last number {last[service]}"
            )


def _check_observation(row: Row[Any]) -> None:
    stored_image_of(row)
    file_scales_of(row)
    for name, value in row.measures.items():
        if not isinstance(value, int | float):
            raise TypeError(f"measure {name} is {value!r}; expected a number")
    for doubt in row.unsure or ():
        Unsure(doubt)


def _check_message(row: Row[Any]) -> None:
    body = json.loads(row.body)
    if int(body["sequence"]) != row.sequence:
        raise ValueError(f"its body has the number {body['sequence']}")
    row.topic.encode("ascii")


def _check_calibration(row: Row[Any]) -> None:
    CalibrationCard.model_validate(row.card)
    for plate in row.plates:
        CalibrationPlate.model_validate(plate)


def _check_picture(row: Row[Any]) -> None:
    if not row.jpeg.startswith(_JPEG_START):
        raise ValueError("is no JPEG")


_BUILDERS: dict[Table, Callable[[Row[Any]], object]] = {
    counters: lambda row: row.last + row.published_through,
    messages: _check_message,
    observations: _check_observation,
    embeddings: lambda row: row.vector,
    embedding_refusals: lambda row: row.reason,
    pictures: _check_picture,
    file_versions: lambda row: Outcome(row.outcome),
    plate_maps: plate_map_of,
    assays: lambda row: Assay.model_validate({**row.content, "run": row.run}),
    calibrations: _check_calibration,
    rankings: lambda row: Ranking.model_validate(row.content),
    specimen_rankings: lambda row: SpecimenRanking.model_validate(row.content),
}
