"""What became of each well of a plate on one day, so that the next start goes on where the last one ended."""

import os
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from acquisition.durable_files import make_folder, sync_folder
from schemas.errors import OutputError
from schemas.plate_map import WellName

INTERRUPTED = "ended by a crash or stall"


class Step(StrEnum):
    """What is written down of a well."""

    STARTED = "started"
    SAVED = "saved"
    FAILED = "failed"


class Entry(BaseModel):
    """One line of a journal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Step
    well: WellName
    at: AwareDatetime
    file: str | None = None  # of what was saved, below the archive
    problem: str | None = None  # of what failed


@dataclass(frozen=True)
class WellState:
    """A well on one day."""

    tries: int = 0
    saved: bool = False  # at least once
    last_problem: str | None = None  # of the last try, if that failed

    def is_over(self, tries: int) -> bool:
        """Return whether nothing more is done for it when it has been tried so often at most."""
        return self.saved or self.tries >= tries


class Journal:
    """The journal of one plate and day: a line a step, on the disk before the next step is taken."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def started(self, well: str, at: datetime) -> None:
        """Note that a try begins."""
        self._append(Entry(step=Step.STARTED, well=well, at=at))

    def saved(self, well: str, file: str, at: datetime) -> None:
        """Note that a well's image lies in the archive."""
        self._append(Entry(step=Step.SAVED, well=well, at=at, file=file))

    def failed(self, well: str, problem: str, at: datetime) -> None:
        """Note that a try failed."""
        self._append(Entry(step=Step.FAILED, well=well, at=at, problem=problem))

    def state(self, since: datetime | None = None) -> dict[str, WellState]:
        """Return each well of which something is known (from ``since`` on); a try without an end failed, unless it still goes on.

        Raises
        ------
        OutputError
            If the file cannot be read.
        """
        states: dict[str, WellState] = {}
        for entry in self._entries():
            if since is not None and entry.at < since:
                continue
            state = states.get(entry.well, WellState())
            match entry.step:
                case Step.STARTED:
                    states[entry.well] = replace(
                        state, tries=state.tries + 1, last_problem=INTERRUPTED
                    )
                case Step.SAVED:
                    states[entry.well] = replace(state, saved=True, last_problem=None)
                case Step.FAILED:
                    states[entry.well] = replace(state, last_problem=entry.problem)
        return states

    def _entries(self) -> list[Entry]:
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
                entries.append(Entry.model_validate_json(line))
            except ValidationError:  # cut short by a crash: what it told of is imaged again
                continue
        return entries

    def _append(self, entry: Entry) -> None:
        """Write one line and wait for the disk.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        try:
            is_new = not self._path.exists()
            make_folder(self._path.parent)
            with self._path.open("ab+") as file:
                file.write(
                    _line_end_missing(file.fileno())
                    + entry.model_dump_json(exclude_none=True).encode()
                    + b"\n"
                )
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self._path.parent)
        except OSError as error:
            raise OutputError(
                self._path,
                f"cannot be written ({error.strerror}); expected a writable folder with free space",
            ) from error


def _line_end_missing(file: int) -> bytes:
    """Return a line end if the last line, cut short by a crash, has none."""
    size = os.fstat(file).st_size
    return b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
