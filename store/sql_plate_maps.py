"""SQL implementation of :class:`store.ports.PlateMapStore`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, or_, select

from schemas.plate_map import PlateMap
from schemas.plate_run import OUTSIDE
from store.checksums import read_rows, with_checksum
from store.plate_changes import note_changes
from store.ports import StoredPlateMap
from store.rows import newest_of_each_run, plate_map_of, select_newest
from store.run_changes import release_observations, update_days
from store.sql_part import SqlPart
from store.tables import embeddings, observations, plate_maps

_PLATES = select(plate_maps.c.plate).distinct().order_by(plate_maps.c.plate)


class SqlPlateMaps(SqlPart):
    """Every version of every plate map."""

    def save_plate_map(self, plate_map: PlateMap, now: datetime) -> None:
        """Keep the newest map of a plate; a map equal to the kept one changes nothing.

        The runs and days of the plate's observations are changed in the same transaction.
        """
        with self._database.writing() as connection:
            newest = connection.execute(select_newest(plate_maps, plate_map.plate)).first()
            if newest is not None and (newest.digest, newest.run) == (
                plate_map.digest,
                plate_map.run,
            ):
                return
            row = {
                name: getattr(plate_map, name)
                for name in ("plate", "run", "digest", "line", "dosed_on_day", "seeded_at")
            }
            content = plate_map.model_dump(mode="json")
            row = with_checksum(plate_maps, row | {"content": content, "saved_at": now})
            connection.execute(plate_maps.insert().values(row))
            if newest is not None:
                if newest.run != plate_map.run:
                    release_observations(connection, plate_map, newest.run)
                update_days(connection, plate_map.plate)
            note_changes(connection, [plate_map.plate])

    def plate_map(
        self, plate: str, digest: str | None = None, *, run: int | None = None
    ) -> PlateMap | None:
        """Return the newest map of a plate, optionally with a digest or of a run."""
        with self._database.reading() as connection:
            query = select_newest(plate_maps, plate, digest=digest, run=run)
            found = read_rows(connection, query, plate_maps, plate_map_of)
            return found[0] if found else None

    def run_maps(self, plate: str) -> Sequence[PlateMap]:
        """Return the newest map of each run of a plate, up to the current run."""
        query = select(plate_maps).where(
            plate_maps.c.plate == plate, plate_maps.c.id.in_(newest_of_each_run(plate_maps))
        )
        with self._database.reading() as connection:
            current = connection.execute(select_newest(plate_maps, plate)).first()
            maps = read_rows(connection, query.order_by(plate_maps.c.run), plate_maps, plate_map_of)
            return [each for each in maps if current and each.run <= current.run]

    def map_versions(self, plate: str, run: int) -> Sequence[StoredPlateMap]:
        """Return every stored version of the map of a run of a plate, oldest first."""
        query = (
            select(plate_maps)
            .where(plate_maps.c.plate == plate, plate_maps.c.run == run)
            .order_by(plate_maps.c.id)
        )
        with self._database.reading() as connection:
            return read_rows(connection, query, plate_maps, _stored_plate_map_of)

    def plates(self) -> Sequence[str]:
        """Return the ids of all plates that have a map, in alphabetical order."""
        with self._database.reading() as connection:
            return connection.scalars(_PLATES).all()

    def plates_of_line(self, line: str | None) -> Sequence[str]:
        """Return the ids of the plates of which any map names a cell line, in order."""
        of_line = plate_maps.c.line.is_not_distinct_from(line)
        with self._database.reading() as connection:
            return connection.scalars(
                select(plate_maps.c.plate).where(of_line).distinct().order_by(plate_maps.c.plate)
            ).all()

    def earlier_plates(
        self, plate_map: PlateMap, day: int, encoder_id: str, most: int
    ) -> Sequence[PlateMap]:
        """Return up to ``most`` maps of plates before a PlateMap whose ``day`` an encoder embedded.

        Each run of a plate id is a plate of its own. These plates have the same line and dosing
        day, an earlier ``seeded_at``, and images of culture day ``day`` that the encoder has
        embedded.
        """
        newest = newest_of_each_run(plate_maps)
        of_day = and_(
            observations.c.plate == plate_maps.c.plate,
            observations.c.run.in_((plate_maps.c.run, OUTSIDE)),
            observations.c.day == day,
            embeddings.c.encoder_id == encoder_id,
        )
        query = (
            select(plate_maps)
            .where(
                plate_maps.c.id.in_(newest),
                or_(plate_maps.c.plate != plate_map.plate, plate_maps.c.run < plate_map.run),
                plate_maps.c.line.is_not_distinct_from(plate_map.line),
            )
            .where(
                plate_maps.c.dosed_on_day == plate_map.dosed_on_day,
                plate_maps.c.seeded_at < plate_map.seeded_at,
            )
            .where(select(1).select_from(observations.join(embeddings)).where(of_day).exists())
            .order_by(plate_maps.c.seeded_at.desc(), plate_maps.c.plate)
            .limit(most)
        )
        with self._database.reading() as connection:
            return read_rows(connection, query, plate_maps, plate_map_of)

    def plates_of_specimen(self, specimen: str) -> Sequence[str]:
        """Return the plates of which a run's newest map names this specimen, in order."""
        newest = newest_of_each_run(plate_maps)
        of_it = plate_maps.c.content["specimen"].as_string() == specimen
        with self._database.reading() as connection:
            return connection.scalars(
                select(plate_maps.c.plate)
                .distinct()
                .where(plate_maps.c.id.in_(newest), of_it)
                .order_by(plate_maps.c.plate)
            ).all()


def _stored_plate_map_of(row: Row[Any]) -> StoredPlateMap:
    return StoredPlateMap(plate_map_of(row), row.digest, row.saved_at)
