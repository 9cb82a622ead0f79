"""Backup of a SQLite database while it is in use, and its replacement by a backup."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from schemas.errors import StoreError
from schemas.portable_files import replace_file, sync_folder
from store.address import parse_address, sqlite_file, without_password
from store.database import Database
from store.locks import lock_store
from store.maintenance.check import find_problems

_LOGS = ("-wal", "-shm")  # SQLite's files beside a database in use
_NAMED_PROBLEMS = 3


def back_up(url: str, target: Path, *, timeout_s: float = 10.0) -> int:
    """Copy the SQLite database at a URL to a file while it is in use; return the size in bytes.

    The copy is written beside ``target``, checked, synced to the disk and renamed. An existing
    file is replaced by a complete backup only.

    Raises
    ------
    StoreError
        If the database cannot be read, the copy is damaged, or the file cannot be written.
    """
    file = _file_of(url, "pg_dump")
    if target.resolve() == file:
        raise StoreError(target, "is the database itself; expected the name of another file")
    with _partial(target) as copy, closing(Database(url, timeout_s=timeout_s)) as database:
        with closing(sqlite3.connect(copy)) as to:
            try:
                database.copy_to(to)
            except StoreError as error:  # of one of the two databases
                raise StoreError(target, f"is not written: {error}") from error
        _check(copy, target, timeout_s)
        _replace(copy, target)
    return target.stat().st_size


def restore(url: str, backup: Path, now: datetime, *, timeout_s: float = 10.0) -> Path | None:
    """Replace the SQLite database at a URL by a backup; return the name of the old database.

    The old database is kept beside the new one. The file with the published sequence numbers is
    unchanged, so the service continues after them.

    Parameters
    ----------
    now
        The time that becomes a part of the name of the old database.

    Returns
    -------
    Path | None
        None if there was no old database.

    Raises
    ------
    StoreInUseError
        If a service or another command uses the database.
    StoreError
        If the backup cannot be read or is damaged, or a file cannot be written. The old database
        is unchanged then.
    """
    file = _file_of(url, "pg_restore")
    if not backup.is_file():
        raise StoreError(backup, "is no file; expected a backup of a SQLite database")
    with closing(lock_store(url)), _partial(file) as copy:
        copy.touch()  # a folder that cannot be written is no error of the backup
        _read_backup(backup, copy)
        _check(copy, backup, timeout_s)
        aside = _keep(file, now)
        for suffix in _LOGS:
            _beside(file, suffix).unlink(missing_ok=True)
        _replace(copy, file)
    return aside


def _file_of(url: str, program: str) -> Path:
    address = parse_address(url)
    file = sqlite_file(address)
    if file is None:
        raise StoreError(
            without_password(address),
            f"is no SQLite database; use {program} of PostgreSQL, see "
            "docs/how-to/move-the-store.md",
        )
    return file


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Context manager that yields the name of a new file beside a target, and removes the file."""
    copy = target.with_name(f".{os.getpid()}.{target.name}.part")
    try:
        copy.unlink(missing_ok=True)
        yield copy
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            target, f"cannot be written: {error}; expected a writable folder with free disk space"
        ) from error
    finally:
        with suppress(OSError):
            for suffix in ("", *_LOGS):
                _beside(copy, suffix).unlink(missing_ok=True)


def _read_backup(backup: Path, copy: Path) -> None:
    """Copy a backup, with its write-ahead log if there is one, into one new file."""
    try:
        with (
            closing(sqlite3.connect(f"{backup.resolve().as_uri()}?mode=ro", uri=True)) as of,
            closing(sqlite3.connect(copy)) as to,
        ):
            of.backup(to)
    except sqlite3.Error as error:
        raise StoreError(
            backup, f"cannot be read: {error}; expected a backup of a SQLite database"
        ) from error


def _check(copy: Path, source: Path, timeout_s: float) -> None:
    """Raise StoreError if a copied database has a problem; ``source`` is named as its place."""
    if not _has_tables(copy):
        raise StoreError(source, "has no tables; expected a database of SpheroRank")
    try:
        with closing(Database(f"sqlite:///{copy}", timeout_s=timeout_s)) as database:
            found = list(find_problems(database))
    except StoreError as error:
        raise StoreError(source, error.problem) from error
    if found:
        named = "; ".join(found[:_NAMED_PROBLEMS]).replace(str(copy), str(source))
        raise StoreError(source, f"is damaged, {len(found)} problems: {named}")
    with closing(sqlite3.connect(copy)) as closed:
        closed.execute("PRAGMA journal_mode = DELETE").close()  # one file, without a log


def _has_tables(copy: Path) -> bool:
    try:
        with closing(sqlite3.connect(copy)) as database:
            query = "SELECT count(*) FROM sqlite_master WHERE name = 'sequence_counter'"
            return bool(database.execute(query).fetchone()[0])
    except sqlite3.DatabaseError:
        return True  # a damaged file; the check that follows names the problem


def _keep(file: Path, now: datetime) -> Path | None:
    """Give a database file a second name, complete with its log, and return the name."""
    if not file.exists():
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(file)) as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    aside = _beside(file, f".before-restore-{now:%Y%m%dT%H%M%SZ}")
    for suffix in ("", "-wal"):  # a damaged database may still need its log
        if _beside(file, suffix).exists():
            _beside(aside, suffix).hardlink_to(_beside(file, suffix))
    return aside


def _replace(copy: Path, target: Path) -> None:
    """Sync a file to the disk and rename it, so that the target is the old or the new file."""
    with copy.open("r+b") as file:
        os.fsync(file.fileno())
    replace_file(copy, target)
    sync_folder(target.parent)
