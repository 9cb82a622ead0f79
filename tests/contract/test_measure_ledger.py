"""Contract suite of the port of measures that are computed again, on SQLite and PostgreSQL."""

import pytest

from schemas.errors import StoreError
from schemas.observation import MeasuringProgress, NewMeasures, StoredImage
from schemas.quality import Flag
from schemas.tissue import Unsure
from tests.samples import ENCODER_ID, MEASURED_BY, PLATE, observation, observation_data, quality
from tests.stored import AnyStore, Opener, add, observed

LATER = "classical-9+measures-1"


def new_measures(image: StoredImage, **changes: object) -> NewMeasures:
    fields: dict[str, object] = {
        "observation_id": image.observation_id,
        "quality": quality(flags=(Flag.CROWDED,)),
        "measures": {"area_um2": 7.0},
        "unsure": (Unsure.FAINT,),
        "picture": b"new picture",
    }
    return NewMeasures(**fields | changes)  # type: ignore[arg-type]


def test_the_method_of_each_image_is_stored(store: AnyStore) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1, measured_by=None))
    assert [seen.measured_by for seen in observed(store)] == [MEASURED_BY, None]
    assert [image.measured_by for image in store.imaged(PLATE, ENCODER_ID)] == [MEASURED_BY, None]


def test_the_images_of_other_methods_are_counted_by_plate(store: AnyStore) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1, measured_by=LATER))
    add(store, observation("B04", seed=2, measured_by=None))
    add(store, observation("B02", plate="P2", seed=3, measured_by=LATER))
    assert store.outdated_measures(LATER) == [
        MeasuringProgress("P2", 1, 0),
        MeasuringProgress(PLATE, 3, 2),
    ]


def test_measures_doubts_flags_and_picture_are_replaced_and_the_embedding_is_kept(
    store: AnyStore,
) -> None:
    of = observation(measured_by=None, quality=quality(flags=(Flag.EMPTY,)))
    store.add_observation(of, observation_data(of), b"old picture")
    [image] = store.images_to_measure(PLATE, LATER)
    assert (image.pixel_digest, image.files, image.flags) == (
        of.pixel_digest,
        of.files,
        (Flag.EMPTY,),
    )
    store.replace_measures([new_measures(image)], LATER)
    [seen] = observed(store)
    assert (seen.measures, seen.measured_by, seen.unsure) == (
        {"area_um2": 7.0},
        LATER,
        (Unsure.FAINT,),
    )
    assert seen.quality.flags == (Flag.CROWDED,)
    assert seen.embedding.tolist() == of.embedding.tolist()
    assert list(store.pictures(store.imaged(PLATE, ENCODER_ID)).values()) == [b"new picture"]
    assert store.images_to_measure(PLATE, LATER) == []


def test_an_image_without_a_picture_gets_one(store: AnyStore) -> None:
    add(store, observation())
    [image] = store.images_to_measure(PLATE, LATER)
    store.replace_measures([new_measures(image)], LATER)
    assert list(store.pictures(store.imaged(PLATE, ENCODER_ID)).values()) == [b"new picture"]


def test_a_failed_replacement_changes_no_image_of_the_plate(store: AnyStore) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1))
    first, second = store.images_to_measure(PLATE, LATER)
    wrong = new_measures(second, measures={"area_um2": object()})
    with pytest.raises((StoreError, TypeError)):
        store.replace_measures([new_measures(first), wrong], LATER)
    assert [seen.measured_by for seen in observed(store)] == [MEASURED_BY, MEASURED_BY]


def test_images_of_another_service_are_not_included(store: AnyStore, open_store: Opener) -> None:
    add(store, observation("B02"))
    add(open_store("lab-2"), observation("B03", seed=1))
    assert [image.key.well for image in store.images_to_measure(PLATE, LATER)] == ["B02"]
    assert store.outdated_measures(LATER) == [MeasuringProgress(PLATE, 1, 1)]
