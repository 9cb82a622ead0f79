"""SQL implementation of :class:`store.ports.AssayStore`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from schemas.assay import Assay
from schemas.calibration import CalibrationCard, CalibrationPlate
from store.checksums import read_rows, with_checksum
from store.plate_changes import note_changes, plates_of_the_lines_of
from store.rows import newest_of_each_run, select_newest
from store.sql_part import SqlPart
from store.tables import assays, calibrations


class SqlAssays(SqlPart):
    """Viability assays, and the calibrations that were learned from them."""

    def save_assay(self, assay: Assay, now: datetime) -> None:
        """Store an assay with the time ``now``, unless it equals the plate's newest assay."""
        with self._database.writing() as connection:
            newest = connection.execute(select_newest(assays, assay.plate)).first()
            if newest is None or newest.digest != assay.digest:
                row = {name: getattr(assay, name) for name in ("plate", "run", "digest")}
                row |= {"content": assay.model_dump(mode="json"), "saved_at": now}
                connection.execute(assays.insert().values(with_checksum(assays, row)))
                note_changes(connection, [assay.plate])

    def assay(self, plate: str, digest: str) -> Assay | None:
        """Return the assay of a plate with this digest, newest or earlier, or None."""
        with self._database.reading() as connection:
            query = select_newest(assays, plate, digest=digest)
            found = read_rows(connection, query, assays, _assay_of)
            return found[0] if found else None

    def assays(self) -> Sequence[Assay]:
        """Return the newest assay of each run that has one, ordered by plate and run."""
        query = select(assays).where(assays.c.id.in_(newest_of_each_run(assays)))
        with self._database.reading() as connection:
            in_order = query.order_by(assays.c.plate, assays.c.run)
            return read_rows(connection, in_order, assays, _assay_of)

    def calibration(self, digest: str) -> tuple[CalibrationCard, Sequence[CalibrationPlate]] | None:
        """Return (card, training plates) of the calibration with a digest, or None."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(calibrations).where(calibrations.c.digest == digest)
            ).first()
            return (
                None
                if row is None
                else (
                    CalibrationCard.model_validate(row.card),
                    [CalibrationPlate.model_validate(plate) for plate in row.plates],
                )
            )

    def add_calibration(
        self, card: CalibrationCard, plates: Sequence[CalibrationPlate], now: datetime
    ) -> None:
        """Store a calibration's card, plates and time, unless its digest is already stored."""
        row = {
            "digest": card.digest,
            "card": card.model_dump(mode="json"),
            "plates": [plate.model_dump(mode="json") for plate in plates],
            "saved_at": now,
        }
        adding = self._insert(calibrations).values(row)
        with self._database.writing() as connection:
            new = connection.execute(
                adding.on_conflict_do_nothing(index_elements=["digest"]).returning(
                    calibrations.c.digest
                )
            )
            if new.first() is not None:
                learned_from = [each.plate for each in plates]
                note_changes(connection, plates_of_the_lines_of(connection, learned_from))


def _assay_of(row: Row[Any]) -> Assay:
    """Build an assay from its row: the content and the run."""
    return Assay.model_validate({**row.content, "run": row.run})
