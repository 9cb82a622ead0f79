"""Helpers that the contract suites of the store share."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol

import numpy as np
from sqlalchemy import text

from inference.ports import EarlierPlateReader
from schemas.observation import Observation
from store.ports import (
    AssayStore,
    FileLedger,
    ObservationReader,
    ObservationWriter,
    Outbox,
    PlateMapStore,
    RankingStore,
    SpecimenStore,
)
from store.sql_store import SqlStore
from tests.samples import (
    ENCODER_ID,
    PLATE,
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
    RankingStore,
    SpecimenStore,
    Outbox,
    Protocol,
):
    """All ports of the store: a suite sets up its case through several of them."""


def add(store: AnyStore, of: Observation) -> int:
    return store.add_observation(of, observation_data(of, store.next_version(of.key)))


def same(one: Observation, other: Observation) -> bool:
    """Return whether two observations have equal fields and embeddings."""
    fields = [name for name in Observation.__dataclass_fields__ if name != "embedding"]
    return all(getattr(one, name) == getattr(other, name) for name in fields) and np.array_equal(
        one.embedding, other.embedding
    )


def observed(store: AnyStore, encoder_id: str = ENCODER_ID) -> Sequence[Observation]:
    return store.observations(store.imaged(PLATE, encoder_id), encoder_id)


def execute(url: str, statement: str) -> object:
    """Execute one SQL statement on a database as another program would."""
    with closing(SqlStore(url)) as other, other._database.writing() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None
