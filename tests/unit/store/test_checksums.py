from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Column, Table

from store.checksums import checksum_of, with_checksum
from store.tables import AnyText, embeddings, metadata, observations, rankings

ROW: dict[str, Any] = {
    "service": "lab",
    "plate": "PDAC-0042",
    "day": 7,
    "day_from_time": False,
    "um_per_px": 1.36,
    "measures": {"area": 12.5, "circularity": 0.8},
    "files": [["a.tif", 10, 20]],
    "received_at": datetime(2026, 11, 22, 20, tzinfo=UTC),
}


def test_every_value_is_part_of_the_checksum() -> None:
    changes: dict[str, Any] = {
        "service": "lab-2",
        "plate": "PDAC-0043",
        "day": 8,
        "day_from_time": True,
        "um_per_px": np.nextafter(1.36, 2),
        "measures": {"area": 12.5, "circularity": 0.9},
        "files": [["a.tif", 10, 21]],
        "received_at": datetime(2026, 11, 22, 21, tzinfo=UTC),
    }
    assert set(changes) == set(ROW)
    checksums = {checksum_of(observations, ROW | {name: changes[name]}) for name in changes}
    checksums |= {checksum_of(observations, ROW | {name: None}) for name in ROW}
    assert len(checksums | {checksum_of(observations, ROW)}) == 2 * len(ROW) + 1


def test_a_changed_bit_of_an_embedding_changes_the_checksum() -> None:
    vector = np.arange(8, dtype=np.float32)
    changed = vector.copy()
    changed.view(np.uint8)[13] ^= 1
    row = {"observation_id": 1, "encoder_id": "e"}
    assert checksum_of(embeddings, row | {"vector": vector}) != checksum_of(
        embeddings, row | {"vector": changed}
    )


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("um_per_px", 2),  # the database returns 2.0
        ("plate", "\udc85"),  # the database keeps U+EF85
        ("files", (("a.tif", 10, 20),)),  # JSON has no tuples
        ("received_at", datetime(2026, 11, 22, 21, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_a_value_and_the_form_that_the_database_returns_have_one_checksum(
    name: str, stored: object
) -> None:
    returned = {"um_per_px": 2.0, "plate": "\uef85"}
    assert checksum_of(observations, ROW | {name: stored}) == checksum_of(
        observations, ROW | {name: returned.get(name, ROW[name])}
    )


def test_a_new_column_keeps_the_checksums_of_earlier_rows() -> None:
    row = with_checksum(rankings, {"plate": "P", "day": 10, "revision": 1, "final": True})
    later = Table(
        "later",
        metadata,
        *(Column(each.name, each.type) for each in rankings.c),
        Column("new", AnyText),
    )
    metadata.remove(later)
    assert checksum_of(later, row | {"new": None}) == row["checksum"]
