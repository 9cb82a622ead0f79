"""Contract suite of the port of embeddings by later encoders, on SQLite and PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from schemas.errors import StoreError
from schemas.observation import EmbeddingProgress
from schemas.tissue import Unsure
from store.embedding_ledger import SqlEmbeddingLedger
from store.ports import EmbeddingLedger
from tests.samples import (
    ENCODER_ID,
    PLATE,
    observation,
    quality,
)
from tests.stored import AnyStore, Opener, add, observed


@pytest.fixture
def ledger(url: str) -> Iterator[EmbeddingLedger]:
    """Open the embedding ledger of the database of the test."""
    with closing(SqlEmbeddingLedger(url)) as opened:
        yield opened


def another_embedding(seed: int = 0) -> Any:  # noqa: ANN401 - an array
    return np.random.default_rng(seed).standard_normal(5).astype(np.float32)


def test_an_image_carries_the_embeddings_of_several_encoders(
    store: AnyStore, ledger: EmbeddingLedger
) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1))
    first, second = ledger.not_embedded(PLATE, "another")
    assert (first.key, first.pixel_digest, first.files, first.um_per_px) == (
        observation().key,
        observation().pixel_digest,
        observation().files,
        observation().um_per_px,
    )
    assert (first.day, first.sharpest_plane) == (7, quality().sharpest_plane)
    ledger.add_embedding(first.observation_id, "another", another_embedding())
    assert ledger.not_embedded(PLATE, "another") == [second]
    assert [seen.key.well for seen in observed(store)] == ["B02", "B03"]
    [seen] = observed(store, "another")
    np.testing.assert_array_equal(seen.embedding, another_embedding())
    assert (seen.key, seen.measures) == (observation().key, observation().measures)


def test_a_later_encoder_keeps_the_doubts_and_the_refusal_of_an_image(
    store: AnyStore, ledger: EmbeddingLedger
) -> None:
    add(store, observation("B02", unsure=(Unsure.UNEVEN,)))
    add(store, observation("B03", seed=1, measures={}, unsure=(Unsure.NO_BACKGROUND,)))
    for image in ledger.not_embedded(PLATE, "another"):
        ledger.add_embedding(image.observation_id, "another", another_embedding())
    found = [(seen.unsure, seen.is_refused) for seen in observed(store, "another")]
    assert found == [((Unsure.UNEVEN,), False), ((Unsure.NO_BACKGROUND,), True)]


def test_the_first_embedding_of_an_encoder_stays(store: AnyStore, ledger: EmbeddingLedger) -> None:
    add(store, observation())
    [image] = ledger.not_embedded(PLATE, "another")
    for seed in (0, 1):
        ledger.add_embedding(image.observation_id, "another", another_embedding(seed))
    np.testing.assert_array_equal(observed(store, "another")[0].embedding, another_embedding(0))


def test_an_embedding_of_another_crop_replaces_the_stored_one(
    store: AnyStore, ledger: EmbeddingLedger
) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1, crop="757um"))
    assert ledger.not_embedded(PLATE, ENCODER_ID) == []
    [whole] = ledger.not_embedded(PLATE, ENCODER_ID, again=True)
    assert whole.key.well == "B02"
    ledger.add_embedding(whole.observation_id, ENCODER_ID, another_embedding(), "757um")
    ledger.add_embedding(whole.observation_id, ENCODER_ID, another_embedding(1), "757um")
    assert [seen.crop for seen in observed(store)] == ["757um", "757um"]
    assert [image.crop for image in store.imaged(PLATE, ENCODER_ID)] == ["757um", "757um"]
    np.testing.assert_array_equal(observed(store)[0].embedding, another_embedding(0))
    assert ledger.not_embedded(PLATE, ENCODER_ID, again=True) == []


def test_the_progress_of_an_encoder_is_listed_by_plate(
    store: AnyStore, ledger: EmbeddingLedger
) -> None:
    for number, well in enumerate(("B02", "B03", "B04")):
        add(store, observation(well, seed=number))
    add(store, observation("B02", plate="P2", seed=4))
    assert ledger.embedded(ENCODER_ID) == [
        EmbeddingProgress("P2", 1, 1, 0),
        EmbeddingProgress(PLATE, 3, 3, 0),
    ]
    first, second, _ = ledger.not_embedded(PLATE, "another")
    ledger.add_embedding(first.observation_id, "another", another_embedding())
    ledger.add_refusal(second.observation_id, "another", "is gone")
    of_plate = {each.plate: each for each in ledger.embedded("another")}
    assert of_plate == {
        PLATE: EmbeddingProgress(PLATE, 3, 1, 1),
        "P2": EmbeddingProgress("P2", 1, 0, 0),
    }
    assert of_plate[PLATE].open == 1


def test_an_image_that_was_refused_is_tried_again(store: AnyStore, ledger: EmbeddingLedger) -> None:
    add(store, observation())
    [image] = ledger.not_embedded(PLATE, "another")
    for reason in ("is gone", "0 bytes; expected an image"):
        ledger.add_refusal(image.observation_id, "another", reason)
    assert ledger.not_embedded(PLATE, "another") == [image]
    ledger.add_embedding(image.observation_id, "another", another_embedding())
    assert ledger.embedded("another") == [EmbeddingProgress(PLATE, 1, 1, 0)]


def test_images_of_another_service_are_not_included(
    store: AnyStore, open_store: Opener, ledger: EmbeddingLedger
) -> None:
    add(store, observation("B02"))
    add(open_store("lab-2"), observation("B03", seed=1))
    assert [image.key.well for image in ledger.not_embedded(PLATE, "another")] == ["B02"]
    assert ledger.embedded(ENCODER_ID) == [EmbeddingProgress(PLATE, 1, 1, 0)]


def test_an_embedding_of_no_image_is_refused(ledger: EmbeddingLedger) -> None:
    with pytest.raises(StoreError):
        ledger.add_embedding(7, "another", another_embedding())


def test_an_encoder_has_embedded_all_images_only_if_each_has_its_embedding(
    store: AnyStore, ledger: EmbeddingLedger
) -> None:
    assert ledger.has_embedded_all("another")
    add(store, observation("B02"))
    add(store, observation("B03", seed=1))
    assert ledger.has_embedded_all(ENCODER_ID)
    first, second = ledger.not_embedded(PLATE, "another")
    ledger.add_embedding(first.observation_id, "another", another_embedding())
    assert not ledger.has_embedded_all("another")
    ledger.add_refusal(second.observation_id, "another", "its file is missing")
    assert not ledger.has_embedded_all("another")
    ledger.add_embedding(second.observation_id, "another", another_embedding())
    assert ledger.has_embedded_all("another")
