"""Counts the changes of a plate, in the transaction that makes each change.

A stored state of a plate is valid only for one number of changes. So whatever a ranking of the
plate depends on, a change of it makes the plate live again, also if another process makes it.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, Select, select
from sqlalchemy.dialects import postgresql, sqlite

from store.tables import observations, plate_changes, plate_maps


def note_changes(connection: Connection, plates: Iterable[str]) -> None:
    """Count one more change of each plate (id) of which an input or a ranking changes."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    counting = insert(plate_changes).on_conflict_do_update(
        index_elements=["plate"], set_={"changes": plate_changes.c.changes + 1}
    )
    rows = [{"plate": plate, "changes": 1} for plate in sorted(set(plates))]
    if rows:
        connection.execute(counting, rows)


def plate_of(observation_id: int) -> Select[tuple[str]]:
    """Return a query for the plate of the observation with an id."""
    return select(observations.c.plate).where(observations.c.id == observation_id)


def plates_of_the_lines_of(connection: Connection, plates: Iterable[str]) -> set[str]:
    """Return the ids of all plates of the cell lines to which some plates belong."""
    lines = connection.scalars(
        select(plate_maps.c.line).where(plate_maps.c.plate.in_(sorted(set(plates)))).distinct()
    ).all()
    found: set[str] = set()
    for line in lines:
        of_line = plate_maps.c.line.is_not_distinct_from(line)
        found |= set(connection.scalars(select(plate_maps.c.plate).where(of_line).distinct()))
    return found
