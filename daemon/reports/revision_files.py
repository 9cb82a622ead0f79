"""Files of one revision of a ranking: complete when they appear, never overwritten.

``latest.json`` in the same folder is a copy of the newest revision's JSON.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from acquisition.durable_files import write_durably
from schemas.errors import OutputError
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking

log = structlog.get_logger()

LATEST = "latest.json"
_RankingT = TypeVar("_RankingT", Ranking, SpecimenRanking)


class RevisionIdentity(BaseModel):
    """Fields that identify one revision of a ranking; two revisions with equal fields are one."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    revision: int
    created_at: datetime
    inputs_digest: str

    @property
    def order(self) -> tuple[int, ...]:
        """Sort key: the revision with the largest key is the latest."""
        return (self.revision,)

    @property
    @abstractmethod
    def subject(self) -> str:
        """The plate or specimen (id) that is ranked, which has a folder of its own."""


@dataclass(frozen=True)
class Revision:
    """One revision of a ranking, its folder and its files."""

    home: Path  # the folder
    identity: RevisionIdentity
    files: Mapping[str, Callable[[], str]]
    """Function that returns the text of a file, by file name; it is called if the file is written.

    The first is the JSON, which identifies the revision that the other files belong to.
    """

    @property
    def document(self) -> str:
        """File name of the JSON; ``latest.json`` has the same content."""
        return next(iter(self.files))


def write_revision(revision: Revision) -> list[Path]:
    """Write the missing files of a revision, ``latest.json`` last, and return all their paths.

    Existing files are not overwritten, except that a later revision replaces ``latest.json``.

    Raises
    ------
    OutputError
        If a file cannot be written, or a file of this name holds another ranking. A later call
        writes the remaining files.
    """
    document = revision.home / revision.document
    absent = _missing_files(revision)
    if document not in absent and _read_identity(document, revision) != revision.identity:
        raise OutputError(
            document,
            "exists and holds another ranking; expected no file of this name "
            "(if the store was created again, move the old folder away)",
        )
    try:
        revision.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            revision.home,
            f"cannot be created ({error.strerror}); expected a folder in a writable one",
        ) from error
    for path in absent:
        write_durably(
            path, revision.files[revision.document if path.name == LATEST else path.name]().encode()
        )
    return [*_paths(revision), revision.home / LATEST]


def newest_revision(home: Path, name: str) -> int:
    """Return the largest revision that has a file in a folder; 0 without any or without the folder.

    Parameters
    ----------
    home
        The folder.
    name
        Name of any revision of the same ranking, such as ``day10-r1``.
    """
    revision = re.compile(re.escape(name.rstrip("0123456789")) + r"(\d+)[.-]")
    names: list[str] = []
    with suppress(OSError):
        names = [path.name for path in home.iterdir()]
    return max((int(found[1]) for each in names if (found := revision.match(each))), default=0)


def reserve_revision(home: Path, name: str) -> None:
    """Make the empty file ``<name>.reserved``, so that no ranking gets this revision again.

    Nothing is made if the revision or a later one has a file.

    Parameters
    ----------
    home
        The folder; it is made if it is missing.
    name
        Name of the revision, such as ``day10-r1``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    if newest_revision(home, name) < int(name.rpartition("r")[2]):
        write_durably(home / f"{name}.reserved", b"")


@dataclass(frozen=True)
class Written:
    """The newest revision of a ranking that has a file."""

    revision: int  # 0: no revision has a file
    is_of_same_run: bool  # whether its file has a ranking of the same run of the plate, or specimen


NOTHING_WRITTEN: Final = Written(0, is_of_same_run=False)


def after_written(ranking: _RankingT, newest: Written) -> _RankingT:
    """Return a ranking with a revision after the newest one that has files, which it replaces.

    A store that was made again or restored does not know the revisions of the files. A change of
    the revision is logged. Without a ranking of the same run in the newest file, ``replaces`` does
    not change.
    """
    if ranking.revision > newest.revision:
        return ranking
    log.warning("ranking.revision_continued", ranking=ranking.name, written=newest.revision)
    replaced = {"replaces": newest.revision} if newest.is_of_same_run else {}
    return ranking.model_copy(update={"revision": newest.revision + 1, **replaced})


def find_written(home: Path, name: str, run: BaseModel) -> Written:
    """Return the newest revision of a ranking that has a file in a folder.

    Parameters
    ----------
    home
        The folder.
    name
        Name of any revision of the same ranking, such as ``day10-r1``.
    run
        Fields that all rankings of the same run have in common.
    """
    revision = newest_revision(home, name)
    document = home / f"{name.rstrip('0123456789')}{revision}.json"
    try:
        found = type(run).model_validate_json(document.read_bytes())
    except (OSError, ValidationError):
        return Written(revision, is_of_same_run=False)
    return Written(revision, found == run)


def _missing_files(revision: Revision) -> list[Path]:
    """Return the paths of a revision's files that do not exist.

    ``latest.json`` is among them if it is absent, damaged or holds an earlier revision.

    Raises
    ------
    OutputError
        If the folder cannot be read, or has rankings of another plate or specimen. On Windows, ids
        that differ in capital letters only name the same folder.
    """
    home = revision.home
    try:
        existing = {path.name for path in home.iterdir()} if home.exists() else set()
        latest = _read_identity(home / LATEST, revision)
    except OSError as error:
        raise OutputError(
            home, f"cannot be read ({error.strerror}); expected a readable folder"
        ) from error
    if latest is not None and latest.subject != revision.identity.subject:
        raise OutputError(
            home,
            f"has the rankings of {latest.subject!r}; expected those of "
            f"{revision.identity.subject!r}, in a folder of its own: use ids that differ in more "
            "than capital letters",
        )
    absent = [path for path in _paths(revision) if path.name not in existing]
    if latest is None or latest.order < revision.identity.order:
        absent.append(home / LATEST)
    return absent


def _paths(revision: Revision) -> list[Path]:
    """Return the paths of a revision's files without ``latest.json``."""
    return [revision.home / name for name in revision.files]


def _read_identity(path: Path, revision: Revision) -> RevisionIdentity | None:
    """Return the identity of the revision in a JSON file; None without a file or a valid one."""
    try:
        return type(revision.identity).model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
