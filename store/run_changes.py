"""Changes of stored observations that follow from a new version of their plate's map.

A map that starts a run, withdraws one or corrects ``seeded_at`` changes the run of an observation,
its culture day where that follows from a time, and the flag about a day that disagrees.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from schemas.plate_map import PlateMap
from schemas.plate_run import OUTSIDE
from schemas.quality import Flag
from schemas.well_image import VisitKey
from store.checksums import read_rows, update_row
from store.rows import (
    is_of,
    key_of,
    modified_at,
    newest_of_each_run,
    next_version_of,
    plate_map_of,
)
from store.tables import observations, plate_maps

_COLUMNS = [
    observations.c[name]
    for name in (
        "id",
        "plate",
        "well",
        "visit",
        "run",
        "digest",
        "day",
        "day_from_time",
        "taken_at",
        "files",
        "quality",
    )
]


def release_observations(connection: Connection, plate_map: PlateMap, previous_run: int) -> None:
    """Detach from their runs the observations that a new or withdrawn run may have taken.

    Their times alone decide afterwards to which run they belong.

    Parameters
    ----------
    plate_map
        The new map. Its run is later than ``previous_run`` if it starts a run: then images from
        ``seeded_at`` on are detached. It is earlier if it withdraws a run: then all of that run's.
    """
    rows = connection.execute(select(*_COLUMNS).where(observations.c.plate == plate_map.plate))
    for row in rows.all():
        is_withdrawn = row.run > plate_map.run
        is_taken_over = OUTSIDE < row.run == previous_run < plate_map.run and _is_from(
            row, plate_map.seeded_at
        )
        if is_withdrawn or is_taken_over:
            _move(connection, row, OUTSIDE)


def update_days(connection: Connection, plate: str) -> None:
    """Compute again the days of a plate that follow from times, and the flags that disagree."""
    newest = select(plate_maps).where(
        plate_maps.c.plate == plate, plate_maps.c.id.in_(newest_of_each_run(plate_maps))
    )
    maps = read_rows(connection, newest.order_by(plate_maps.c.id), plate_maps, plate_map_of)
    rows = connection.execute(select(*_COLUMNS).where(observations.c.plate == plate))
    for row in rows.all():
        at = _time_of(row)
        plate_map = _map_of(row, at, maps)
        day = plate_map.culture_day(at) if row.day_from_time and at else row.day
        quality = _with_day_flag(row, day, plate_map)
        if (day, quality) != (row.day, row.quality):
            update_row(connection, observations, row.id, {"day": day, "quality": quality})


def _time_of(row: Row[Any]) -> datetime | None:
    return row.taken_at or modified_at(row.files)


def _is_from(row: Row[Any], seeded_at: datetime) -> bool:
    """Return whether an observation that no name dates, or a microscope does, is from a run."""
    at = _time_of(row) if row.day_from_time else row.taken_at
    return at is not None and at >= seeded_at


def _map_of(row: Row[Any], at: datetime | None, maps: list[PlateMap]) -> PlateMap:
    """Return the map of an observation's run; of one outside a run, the last one before it."""
    of_run = [each for each in maps if each.run == row.run]
    before = [each for each in maps if at is not None and each.seeded_at <= at]
    return (of_run or before or maps)[-1]


def _with_day_flag(row: Row[Any], day: int, plate_map: PlateMap) -> dict[str, Any]:
    """Return the quality of an observation with or without the flag about its day."""
    disagrees = row.taken_at is not None and plate_map.culture_day(row.taken_at) != day
    flags = [flag for flag in row.quality["flags"] if flag != Flag.DAY_DISAGREES]
    return {**row.quality, "flags": [*flags, Flag.DAY_DISAGREES.value] if disagrees else flags}


def _move(connection: Connection, row: Row[Any], run: int) -> None:
    """Move an observation to a run as its newest version, unless the run has its pixels."""
    key = VisitKey(row.plate, row.well, row.visit, run)
    same = and_(is_of(key), observations.c.digest == row.digest)
    if key_of(row) != key and not connection.scalar(select(1).where(same)):
        changes = {"run": run, "version": next_version_of(connection, key)}
        update_row(connection, observations, row.id, changes)
