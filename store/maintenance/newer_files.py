"""File versions that a SQLite database has and an earlier backup of it does not have."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from schemas.errors import StoreError
from schemas.observation import Outcome
from schemas.well_image import FileVersion
from store.address import parse_address, sqlite_file, without_password

_NEWER = """
SELECT path, size, mtime_ns FROM main.file_version WHERE outcome = :stored
EXCEPT SELECT path, size, mtime_ns FROM earlier.file_version WHERE outcome = :stored
ORDER BY path, mtime_ns
"""


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
            rows = connection.execute(_NEWER, {"stored": Outcome.STORED.value}).fetchall()
    except sqlite3.Error as error:
        raise StoreError(
            backup,
            f"cannot be compared with {file}: {error}; expected a backup of this database",
        ) from error
    return [FileVersion(path, size, mtime_ns) for path, size, mtime_ns in rows]


def _read_only(file: Path) -> str:
    return f"file:{quote(str(file.resolve()))}?mode=ro"
