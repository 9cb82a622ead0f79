"""Helpers that the contract suites of the store share."""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import alembic.command
import numpy as np
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, make_url, select, text

from inference.ports import EarlierPlateReader
from schemas.observation import Observation
from schemas.plate_map import PlateMap
from schemas.plate_state import PlateState, StoredPlateState
from schemas.well_image import FileVersion
from store.migrating import MIGRATIONS
from store.ports import (
    AssayStore,
    FileLedger,
    ImageExclusions,
    MeasureLedger,
    ObservationReader,
    ObservationWriter,
    Outbox,
    PlateMapStore,
    RankingStore,
    SpecimenStore,
)
from store.sql_store import SqlStore
from store.tables import file_versions
from tests.samples import (
    ENCODER_ID,
    NOW,
    PLATE,
    file_version,
    observation,
    observation_data,
)

Opener = Callable[..., SqlStore]


class AnyStore(
    FileLedger,
    ObservationWriter,
    ObservationReader,
    PlateMapStore,
    EarlierPlateReader,
    AssayStore,
    ImageExclusions,
    MeasureLedger,
    RankingStore,
    SpecimenStore,
    Outbox,
    Protocol,
):
    """All ports of the store: a suite sets up its case through several of them."""


def close_plate(store: SqlStore, plate: str, at: datetime = NOW) -> None:
    """Store that the run 1 of a plate with a map is closed, as a service finds it at a time."""
    changes = store.live_plates("another basis, for which no plate is closed")[plate]
    store.save_plate_state(plate, StoredPlateState(PlateState.CLOSED, 1, changes, "basis", at))


def add(store: AnyStore, of: Observation) -> int:
    return store.add_observation(of, observation_data(of, store.next_version(of.key)))


def add_image(
    store: SqlStore, well: str, at: datetime, plate: str = PLATE, jpeg: bytes = b"\xff\xd8\xff"
) -> int:
    """Store an image with a picture at a time, and return the number of its message."""
    image = observation(
        well,
        plate=plate,
        seed=ord(well[2]),
        received_at=at,
        files=(file_version(f"{plate}/{well}.tif"),),
    )
    return store.add_observation(image, observation_data(image), jpeg)


def same(one: Observation, other: Observation) -> bool:
    """Return whether two observations have equal fields and embeddings."""
    fields = [name for name in Observation.__dataclass_fields__ if name != "embedding"]
    return all(getattr(one, name) == getattr(other, name) for name in fields) and np.array_equal(
        one.embedding, other.embedding
    )


def observed(store: AnyStore, encoder_id: str = ENCODER_ID) -> Sequence[Observation]:
    return store.observations(store.imaged(PLATE, encoder_id), encoder_id)


def all_ended_files(store: AnyStore | SqlStore) -> list[FileVersion]:
    """Return every file version of the service of a store that has an outcome."""
    with cast("SqlStore", store)._database.reading() as connection:
        paths = connection.scalars(select(file_versions.c.path).distinct()).all()
    return list(store.ended_files(paths))


def execute(url: str, statement: str) -> object:
    """Execute one SQL statement on a database as another program would."""
    with closing(SqlStore(url)) as other, other._database.writing() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def make_old_store(url: str, revision: str, **rows: Sequence[dict[str, Any]]) -> None:
    """Create the tables of an earlier revision, and insert rows by the names of their tables."""
    if (address := make_url(url)).get_backend_name() == "sqlite":
        Path(str(address.database)).parent.mkdir(parents=True)
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", MIGRATIONS)
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)
        tables = MetaData()
        tables.reflect(connection)
        for name, values in rows.items():
            connection.execute(tables.tables[name].insert(), list(values))
    engine.dispose()


def old_plate_map(of: PlateMap) -> dict[str, Any]:
    """Return the row of a plate map in the first version of its table."""
    content = of.model_dump(mode="json", exclude={"line"})
    return {"plate": of.plate, "digest": of.digest, "content": content, "saved_at": NOW}


def old_observation(of: Observation, number: int = 1000) -> dict[str, Any]:
    """Return the row of an observation in the first version of its table."""
    return {
        "id": number,
        "service": "spherorank",
        "sequence": number,
        "plate": of.key.plate,
        "well": of.key.well,
        "visit": of.key.visit,
        "version": 1,
        "digest": of.digest,
        "day": of.day,
        "taken_at": of.taken_at and of.taken_at.astimezone(UTC),
        "received_at": of.received_at,
        "complete": of.complete,
        "files": [[file.path, file.size, file.mtime_ns] for file in of.files],
        "um_per_px": of.um_per_px,
        "quality": of.quality.model_dump(mode="json"),
        "measures": of.measures,
    }


def old_embedding(of: Observation, number: int = 1000) -> dict[str, Any]:
    """Return the row of the embedding of an observation."""
    vector = of.embedding.astype("<f4").tobytes()
    return {"observation_id": number, "encoder_id": of.encoder_id, "vector": vector}
