"""Conversion of database rows to observations, and shared SQL selections."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, select

from schemas.observation import Observation
from schemas.quality import Quality
from schemas.scale import FileScale
from schemas.well_image import FileVersion, VisitKey
from store.tables import observations


def is_of(key: VisitKey) -> ColumnElement[bool]:
    """Return the SQL condition that selects the observations of a VisitKey."""
    return and_(
        observations.c.plate == key.plate,
        observations.c.well == key.well,
        observations.c.visit == key.visit,
    )


def next_version_of(connection: Connection, key: VisitKey) -> int:
    """Return the number of the next version of a VisitKey, from 1, read on a connection."""
    return 1 + (connection.scalar(select(func.max(observations.c.version)).where(is_of(key))) or 0)


def select_newest(table: Table, plate: str, digest: str | None = None) -> Select[Any]:
    """Return a query for the newest row of a plate in a table, optionally only with a digest."""
    of_it = (
        table.c.plate == plate
        if digest is None
        else and_(table.c.plate == plate, table.c.digest == digest)
    )
    return select(table).where(of_it).order_by(table.c.id.desc()).limit(1)


def file_scales_of(row: Row[Any]) -> tuple[FileScale, ...] | None:
    """Return the scales of the files of an observation from its row; None if not recorded."""
    return None if row.file_scales is None else tuple(FileScale(*each) for each in row.file_scales)


def observation_of(row: Row[Any]) -> Observation:
    """Build an observation from its database row with the embedding."""
    return Observation(
        key=VisitKey(row.plate, row.well, row.visit),
        digest=row.digest,
        pixel_digest=row.pixel_digest or row.digest,
        day=row.day,
        taken_at=row.taken_at,
        received_at=row.received_at,
        complete=row.complete,
        files=tuple(FileVersion(*file) for file in row.files),
        um_per_px=row.um_per_px,
        file_scales=file_scales_of(row),
        quality=Quality.model_validate(row.quality),
        encoder_id=row.encoder_id,
        embedding=row.vector,
        measures=row.measures,
    )
