"""The suite of the store's port, run on SQLite and on a real PostgreSQL server."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import alembic.command
import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, make_url, text

from acquisition.ports import EndedFiles
from inference.ports import EmbeddingLedger, Store
from schemas.calibration import CalibrationPlate
from schemas.errors import StoreError
from schemas.messages import AlertData, AlertKind
from schemas.observation import EmbeddingProgress, Observation
from schemas.plate_map import PlateMap
from schemas.ranking import Ranking
from schemas.well_image import FileVersion
from store.database import MIGRATIONS
from store.embedding_ledger import SqlEmbeddingLedger
from store.sql_store import SqlStore
from store.tables import metadata
from tests.postgresql_server import private_server, server_programs
from tests.samples import (
    ENCODER_ID,
    NOW,
    PLATE,
    SEEDED_AT,
    assay,
    calibration_card,
    file_version,
    observation,
    observation_data,
    plate_map,
    quality,
    ranking,
    ranking_data,
    rejected,
    rejected_data,
    specimen_data,
    specimen_ranking,
    status_data,
    well_image,
)

Opener = Callable[..., SqlStore]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    programs = server_programs()
    assert programs is not None, "the marker postgresql skips the tests of this server without them"
    with private_server(programs) as url:
        yield url


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database that is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/made/by/the store.sqlite"
    server_url: str = request.getfixturevalue("server")
    import psycopg  # noqa: PLC0415 - an extra: only where there is a server

    name = f"test_{next(_numbers)}"
    with psycopg.connect(
        host=make_url(server_url).query["host"],
        user="spherorank",
        dbname="postgres",
        autocommit=True,
    ) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server_url.format(database=name)


@pytest.fixture
def open_store(url: str) -> Iterator[Opener]:
    """Return what opens the same database again and again, and closes what was opened."""
    opened: list[SqlStore] = []

    def open_one(service: str = "spherorank", timeout_s: float = 10.0) -> SqlStore:
        opened.append(SqlStore(url, service=service, timeout_s=timeout_s))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Opener) -> Store:
    return open_store()


def add(store: Store, of: Observation) -> int:
    return store.add_observation(of, observation_data(of, store.next_version(of.key)))


def same(one: Observation, other: Observation) -> bool:
    """Observations hold arrays, so they do not compare by themselves."""
    fields = [name for name in Observation.__dataclass_fields__ if name != "embedding"]
    return all(getattr(one, name) == getattr(other, name) for name in fields) and np.array_equal(
        one.embedding, other.embedding
    )


def observed(store: Store, encoder_id: str = ENCODER_ID) -> Sequence[Observation]:
    return store.observations(store.imaged(PLATE, encoder_id), encoder_id)


# Observations


def test_an_observation_comes_back_as_it_was_given(store: Store) -> None:
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


def test_an_observation_without_time_scale_and_measures_is_kept(store: Store) -> None:
    given = observation(taken_at=None, um_per_px=None, measures={}, complete=False)
    add(store, given)
    assert same(observed(store)[0], given)


def test_embeddings_of_another_encoder_do_not_show(store: Store) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", encoder_id="another", seed=1))
    assert [kept.key.well for kept in observed(store)] == ["B02"]
    assert [kept.key.well for kept in observed(store, "another")] == ["B03"]
    assert store.imaged("another plate", ENCODER_ID) == []


def test_every_version_of_every_visit_is_kept_in_order(store: Store) -> None:
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


def test_only_the_images_asked_for_are_read(store: Store) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1))
    [_, second] = store.imaged(PLATE, ENCODER_ID)
    assert [kept.key.well for kept in store.observations([second], ENCODER_ID)] == ["B03"]
    assert store.observations([], ENCODER_ID) == []
    assert second.received_at == observation().received_at


def test_a_picture_is_kept_with_its_observation(store: Store) -> None:
    store.add_observation(observation("B02"), observation_data(observation("B02")), b"jpeg of B02")
    store.add_observation(observation("B03", seed=1), observation_data(observation("B03")))
    with_picture, without = store.imaged(PLATE, ENCODER_ID)
    assert store.pictures([with_picture, without]) == {with_picture.observation_id: b"jpeg of B02"}
    assert store.pictures([]) == {}


def test_versions_of_a_visit_count_from_one(store: Store) -> None:
    key = observation().key
    assert store.next_version(key) == 1
    assert store.version_of(key, observation(seed=1).digest) is None
    add(store, observation(seed=1))
    add(store, observation(seed=2))
    assert store.next_version(key) == 3
    assert store.version_of(key, observation(seed=2).digest) == 2
    assert store.next_version(observation("B03").key) == 1


def test_the_same_pixels_twice_make_one_observation_and_one_message(store: Store) -> None:
    first = add(store, observation())
    add(store, observation("B03", seed=1))
    again = add(store, observation(files=(file_version("copied.tif"),)))
    assert again == first
    assert store.last_sequence() == 2
    assert len(store.messages_after(0)) == 2
    assert store.next_version(observation().key) == 2
    assert file_version("copied.tif") in set(store.ended_files())


def test_the_same_pixels_in_another_well_are_another_observation(store: Store) -> None:
    assert add(store, observation("B02")) != add(store, observation("B03"))
    assert len(observed(store)) == 2


def test_a_failure_between_message_and_observation_leaves_neither_and_gives_the_number_back(
    open_store: Opener, url: str
) -> None:
    store = open_store()
    add(store, observation("B02"))
    _execute(url, "ALTER TABLE embedding RENAME TO embedding_away")
    with pytest.raises(StoreError, match="embedding"):
        add(store, observation("B03", seed=1))
    _execute(url, "ALTER TABLE embedding_away RENAME TO embedding")
    assert store.last_sequence() == 1
    assert [message.sequence for message in store.messages_after(0)] == [1]
    assert store.version_of(observation("B03").key, observation(seed=1).digest) is None
    assert {version.path[-9:-7] for version in store.ended_files()} == {"02"}
    assert add(store, observation("B03", seed=1)) == 2


# Files


def test_every_file_that_ended_is_told_to_a_source_that_starts(open_store: Opener) -> None:
    store = open_store()
    stored, image, refused = observation("B02"), well_image("B03"), rejected("a.txt", "b.tif")
    add(store, stored)
    store.add_duplicate(image, NOW)
    store.add_rejected(refused, rejected_data(refused), NOW)
    ledger: EndedFiles = open_store()
    assert sorted(ledger.ended_files()) == sorted([*stored.files, *image.files, *refused.files])


def test_a_refused_file_is_listed_with_its_reason(store: Store) -> None:
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


def test_refused_files_are_listed_oldest_first(store: Store) -> None:
    for minutes, path in enumerate(["c.tif", "a.tif", "b.tif"]):
        refused = rejected(path)
        store.add_rejected(refused, rejected_data(refused), NOW + timedelta(minutes=minutes))
    assert [listed.path for listed in store.rejected()] == ["c.tif", "a.tif", "b.tif"]


def test_a_refusal_stands_until_a_later_version_of_the_file_ends_otherwise(store: Store) -> None:
    old, new = FileVersion("B02_z1.tif", 0, 1), FileVersion("B02_z1.tif", 1000, 2)
    refused = rejected()
    store.add_rejected(type(refused)((old,), "0 bytes"), rejected_data(refused), NOW)
    later = observation(files=(new,), received_at=NOW + timedelta(minutes=1))
    add(store, later)
    assert store.rejected() == []
    assert set(store.ended_files()) == {old, new}


def test_of_two_refused_versions_of_a_file_the_newest_is_listed(store: Store) -> None:
    for minutes, reason in enumerate(["0 bytes", "cut off"]):
        refused = type(rejected())((FileVersion("B02_z1.tif", minutes, minutes),), reason)
        store.add_rejected(refused, rejected_data(refused), NOW + timedelta(minutes=minutes))
    assert [listed.reason for listed in store.rejected()] == ["cut off"]


def test_a_good_version_that_is_overwritten_by_a_bad_one_is_listed(store: Store) -> None:
    add(store, observation(files=(FileVersion("B02_z1.tif", 1000, 1),)))
    refused = type(rejected())((FileVersion("B02_z1.tif", 3, 2),), "3 bytes")
    store.add_rejected(refused, rejected_data(refused), NOW + timedelta(minutes=1))
    assert [listed.reason for listed in store.rejected()] == ["3 bytes"]


def test_a_file_that_an_observation_rests_on_stays_stored(store: Store) -> None:
    kept = observation()
    add(store, kept)
    later = NOW + timedelta(minutes=1)
    store.add_duplicate(well_image(), later)
    refused = type(rejected())(kept.files, "one of the planes is cut off")
    store.add_rejected(refused, rejected_data(refused), later)
    assert store.rejected() == []
    assert sorted(store.ended_files()) == sorted(kept.files)


def test_names_that_are_not_utf8_and_reasons_with_any_byte_come_back(store: Store) -> None:
    path, reason = "plaque-\udce9t\udce9/B02 µ 🔬.tif", "magic bytes 'II\0*'; expected TIFF"
    refused = rejected(path, reason=reason, plate="plaque-\udce9t\udce9")
    store.add_rejected(refused, rejected_data(refused), NOW)
    [listed] = store.rejected()
    assert (listed.path, listed.reason, listed.plate) == (path, reason, refused.plate)
    assert list(store.ended_files()) == [file_version(path)]


# Plate maps and rankings


def test_the_newest_map_of_a_plate_is_kept(store: Store) -> None:
    assert store.plate_map(PLATE) is None
    first, corrected = plate_map(), plate_map(readout_day=11)
    for content in (first, corrected, first):
        store.save_plate_map(content, NOW)
        assert store.plate_map(PLATE) == content
        assert isinstance(kept := store.plate_map(PLATE), PlateMap)
        assert kept.digest == content.digest


def test_an_equal_map_changes_nothing(open_store: Opener, url: str) -> None:
    store = open_store()
    store.save_plate_map(plate_map(), NOW)
    store.save_plate_map(plate_map(), NOW + timedelta(hours=1))
    assert _execute(url, "SELECT count(*) FROM plate_map") == 1


def test_plates_are_listed_in_alphabetical_order(store: Store) -> None:
    for name in ("b", "B", "a-2", "a1"):
        store.save_plate_map(plate_map(name), NOW)
    assert store.plates() == ["B", "a-2", "a1", "b"]


def test_an_earlier_map_of_a_plate_is_found_by_its_digest(store: Store) -> None:
    first, corrected = plate_map(), plate_map(readout_day=11)
    for content in (first, corrected):
        store.save_plate_map(content, NOW)
    assert store.plate_map(PLATE, first.digest) == first
    assert store.plate_map(PLATE, corrected.digest) == corrected
    assert store.plate_map(PLATE, "0" * 64) is None


# Assays and calibrations


def test_the_newest_assay_of_each_plate_is_kept_and_earlier_ones_are_found_by_their_digest(
    store: Store,
) -> None:
    assert store.assays() == []
    first, corrected, other = assay(), assay(B02=98.5), assay("a plate")
    for content in (first, other, corrected, corrected):
        store.save_assay(content, NOW)
    assert store.assays() == [corrected, other]
    assert store.assay(PLATE, first.digest) == first
    assert store.assay(PLATE, corrected.digest) == corrected
    assert store.assay("a plate", first.digest) is None
    store.save_assay(first, NOW)
    assert store.assays() == [first, other]


def test_an_equal_assay_changes_nothing(open_store: Opener, url: str) -> None:
    store = open_store()
    store.save_assay(assay(), NOW)
    store.save_assay(assay(), NOW + timedelta(hours=1))
    assert _execute(url, "SELECT count(*) FROM assay") == 1


def test_a_calibration_comes_back_with_its_card_and_what_it_was_learned_from(store: Store) -> None:
    learned_from = [
        CalibrationPlate(
            plate=PLATE,
            assay_digest=assay().digest,
            map_digest=plate_map().digest,
            images=(("B02", "day07", "1" * 64),),
        )
    ]
    card = calibration_card(left_out_percent=(1 / 3, 1e-17), left_out_error=(-0.1, 0.2))
    assert store.calibration(card.digest) is None
    store.add_calibration(card, learned_from, NOW)
    assert store.calibration(card.digest) == (card, learned_from)
    assert store.calibration("0" * 64) is None


def test_the_first_card_of_a_digest_stays(store: Store) -> None:
    store.add_calibration(calibration_card(), [], NOW)
    store.add_calibration(calibration_card(spearman=0.1), [], NOW)
    kept = store.calibration(calibration_card().digest)
    assert kept is not None
    assert kept[0] == calibration_card()


def test_a_store_from_before_assays_has_none_and_takes_them(open_store: Opener) -> None:
    store = open_store()
    store.save_plate_map(plate_map(), NOW)
    with store._database.writing() as connection:
        config = Config()
        config.set_main_option("script_location", MIGRATIONS)
        config.attributes["connection"] = connection
        for table in ("embedding_refusal", "assay", "calibration"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        alembic.command.stamp(config, "0004", purge=True)
    store.close()
    again = open_store()
    assert again.assays() == []
    again.save_assay(assay(), NOW)
    assert again.assays() == [assay()]
    assert again.plate_map(PLATE) == plate_map()


# Earlier plates


def earlier(store: Store, of: PlateMap, most: int = 9) -> list[str]:
    return [found.plate for found in store.earlier_plates(of, 10, ENCODER_ID, most)]


def add_plate(
    store: Store,
    plate: str,
    days_later: float,
    *,
    day: int = 10,
    encoder_id: str = ENCODER_ID,
    **changes: Any,  # noqa: ANN401 - any keys of the map
) -> PlateMap:
    content = plate_map(plate, seeded_at=SEEDED_AT + timedelta(days=days_later), **changes)
    store.save_plate_map(content, NOW)
    add(store, observation(plate=plate, day=day, encoder_id=encoder_id))
    return content


def test_earlier_plates_of_a_line_are_found_the_newest_first(store: Store) -> None:
    own = add_plate(store, "own", 5)
    for plate, days_later in (("b", 1), ("a", 1), ("c", 4), ("same hour", 5), ("later", 6)):
        add_plate(store, plate, days_later)
    assert earlier(store, own) == ["c", "a", "b"]
    assert earlier(store, own, most=2) == ["c", "a"]
    assert [found.digest for found in store.earlier_plates(own, 10, ENCODER_ID, 1)] == [
        plate_map("c", seeded_at=SEEDED_AT + timedelta(days=4)).digest
    ]


def test_plates_of_another_line_dosing_day_encoder_or_readout_are_no_earlier_plates(
    store: Store,
) -> None:
    own, of_line = add_plate(store, "own", 5), add_plate(store, "A673-2", 5, line="A673")
    add_plate(store, "A673-1", 1, line=" A673 ")
    add_plate(store, "other dosing", 2, dosed_on_day=6)
    add_plate(store, "other encoder", 2, encoder_id="another")
    add_plate(store, "not read out", 2, day=9)
    store.save_plate_map(plate_map("no image"), NOW)
    assert earlier(store, own) == []
    assert earlier(store, of_line) == ["A673-1"]


def test_a_plate_is_as_early_as_its_newest_map_says_in_any_time_zone(store: Store) -> None:
    own = add_plate(store, "own", 5)
    add_plate(store, "mended", 9)
    assert earlier(store, own) == []
    an_hour_before = (own.seeded_at - timedelta(hours=1)).astimezone(timezone(timedelta(hours=9)))
    store.save_plate_map(plate_map("mended", seeded_at=an_hour_before), NOW)
    assert earlier(store, own) == ["mended"]
    store.save_plate_map(plate_map("mended", seeded_at=an_hour_before, line="A673"), NOW)
    assert earlier(store, own) == []


def test_maps_from_before_earlier_plates_could_be_found_are_found(open_store: Opener) -> None:
    store = open_store()
    own = add_plate(store, "own", 5)
    add_plate(store, "old", 1)
    with store._database.writing() as connection:
        config = Config()
        config.set_main_option("script_location", MIGRATIONS)
        config.attributes["connection"] = connection
        for table in ("embedding_refusal", "assay", "calibration"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        _undo_earlier_plates(connection)
        alembic.command.stamp(config, "0003", purge=True)
    store.close()
    assert earlier(open_store(), own) == ["old"]


def _undo_earlier_plates(connection: Connection) -> None:
    for statement in (
        "DROP INDEX plate_map_by_line",
        "DROP INDEX observation_by_day",
        *(
            f"ALTER TABLE plate_map DROP COLUMN {name}"
            for name in ("line", "dosed_on_day", "seeded_at")
        ),
    ):
        connection.exec_driver_sql(statement)


# Rankings


def test_rankings_come_back_by_day_and_revision(store: Store) -> None:
    for day, revision in ((10, 2), (8, 1), (10, 1)):
        of = ranking(day=day, revision=revision)
        store.add_ranking(of, ranking_data(of))
    assert store.rankings(PLATE) == [ranking(day=8), ranking(), ranking(revision=2)]
    assert store.rankings("another plate") == []


def test_a_ranking_that_was_published_does_not_change(store: Store) -> None:
    store.add_ranking(ranking(), ranking_data(ranking()))
    changed = ranking(method="deterioration")
    with pytest.raises(StoreError, match="day10-r1 exists already; expected revision 2"):
        store.add_ranking(changed, ranking_data(changed))
    assert store.rankings(PLATE) == [ranking()]
    assert store.last_sequence() == 1


def test_the_message_of_a_ranking_may_stand_for_the_ranking(store: Store) -> None:
    store.add_ranking(ranking_data(ranking()), ranking_data(ranking()))
    assert [type(kept) for kept in store.rankings(PLATE)] == [Ranking]


# Rankings of specimens


def test_the_plates_of_a_specimen_are_those_whose_newest_map_names_it(store: Store) -> None:
    for plate, specimen in (
        ("b", "PAT-07"),
        ("a", "PAT-07"),
        ("c", "PAT-08"),
        ("d", None),
        ("e", "Prüf 7"),
    ):
        store.save_plate_map(plate_map(plate, specimen=specimen), NOW)
    assert store.plates_of("PAT-07") == ["a", "b"]
    assert store.plates_of("Prüf 7") == ["e"]
    store.save_plate_map(plate_map("a", specimen="PAT-08"), NOW)
    assert (store.plates_of("PAT-07"), store.plates_of("PAT-08"), store.plates_of("PAT-09")) == (
        ["b"],
        ["a", "c"],
        [],
    )


def test_rankings_of_a_specimen_come_back_by_revision_and_are_told_of(store: Store) -> None:
    for revision in (1, 2):
        of = specimen_ranking(revision)
        assert store.add_specimen_ranking(specimen_data(of), specimen_data(of)) == revision
    assert store.specimen_rankings("PAT-07") == [specimen_ranking(), specimen_ranking(2)]
    assert store.specimen_rankings("PAT-08") == []
    assert [message.topic for message in store.messages_after(0)] == [
        "spherorank.v1.specimen.PAT-07"
    ] * 2


def test_a_ranking_of_a_specimen_that_was_published_does_not_change(store: Store) -> None:
    store.add_specimen_ranking(specimen_ranking(), specimen_data(specimen_ranking()))
    changed = specimen_ranking(notes=("another",))
    with pytest.raises(
        StoreError, match="the ranking r1 of specimen PAT-07 exists already; expected r2"
    ):
        store.add_specimen_ranking(changed, specimen_data(changed))
    assert store.specimen_rankings("PAT-07") == [specimen_ranking()]
    assert store.last_sequence() == 1


# The outbox


def test_messages_are_numbered_from_one_and_hold_the_event(store: Store) -> None:
    assert store.last_sequence() == 0
    assert (
        store.add_message(AlertData(kind=AlertKind.DISK, plate=None, message="2 GB left"), NOW) == 1
    )
    assert add(store, observation()) == 2
    first, second = store.messages_after(0)
    assert (first.sequence, first.topic) == (1, "spherorank.v1.alert")
    assert (second.sequence, second.topic) == (2, f"spherorank.v1.observation.{PLATE}")
    event = json.loads(second.body)
    assert event["sequence"] == "00000000000000000002"
    assert event["data"] == json.loads(observation_data(observation()).model_dump_json())


def test_messages_are_read_after_a_number_by_topic_and_in_portions(store: Store) -> None:
    for well in ("B02", "B03", "B04"):
        add(store, observation(well))
    add(store, observation(plate="PDAC-0043"))
    store.add_message(status_data(), NOW)
    assert [message.sequence for message in store.messages_after(3)] == [4, 5]
    assert [message.sequence for message in store.messages_after(0, limit=2)] == [1, 2]
    assert [
        message.sequence
        for message in store.messages_after(1, "spherorank.v1.observation.PDAC-0042")
    ] == [2, 3]
    assert [message.sequence for message in store.messages_after(0, "spherorank.v1.status")] == [5]
    assert store.messages_after(0, "spherorank.v1.STATUS") == []
    assert store.messages_after(0, "spherorank_v1") == []
    assert store.messages_after(5) == []


def test_heartbeats_older_than_a_day_go_and_their_numbers_are_not_used_again(
    open_store: Opener,
) -> None:
    store = open_store()
    add(store, observation())
    for hours in range(3):
        store.add_message(status_data(), NOW + timedelta(hours=hours))
    assert store.add_message(status_data(), NOW + timedelta(hours=25, minutes=30)) == 5
    assert [message.sequence for message in store.messages_after(0)] == [1, 4, 5]
    assert store.add_message(status_data(), NOW + timedelta(days=9)) == 6
    assert open_store().last_sequence() == 6
    assert [message.sequence for message in store.messages_after(0)] == [1, 6]


def test_what_was_published_is_remembered_and_never_goes_back(open_store: Opener) -> None:
    store = open_store()
    assert store.published_through() == 0
    for well in ("B02", "B03", "B04"):
        add(store, observation(well))
    store.mark_published(2)
    store.mark_published(1)
    assert store.published_through() == 2
    assert open_store().published_through() == 2


def test_services_that_share_a_database_have_their_own_numbers_messages_and_files(
    open_store: Opener,
) -> None:
    one, two = open_store("lab-1"), open_store("lab-2")
    refused = rejected("same/path.tif")
    assert one.add_rejected(refused, rejected_data(refused), NOW) == 1
    assert add(two, observation()) == 1
    assert add(two, observation("B03")) == 2
    one.mark_published(1)
    assert (one.last_sequence(), two.last_sequence()) == (1, 2)
    assert (one.published_through(), two.published_through()) == (1, 0)
    assert [message.topic.split(".")[2] for message in one.messages_after(0)] == ["rejected"]
    assert [listed.path for listed in two.rejected()] == []
    assert file_version("same/path.tif") not in set(two.ended_files())
    assert len(observed(one)) == 2


def test_two_threads_take_numbers_without_gap_or_double(open_store: Opener) -> None:
    store, together, taken = open_store(), Barrier(2), dict[str, list[int]]()

    def images() -> None:
        together.wait()
        taken["images"] = [
            add(store, observation(visit=f"day07-{number:02d}", seed=number))
            for number in range(30)
        ]

    def heartbeats() -> None:
        together.wait()
        taken["heartbeats"] = [store.add_message(status_data(), NOW) for _ in range(30)]

    threads = [Thread(target=images), Thread(target=heartbeats)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken["images"] + taken["heartbeats"]) == list(range(1, 61))
    assert taken["images"] == sorted(taken["images"])
    assert [message.sequence for message in store.messages_after(0)] == list(range(1, 61))


def test_reading_the_ended_files_does_not_hold_up_writing(open_store: Opener) -> None:
    store = open_store(timeout_s=1.0)
    add(store, observation("B02"))
    listing = store.ended_files()
    next(listing)
    add(store, observation("B03", seed=1))
    assert len(list(listing)) == 2


# Other encoders


@pytest.fixture
def ledger(url: str) -> Iterator[EmbeddingLedger]:
    """Return what was embedded of the images in the same database."""
    with closing(SqlEmbeddingLedger(url)) as opened:
        yield opened


def another_embedding(seed: int = 0) -> Any:  # noqa: ANN401 - an array
    return np.random.default_rng(seed).standard_normal(5).astype(np.float32)


def test_an_image_carries_the_embeddings_of_several_encoders(
    store: Store, ledger: EmbeddingLedger
) -> None:
    add(store, observation("B02"))
    add(store, observation("B03", seed=1))
    first, second = ledger.not_embedded(PLATE, "another")
    assert (first.key, first.digest, first.files, first.um_per_px) == (
        observation().key,
        observation().digest,
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


def test_the_first_embedding_of_an_encoder_stays(store: Store, ledger: EmbeddingLedger) -> None:
    add(store, observation())
    [image] = ledger.not_embedded(PLATE, "another")
    for seed in (0, 1):
        ledger.add_embedding(image.observation_id, "another", another_embedding(seed))
    np.testing.assert_array_equal(observed(store, "another")[0].embedding, another_embedding(0))


def test_how_far_an_encoder_came_is_told_by_plate(store: Store, ledger: EmbeddingLedger) -> None:
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


def test_an_image_that_was_refused_is_tried_again(store: Store, ledger: EmbeddingLedger) -> None:
    add(store, observation())
    [image] = ledger.not_embedded(PLATE, "another")
    for reason in ("is gone", "0 bytes; expected an image"):
        ledger.add_refusal(image.observation_id, "another", reason)
    assert ledger.not_embedded(PLATE, "another") == [image]
    ledger.add_embedding(image.observation_id, "another", another_embedding())
    assert ledger.embedded("another") == [EmbeddingProgress(PLATE, 1, 1, 0)]


def test_images_of_another_service_are_its_own_affair(
    store: Store, open_store: Opener, ledger: EmbeddingLedger
) -> None:
    add(store, observation("B02"))
    add(open_store("lab-2"), observation("B03", seed=1))
    assert [image.key.well for image in ledger.not_embedded(PLATE, "another")] == ["B02"]
    assert ledger.embedded(ENCODER_ID) == [EmbeddingProgress(PLATE, 1, 1, 0)]


def test_an_embedding_of_no_image_is_refused(ledger: EmbeddingLedger) -> None:
    with pytest.raises(StoreError):
        ledger.add_embedding(7, "another", another_embedding())


# Opening


def test_a_store_that_is_opened_again_is_unchanged(open_store: Opener) -> None:
    store = open_store()
    sequence = add(store, observation())
    store.save_plate_map(plate_map(), NOW)
    store.close()
    store.close()
    again = open_store()
    assert same(observed(again)[0], observation())
    assert again.plate_map(PLATE) == plate_map()
    assert again.last_sequence() == sequence
    assert add(again, observation("B03", seed=1)) == sequence + 1


def test_the_migrations_make_the_tables_that_the_code_expects(open_store: Opener) -> None:
    with open_store()._database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_services_that_start_together_on_an_empty_database_all_open_it(url: str) -> None:
    together, opened = Barrier(3), list[SqlStore]()

    def start(service: str) -> None:
        together.wait()
        opened.append(SqlStore(url, service=service))

    threads = [Thread(target=start, args=(f"lab-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 3
    for store in opened:
        with closing(store):
            assert store.last_sequence() == 0


def test_a_database_of_a_newer_version_is_left_alone(open_store: Opener, url: str) -> None:
    open_store().close()
    _execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        StoreError,
        match=r"revision 9999, which this version of SpheroRank does not know; expected .* install the newer SpheroRank",
    ):
        open_store()


def test_a_row_that_is_locked_for_too_long_is_said_so(open_store: Opener) -> None:
    holder, waiter = open_store(), open_store(timeout_s=0.2)
    add(holder, observation())
    with holder._database.writing() as connection:
        connection.execute(text("UPDATE sequence_counter SET last = last"))
        with pytest.raises(StoreError, match=r"lock.*another process holds it"):
            waiter.add_message(status_data(), NOW)
    assert waiter.add_message(status_data(), NOW) == 2


def test_a_row_that_somebody_damaged_is_said_so(open_store: Opener, url: str) -> None:
    store = open_store()
    store.save_plate_map(plate_map(), NOW)
    _execute(url, "UPDATE plate_map SET content = '{}'")
    with pytest.raises(StoreError, match="seeded_at"):
        store.plate_map(PLATE)


def test_a_time_without_zone_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="has no time zone"):
        add(store, observation(taken_at=datetime(2026, 11, 16, 15, 0)))  # noqa: DTZ001 - the fault under test
    assert store.last_sequence() == 0


def _execute(url: str, statement: str) -> object:
    """Do what another program could do to the database."""
    with closing(SqlStore(url)) as other, other._database.writing() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None
