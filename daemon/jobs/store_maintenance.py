"""Work of ``spherorank store``: maintenance of the store of a configuration."""

from collections import Counter
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path

import structlog

from daemon import logs
from daemon.config import load_config
from daemon.reports.revision_files import reserve_revision
from daemon.reports.specimen_files import specimen_folder_name
from daemon.retention import Kind, open_retention
from daemon.store_address import address_with_password, store_address
from daemon.wiring.service_clock import now
from daemon.wiring.store import open_store
from schemas.errors import ConfigError, StoreError
from schemas.ranking import ranking_name
from schemas.specimen import specimen_ranking_name
from schemas.well_image import FileVersion
from store.database import Database
from store.locks import lock_store
from store.maintenance import files
from store.maintenance.check import find_problems
from store.maintenance.copy import copy_store
from store.maintenance.since_backup import newer_files, newer_rankings
from store.maintenance.size import Size, measure_size

log = structlog.get_logger()

TIMEOUT_S = 10.0  # longest wait for a lock of the database


def check(config: Path | None) -> list[str]:
    """Return every problem of the store; the list is empty if there is none."""
    url = _url(config)
    try:
        with closing(Database(url, timeout_s=TIMEOUT_S)) as database:
            return list(find_problems(database))
    except StoreError as error:
        return [str(error)]


def back_up(config: Path | None, file: Path) -> int:
    """Write a checked backup of the SQLite database to a file; return its size in bytes.

    Errors are those of :func:`store.maintenance.files.back_up`.
    """
    return files.back_up(_url(config), file)


def restore(config: Path | None, file: Path) -> tuple[Path | None, int]:
    """Replace the SQLite database by a backup.

    Revisions of rankings that only the old database has are reserved, so that the service uses
    none of them again.

    Raises
    ------
    OutputError
        If a revision cannot be reserved in ``output.rankings``. The old database is unchanged then.
    StoreError
        As for :func:`store.maintenance.files.restore`.

    Returns
    -------
    tuple[Path | None, int]
        The file of the old database, None if there was none, and the last sequence number in use.
    """
    url = _url(config)
    _reserve_revisions(url, file, load_config(config).output.rankings)
    aside = files.restore(url, file, now())
    with closing(open_store(load_config(config))) as store:
        return aside, store.last_sequence()


def compare_with_backup(config: Path | None, backup: Path) -> tuple[int, list[str]]:
    """Find the images that a restore of a backup would lose; nothing is changed.

    The service may run. Images that were stored after the backup are ingested again after a restore
    if their files are still in ``source.path``, with unchanged size and time.

    Returns
    -------
    tuple[int, list[str]]
        The number of files of these images, and the paths of those that are missing or changed.

    Raises
    ------
    StoreError
        As for :func:`store.maintenance.since_backup.newer_files`.
    """
    newer = newer_files(_url(config), backup)
    folder = load_config(config).source.path
    return len(newer), [version.path for version in newer if not _is_unchanged(folder, version)]


def _is_unchanged(folder: Path, version: FileVersion) -> bool:
    try:
        return FileVersion.of(version.path, (folder / version.path).stat()) == version
    except OSError:
        return False


def describe_size(config: Path | None) -> list[str]:
    """Return the lines of a table of rows and bytes of each table and plate of the store."""
    with closing(Database(_url(config), timeout_s=TIMEOUT_S)) as database:
        size = measure_size(database)
    in_file = "" if size.file_bytes is None else f"; {size.file_bytes:,} bytes in files"
    return [
        f"{'table':<32}{'rows':>12}{'bytes':>18}",
        *map(_line, size.tables),
        f"{sum(each.bytes for each in size.tables):,} bytes in rows{in_file}",
        "",
        f"{'plate':<32}{'images':>12}{'bytes':>18}",
        *map(_line, size.plates),
    ]


def prune(config: Path | None, *, dry_run: bool) -> Mapping[tuple[str, Kind], int]:
    """Delete the old data of closed plates; return the numbers by plate and kind.

    The plate is empty for alerts. SQLite returns the space to the file system.

    Parameters
    ----------
    dry_run
        Whether nothing is deleted; a service may run then.

    Raises
    ------
    ConfigError
        If no key of ``[retention]`` is set.
    StoreInUseError
        If a service uses the store.
    """
    url, settings = _url(config), load_config(config)
    found: Counter[tuple[str, Kind]] = Counter()
    with (
        nullcontext() if dry_run else closing(lock_store(url)),
        closing(open_store(settings)) as store,
        closing(Database(url, timeout_s=TIMEOUT_S)) as database,
    ):
        retention = open_retention(settings, store, now)
        if not retention.is_set:
            raise ConfigError(
                "retention", "has no key; expected messages_days, pictures_days or images_days"
            )
        for batch in retention.batches(dry_run=dry_run):
            found[batch.plate, batch.kind] += batch.number
        if found.total() and not dry_run and database.dialect == "sqlite":
            database.compact()
    return {key: number for key, number in found.items() if number}


def copy(config: Path | None, target: str, password_file: Path | None) -> dict[str, int]:
    """Copy the store to an empty database; return the number of rows of each table.

    Parameters
    ----------
    target
        URL of the other database, without a password.
    password_file
        File with the password of the other database; None: none is needed.

    Raises
    ------
    StoreInUseError
        If a service uses one of the two databases.
    StoreError
        As for :func:`store.maintenance.copy.copy_store`.
    """
    url, target_url = _url(config), address_with_password(target, password_file)
    with (
        closing(lock_store(url)),
        closing(lock_store(target_url)),
        closing(open_store(load_config(config))),  # continues its numbers after a restore
        closing(Database(url, timeout_s=TIMEOUT_S)) as source,
        closing(Database(target_url, timeout_s=TIMEOUT_S)) as copied,
    ):
        return copy_store(source, copied)


def _reserve_revisions(url: str, backup: Path, folder: Path) -> None:
    """Reserve the revisions of rankings below a folder that are newer than a backup.

    A database that is missing or damaged names none; the files of its rankings do.
    """
    try:
        newer = newer_rankings(url, backup)
    except StoreError as error:
        log.warning("store.revisions_unknown", reason=str(error))
        return
    for each in newer:
        if each.day is None:
            home = folder / specimen_folder_name(each.subject)
            reserve_revision(home, specimen_ranking_name(each.revision))
        else:
            reserve_revision(folder / each.subject, ranking_name(each.day, each.revision))


def _url(config: Path | None) -> str:
    logs.install(None)
    return store_address(load_config(config))


def _line(size: Size) -> str:
    return f"{size.name:<32}{size.rows:>12,}{size.bytes:>18,}"
