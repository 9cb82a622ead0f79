"""Rankings as files: ``<plate>/day10-r1.{json,csv,html}``, ``day10-r1-wells.csv`` and ``latest.json``. What stands under its name is whole."""

import contextlib
import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from daemon.report import report_html
from schemas.errors import OutputError
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Ranking, TreatmentRank, TreatmentTable, WellRank

Pictures = Callable[[], Mapping[str, bytes]]
"""The JPEG of each well that has one, asked for only where a page is written."""


class _Identity(BaseModel):
    """What tells two rankings apart; two that agree in it are one."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    plate: str
    day: int
    revision: int
    created_at: datetime
    inputs_digest: str


def write_ranking(ranking: Ranking, pictures: Pictures, folder: Path) -> list[Path]:
    """Write what is missing of a ranking's files below ``folder``, ``latest.json`` last; return the paths of all of them.

    A revision's files are never written over. ``latest.json`` only ever goes to a later day or revision.

    Raises
    ------
    OutputError
        If a file cannot be written, or another ranking of this name stands there. Trying again later goes on where it failed.
    """
    home = _home(ranking, folder)
    document = home / f"{ranking.name}.json"
    absent = missing(ranking, folder)
    if document not in absent and _read(document) != _Identity.model_validate(ranking):
        raise OutputError(document, "is there and is not this ranking; expected none of this name (was the store made anew? move the old folder away)")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(home, f"cannot be made ({error.strerror}); expected a folder in a writable one") from error
    for path in absent:
        _write_aside(path, _content(ranking, pictures, path.name))
    return [*_revision_files(ranking, home), home / "latest.json"]


def missing(ranking: Ranking, folder: Path) -> list[Path]:
    """Return which of a ranking's files are not there; ``latest.json`` among them while it is absent or tells of an earlier day or revision.

    Raises
    ------
    OutputError
        If the folder cannot be looked into.
    """
    home = _home(ranking, folder)
    try:
        there = {path.name for path in home.iterdir()} if home.exists() else set()
        latest = _read(home / "latest.json")
    except OSError as error:
        raise OutputError(home, f"cannot be read ({error.strerror}); expected a readable folder") from error
    absent = [path for path in _revision_files(ranking, home) if path.name not in there]
    if latest is None or (latest.day, latest.revision) < (ranking.day, ranking.revision):
        absent.append(home / "latest.json")
    return absent


def treatments_csv(tables: Sequence[tuple[Mapping[str, object], TreatmentTable]]) -> str:
    """Return one row a treatment, with the names of the JSON; the mapping beside each table becomes its first columns, such as ``plate``."""
    return _csv(TreatmentRank, [(lead, table.treatments) for lead, table in tables])


def wells_csv(tables: Sequence[tuple[Mapping[str, object], TreatmentTable]]) -> str:
    """Return one row a well, as :func:`treatments_csv`."""
    return _csv(WellRank, [(lead, table.wells) for lead, table in tables])


def _home(ranking: Ranking, folder: Path) -> Path:
    if ranking.plate in (".", "..") or "/" in ranking.plate:
        raise OutputError(folder, f"plate {ranking.plate!r} cannot name a folder; expected another plate id")
    return folder / ranking.plate


def _revision_files(ranking: Ranking, home: Path) -> list[Path]:
    """Return the paths of one revision, the JSON first: it says whose the others are."""
    return [home / f"{ranking.name}{ending}" for ending in (".json", ".csv", "-wells.csv", ".html")]


def _content(ranking: Ranking, pictures: Pictures, name: str) -> str:
    lead = ranking.model_dump(mode="json", include={"plate", "day", "revision", "final"})
    if name.endswith(".json"):
        return ranking.model_dump_json(indent=2) + "\n"
    if name.endswith(".html"):
        return report_html(ranking, pictures())
    return wells_csv([(lead, ranking)]) if name.endswith("-wells.csv") else treatments_csv([(lead, ranking)])


def _csv(model: type[BaseModel], tables: Sequence[tuple[Mapping[str, object], Sequence[TreatmentRank | WellRank]]]) -> str:
    """Return the rows; each measure that any row has becomes a column of its own."""
    fields = [name for name in model.model_fields if name != "measures"]
    measures = sorted({name for _, rows in tables for row in rows for name in row.measures})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(tables[0][0] if tables else ()), *fields, *measures, "notice"])
    for lead, rows in tables:
        for row in rows:
            values = (*lead.values(), *(getattr(row, name) for name in fields), *(row.measures.get(name) for name in measures))
            writer.writerow(map(_cell, (*values, FOR_RESEARCH_USE_ONLY)))
    return out.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple():
            return " ".join(map(_cell, value))
        case Enum():
            return str(value.value)
        case _:
            return str(value)  # of a float: the shortest text that reads back as the same number


def _read(path: Path) -> _Identity | None:
    """Return which ranking a file holds; None if there is no file, or it holds none."""
    try:
        return _Identity.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _write_aside(path: Path, text: str) -> None:
    """Make the file appear whole or not at all, and stay after a power cut."""
    aside = path.with_name(f".{path.name}.part")
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)  # a half-written file would only hold space on a full disk
        raise OutputError(path, f"cannot be written ({error.strerror}); expected a writable folder with free space") from error
