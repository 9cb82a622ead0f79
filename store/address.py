"""Addresses of databases: which are supported, and the file of a SQLite database."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from schemas.errors import StoreError

_EXPECTED = "expected sqlite:////folder/file.sqlite or postgresql+psycopg://user@host/database"


def parse_address(url: str) -> URL:
    """Parse the URL of a database.

    Raises
    ------
    StoreError
        If the URL is not that of a SQLite file or a PostgreSQL database. The error never contains a
        password.
    """
    try:
        address = make_url(url)
        is_ambiguous = "@" in (address.host or "")  # a part of a password would count as the host
    except (ArgumentError, ValueError):
        is_ambiguous = True
    if is_ambiguous:  # the text is not quoted: it may hold a password
        raise StoreError("store.url", f"is not the address of a database; {_EXPECTED}") from None
    where = without_password(address)
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(where, f"{address.drivername} is not supported; {_EXPECTED}")
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise StoreError(
            where, f"names no file; a database in memory would be lost at the end; {_EXPECTED}"
        )
    return address


def has_password(url: str) -> bool:
    """Return whether the URL of a database contains a password.

    Errors are those of :func:`parse_address`.
    """
    address = parse_address(url)
    return address.password is not None or "password" in address.query


def with_password(url: str, password: str) -> str:
    """Return the URL of a PostgreSQL database with a password; that of a SQLite file is unchanged.

    Errors are those of :func:`parse_address`.
    """
    address = parse_address(url)
    if address.get_backend_name() == "sqlite":
        return url
    return address.set(password=password).render_as_string(hide_password=False)


def without_password(address: URL) -> str:
    """Return an address as text for messages: without the password and the options."""
    return address.set(query={}).render_as_string(hide_password=True)


def sqlite_file(address: URL) -> Path | None:
    """Return the file of a SQLite database with links resolved; None for PostgreSQL."""
    if address.get_backend_name() != "sqlite":
        return None
    return Path(str(address.database)).resolve()
