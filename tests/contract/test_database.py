"""Contract suite of the databases.

Opening, migration, locks and damage, on SQLite and PostgreSQL.
"""

from contextlib import closing
from datetime import datetime, timedelta
from threading import Barrier, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url, text

from schemas.errors import DamagedRowError, StoreError
from store import migrations
from store.sql_store import SqlStore
from store.tables import metadata
from tests.samples import (
    NOW,
    PLATE,
    SEEDED_AT,
    SPECIMEN,
    assay,
    observation,
    observation_data,
    plate_map,
    ranking,
    ranking_data,
    specimen_data,
    specimen_ranking,
    status_data,
)
from tests.stored import AnyStore, Opener, add, execute, observed, same


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
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        StoreError,
        match=r"revision 9999, which this version of SpheroRank does not know; expected .* "
        r"install the newer SpheroRank",
    ):
        open_store()


def test_the_head_is_the_revision_of_the_newest_migration() -> None:
    assert ScriptDirectory(migrations.__path__[0]).get_current_head() == migrations.HEAD


def test_a_row_that_is_locked_for_too_long_is_a_store_error(open_store: Opener) -> None:
    holder, waiter = open_store(), open_store(timeout_s=0.2)
    add(holder, observation())
    with holder._database.writing() as connection:
        connection.execute(text("UPDATE sequence_counter SET last = last"))
        with pytest.raises(StoreError, match=r"lock.*another process has locked it"):
            waiter.add_message(status_data(), NOW)
    assert waiter.add_message(status_data(), NOW) == 2


DAMAGE = [
    ("plate_map", "content = '{}'", "id=1 plate=PDAC-0042"),
    ("plate_map", "line = 'PDAC-B'", "id=1 plate=PDAC-0042"),
    ("observation", "um_per_px = 1.37", "id=1 plate=PDAC-0042 well=B02"),
    ("observation", "well = 'C02'", "id=1 plate=PDAC-0042 well=C02"),
    ("observation", "measures = '{\"area_um2\": 51235.5}'", "id=1"),
    ("embedding", "vector = (SELECT jpeg FROM picture)", "observation_id=1"),
    ("ranking", "final = false", "plate=PDAC-0042 day=10 revision=1"),
    ("specimen_ranking", "content = '{}'", "specimen=PAT-07 revision=1"),
    ("assay", "run = 2", "id=1 plate=PDAC-0042"),
]


def read_all(store: AnyStore) -> None:
    """Read every row that rankings are made from, and the rankings."""
    store.plate_map(PLATE)
    observed(store)
    store.rankings(PLATE)
    store.specimen_rankings(SPECIMEN)
    store.assays()


@pytest.mark.parametrize(("table", "change", "row"), DAMAGE)
def test_a_changed_row_is_an_error_that_names_it(
    store: AnyStore, url: str, table: str, change: str, row: str
) -> None:
    store.save_plate_map(plate_map(), NOW)
    image = observation()
    store.add_observation(image, observation_data(image), picture=bytes(32))
    store.add_ranking(ranking(), ranking_data(ranking()))
    of_specimen = specimen_ranking()
    store.add_specimen_ranking(of_specimen, specimen_data(of_specimen))
    store.save_assay(assay(), NOW)
    read_all(store)
    execute(url, f"UPDATE {table} SET {change}")  # noqa: S608 - from the table above
    with pytest.raises(DamagedRowError) as raised:
        read_all(store)
    assert f"the row {row}" in str(raised.value)
    assert f"of table {table} is damaged: its values differ from its checksum" in str(raised.value)
    assert str(make_url(url).database) in raised.value.where


def test_a_damaged_row_without_a_checksum_is_an_error_that_names_it(
    open_store: Opener, url: str
) -> None:
    store = open_store()
    store.save_plate_map(plate_map(), NOW)
    execute(url, "UPDATE plate_map SET content = '{}', checksum = NULL")
    with pytest.raises(DamagedRowError, match=r"id=1 plate=PDAC-0042 .*seeded_at"):
        store.plate_map(PLATE)


def test_a_damaged_row_is_not_changed_and_thereby_certified(store: AnyStore, url: str) -> None:
    store.save_plate_map(plate_map(), NOW)
    add(store, observation(day_from_time=True))
    execute(url, "UPDATE observation SET um_per_px = 2.0")
    with pytest.raises(DamagedRowError, match="id=1"):
        store.save_plate_map(plate_map(seeded_at=SEEDED_AT - timedelta(days=1)), NOW)


UNDECODABLE = [
    ("measures = '{\"area'", "Unterminated"),
    ("files = CAST(x'5b5b22ff225d5d' AS TEXT)", "Could not decode to UTF-8"),
    ("taken_at = 'yesterday'", "yesterday"),
]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("change", "problem"), UNDECODABLE)
def test_a_row_that_cannot_be_decoded_is_an_error_that_names_it(
    store: AnyStore, url: str, change: str, problem: str
) -> None:
    add(store, observation())
    add(store, observation("B03", seed=1))
    execute(url, f"UPDATE observation SET {change} WHERE id = 2")  # noqa: S608 - from the table above
    with pytest.raises(DamagedRowError, match=f"the row id=2 .*{problem}"):
        observed(store)


def test_a_time_without_zone_is_refused(store: AnyStore) -> None:
    with pytest.raises(StoreError, match="has no time zone"):
        add(store, observation(taken_at=datetime(2026, 11, 16, 15, 0)))  # noqa: DTZ001 - the fault under test
    assert store.last_sequence() == 0
