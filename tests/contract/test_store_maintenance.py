"""Contract suite of the maintenance of a store, on SQLite and PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.errors import StoreError
from store.database import Database
from store.maintenance.check import find_problems
from store.maintenance.copy import copy_store
from store.maintenance.size import measure_size
from store.sql_store import SqlStore
from tests.samples import (
    NOW,
    PLATE,
    assay,
    observation,
    observation_data,
    plate_map,
    ranking,
    ranking_data,
    rejected,
    rejected_data,
    specimen_data,
    specimen_ranking,
    status_data,
)
from tests.stored import Opener, add_image, execute, observed, same

JPEG = b"\xff\xd8\xff" + bytes(100)
OLD = NOW - timedelta(days=100)


def fill(store: SqlStore) -> None:
    """Store a finished plate with one old and one new image, and an unfinished plate."""
    for each in (plate_map(), plate_map("PDAC 7")):
        store.save_plate_map(each, OLD)
    for plate, well, at in (
        (PLATE, "B02", OLD),
        (PLATE, "B03", NOW),
        ("PDAC 7", "B02", OLD),
    ):
        add_image(store, well, at, plate, JPEG)
    refused = rejected("notes.tif")
    store.add_rejected(refused, rejected_data(refused), OLD)
    store.add_ranking(ranking(), ranking_data(ranking()))
    store.save_assay(assay(), NOW)
    of_specimen = specimen_ranking()
    store.add_specimen_ranking(of_specimen, specimen_data(of_specimen))
    store.add_message(status_data(), NOW)
    store.mark_published(store.last_sequence())


@pytest.fixture
def filled(open_store: Opener) -> SqlStore:
    store = open_store()
    fill(store)
    return store


@pytest.fixture
def database(url: str, filled: SqlStore) -> Iterator[Database]:
    filled.last_sequence()
    with closing(Database(url, timeout_s=10.0)) as opened:
        yield opened


def test_an_undamaged_store_has_no_problem(database: Database) -> None:
    assert list(find_problems(database)) == []


PROBLEMS = [
    ("UPDATE observation SET day = 8 WHERE id = 2", "the row id=2 plate=PDAC-0042 well=B03"),
    ("UPDATE plate_map SET content = '{}' WHERE id = 2", "the row id=2 plate=PDAC 7"),
    ("UPDATE message SET body = '{' WHERE sequence = 3", "sequence=3 of table message is damaged"),
    (
        "UPDATE message SET sequence = 99, checksum = NULL WHERE sequence = 3",
        "its body has the number",
    ),
    ("UPDATE file_version SET outcome = 'lost'", "'lost' is not a valid Outcome"),
    ("UPDATE ranking SET day = 9", "plate=PDAC-0042 day=9 revision=1 of table ranking is damaged"),
    ("DELETE FROM embedding WHERE observation_id = 2", "observation 2 has no embedding"),
    ("UPDATE sequence_counter SET last = 3", "the sequence counter of the service spherorank is 3"),
    ("UPDATE sequence_counter SET published_through = 99", "has published up to 99; expected"),
]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("damage", "problem"), PROBLEMS)
def test_each_damage_is_named_with_its_row(
    database: Database, url: str, damage: str, problem: str
) -> None:
    execute(url, damage)
    found = list(find_problems(database))
    assert any(problem in each for each in found), found


def test_every_damaged_row_is_named(database: Database, url: str) -> None:
    execute(url, "UPDATE observation SET um_per_px = 9.0 WHERE id <> 2")
    found = list(find_problems(database))
    assert ["id=1" in found[0], "id=3" in found[1], len(found)] == [True, True, 2]


def test_an_embedding_of_another_length_is_found_without_a_checksum(
    database: Database, url: str
) -> None:
    shorter = "(SELECT substr(vector, 1, 16) FROM embedding WHERE observation_id = 2)"
    execute(
        url,
        f"UPDATE embedding SET vector = {shorter}, checksum = NULL "  # noqa: S608 - the line above
        "WHERE observation_id = 2",
    )
    [problem] = find_problems(database)
    assert "the embedding of observation 2 by the encoder eeeeeeeeeeee has 16 bytes" in problem


def test_the_size_counts_rows_and_bytes_of_tables_and_plates(database: Database) -> None:
    size = measure_size(database)
    tables = {each.name: each for each in size.tables}
    assert tables["observation"].rows == 3
    assert tables["picture"].bytes >= 3 * len(JPEG)
    assert tables["embedding"].bytes >= 3 * 8 * 4
    assert {each.name: each.rows for each in size.plates} == {PLATE: 2, "PDAC 7": 1}
    assert size.plates[0].name == PLATE
    assert (size.file_bytes or 10**9) >= sum(each.bytes for each in size.tables)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Yield an empty database, which is not the one of the fixture ``url``."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/target.sqlite"
    else:
        url = request.getfixturevalue("empty_postgresql")
    with closing(Database(url, timeout_s=10.0)) as opened:
        yield opened


def test_a_copy_has_every_row_and_continues_the_numbers(
    database: Database, target: Database, filled: SqlStore
) -> None:
    rows = copy_store(database, target)
    assert (rows["observation"], rows["message"], rows["ranking"]) == (3, 7, 1)
    assert list(find_problems(target)) == []
    with closing(SqlStore(target.url)) as copied:
        assert copied.messages_after(0) == filled.messages_after(0)
        for one, other in zip(observed(copied), observed(filled), strict=True):
            assert same(one, other)
        assert copied.rankings(PLATE) == filled.rankings(PLATE)
        assert copied.published_through() == filled.published_through()
        image = observation("C02", seed=5)
        assert copied.add_observation(image, observation_data(image)) == 8
        assert len(observed(copied)) == 3
        copied.save_plate_map(plate_map(line="other"), NOW)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_database_with_rows_is_no_target(database: Database, target: Database) -> None:
    copy_store(database, target)
    with pytest.raises(StoreError, match=r"has rows in table .*; expected an empty database"):
        copy_store(database, target)


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_a_damaged_store_is_not_copied(database: Database, target: Database, url: str) -> None:
    execute(url, "UPDATE observation SET day = 8")
    with pytest.raises(StoreError, match="has 3 problems and is not copied"):
        copy_store(database, target)
    assert {each.rows for each in measure_size(target).tables} == {0}
