"""Revisions of a ranking as files: each whole or not there, never written over, and ``latest.json`` of the newest one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from acquisition.durable_files import write_durably
from schemas.errors import OutputError

LATEST = "latest.json"


class Identity(BaseModel):
    """What tells two revisions apart; two that agree in it are one."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    revision: int
    created_at: datetime
    inputs_digest: str

    @property
    def order(self) -> tuple[int, ...]:
        """Larger for a revision that takes another's place as the latest."""
        return (self.revision,)


@dataclass(frozen=True)
class Revision:
    """One revision and the files it is written as."""

    home: Path
    identity: Identity
    files: Mapping[
        str, Callable[[], str]
    ]  # by name; the JSON first, it says whose the others are. Content is made only where a file is written

    @property
    def document(self) -> str:
        """The name of the JSON, whose content ``latest.json`` has as well."""
        return next(iter(self.files))


def write_revision(revision: Revision) -> list[Path]:
    """Write what is missing of a revision's files, ``latest.json`` last; return the paths of all of them.

    A revision's files are never written over. ``latest.json`` only ever goes to a later revision.

    Raises
    ------
    OutputError
        If a file cannot be written, or another revision of this name stands there. Trying again later goes on where it failed.
    """
    document = revision.home / revision.document
    absent = missing_files(revision)
    if document not in absent and _read(document, revision) != revision.identity:
        raise OutputError(
            document,
            "is there and is not this ranking; expected none of this name (was the store made anew? move the old folder away)",
        )
    try:
        revision.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            revision.home, f"cannot be made ({error.strerror}); expected a folder in a writable one"
        ) from error
    for path in absent:
        write_durably(
            path, revision.files[revision.document if path.name == LATEST else path.name]().encode()
        )
    return [*_paths(revision), revision.home / LATEST]


def missing_files(revision: Revision) -> list[Path]:
    """Return which of a revision's files are not there; ``latest.json`` among them while it is absent or tells of an earlier one.

    Raises
    ------
    OutputError
        If the folder cannot be looked into.
    """
    home = revision.home
    try:
        there = {path.name for path in home.iterdir()} if home.exists() else set()
        latest = _read(home / LATEST, revision)
    except OSError as error:
        raise OutputError(
            home, f"cannot be read ({error.strerror}); expected a readable folder"
        ) from error
    absent = [path for path in _paths(revision) if path.name not in there]
    if latest is None or latest.order < revision.identity.order:
        absent.append(home / LATEST)
    return absent


def _paths(revision: Revision) -> list[Path]:
    return [revision.home / name for name in revision.files]


def _read(path: Path, revision: Revision) -> Identity | None:
    """Return which revision a file holds; None if there is no file, or it holds none."""
    try:
        return type(revision.identity).model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
