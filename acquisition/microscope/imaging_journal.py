"""The journal of one plate and culture day: every attempt to image a well, and its outcome.

After a crash, imaging continues from the journal.
"""

import os
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from acquisition.durable_files import make_folder
from schemas.errors import OutputError
from schemas.plate_map import WellName
from schemas.portable_files import sync_folder

_JOURNAL_NAME = re.compile(r"(.+)-day\d+\.jsonl")

INTERRUPTED = "ended by a crash or stall"
"""The problem of an attempt that was started and neither saved nor failed."""


class JournalStep(StrEnum):
    """A step of one attempt to image a well."""

    STARTED = "started"
    SAVED = "saved"
    FAILED = "failed"
    STOPPED = "stopped"  # before the image was saved, by no fault of the well; this is no attempt
    REPEAT = "repeat"  # the attempts before do not count; the well has to be imaged again


class JournalEntry(BaseModel):
    """One line of a journal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: JournalStep
    well: WellName
    channel: str | None = None  # name of a saved channel besides bright field
    at: AwareDatetime
    file: str | None = None  # the saved file, relative to the archive
    problem: str | None = None  # why the attempt failed


@dataclass(frozen=True)
class WellProgress:
    """The attempts to image one well on one day."""

    attempts: int = 0
    saved: bool = False  # at least one attempt saved an image
    last_problem: str | None = None  # None if the last attempt saved an image

    def is_finished(self, max_attempts: int) -> bool:
        """Return whether the well has an image or has had ``max_attempts`` attempts."""
        return self.saved or self.attempts >= max_attempts


class ImagingJournal:
    """A journal file with one JSON line per step, synced to disk before the next step begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record_start(self, well: str, at: datetime) -> None:
        """Record that an attempt to image a well started at a time."""
        self._append(JournalEntry(step=JournalStep.STARTED, well=well, at=at))

    def record_saved(self, well: str, file: str, at: datetime, channel: str | None = None) -> None:
        """Record that the image of a well was saved in a file of the archive at a time.

        ``channel`` is the name of a channel besides bright field.
        """
        self._append(
            JournalEntry(step=JournalStep.SAVED, well=well, channel=channel, at=at, file=file)
        )

    def record_failure(self, well: str, problem: str, at: datetime) -> None:
        """Record that an attempt to image a well failed at a time, with its problem as text."""
        self._append(JournalEntry(step=JournalStep.FAILED, well=well, at=at, problem=problem))

    def record_stop(self, well: str, at: datetime) -> None:
        """Record that an attempt to image a well ended unsaved at a time; it does not count.

        A signal ended it, or a fault of the whole plate.
        """
        self._append(JournalEntry(step=JournalStep.STOPPED, well=well, at=at))

    def record_repeat(self, well: str, reason: str, at: datetime) -> None:
        """Record that a well has to be imaged again, also if it was saved, with the reason."""
        self._append(JournalEntry(step=JournalStep.REPEAT, well=well, at=at, problem=reason))

    def progress(
        self, since: datetime | None = None, channel: str | None = None
    ) -> dict[str, WellProgress]:
        """Return the WellProgress by well, from all entries or only those from ``since`` on.

        An attempt without an outcome has the problem :data:`INTERRUPTED`. Only the saved images
        of a channel besides bright field are recorded, so ``channel`` selects the wells with one.

        Raises
        ------
        OutputError
            If the file cannot be read.
        """
        wells: dict[str, WellProgress] = {}
        for entry in self._entries():
            if since is not None and entry.at < since:
                continue
            if entry.channel != channel and entry.step is not JournalStep.REPEAT:
                continue
            before = wells.get(entry.well, WellProgress())
            match entry.step:
                case JournalStep.STARTED:
                    wells[entry.well] = replace(
                        before, attempts=before.attempts + 1, last_problem=INTERRUPTED
                    )
                case JournalStep.SAVED:
                    wells[entry.well] = replace(before, saved=True, last_problem=None)
                case JournalStep.FAILED:
                    wells[entry.well] = replace(before, last_problem=entry.problem)
                case JournalStep.STOPPED:
                    attempts = max(before.attempts - 1, 0)
                    wells[entry.well] = replace(before, attempts=attempts, last_problem=None)
                case JournalStep.REPEAT:
                    wells[entry.well] = WellProgress(last_problem=entry.problem)
        return wells

    def wrong_files(self) -> dict[str, str]:
        """Return why bright-field images do not count, by file: those saved before a repetition.

        Raises
        ------
        OutputError
            If the file cannot be read.
        """
        saved: defaultdict[str, list[str]] = defaultdict(list)  # by well
        wrong: dict[str, str] = {}
        for entry in self._entries():
            if entry.step is JournalStep.SAVED and entry.channel is None and entry.file:
                saved[entry.well].append(entry.file)
            elif entry.step is JournalStep.REPEAT:
                reason = entry.problem or "the well had to be imaged again"
                wrong |= dict.fromkeys(saved.pop(entry.well, ()), reason)
        return wrong

    def _entries(self) -> list[JournalEntry]:
        """Return the valid entries of the file, oldest first; none if there is no file."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(
                self._path,
                f"cannot be read ({error.strerror}); expected the journal of a day's imaging",
            ) from error
        entries = []
        for line in lines:
            try:
                entries.append(JournalEntry.model_validate_json(line))
            except ValidationError:  # truncated by a crash; the step is repeated
                continue
        return entries

    def _append(self, entry: JournalEntry) -> None:
        """Append one line and sync it to disk.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        try:
            is_new = not self._path.exists()
            make_folder(self._path.parent)
            with self._path.open("ab+") as file:
                line = entry.model_dump_json(exclude_none=True).encode() + b"\n"
                file.write(_missing_line_end(file) + line)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self._path.parent)
        except OSError as error:
            raise OutputError(
                self._path,
                f"cannot be written ({error.strerror}); expected a writable folder with free space",
            ) from error


def day_journal(state: Path, plate: str, day: int) -> ImagingJournal:
    """Return the journal of a plate (id) and culture day in the microscope's state folder."""
    return ImagingJournal(state / "journal" / f"{plate}-day{day:02d}.jsonl")


def day_journals(state: Path, plate: str) -> dict[Path, ImagingJournal]:
    """Return the journals of all culture days of a plate (id), by path."""
    name = re.compile(rf"{re.escape(plate)}-day\d+\.jsonl")
    paths = sorted((state / "journal").glob("*.jsonl"))
    return {path: ImagingJournal(path) for path in paths if name.fullmatch(path.name)}


def plates_with_journals(state: Path, since_s: float) -> set[str]:
    """Return the plates (ids) with a journal that was changed at or after a time, in s since 1970.

    Raises
    ------
    OutputError
        If the folder of the journals cannot be read.
    """
    folder = state / "journal"
    try:
        if not folder.exists():
            return set()
        with os.scandir(folder) as entries:
            return {
                name[1]
                for entry in entries
                if (name := _JOURNAL_NAME.fullmatch(entry.name))
                and entry.stat().st_mtime >= since_s
            }
    except OSError as error:
        raise OutputError(
            folder, f"cannot be read ({error.strerror}); expected a readable folder"
        ) from error


def run_start(seeded_at: datetime, now: datetime) -> datetime | None:
    """Return the time from which journal entries and requests are about the seeded plate.

    Earlier ones are of an earlier use of the plate id. None if the seeding is in the future of this
    computer's clock: then all of them are about the plate.
    """
    return seeded_at if seeded_at <= now else None


def _missing_line_end(file: BinaryIO) -> bytes:
    """Return a line end if the last line of an open file was truncated by a crash."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"
