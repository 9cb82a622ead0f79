"""Conversion of database rows to observations, and shared SQL selections."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, select

from schemas.observation import Observation, StoredImage
from schemas.plate_map import PlateMap
from schemas.quality import Quality
from schemas.scale import FileScale
from schemas.tissue import Unsure
from schemas.well_image import FileVersion, VisitKey
from store.tables import observations


def is_of(key: VisitKey) -> ColumnElement[bool]:
    """Return the SQL condition that selects the observations of a VisitKey."""
    return and_(
        observations.c.plate == key.plate,
        observations.c.run == key.run,
        observations.c.well == key.well,
        observations.c.visit == key.visit,
    )


def next_version_of(connection: Connection, key: VisitKey) -> int:
    """Return the number of the next version of a VisitKey, from 1, read on a connection."""
    return 1 + (connection.scalar(select(func.max(observations.c.version)).where(is_of(key))) or 0)


def select_newest(
    table: Table, plate: str, *, digest: str | None = None, run: int | None = None
) -> Select[Any]:
    """Return a query for the newest row of a plate, optionally with a digest or of a run."""
    of_it = select(table).where(table.c.plate == plate)
    if digest is not None:
        of_it = of_it.where(table.c.digest == digest)
    if run is not None:
        of_it = of_it.where(table.c.run == run)
    return of_it.order_by(table.c.id.desc()).limit(1)


def newest_of_each_run(table: Table) -> Select[Any]:
    """Return a query for the id of the newest row of each run of each plate."""
    return select(func.max(table.c.id)).group_by(table.c.plate, table.c.run)


def key_of(row: Row[Any]) -> VisitKey:
    """Build the identity of a visit from the row of an observation."""
    return VisitKey(row.plate, row.well, row.visit, row.run)


def modified_at(files: Sequence[Sequence[Any]] | None) -> datetime | None:
    """Return the modification time of the first of the stored files of an observation."""
    return FileVersion(*files[0]).modified_at if files else None


def plate_map_of(row: Row[Any]) -> PlateMap:
    """Build a plate map from its row: the content and the run."""
    return PlateMap.model_validate({**row.content, "run": row.run})


def file_scales_of(row: Row[Any]) -> tuple[FileScale, ...] | None:
    """Return the scales of the files of an observation from its row; None if not recorded."""
    return None if row.file_scales is None else tuple(FileScale(*each) for each in row.file_scales)


def observation_of(row: Row[Any]) -> Observation:
    """Build an observation from its database row with the embedding."""
    return Observation(
        key=key_of(row),
        digest=row.digest,
        pixel_digest=row.pixel_digest or row.digest,
        day=row.day,
        day_from_time=row.day_from_time,
        taken_at=row.taken_at,
        received_at=row.received_at,
        complete=row.complete,
        files=tuple(FileVersion(*file) for file in row.files),
        um_per_px=row.um_per_px,
        file_scales=file_scales_of(row),
        quality=Quality.model_validate(row.quality),
        encoder_id=row.embedding_encoder_id,
        crop=row.embedding_crop,
        embedding=row.embedding_vector,
        measures=row.measures,
        measured_by=row.measured_by,
        unsure=tuple(map(Unsure, row.unsure or ())),
    )


def stored_image_of(row: Row[Any]) -> StoredImage:
    """Build the StoredImage of the row of an observation."""
    quality = Quality.model_validate(row.quality)
    return StoredImage(
        observation_id=row.id,
        key=key_of(row),
        day=row.day,
        pixel_digest=row.pixel_digest or row.digest,
        files=tuple(FileVersion(*file) for file in row.files),
        um_per_px=row.um_per_px,
        sharpest_plane=quality.sharpest_plane,
        flags=quality.flags,
    )
