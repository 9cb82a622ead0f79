"""SQL implementation of :class:`store.ports.AssayStore`."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select

from schemas.assay import Assay
from schemas.calibration import CalibrationCard, CalibrationPlate
from store.rows import select_newest
from store.sql_part import SqlPart
from store.tables import assays, calibrations


class SqlAssays(SqlPart):
    """Viability assays, and the calibrations that were learned from them."""

    def save_assay(self, assay: Assay, now: datetime) -> None:
        """Store an assay with the time ``now``, unless it equals the plate's newest assay."""
        with self._database.writing() as connection:
            newest = connection.execute(select_newest(assays, assay.plate)).first()
            if newest is None or newest.digest != assay.digest:
                connection.execute(
                    assays.insert().values(
                        plate=assay.plate,
                        digest=assay.digest,
                        content=assay.model_dump(mode="json"),
                        saved_at=now,
                    )
                )

    def assay(self, plate: str, digest: str) -> Assay | None:
        """Return the assay of a plate with this digest, newest or earlier, or None."""
        with self._database.reading() as connection:
            row = connection.execute(select_newest(assays, plate, digest)).first()
            return None if row is None else Assay.model_validate(row.content)

    def assays(self) -> Sequence[Assay]:
        """Return the newest assay of each plate that has one, in alphabetical order of plates."""
        newest = select(func.max(assays.c.id)).group_by(assays.c.plate)
        with self._database.reading() as connection:
            rows = connection.scalars(
                select(assays.c.content).where(assays.c.id.in_(newest)).order_by(assays.c.plate)
            )
            return [Assay.model_validate(content) for content in rows]

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
        with self._database.writing() as connection:
            connection.execute(
                self._insert(calibrations)
                .values(row)
                .on_conflict_do_nothing(index_elements=["digest"])
            )
