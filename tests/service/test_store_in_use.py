"""A store has one service, which ends when its database is deleted or replaced."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.service_process import ServiceProcess


def is_started(service: ServiceProcess) -> bool:
    return bool(service.events("service.started"))


def other_service(service: ServiceProcess) -> ServiceProcess:
    """Return a second service with sockets of its own on the store and drop folder of the first."""
    other = ServiceProcess(service.folder / "other")
    other.folder.mkdir()
    other.configure(source=f'path = "{service.drop}"')
    config = other.config.read_text().replace("[publisher]", '[publisher]\nservice = "lab-2"')
    url = f"sqlite:///{service.folder}/spherorank.sqlite"
    other.config.write_text(f'{config}[store]\nurl = "{url}"\n')
    return other


def test_a_second_service_on_a_sqlite_store_is_refused_and_commands_work_beside_the_first(
    empty_service: ServiceProcess,
) -> None:
    other = other_service(empty_service)
    with empty_service.running() as process:
        empty_service.wait_for(lambda: is_started(empty_service))
        expected = f"spherorank.sqlite: is used by the service spherorank (process {process.pid} on"
        for arguments in (("run", "--once"), ("check",)):
            refused = other.ask(*arguments)
            assert refused.returncode == 78, refused.stderr
            assert expected in refused.stderr
            assert "Traceback" not in refused.stderr
        for arguments in (("check",), ("rejected",)):
            done = empty_service.ask(*arguments)
            assert done.returncode == 0, done.stderr
        assert process.poll() is None
    after = other.ask("check")
    assert after.returncode == 0, after.stderr


def delete(database: Path) -> None:
    database.unlink()


def replace_by_a_copy(database: Path) -> None:
    copy = database.with_name("copy.sqlite")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.replace(database)


@pytest.mark.parametrize("change", [delete, replace_by_a_copy])
def test_a_service_ends_when_its_database_is_deleted_or_replaced(
    empty_service: ServiceProcess, change: Callable[[Path], None]
) -> None:
    database = empty_service.folder / "data" / "spherorank.sqlite"
    text = empty_service.config.read_text()
    empty_service.config.write_text(f'{text}[store]\nurl = "sqlite:///{database}"\n')
    with empty_service.running() as process:
        empty_service.wait_for(lambda: is_started(empty_service))
        change(database)
        try:
            assert process.wait(timeout=30) == 1
        except subprocess.TimeoutExpired:
            pytest.fail("the service still runs")
    printed = (empty_service.folder / "stderr.log").read_text()
    assert f"{database}: was deleted, moved or replaced while it is in use" in printed
    [*_, alert] = empty_service.events("alert.raised")
    assert str(database) in alert["message"]
    assert "Traceback" not in json.dumps(alert)
