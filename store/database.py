"""Opening and migration of a SQLite or PostgreSQL database, with failures as StoreError."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError, StatementError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from schemas.errors import StoreError
from store.address import parse_address, sqlite_file, without_password
from store.migrations import HEAD
from store.sequence_mark import has_marks

_WRITES = "spherorank_writes"
_MIGRATES = "spherorank_migrates"
_MIGRATING = 7_467_483  # arbitrary key of the PostgreSQL lock for migrations

# Text in a driver's message, and advice for the operator.
_ADVICE = (
    (
        "locked",
        "another process has locked it; expected no backup, copy or database tool with a long lock",
    ),
    (
        "lock timeout",
        "another process has locked it; expected no backup or database tool with a long lock",
    ),
    ("disk is full", "nothing was stored; free disk space, then start again"),
    ("No space left", "nothing was stored; free disk space, then start again"),
    (
        "unable to open",
        "expected a file that this user may write, in a folder that this user may write",
    ),
    ("readonly", "expected a file that this user may write, in a folder that this user may write"),
    ("not a database", "expected a file that SpheroRank made; restore a backup"),
    ("malformed", "the file is damaged; restore a backup (spherorank store restore)"),
    ("already exists", "the file is damaged; restore a backup (spherorank store restore)"),
    ("no such table", "the file is damaged; restore a backup (spherorank store restore)"),
    ("no such column", "the file is damaged; restore a backup (spherorank store restore)"),
    ("connection failed", "expected a running PostgreSQL server at this address"),
    (
        "No module named 'psycopg'",
        "expected the extra for PostgreSQL: pip install 'spherorank[postgresql]'",
    ),
    ("Permission denied", "expected a folder that this user may write"),
    (
        "permission denied",
        "expected a user who owns the database, or may create tables in its schema",
    ),
)


class Database:
    """A SQLite or PostgreSQL database at a URL, with transactions; safe to use in several threads.

    Parameters
    ----------
    timeout_s
        Longest wait for a connection or a lock, in seconds.
    before_migration
        Called before tables are created or migrated, which may take minutes.

    Raises
    ------
    StoreError
        If the database cannot be opened, created, migrated, read or written.
    """

    def __init__(
        self, url: str, *, timeout_s: float, before_migration: Callable[[], None] = lambda: None
    ) -> None:
        address = parse_address(url)
        self.url = url
        self.where = without_password(address)
        self.dialect = address.get_backend_name()
        self.file = sqlite_file(address)
        with self._raising_store_errors():
            if self.file:
                _check_not_emptied(self.file)
            self._engine = (
                _open_sqlite(address, timeout_s)
                if self.dialect == "sqlite"
                else _open_postgresql(address, timeout_s)
            )
        self._writer = self._engine.execution_options(**{_WRITES: True})
        self._opened: tuple[int, int] | None = None  # device and inode of the file
        self._watching: PoolProxiedConnection | None = None  # sees the commits of all others
        try:
            self._upgrade(before_migration)
            self._opened = self._device_and_inode()
        except StoreError:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Context manager that yields the connection of a read transaction."""
        with self._raising_store_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Context manager that yields the connection of a write transaction, and commits it.

        The transaction is rolled back if an exception is raised.
        """
        self.check_in_place()
        with self._raising_store_errors(), self._writer.begin() as connection:
            yield connection

    def change_number(self) -> int | None:
        """Return a number that another commit to a SQLite database changes; None for PostgreSQL.

        The first call reserves a connection for it. All calls are made from one thread.
        """
        if self.dialect != "sqlite":
            return None
        with self._raising_store_errors():
            if self._watching is None:
                self._watching = self._engine.raw_connection()
            cursor = self._watching.cursor()
            try:
                [number] = cursor.execute("PRAGMA data_version").fetchone()
            finally:
                cursor.close()
        return int(number)

    def check_in_place(self) -> None:
        """Raise StoreError if the file of a SQLite database was deleted, moved or replaced.

        The open connections would still write to the old file, and its rows would be lost.
        """
        if self._opened is not None and self._device_and_inode() != self._opened:
            raise StoreError(
                self.where,
                "was deleted, moved or replaced while it is in use; expected the file that was "
                "opened: nothing is written to the old file; start the service again to use the "
                "present file",
            )

    def structure_problems(self) -> list[str]:
        """Return the damage of the structure of a SQLite file, as SQLite describes it.

        The whole file is read. The list is empty for PostgreSQL.
        """
        if self.dialect != "sqlite":
            return []
        with self.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        return [line for text in found if text != "ok" for line in str(text).splitlines()]

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy a SQLite database into an empty one while it is in use, as one consistent state."""
        with self.reading() as connection:
            source = connection.connection.driver_connection
            if not isinstance(source, sqlite3.Connection):
                raise TypeError(f"{self.where} is no SQLite database")
            source.backup(target)

    def compact(self) -> None:
        """Return the space of deleted rows of a SQLite database to the file system."""
        with self._raising_store_errors(), closing(self._engine.raw_connection()) as connection:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.cursor().execute(statement)

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        if self._watching is not None:
            self._watching.close()
            self._watching = None
        self._engine.dispose()

    def _device_and_inode(self) -> tuple[int, int] | None:
        """Return the device and inode of the file of a SQLite database; None without a file."""
        try:
            status = self.file.stat() if self.file else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(self.where, f"cannot be read: {error.strerror}") from error
        return None if status is None else (status.st_dev, status.st_ino)

    @contextmanager
    def _raising_store_errors(self) -> Iterator[None]:
        try:
            yield
        except (
            SQLAlchemyError,
            sqlite3.Error,
            ValueError,
            OSError,
            ModuleNotFoundError,
        ) as error:  # also a damaged row, the file's folder, a driver not installed
            raise StoreError(self.where, problem_of(error)) from error

    def _upgrade(self, before_migration: Callable[[], None]) -> None:
        with self.reading() as connection:
            if _revision(connection) == HEAD:
                return  # a user without write permission can do this too
        from store.migrating import migrate

        before_migration()
        migrator = self._writer.execution_options(**{_MIGRATES: True})
        with self._raising_store_errors(), migrator.begin() as connection:
            if self.dialect == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            migrate(connection, self.where)


def _revision(connection: Connection) -> str | None:
    """Return the revision of the tables of a database; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _check_not_emptied(file: Path) -> None:
    """Raise StoreError if the file of a database in use is empty, as after a power cut.

    SQLite would make a new database in it, and delete the write-ahead log.
    """
    if not file.is_file() or file.stat().st_size:
        return
    log = file.with_name(f"{file.name}-wal")
    if has_marks(file) or (log.exists() and log.stat().st_size):
        raise StoreError(
            f"sqlite:///{file}",
            "has 0 bytes, but a service has stored data in it; restore a backup, or delete the "
            "file to start with an empty store",
        )


def _open_sqlite(address: URL, timeout_s: float) -> Engine:
    Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": timeout_s}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _entry: ConnectionPoolEntry) -> None:  # noqa: ANN401 - sqlite3.Connection behind SQLAlchemy's adapter
        connection.isolation_level = None  # sqlite3 begins no transactions of its own; _begin does
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        # A migration changes a table by copying it, and drops the original that others refer to.
        foreign_keys = "OFF" if options.get(_MIGRATES) else "ON"
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {foreign_keys}")
        # A read lock that becomes a write lock can fail; BEGIN IMMEDIATE waits instead.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES) else "BEGIN")

    return engine


def _open_postgresql(address: URL, timeout_s: float) -> Engine:
    limits = {
        "connect_timeout": max(2, round(timeout_s)),
        "options": f"-c lock_timeout={round(timeout_s * 1000)}",
    }
    return create_engine(address, connect_args=limits, pool_pre_ping=True, hide_parameters=True)


def problem_of(error: Exception) -> str:
    """Return the message of a database in one line, with advice for the operator."""
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    text = "; ".join(line.strip() for line in str(cause).splitlines() if line.strip())
    advice = next((advice for sign, advice in _ADVICE if sign in text), None)
    return f"{text}; {advice}" if advice else text
