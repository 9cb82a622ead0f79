"""Contract suite of the ports of observations: writing and reading, on SQLite and PostgreSQL."""

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from schemas.errors import StoreError
from schemas.scale import FileScale
from schemas.tissue import Unsure
from store.ports import NewObservation
from tests.samples import (
    ENCODER_ID,
    PLATE,
    file_version,
    observation,
    observation_data,
    quality,
)
from tests.stored import (
    AnyStore,
    Opener,
    add,
    all_ended_files,
    execute,
    make_old_store,
    observed,
    old_embedding,
    old_observation,
    same,
)


def test_an_observation_comes_back_as_it_was_given(store: AnyStore) -> None:
    given = observation(
        taken_at=datetime(2026, 11, 16, 15, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1))),
        quality=quality(focus=(0.1, 1e-300, 1 / 3)),
        measures={"area_um2": 1 / 3, "circularity": 1e-17},
        dimension=1280,
    )
    add(store, given)
    [kept] = observed(store)
    assert same(kept, given)
    assert kept.embedding.dtype == np.float32
    assert kept.taken_at is not None
    assert kept.taken_at.tzinfo is UTC


def test_an_observation_without_time_scale_and_measures_is_kept(store: AnyStore) -> None:
    given = observation(taken_at=None, um_per_px=None, measures={}, complete=False)
    add(store, given)
    assert same(observed(store)[0], given)


def test_embeddings_of_another_encoder_do_not_show(store: AnyStore) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", encoder_id="another", seed=1))
    assert [kept.key.well for kept in observed(store)] == ["B02"]
    assert [kept.key.well for kept in observed(store, "another")] == ["B03"]
    assert store.imaged("another plate", ENCODER_ID) == []


def test_every_version_of_every_visit_is_kept_in_order(store: AnyStore) -> None:
    arrivals = [
        ("day07-20261116T150000", True),
        ("day07", False),
        ("day07", True),
        ("day07-20261116T090000", True),
    ]
    for seed, (visit, complete) in enumerate(arrivals):
        add(store, observation(visit=visit, complete=complete, seed=seed))
    kept = [
        (image.key.visit, image.version, image.complete)
        for image in store.imaged(PLATE, ENCODER_ID)
    ]
    assert kept == [
        ("day07", 1, False),
        ("day07", 2, True),
        ("day07-20261116T090000", 1, True),
        ("day07-20261116T150000", 1, True),
    ]


def test_only_the_images_asked_for_are_read(store: AnyStore) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1))
    [_, second] = store.imaged(PLATE, ENCODER_ID)
    assert [kept.key.well for kept in store.observations([second], ENCODER_ID)] == ["B03"]
    assert store.observations([], ENCODER_ID) == []
    assert second.received_at == observation().received_at


def test_a_picture_is_kept_with_its_observation(store: AnyStore) -> None:
    store.add_observation(observation("B02"), observation_data(observation("B02")), b"jpeg of B02")
    store.add_observation(observation("B03", seed=1), observation_data(observation("B03")))
    with_picture, without = store.imaged(PLATE, ENCODER_ID)
    assert store.pictures([with_picture, without]) == {with_picture.observation_id: b"jpeg of B02"}
    assert store.pictures([]) == {}


def test_versions_of_a_visit_count_from_one(store: AnyStore) -> None:
    key = observation().key
    assert store.next_version(key) == 1
    assert store.version_of(key, observation(seed=1).digest) is None
    add(store, observation(seed=1))
    add(store, observation(seed=2))
    assert store.next_version(key) == 3
    assert store.version_of(key, observation(seed=2).digest) == 2
    assert store.next_version(observation("B03").key) == 1


def test_the_same_pixels_with_another_scale_are_another_version(store: AnyStore) -> None:
    add(store, observation(um_per_px=1.36, digest="a" * 64))
    add(store, observation(um_per_px=2.72, digest="b" * 64, file_scales=()))
    first, second = store.imaged(PLATE, ENCODER_ID)
    assert (first.pixel_digest, first.version) == (second.pixel_digest, 1)
    assert second.version == 2
    assert (first.um_per_px, first.file_scales) == (1.36, (FileScale(1.36, "OME-XML"),))
    assert (second.um_per_px, second.file_scales) == (2.72, ())


def test_images_of_a_plate_are_counted_by_scale(store: AnyStore) -> None:
    scales = {"B02": 1.36, "B03": 1.36, "B04": 2.72, "B05": None}
    for well, um_per_px in scales.items():
        add(store, observation(well, um_per_px=um_per_px))
    add(store, observation("B02", plate="another plate", um_per_px=5.0))
    assert store.scales(PLATE, 1) == {1.36: 2, 2.72: 1, None: 1}
    assert store.scales("no plate", 1) == {}


def test_an_observation_of_an_earlier_version_has_no_scales_of_files(
    open_store: Opener, url: str
) -> None:
    store = open_store()
    add(store, observation(digest="d" * 64))
    nulls = "pixel_digest = NULL, file_scales = NULL, checksum = NULL"
    execute(url, f"UPDATE observation SET {nulls}")  # noqa: S608 - the line above
    [kept] = observed(store)
    assert (kept.digest, kept.pixel_digest, kept.file_scales) == ("d" * 64, "d" * 64, None)
    [image] = store.imaged(PLATE, ENCODER_ID)
    assert (image.digest, image.pixel_digest, image.file_scales) == ("d" * 64, "d" * 64, None)


def test_the_same_pixels_twice_make_one_observation_and_one_message(store: AnyStore) -> None:
    first = add(store, observation())
    add(store, observation("B03", seed=1))
    again = add(store, observation(files=(file_version("copied.tif"),)))
    assert again == first
    assert store.last_sequence() == 2
    assert len(store.messages_after(0)) == 2
    assert store.next_version(observation().key) == 2
    assert file_version("copied.tif") in set(all_ended_files(store))


def test_the_same_pixels_in_another_well_are_another_observation(store: AnyStore) -> None:
    assert add(store, observation("B02")) != add(store, observation("B03"))
    assert len(observed(store)) == 2


def test_a_failure_between_message_and_observation_leaves_neither_and_gives_the_number_back(
    open_store: Opener, url: str
) -> None:
    store = open_store()
    add(store, observation("B02"))
    execute(url, "ALTER TABLE embedding RENAME TO embedding_away")
    with pytest.raises(StoreError, match="embedding"):
        add(store, observation("B03", seed=1))
    execute(url, "ALTER TABLE embedding_away RENAME TO embedding")
    assert store.last_sequence() == 1
    assert [message.sequence for message in store.messages_after(0)] == [1]
    assert store.version_of(observation("B03").key, observation(seed=1).digest) is None
    assert {version.path[-9:-7] for version in all_ended_files(store)} == {"02"}
    assert add(store, observation("B03", seed=1)) == 2


def test_several_observations_are_stored_together_in_their_order(store: AnyStore) -> None:
    given = [observation(well, seed=seed) for seed, well in enumerate(("B03", "B02"))]
    store.add_observations(
        [NewObservation(each, observation_data(each), b"jpeg") for each in given]
    )
    assert all(same(*pair) for pair in zip(observed(store), reversed(given), strict=True))
    bodies = [json.loads(each.body)["data"] for each in store.messages_after(0)]
    assert [each["well"] for each in bodies] == ["B03", "B02"]
    assert len(store.pictures(store.imaged(PLATE, ENCODER_ID))) == 2


def test_of_several_observations_none_is_stored_if_one_fails(store: AnyStore) -> None:
    first = observation("B02")
    wrong = observation("B03", measures={"area_um2": object()})
    with pytest.raises((StoreError, TypeError)):
        store.add_observations(
            [
                NewObservation(first, observation_data(first)),
                NewObservation(wrong, observation_data(first)),
            ]
        )
    assert observed(store) == []
    assert all_ended_files(store) == []
    add(store, first)
    assert [each.sequence for each in store.messages_after(0)] == [1]


def test_the_doubts_about_an_outline_come_back_in_their_order(store: AnyStore) -> None:
    given = observation(unsure=(Unsure.OTHER_OBJECT, Unsure.FAINT))
    refused = observation("B03", seed=1, measures={}, unsure=(Unsure.NO_BACKGROUND,))
    add(store, given)
    add(store, refused)
    first, second = observed(store)
    assert (first.unsure, first.is_refused) == ((Unsure.OTHER_OBJECT, Unsure.FAINT), False)
    assert same(second, refused)
    assert second.is_refused


def test_an_observation_from_before_doubts_were_recorded_has_none_and_is_not_refused(
    open_store: Opener, url: str
) -> None:
    old = observation(measures={})
    make_old_store(
        url,
        "0008",
        observation=[
            old_observation(old) | {"run": 1, "pixel_digest": old.digest, "file_scales": []}
        ],
        embedding=[old_embedding(old)],
    )
    [kept] = observed(open_store())
    assert (kept.unsure, kept.is_refused) == ((), False)


def test_an_image_is_excluded_with_its_reason_by_the_path_of_a_file_and_only_once(
    store: AnyStore,
) -> None:
    wrong = observation("B02", files=(file_version("P1/day07/B02.ome.tif"),))
    add(store, wrong)
    add(store, observation("B03", seed=1, files=(file_version("P1/day07/B03.ome.tif"),)))
    reasons = {"P1/day07/B02.ome.tif": "shows B03", "P1/day07/B09.ome.tif": "shows B08"}
    assert store.exclude_images(PLATE, reasons) == [wrong.key]
    assert store.exclude_images(PLATE, reasons) == []
    assert store.exclude_images("P2", reasons) == []
    excluded = {image.key.well: image.excluded for image in store.imaged(PLATE, ENCODER_ID)}
    assert excluded == {"B02": "shows B03", "B03": None}
    assert [image.excluded for image in store.arrived(PLATE)] == ["shows B03", None]


def test_images_of_another_service_are_not_excluded_by_a_path(open_store: Opener) -> None:
    reasons = {"P1/day07/B02.ome.tif": "shows B03"}
    file = file_version("P1/day07/B02.ome.tif")
    add(open_store("other"), observation("B02", files=(file,)))
    assert open_store("own").exclude_images(PLATE, reasons) == []
