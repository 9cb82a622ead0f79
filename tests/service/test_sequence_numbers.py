"""No sequence number is used twice, whatever happens to the SQLite database."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.errors import StoreError
from store.sequence_mark import BLOCK, SequenceMark, mark_file
from store.sql_store import SqlStore
from tests.samples import NOW, status_data

ROOT = Path(__file__).parents[2]

# Commits messages, and prints number and content of each that is read for publication.
PUBLISHER = """
import json, sys, uuid
import structlog
from store.sql_store import SqlStore
from tests.samples import NOW, status_data
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
store = SqlStore(sys.argv[1])
published = store.published_through()
while True:
    store.add_message(status_data(version=uuid.uuid4().hex), NOW)
    for message in store.messages_after(published):
        published = message.sequence
        print(published, json.loads(message.body)["data"]["version"], flush=True)
    store.mark_published(published)
"""


def publish_until_killed(file: Path, messages: int) -> list[tuple[int, str]]:
    """Return number and content of the messages that a process published until SIGKILL."""
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, f"sqlite:///{file}"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(messages)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    return [(int(number), content) for number, content in map(str.split, lines)]


def remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def test_no_number_is_published_for_two_messages_after_kills_restores_and_deletions(
    tmp_path: Path,
) -> None:
    file, copy = tmp_path / "store.sqlite", tmp_path / "copy.sqlite"
    rng = random.Random(20)  # noqa: S311 - the times of the kills
    published = dict(publish_until_killed(file, 20))
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    for change in ("restore", "kill", "delete", "restore"):
        if change != "kill":
            remove(file)
        if change == "restore":
            shutil.copyfile(copy, file)
        last, messages = max(published), publish_until_killed(file, rng.randint(2, 40))
        for number, content in messages:  # the last messages before a kill may be repeated
            assert published.setdefault(number, content) == content
        assert sorted(number for number in published if number > last) == list(
            range(last + 1, max(published) + 1)
        )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a database of 30 messages, of which a service has published all."""
    file = tmp_path / "store.sqlite"
    with closing(SqlStore(f"sqlite:///{file}")) as store:
        for number in range(1, 31):
            store.add_message(status_data(), NOW)
            if number == 10:
                with closing(sqlite3.connect(file)) as source:
                    source.execute("VACUUM INTO ?", [str(tmp_path / "backup.sqlite")])
        assert store.messages_after(0)[-1].sequence == 30
    return file


def restore_a_copy(file: Path) -> None:
    remove(file)
    shutil.copyfile(file.with_name("backup.sqlite"), file)


@pytest.mark.parametrize(("change", "database"), [(remove, 0), (restore_a_copy, 10)])
def test_an_earlier_or_new_database_continues_after_the_published_numbers(
    change: Callable[[Path], None], database: int, file: Path
) -> None:
    change(file)
    with capture_logs() as logs, closing(SqlStore(f"sqlite:///{file}")) as store:
        assert store.last_sequence() == 30
        assert store.add_message(status_data(), NOW) == 31
    [event] = [each for each in logs if each["event"] == "store.sequence_continued"]
    assert (event["database"], event["published"]) == (database, 30)


def test_an_unchanged_database_continues_without_gap_and_without_a_log_entry(file: Path) -> None:
    with capture_logs() as logs, closing(SqlStore(f"sqlite:///{file}")) as store:
        assert store.add_message(status_data(), NOW) == 31
    assert logs == []


def test_a_power_cut_skips_at_most_a_block_of_numbers(file: Path) -> None:
    SequenceMark(mark_file(file, "spherorank"), "0" * 36).raise_to(31)  # at an earlier start
    with closing(SqlStore(f"sqlite:///{file}")) as store:
        number = store.add_message(status_data(), NOW)
        assert 31 < number <= 31 + BLOCK + 1
        assert [each.sequence for each in store.messages_after(29)] == [30, number]
    with closing(SqlStore(f"sqlite:///{file}")) as store:
        assert store.add_message(status_data(), NOW) == number + 1


def test_each_service_of_a_database_continues_its_own_numbers(file: Path) -> None:
    remove(file)
    with closing(SqlStore(f"sqlite:///{file}", service="lab-2")) as store:
        assert store.add_message(status_data(), NOW) == 1


def test_an_emptied_database_is_refused_and_its_log_is_kept(file: Path) -> None:
    log = file.with_name("store.sqlite-wal")
    log.write_bytes(b"frames")
    file.write_bytes(b"")
    with pytest.raises(StoreError, match=r"store\.sqlite: has 0 bytes.*restore a backup"):
        SqlStore(f"sqlite:///{file}")
    assert log.read_bytes() == b"frames"
