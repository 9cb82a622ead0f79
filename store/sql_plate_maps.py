"""SQL implementation of :class:`store.ports.PlateMapStore`."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, func, select

from schemas.plate_map import PlateMap
from store.rows import select_newest
from store.sql_part import SqlPart
from store.tables import embeddings, observations, plate_maps


class SqlPlateMaps(SqlPart):
    """Every version of every plate map."""

    def save_plate_map(self, plate_map: PlateMap, now: datetime) -> None:
        """Store a plate map with the time ``now``, unless it equals the plate's newest map."""
        with self._database.writing() as connection:
            newest = connection.execute(select_newest(plate_maps, plate_map.plate)).first()
            if newest is None or newest.digest != plate_map.digest:
                row = {
                    name: getattr(plate_map, name)
                    for name in ("plate", "digest", "line", "dosed_on_day", "seeded_at")
                }
                connection.execute(
                    plate_maps.insert().values(
                        row | {"content": plate_map.model_dump(mode="json"), "saved_at": now}
                    )
                )

    def plate_map(self, plate: str, digest: str | None = None) -> PlateMap | None:
        """Return the newest map of a plate, or its newest with a given digest; else None."""
        with self._database.reading() as connection:
            row = connection.execute(select_newest(plate_maps, plate, digest)).first()
            return None if row is None else PlateMap.model_validate(row.content)

    def plates(self) -> Sequence[str]:
        """Return the ids of all plates that have a map, in alphabetical order."""
        with self._database.reading() as connection:
            return connection.scalars(
                select(plate_maps.c.plate).distinct().order_by(plate_maps.c.plate)
            ).all()

    def earlier_plates(
        self, plate_map: PlateMap, day: int, encoder_id: str, most: int
    ) -> Sequence[PlateMap]:
        """Return up to ``most`` maps of plates before a PlateMap whose ``day`` an encoder embedded.

        The newest map of each plate is returned, newest plate first. These plates have the same
        line and dosing day, an earlier ``seeded_at``, and images of culture day ``day`` that the
        encoder has embedded.
        """
        newest = select(func.max(plate_maps.c.id)).group_by(plate_maps.c.plate)
        of_day = and_(
            observations.c.plate == plate_maps.c.plate,
            observations.c.day == day,
            embeddings.c.encoder_id == encoder_id,
        )
        query = (
            select(plate_maps.c.content)
            .where(
                plate_maps.c.id.in_(newest),
                plate_maps.c.plate != plate_map.plate,
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
            return [PlateMap.model_validate(content) for content in connection.scalars(query)]

    def plates_of_specimen(self, specimen: str) -> Sequence[str]:
        """Return the ids of the plates whose newest map names a specimen, in alphabetical order."""
        newest = select(func.max(plate_maps.c.id)).group_by(plate_maps.c.plate)
        of_it = plate_maps.c.content["specimen"].as_string() == specimen
        with self._database.reading() as connection:
            return connection.scalars(
                select(plate_maps.c.plate)
                .where(plate_maps.c.id.in_(newest), of_it)
                .order_by(plate_maps.c.plate)
            ).all()
