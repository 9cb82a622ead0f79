"""Deletion of old pictures and messages of plates that have their final ranking."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, select

from schemas.messages import TOPIC_PREFIX, topic_about
from schemas.ranking import Ranking
from store.checksums import read_rows
from store.database import Database
from store.rows import newest_of_each_run, plate_map_of
from store.tables import counters, messages, observations, pictures, plate_maps, rankings


@dataclass(frozen=True)
class Pruned:
    """The plates with a final ranking, and the numbers of rows that are deleted."""

    plates: int
    pictures: int
    messages: int


def prune_store(
    database: Database,
    before: datetime,
    *,
    of_pictures: bool,
    of_messages: bool,
    dry_run: bool,
) -> Pruned:
    """Delete old pictures or messages of finished plates and return the numbers of rows.

    A plate is finished if its present run has a final ranking. Rankings, observations, embeddings,
    plate maps and sequence counters are never deleted, nor messages about rankings and messages
    that are not yet published.

    Parameters
    ----------
    before
        Pictures of images that arrived later, and later messages, are kept.
    dry_run
        Whether nothing is deleted.
    """
    with database.reading() if dry_run else database.writing() as connection:
        finished, others = _plates(connection)
        old: list[tuple[Table, ColumnElement[bool], bool]] = [
            (pictures, _old_pictures(finished, before), of_pictures),
            (messages, _old_messages(finished, others, before), of_messages),
        ]
        deleted = [
            _delete(connection, table, condition, dry_run=dry_run) if is_asked else 0
            for table, condition, is_asked in old
        ]
        pruned = Pruned(len(finished), *deleted)
    if not dry_run and database.dialect == "sqlite" and (pruned.pictures or pruned.messages):
        database.compact()
    return pruned


def _plates(connection: Connection) -> tuple[set[str], set[str]]:
    """Return the plates whose present run has a final ranking, and the other plates."""
    newest = select(plate_maps).where(plate_maps.c.id.in_(newest_of_each_run(plate_maps)))
    maps = read_rows(connection, newest.order_by(plate_maps.c.id), plate_maps, plate_map_of)
    run_of = {each.plate: each.run for each in maps}  # the newest map is the last
    finals = read_rows(
        connection,
        select(rankings).where(rankings.c.final),
        rankings,
        lambda row: Ranking.model_validate(row.content),
    )
    finished = {each.plate for each in finals if run_of.get(each.plate) == each.run}
    return finished, run_of.keys() - finished


def _old_pictures(plates: set[str], before: datetime) -> ColumnElement[bool]:
    old = select(observations.c.id).where(
        observations.c.plate.in_(plates), observations.c.received_at < before
    )
    return pictures.c.observation_id.in_(old)


def _old_messages(finished: set[str], others: set[str], before: datetime) -> ColumnElement[bool]:
    def topics(plates: set[str]) -> set[str]:
        return {topic_about(kind, each) for kind in ("observation", "rejected") for each in plates}

    # Names of two plates may give one topic.
    of_plates = topics(finished) - topics(others)
    of_no_plate = {f"{TOPIC_PREFIX}.{kind}" for kind in ("status", "alert")}
    published = (
        select(counters.c.published_through)
        .where(counters.c.service == messages.c.service)
        .scalar_subquery()
    )
    return and_(
        messages.c.created_at < before,
        messages.c.sequence <= published,
        messages.c.topic.in_(of_plates | of_no_plate),
    )


def _delete(
    connection: Connection, table: Table, condition: ColumnElement[bool], *, dry_run: bool
) -> int:
    """Delete the rows of a table that meet a condition, or only count them; return the number."""
    found: int = connection.scalar(select(func.count()).select_from(table).where(condition)) or 0
    if not dry_run:
        connection.execute(delete(table).where(condition))
    return found
