"""SQL implementation of the port MeasureLedger of the store."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from schemas.observation import MeasuringProgress, NewMeasures, StoredImage
from store.checksums import read_rows, update_row
from store.plate_changes import note_changes, plate_of
from store.rows import stored_image_of
from store.sql_part import SqlPart
from store.tables import observations, pictures


class SqlMeasures(SqlPart):
    """Measures of the images of this service that are computed again by a later method."""

    def outdated_measures(self, measured_by: str) -> Sequence[MeasuringProgress]:
        """Return the numbers of stored images of each plate and of those by other methods."""
        outdated = func.count().filter(observations.c.measured_by.is_distinct_from(measured_by))
        query = (
            select(observations.c.plate, func.count(), outdated)
            .where(observations.c.service == self._service)
            .group_by(observations.c.plate)
            .order_by(observations.c.plate)
        )
        with self._database.reading() as connection:
            return [MeasuringProgress(*row) for row in connection.execute(query)]

    def images_to_measure(self, plate: str, measured_by: str) -> Sequence[StoredImage]:
        """Return the StoredImages of a plate that a method has not measured, as they arrived."""
        query = (
            select(observations)
            .where(
                observations.c.service == self._service,
                observations.c.plate == plate,
                observations.c.measured_by.is_distinct_from(measured_by),
            )
            .order_by(observations.c.id)
        )
        with self._database.reading() as connection:
            return read_rows(connection, query, observations, stored_image_of)

    def replace_measures(self, results: Sequence[NewMeasures], measured_by: str) -> None:
        """Replace the measures of stored images by those of a method, in one transaction."""
        with self._database.writing() as connection:
            for result in results:
                self._replace(connection, result, measured_by)

    def _replace(self, connection: Connection, result: NewMeasures, measured_by: str) -> None:
        """Replace quality, measures, doubts, picture and method of one observation."""
        changes = {
            "quality": result.quality.model_dump(mode="json"),
            "measures": result.measures,
            "unsure": list(result.unsure),
            "measured_by": measured_by,
        }
        update_row(connection, observations, result.observation_id, changes)
        note_changes(connection, connection.scalars(plate_of(result.observation_id)))
        row = {"observation_id": result.observation_id, "jpeg": result.picture}
        connection.execute(
            self._insert(pictures)
            .values(row)
            .on_conflict_do_update(
                index_elements=list(pictures.primary_key), set_={"jpeg": result.picture}
            )
        )
