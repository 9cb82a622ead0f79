"""Contract suite of the locks of a store, on SQLite and PostgreSQL."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer

import pytest
from sqlalchemy import make_url

from schemas.errors import StoreError, StoreInUseError
from store.address import parse_address
from store.locks import PostgresqlLock, ServiceUse, StoreLock, lock_store
from store.sql_store import SqlStore

ROOT = Path(__file__).parents[2]
LAB_1 = ServiceUse("lab-1", "host:/srv/one")
LAB_2 = ServiceUse("lab-2", "host:/srv/two")

HOLDER = """
import sys, time
from store.locks import ServiceUse, lock_store
lock = lock_store(sys.argv[1], ServiceUse("lab-1", "host:/srv/one"))
print("locked", flush=True)
time.sleep(60)
"""


def lock(url: str, use: ServiceUse | None) -> StoreLock:
    return lock_store(url, use, wait_s=0.0)


@contextmanager
def other_process(url: str) -> Iterator["subprocess.Popen[str]"]:
    """Run another process that holds the lock of the service lab-1."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_service_of_the_same_name_is_refused_and_the_first_is_named(url: str) -> None:
    with (
        other_process(url) as process,
        pytest.raises(StoreInUseError, match="is used by the service lab-1") as raised,
    ):
        lock(url, ServiceUse("lab-1", "host:/srv/two"))
    assert f"(process {process.pid} on {socket.gethostname()})" in str(raised.value)
    assert raised.value.service == "lab-1"


def test_the_lock_of_a_killed_process_is_free_at_once(url: str) -> None:
    with other_process(url) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock_store(url, LAB_1, wait_s=1.0).close()


def test_a_closed_lock_is_free(url: str) -> None:
    first = lock(url, LAB_1)
    first.close()
    first.close()
    with closing(lock(url, LAB_1)) as second:
        second.check()


def test_a_maintenance_command_is_refused_while_a_service_runs_and_the_reverse(url: str) -> None:
    with closing(lock(url, LAB_1)), pytest.raises(StoreInUseError, match="the service lab-1"):
        lock(url, None)
    with closing(lock(url, None)), pytest.raises(StoreInUseError, match="store command"):
        lock(url, LAB_1)


def test_the_store_can_be_read_and_written_beside_the_lock(url: str) -> None:
    with closing(lock(url, LAB_1)), closing(SqlStore(url)) as store:
        assert store.plates() == []


def test_any_second_service_on_a_sqlite_database_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    with closing(lock(url, LAB_1)), pytest.raises(StoreInUseError, match="another file in store"):
        lock(url, LAB_2)


def test_the_lock_holds_for_every_path_of_a_sqlite_database(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with closing(lock(f"sqlite:///{tmp_path}/store.sqlite", LAB_1)), pytest.raises(StoreInUseError):
        lock(f"sqlite:///{tmp_path}/link/store.sqlite", LAB_2)


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.rename(path.with_name("old"))])
def test_a_lost_lock_file_is_found(change: Callable[[Path], object], tmp_path: Path) -> None:
    with closing(lock(f"sqlite:///{tmp_path}/store.sqlite", LAB_1)) as held:
        held.check()
        change(tmp_path / "store.sqlite.lock")
        with pytest.raises(StoreError, match=r"store\.sqlite\.lock: cannot be read"):
            held.check()
        (tmp_path / "store.sqlite.lock").touch()
        with pytest.raises(StoreError, match="was replaced"):
            held.check()


def test_a_server_that_does_not_answer_is_a_store_error_without_the_password() -> None:
    with pytest.raises(StoreError, match="expected a running PostgreSQL server") as raised:
        lock("postgresql://lab:secret@127.0.0.1:1/spherorank", LAB_1)
    assert "secret" not in str(raised.value)


def test_a_lock_file_that_cannot_be_made_is_a_store_error() -> None:
    with pytest.raises(StoreError, match=r"store\.sqlite\.lock: cannot be opened"):
        lock("sqlite:////proc/store.sqlite", LAB_1)


on_postgresql = pytest.mark.parametrize(
    "url", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


@on_postgresql
def test_services_with_own_names_and_folders_share_one_postgresql(url: str) -> None:
    with closing(lock(url, LAB_1)), closing(lock(url, LAB_2)) as second:
        second.check()


@on_postgresql
def test_two_services_on_one_drop_folder_are_refused(url: str) -> None:
    with (
        closing(lock(url, LAB_1)),
        pytest.raises(
            StoreInUseError, match="the drop folder host:/srv/one is ingested by the service lab-1"
        ),
    ):
        lock(url, ServiceUse("lab-2", "host:/srv/one"))


def end_sessions(url: str) -> None:
    """End every session of a PostgreSQL database, as a restart of the server does."""
    import psycopg  # noqa: PLC0415 - an extra: only where there is a server

    address = make_url(url)
    with psycopg.connect(
        host=address.query["host"], user="spherorank", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [address.database],
        )


@on_postgresql
def test_locks_that_a_restart_of_the_server_released_are_taken_again(url: str) -> None:
    times_s = iter(range(0, 1000, 10))
    held = PostgresqlLock(parse_address(url), LAB_1, wait_s=0.0, clock=lambda: next(times_s))
    with closing(held):
        end_sessions(url)
        held.check()  # finds the end of the session
        held.check()
        with pytest.raises(StoreInUseError):
            lock(url, LAB_1)
        end_sessions(url)
        held.check()
        with closing(lock(url, LAB_1)), pytest.raises(StoreInUseError):
            held.check()


@on_postgresql
def test_a_session_that_a_power_cut_left_is_awaited(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: ended.pid)
        left = lock(url, LAB_1)
    Timer(0.3, left.close).start()
    lock(url, LAB_1).close()
