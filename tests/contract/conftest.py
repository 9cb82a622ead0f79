"""Databases for the contract suites of the store: SQLite, and a real PostgreSQL server."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from store.sql_store import SqlStore
from tests.postgresql_server import private_server, server_programs
from tests.stored import AnyStore, Opener


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
    return _new_postgresql(request.getfixturevalue("server"))


@pytest.fixture
def empty_postgresql(server: str) -> str:
    """Return the URL of one more PostgreSQL database that is empty."""
    return _new_postgresql(server)


def _new_postgresql(server_url: str) -> str:
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
    """Yield a function that opens the same database, and close every opened store afterwards."""
    opened: list[SqlStore] = []

    def open_one(service: str = "spherorank", timeout_s: float = 10.0) -> SqlStore:
        opened.append(SqlStore(url, service=service, timeout_s=timeout_s))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Opener) -> AnyStore:
    return open_store()
