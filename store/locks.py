"""Locks of a store: one service per SQLite database, service name and drop folder.

Maintenance commands that change the store lock it too. The locks belong to the store: a lock file
beside a SQLite database, or advisory locks of the PostgreSQL server. The operating system or the
server releases them when the process ends, also after SIGKILL.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from schemas.errors import StoreError, StoreInUseError
from schemas.portable_files import open_lock_file, read_holder, try_lock, write_holder
from store.address import parse_address, sqlite_file, without_password
from store.database import problem_of

LOCK_SUFFIX = ".lock"
_WAIT_S = 1.0  # a process that has just been killed, or `spherorank check`, may hold the lock
_POLL_S = 0.05
_CHECK_S = 5.0  # between two checks of the PostgreSQL connection
_KEEPALIVES = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
_LOST_S = 45.0  # after it, the server has ended the session of a computer that lost its power
_MAINTENANCE = "!"  # in place of a service name, which never contains this character


@dataclass(frozen=True)
class User:
    """A process that uses a store; ``service`` is empty for a maintenance command."""

    service: str
    pid: int
    host: str

    @property
    def has_ended(self) -> bool:
        """True if it was a process of this computer that has ended, as before a restart."""
        return self.host == socket.gethostname() and not psutil.pid_exists(self.pid)

    def __str__(self) -> str:
        name = f"the service {self.service}" if self.service else "a spherorank store command"
        return f"{name} (process {self.pid} on {self.host})"


@dataclass(frozen=True)
class ServiceUse:
    """The use of a store by a service: its name and the identity of its drop folder."""

    service: str
    folder: str


class StoreLock(Protocol):
    """A held lock of a store."""

    def check(self) -> None:
        """Raise StoreError if the lock is lost, or StoreInUseError if another process took it."""
        ...

    def close(self) -> None:
        """Release the lock; safe to call twice."""
        ...


def lock_store(url: str, use: ServiceUse | None = None, *, wait_s: float = _WAIT_S) -> StoreLock:
    """Lock the store at a URL for a service, or for a maintenance command if ``use`` is None.

    Parameters
    ----------
    wait_s
        Longest wait for the end of another use, in seconds.

    Raises
    ------
    StoreInUseError
        If another process uses the store in a way that excludes this use.
    StoreError
        If the lock file cannot be opened, or the server does not answer.
    """
    address = parse_address(url)
    file = sqlite_file(address)
    if file is not None:
        return SqliteLock(file, use, wait_s=wait_s)
    return PostgresqlLock(address, use, wait_s=wait_s)


class SqliteLock:
    """The exclusive lock of a SQLite database, held through a lock file beside it.

    Parameters and errors are those of :func:`lock_store`. The file remains when the lock is
    released; its content names the last holder.
    """

    def __init__(self, database: Path, use: ServiceUse | None, *, wait_s: float = _WAIT_S) -> None:
        self._database = database
        self._path = database.with_name(database.name + LOCK_SUFFIX)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_lock_file(self._path)
        except OSError as error:
            raise StoreError(
                self._path,
                f"cannot be opened ({error.strerror}); expected a folder that this user may write",
            ) from error
        if not self._lock(wait_s):
            holder = self._holder()
            raise StoreInUseError(
                f"sqlite:///{database}",
                f"is used by {holder or 'another process'}; expected a database that no other "
                "process uses: stop the other process, or name another file in store.url",
                holder.service if holder else "",
            )
        with suppress(OSError):  # on a full disk the holder's name is missing, not the lock
            write_holder(self._file, json.dumps(asdict(_this_process(use))))

    def check(self) -> None:
        """Raise StoreError if the lock file was deleted or replaced, so that it protects nothing.

        A service that starts now would lock another file.
        """
        held = os.fstat(self._file.fileno())
        try:
            present = self._path.stat()
        except OSError as error:
            raise StoreError(
                self._path,
                f"cannot be read while the store is in use ({error.strerror}); "
                "expected a lock file that is never deleted",
            ) from error
        if (present.st_dev, present.st_ino) != (held.st_dev, held.st_ino):
            raise StoreError(
                self._path,
                "was replaced while the store is in use; expected a lock file that is never "
                "deleted",
            )

    def close(self) -> None:
        """Release the lock; safe to call twice."""
        self._file.close()

    def _lock(self, wait_s: float) -> bool:
        """Lock the file and return True, or close it and return False after ``wait_s`` seconds."""
        is_locked = False
        try:
            is_locked = _wait_for(partial(try_lock, self._file), wait_s)
        except OSError as error:
            raise StoreError(
                self._path,
                f"cannot be locked ({error.strerror}); expected a file system with locks",
            ) from error
        finally:
            if not is_locked:
                self._file.close()
        return is_locked

    def _holder(self) -> User | None:
        try:
            return User(**json.loads(read_holder(self._path)))
        except (OSError, ValueError, TypeError):
            return None


@dataclass(frozen=True)
class _AdvisoryLock:
    """An advisory lock of a PostgreSQL database, and the advice if another session holds it."""

    name: str
    is_shared: bool
    problem: str  # contains {holder}

    @property
    def key(self) -> int:
        """Key of the lock: 64 bits with sign."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], "big", signed=True)


class PostgresqlLock:
    """Locks of a PostgreSQL database, held by one session of their own.

    Services share the lock of the database, which a maintenance command takes alone. Each service
    also locks its name and its drop folder. If the server was restarted, the locks are taken again.

    Parameters
    ----------
    clock
        A monotonic clock in seconds. The session is checked at most every five seconds.
    """

    def __init__(
        self,
        address: URL,
        use: ServiceUse | None,
        *,
        wait_s: float = _WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where = without_password(address)
        self._locks = _advisory_locks(use)
        self._wait_s = wait_s
        self._clock = clock
        self._checked_s = clock()
        self._connection: Connection | None = None
        try:
            self._engine = _open_session(address, _this_process(use))
            self._lock_all()
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            raise StoreError(self._where, problem_of(error)) from error

    def check(self) -> None:
        """Take the locks again if the session ended, for example at a restart of the server.

        While the server does not answer, no other service can take them either.

        Raises
        ------
        StoreInUseError
            If another service has taken a lock since the session ended.
        """
        if self._clock() - self._checked_s < _CHECK_S:
            return
        self._checked_s = self._clock()
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
            else:
                self._lock_all()
        except SQLAlchemyError:
            self._disconnect()

    def close(self) -> None:
        """Release the locks; safe to call twice."""
        self._disconnect()
        self._engine.dispose()

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None

    def _lock_all(self) -> None:
        self._connection = self._engine.connect()
        for lock in self._locks:
            attempt = partial(_try_advisory, self._connection, lock)
            if not _wait_for(attempt, self._wait_s):
                holder = _advisory_holder(self._connection, lock)
                if holder and holder.has_ended and _wait_for(attempt, _LOST_S):
                    continue
                self._disconnect()
                raise StoreInUseError(
                    self._where,
                    lock.problem.replace("{holder}", str(holder or "another process")),
                    holder.service if holder else "",
                )


def _wait_for(attempt: Callable[[], bool], wait_s: float) -> bool:
    """Call a function until it returns True or the time is over; return its last value."""
    end_s = time.monotonic() + wait_s
    while not (done := attempt()) and time.monotonic() < end_s:
        time.sleep(_POLL_S)
    return done


def _this_process(use: ServiceUse | None) -> User:
    return User(use.service if use else "", os.getpid(), socket.gethostname())


def _advisory_locks(use: ServiceUse | None) -> list[_AdvisoryLock]:
    database = "is used by {holder}; expected a database that no other process uses: stop it first"
    if use is None:
        return [_AdvisoryLock("spherorank database", is_shared=False, problem=database)]
    return [
        _AdvisoryLock("spherorank database", is_shared=True, problem=database),
        _AdvisoryLock(
            f"spherorank service {use.service}",
            is_shared=False,
            problem=f"publisher.service {use.service} is used by {{holder}}; expected another name "
            "for each service of a database: set publisher.service",
        ),
        _AdvisoryLock(
            f"spherorank folder {use.folder}",
            is_shared=False,
            problem=f"the drop folder {use.folder} is ingested by {{holder}}; expected one service "
            "for each drop folder: set source.path",
        ),
    ]


def _open_session(address: URL, user: User) -> Engine:
    """Return an engine whose connections name this process and end soon after its computer."""
    name = f"spherorank {user.service or _MAINTENANCE} {user.pid} {user.host}"[:63]
    return create_engine(
        address,
        connect_args={"connect_timeout": 5, "application_name": name, "options": _KEEPALIVES},
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )


def _try_advisory(connection: Connection, lock: _AdvisoryLock) -> bool:
    function = "pg_try_advisory_lock_shared" if lock.is_shared else "pg_try_advisory_lock"
    return bool(connection.scalar(text(f"SELECT {function}(:key)"), {"key": lock.key}))


def _advisory_holder(connection: Connection, lock: _AdvisoryLock) -> User | None:
    """Return the process whose session holds an advisory lock, from the name of its session."""
    unsigned = lock.key % 2**64
    name = connection.scalar(
        text(
            "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
            "AND l.classid = CAST(:high AS oid) AND l.objid = CAST(:low AS oid) "
            "AND a.datname = current_database() LIMIT 1"
        ),
        {"high": unsigned >> 32, "low": unsigned % 2**32},
    )
    match (name or "").split(" ", 3):
        case ["spherorank", service, pid, host] if pid.isdigit():
            return User("" if service == _MAINTENANCE else service, int(pid), host)
    return None
