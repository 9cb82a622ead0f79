"""The store keeps its data after crashes, on full disks and without write permission."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schemas.errors import StoreError
from store.sql_store import SqlStore
from tests.samples import (
    ENCODER_ID,
    NOW,
    PLATE,
    observation,
    observation_data,
    ranking,
    ranking_data,
    status_data,
)

ROOT = Path(__file__).parents[2]

# Stores observations, rejected files and status messages, and prints each committed number.
WRITER = """
import itertools, sys
from store.sql_store import SqlStore
from tests.samples import NOW, file_version, observation, observation_data
from tests.samples import rejected, rejected_data, status_data

store = SqlStore(sys.argv[1])
for number in itertools.count(store.last_sequence() + 1):
    files = (file_version(f"{number}_z1.tif"), file_version(f"{number}_z2.tif"))
    visit = f"day07-{number:08d}"
    image = observation(visit=visit, seed=number, dimension=1280, files=files)
    print(store.add_observation(image, observation_data(image)), flush=True)
    refused = rejected(f"{number}.txt")
    print(store.add_rejected(refused, rejected_data(refused), NOW), flush=True)
    print(store.add_message(status_data(), NOW), flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spherorank.sqlite"


@pytest.fixture
def open_store(file: Path) -> Iterator[Callable[[], SqlStore]]:
    opened: list[SqlStore] = []

    def open_one() -> SqlStore:
        opened.append(SqlStore(f"sqlite:///{file}", timeout_s=0.5))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def write_until_killed(file: Path, messages: int) -> list[int]:
    """Return the numbers that a writer printed until SIGKILL, after ``messages`` of them."""
    command = [sys.executable, "-c", WRITER, f"sqlite:///{file}"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as writer:
        assert writer.stdout is not None
        printed = [int(writer.stdout.readline()) for _ in range(messages)]
        writer.send_signal(signal.SIGKILL)
        printed += [int(line) for line in writer.stdout.read().splitlines()]
    assert writer.returncode == -signal.SIGKILL
    return printed


def test_a_writer_that_is_killed_repeatedly_loses_and_repeats_nothing(
    file: Path, open_store: Callable[[], SqlStore]
) -> None:
    expected_next = 1
    for messages in random.Random(0).choices(range(1, 40), k=4):  # noqa: S311 - the times of the kills
        printed = write_until_killed(file, messages)
        store = open_store()
        kept = store.last_sequence()
        assert printed == list(range(expected_next, expected_next + len(printed)))
        assert kept - printed[-1] in (0, 1)  # the last commit may not be printed yet
        assert [message.sequence for message in store.messages_after(0, limit=10_000)] == list(
            range(1, kept + 1)
        )
        expected_next = kept + 1
        store.close()

    with closing(sqlite3.connect(file)) as database:
        column = lambda query: [value for (value,) in database.execute(query)]  # noqa: E731 - short for many queries
        observed = column(
            "SELECT sequence FROM message WHERE topic LIKE '%.observation.%' ORDER BY sequence"
        )
        assert column("SELECT sequence FROM observation ORDER BY id") == observed
        assert column("SELECT count(*) FROM embedding") == [len(observed)]
        assert column("SELECT count(*) FROM file_version WHERE outcome = 'stored'") == [
            2 * len(observed)
        ]
        refused = column("SELECT count(*) FROM message WHERE topic LIKE '%.rejected.%'")
        assert column("SELECT count(*) FROM file_version WHERE outcome = 'rejected'") == refused
        assert column("PRAGMA integrity_check") == ["ok"]


def test_each_connection_writes_commits_to_the_disk_and_checks_references(
    open_store: Callable[[], SqlStore],
) -> None:
    store = open_store()
    with store._database.reading() as one, store._database.reading() as other:
        for connection in (one, other):
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert pragmas == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 500,
            }


def test_a_full_disk_is_an_error_and_earlier_observations_are_kept(
    open_store: Callable[[], SqlStore], file: Path
) -> None:
    store = open_store()
    with store._database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 30}")
    images = (
        observation(visit=f"day07-{number:04d}", seed=number, dimension=1280)
        for number in range(1000)
    )
    with pytest.raises(
        StoreError, match="disk is full; nothing was stored; free disk space"
    ) as raised:
        deque((store.add_observation(image, observation_data(image)) for image in images), maxlen=0)
    assert str(file) in str(raised.value)
    kept = store.last_sequence()
    assert 0 < kept == len(store.imaged(PLATE, ENCODER_ID)) == len(store.messages_after(0))
    store.close()  # the next connection has no limit, as after space was freed
    assert open_store().add_message(status_data(), NOW) == kept + 1


def test_a_database_locked_by_another_process_is_an_error_after_the_timeout(
    open_store: Callable[[], SqlStore], file: Path
) -> None:
    store = open_store()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="database is locked; another process has locked it"):
            store.add_message(status_data(), NOW)
    assert store.add_message(status_data(), NOW) == 1


def test_a_copy_of_an_open_database_is_a_backup(
    open_store: Callable[[], SqlStore], file: Path, tmp_path: Path
) -> None:
    store = open_store()
    store.add_ranking(ranking(), ranking_data(ranking()))
    with (
        closing(sqlite3.connect(file)) as source,
        closing(sqlite3.connect(tmp_path / "backup.sqlite")) as target,
    ):
        source.backup(target)
    with closing(SqlStore(f"sqlite:///{tmp_path}/backup.sqlite")) as backup:
        assert backup.rankings(PLATE) == [ranking()]
        assert backup.last_sequence() == 1


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite:////proc/nowhere/spherorank.sqlite", "nowhere"),
        ("sqlite:///{folder}/a file/spherorank.sqlite", "Not a directory|File exists"),
        (
            "sqlite:///{folder}",
            "unable to open database file; expected a file that this user may write",
        ),
        ("sqlite:///{folder}/a file", "not a database; expected a file that SpheroRank made"),
        ("sqlite://", "a database in memory would be lost at the end; expected sqlite:////folder"),
        ("sqlite:///:memory:", "a database in memory would be lost at the end"),
        (
            "mysql://lab:secret@host/spherorank",
            "mysql is not supported; expected sqlite:////folder",
        ),
        ("lab:secret", "is not the address of a database; expected sqlite:////folder"),
        (
            "postgresql://lab:secret@127.0.0.1:1/spherorank?password=secret",
            "connection failed.*; expected a running PostgreSQL server at this address",
        ),
    ],
)
def test_the_error_of_a_store_that_cannot_be_opened_contains_its_url_without_the_password(
    url: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text(
        "This is not a database, and longer than the sixteen bytes that SQLite looks at first."
    )
    with pytest.raises(StoreError, match=problem) as raised:
        SqlStore(url.format(folder=tmp_path), timeout_s=2.0)
    assert "secret" not in str(raised.value)
    assert raised.value.where.split(":")[0] in (
        "sqlite",
        "mysql",
        "postgresql+psycopg",
        "store.url",
    )


def test_a_read_only_database_is_an_error(open_store: Callable[[], SqlStore]) -> None:
    store = open_store()
    with store._database.reading() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(
        StoreError, match="readonly database; expected a file that this user may write"
    ):
        store.add_message(status_data(), NOW)
    assert store.last_sequence() == 0
