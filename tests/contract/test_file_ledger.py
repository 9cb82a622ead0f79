"""Contract suite of the port of file outcomes, on SQLite and PostgreSQL."""

from datetime import timedelta

from acquisition.ports import EndedFiles
from schemas.well_image import FileVersion
from store.sql_files import PATHS_AT_ONCE
from tests.samples import (
    NOW,
    PLATE,
    file_version,
    observation,
    rejected,
    rejected_data,
    well_image,
)
from tests.stored import AnyStore, Opener, add, all_ended_files


def test_the_outcomes_of_the_given_paths_are_returned(open_store: Opener) -> None:
    store = open_store()
    stored, image, refused = observation("B02"), well_image("B03"), rejected("a.txt", "b.tif")
    add(store, stored)
    store.add_duplicate(image, NOW)
    store.add_rejected(refused, rejected_data(refused), NOW)
    ledger: EndedFiles = open_store()
    ended = [*stored.files, *image.files, *refused.files]
    paths = [file.path for file in ended]
    others = [f"no outcome {number}.tif" for number in range(2 * PATHS_AT_ONCE)]
    assert sorted(ledger.ended_files([*paths[:4], *others, *paths[4:]])) == sorted(ended)
    assert list(ledger.ended_files(["a.txt"])) == [file_version("a.txt")]
    assert list(ledger.ended_files([])) == []
    assert list(open_store("another service").ended_files(paths)) == []


def test_a_refused_file_is_listed_with_its_reason(store: AnyStore) -> None:
    refused = rejected("day07/B02_z1.tif", reason="0 bytes; expected an image")
    assert store.add_rejected(refused, rejected_data(refused), NOW) == 1
    [listed] = store.rejected()
    assert (listed.path, listed.plate, listed.well, listed.reason, listed.rejected_at) == (
        "day07/B02_z1.tif",
        PLATE,
        "B02",
        refused.reason,
        NOW,
    )
    assert store.messages_after(0)[0].topic == f"spherorank.v1.rejected.{PLATE}"


def test_refused_files_are_listed_oldest_first(store: AnyStore) -> None:
    for minutes, path in enumerate(["c.tif", "a.tif", "b.tif"]):
        refused = rejected(path)
        store.add_rejected(refused, rejected_data(refused), NOW + timedelta(minutes=minutes))
    assert [listed.path for listed in store.rejected()] == ["c.tif", "a.tif", "b.tif"]


def test_a_refusal_stands_until_a_later_version_of_the_file_ends_otherwise(store: AnyStore) -> None:
    old, new = FileVersion("B02_z1.tif", 0, 1), FileVersion("B02_z1.tif", 1000, 2)
    refused = rejected()
    store.add_rejected(type(refused)((old,), "0 bytes"), rejected_data(refused), NOW)
    later = observation(files=(new,), received_at=NOW + timedelta(minutes=1))
    add(store, later)
    assert store.rejected() == []
    assert set(all_ended_files(store)) == {old, new}


def test_of_two_refused_versions_of_a_file_the_newest_is_listed(store: AnyStore) -> None:
    for minutes, reason in enumerate(["0 bytes", "cut off"]):
        refused = type(rejected())((FileVersion("B02_z1.tif", minutes, minutes),), reason)
        store.add_rejected(refused, rejected_data(refused), NOW + timedelta(minutes=minutes))
    assert [listed.reason for listed in store.rejected()] == ["cut off"]


def test_a_good_version_that_is_overwritten_by_a_bad_one_is_listed(store: AnyStore) -> None:
    add(store, observation(files=(FileVersion("B02_z1.tif", 1000, 1),)))
    refused = type(rejected())((FileVersion("B02_z1.tif", 3, 2),), "3 bytes")
    store.add_rejected(refused, rejected_data(refused), NOW + timedelta(minutes=1))
    assert [listed.reason for listed in store.rejected()] == ["3 bytes"]


def test_a_file_that_an_observation_rests_on_stays_stored(store: AnyStore) -> None:
    kept = observation()
    add(store, kept)
    later = NOW + timedelta(minutes=1)
    store.add_duplicate(well_image(), later)
    refused = type(rejected())(kept.files, "one of the planes is cut off")
    store.add_rejected(refused, rejected_data(refused), later)
    assert store.rejected() == []
    assert sorted(all_ended_files(store)) == sorted(kept.files)


def test_names_that_are_not_utf8_and_reasons_with_any_byte_come_back(store: AnyStore) -> None:
    path, reason = "plaque-\udce9t\udce9/B02 µ 🔬.tif", "magic bytes 'II\0*'; expected TIFF"
    refused = rejected(path, reason=reason, plate="plaque-\udce9t\udce9")
    store.add_rejected(refused, rejected_data(refused), NOW)
    [listed] = store.rejected()
    assert (listed.path, listed.reason, listed.plate) == (path, reason, refused.plate)
    assert list(all_ended_files(store)) == [file_version(path)]
