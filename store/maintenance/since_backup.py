"""Files and rankings that a SQLite database has and an earlier backup of it does not have."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schemas.errors import StoreError
from schemas.observation import Outcome
from schemas.well_image import FileVersion
from store.address import parse_address, sqlite_file, without_password

_NEWER_FILES = """
SELECT path, size, mtime_ns FROM main.file_version WHERE outcome = :stored
EXCEPT SELECT path, size, mtime_ns FROM earlier.file_version WHERE outcome = :stored
ORDER BY path, mtime_ns
"""
_NEWER_RANKINGS = """
SELECT plate, day, max(revision) FROM main.ranking GROUP BY plate, day
EXCEPT SELECT plate, day, max(revision) FROM earlier.ranking GROUP BY plate, day
"""
_NEWER_SPECIMEN_RANKINGS = """
SELECT specimen, NULL, max(revision) FROM main.specimen_ranking GROUP BY specimen
EXCEPT SELECT specimen, NULL, max(revision) FROM earlier.specimen_ranking GROUP BY specimen
"""


@dataclass(frozen=True)
class NewestRevision:
    """The newest revision of the rankings of a plate on one day, or of a specimen."""

    subject: str  # id of the plate or specimen
    day: int | None  # culture day; None for a specimen
    revision: int


def newer_files(url: str, backup: Path) -> list[FileVersion]:
    """Return the file versions that were stored after a backup, sorted by path.

    Both files are only read, so a backup of an earlier version of SpheroRank keeps its tables.

    Parameters
    ----------
    url
        URL of the present SQLite database.
    backup
        A backup of this database.

    Raises
    ------
    StoreError
        If the database is no SQLite database, or one of the files cannot be read.
    """
    rows = _compare(url, backup, _NEWER_FILES, {"stored": Outcome.STORED.value})
    return [FileVersion(path, size, mtime_ns) for path, size, mtime_ns in rows]


def newer_rankings(url: str, backup: Path) -> list[NewestRevision]:
    """Return the newest revision of each ranking that was made or corrected after a backup.

    Parameters and errors are those of :func:`newer_files`.
    """
    rows = [
        *_compare(url, backup, _NEWER_RANKINGS),
        *_compare(url, backup, _NEWER_SPECIMEN_RANKINGS),
    ]
    return [NewestRevision(subject, day, revision) for subject, day, revision in rows]


def _compare(
    url: str, backup: Path, query: str, parameters: Mapping[str, str] | None = None
) -> Sequence[Any]:
    """Return the rows of a query of a database, ``main``, and a backup of it, ``earlier``."""
    address = parse_address(url)
    file = sqlite_file(address)
    if file is None:
        raise StoreError(
            without_password(address),
            "is no SQLite database; expected one that `store backup` can copy",
        )
    for path in (file, backup):
        if not path.is_file():
            raise StoreError(path, "is no file; expected a SQLite database of SpheroRank")
    try:
        with closing(sqlite3.connect(_read_only(file), uri=True)) as connection:
            connection.execute("ATTACH ? AS earlier", (_read_only(backup),))
            return connection.execute(query, parameters or {}).fetchall()
    except sqlite3.Error as error:
        raise StoreError(
            backup,
            f"cannot be compared with {file}: {error}; expected a backup of this database",
        ) from error


def _read_only(file: Path) -> str:
    return f"file:{quote(str(file.resolve()))}?mode=ro"
