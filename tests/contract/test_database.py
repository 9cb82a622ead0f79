"""Contract suite of the databases.

Opening, migration, locks and damage, on SQLite and PostgreSQL.
"""

from contextlib import closing
from datetime import datetime
from threading import Barrier, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from schemas.errors import StoreError
from store.sql_store import SqlStore
from store.tables import metadata
from tests.samples import (
    NOW,
    PLATE,
    observation,
    plate_map,
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


def test_a_row_that_is_locked_for_too_long_is_a_store_error(open_store: Opener) -> None:
    holder, waiter = open_store(), open_store(timeout_s=0.2)
    add(holder, observation())
    with holder._database.writing() as connection:
        connection.execute(text("UPDATE sequence_counter SET last = last"))
        with pytest.raises(StoreError, match=r"lock.*another process has locked it"):
            waiter.add_message(status_data(), NOW)
    assert waiter.add_message(status_data(), NOW) == 2


def test_a_damaged_row_is_a_store_error(open_store: Opener, url: str) -> None:
    store = open_store()
    store.save_plate_map(plate_map(), NOW)
    execute(url, "UPDATE plate_map SET content = '{}'")
    with pytest.raises(StoreError, match="seeded_at"):
        store.plate_map(PLATE)


def test_a_time_without_zone_is_refused(store: AnyStore) -> None:
    with pytest.raises(StoreError, match="has no time zone"):
        add(store, observation(taken_at=datetime(2026, 11, 16, 15, 0)))  # noqa: DTZ001 - the fault under test
    assert store.last_sequence() == 0
