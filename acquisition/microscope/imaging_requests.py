"""What the pipeline and the operator want imaged again: a list that outlives every process, one file a wish."""

import hashlib
import json
from datetime import UTC
from pathlib import Path

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from acquisition.durable_files import make_folder, sync_folder, write_durably
from schemas.errors import OutputError
from schemas.plate_map import PlateId, WellName

log = structlog.get_logger()

ASKED = "asked"
"""The reason of a wish made by a person, who may want the same twice."""


class Wish(BaseModel):
    """Wells of one plate to be imaged on one culture day, beside what the schedule does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plate: PlateId
    day: int = Field(ge=1)
    wells: tuple[WellName, ...] = ()  # empty: all of the plate map
    reason: str = Field(min_length=1)
    wide: bool = False  # look for focus farther out
    recentre: bool = False  # bring the tissue into the middle of the field first
    made_at: AwareDatetime

    @property
    def identity(self) -> str:
        """What two wishes for the same thing have in common."""
        same = json.dumps([self.plate, self.day, sorted(self.wells), self.reason])
        return hashlib.sha256(same.encode()).hexdigest()[:12]


class Wishes:
    """The list, as a folder: a wish waits in it, then goes to ``done``, ``dropped`` or, if nobody can read it, ``damaged``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, wish: Wish) -> str | None:
        """Write a wish down and return its name in the list; None if the same one was ever made before, which only a person may do.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        before = [
            path
            for folder in ("", "done", "dropped")
            for path in (self._folder / folder).glob(f"*-{wish.identity}-*.json")
        ]
        if before and wish.reason != ASKED:
            return None
        made_at = wish.made_at.astimezone(UTC)
        name = f"{made_at:%Y%m%dT%H%M%S.%fZ}-{wish.identity}-{len(before) + 1}.json"
        write_durably(self._folder / name, wish.model_dump_json(indent=1).encode())
        return name

    def pending(self) -> list[tuple[str, Wish]]:
        """Return the wishes that wait and their names, oldest first; a damaged one is put aside and logged."""
        waiting: list[tuple[str, Wish]] = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                waiting.append((path.name, Wish.model_validate_json(path.read_bytes())))
            except FileNotFoundError:  # ended by another process meanwhile
                continue
            except (OSError, ValidationError) as error:
                if self._move(path.name, "damaged"):
                    log.warning(
                        "wish.damaged",
                        file=str(self._folder / "damaged" / path.name),
                        problem=_describe(error),
                    )
        return waiting

    def done(self, name: str) -> None:
        """Take note that a wish came true; nothing to do if another process ended it meanwhile.

        Raises
        ------
        OutputError
            If the note cannot be taken.
        """
        self._move(name, "done")

    def drop(self, name: str, why: str) -> None:
        """Give a wish up; nothing to do if another process ended it meanwhile.

        Raises
        ------
        OutputError
            If the note cannot be taken.
        """
        if self._move(name, "dropped"):
            log.warning("wish.dropped", file=str(self._folder / "dropped" / name), why=why)

    def _move(self, name: str, to: str) -> bool:
        try:
            make_folder(self._folder / to)
            (self._folder / name).replace(self._folder / to / name)
            sync_folder(self._folder / to)
            sync_folder(self._folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutputError(
                self._folder / name,
                f"cannot be moved to {to} ({error.strerror}); expected a writable folder",
            ) from error
        return True


def _describe(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()
    )
