"""Imaging requests of the service and of operators, stored as one file per request."""

import contextlib
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from acquisition.durable_files import make_folder, write_durably
from schemas.errors import OutputError
from schemas.plate_map import PlateId, WellName
from schemas.portable_files import sync_folder

log = structlog.get_logger()

FOLDER = "imaging_requests"
FORMER_FOLDER = "wishes"  # the name of the folder in earlier versions
ASKED = "asked"
"""The reason of a request that an operator makes; the same one may be made several times."""

UNFOCUSED = "unfocused"
"""The reason of a request for a well whose focus was not found."""


class ImagingRequest(BaseModel):
    """A request to image wells of one plate on one culture day, in addition to the schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plate: PlateId
    day: int = Field(ge=1)
    wells: tuple[WellName, ...] = ()  # empty: every well with tissue in the plate map
    reason: str = Field(min_length=1)
    wide: bool = False  # scan a wider range of heights for focus
    recentre: bool = False  # move the tissue into the middle of the field first
    made_at: AwareDatetime

    @property
    def identity(self) -> str:
        """The digest of plate, day, wells and reason: the same for two equal requests."""
        same = json.dumps([self.plate, self.day, sorted(self.wells), self.reason])
        return hashlib.sha256(same.encode()).hexdigest()[:12]


def open_imaging_requests(state: Path) -> "ImagingRequests":
    """Return the imaging requests stored in the state folder of the microscope.

    The folder of earlier versions, ``STATE/wishes``, is renamed if it is the only one.

    Raises
    ------
    OutputError
        If it cannot be renamed.
    """
    folder, former = state / FOLDER, state / FORMER_FOLDER
    try:
        if former.is_dir() and not folder.exists():
            with contextlib.suppress(FileNotFoundError):  # another process renames it, too
                former.rename(folder)
            sync_folder(state)
    except OSError as error:
        raise OutputError(
            former,
            f"cannot be renamed to {folder.name} ({error.strerror}); expected a writable folder",
        ) from error
    return ImagingRequests(folder)


class ImagingRequests:
    """A folder of imaging requests, one JSON file each.

    Pending requests lie in the folder itself. A finished request is moved to ``done``, an abandoned
    one to ``dropped``, and a file that is no valid request to ``damaged``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, request: ImagingRequest, since: datetime | None = None) -> str | None:
        """Store a request durably and return the name of its file, or None for a duplicate.

        A request is a duplicate if an equal one was stored before. Only an operator may repeat one.

        Parameters
        ----------
        since
            Earlier requests are about another use of the plate id; None: all count.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        before = [
            path
            for folder in ("", "done", "dropped")
            for path in (self._folder / folder).glob(f"*-{request.identity}-*.json")
        ]
        of_run = [path for path in before if since is None or path.name >= _time_text(since)]
        if of_run and request.reason != ASKED:
            return None
        made_at = _time_text(request.made_at)
        name = f"{made_at}-{request.identity}-{len(before) + 1}.json"
        write_durably(self._folder / name, request.model_dump_json(indent=1).encode())
        return name

    def pending(self) -> list[tuple[str, ImagingRequest]]:
        """Return (file name, request) of each pending request, oldest first.

        A damaged file is moved to ``damaged`` and logged.
        """
        found: list[tuple[str, ImagingRequest]] = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append((path.name, ImagingRequest.model_validate_json(path.read_bytes())))
            except FileNotFoundError:  # another process finished it after the listing
                continue
            except (OSError, ValidationError) as error:
                if self._move(path.name, "damaged"):
                    log.warning(
                        "imaging_request.damaged",
                        file=str(self._folder / "damaged" / path.name),
                        problem=_describe(error),
                    )
        return found

    def finish(self, name: str) -> None:
        """Move a request (file name) to ``done``; do nothing if another process moved it.

        Raises
        ------
        OutputError
            If the file cannot be moved.
        """
        self._move(name, "done")

    def drop(self, name: str, why: str) -> None:
        """Move a request (file name) to ``dropped`` and log ``why``, unless it was moved before.

        The reason is also written to a text file beside the request.

        Raises
        ------
        OutputError
            If a file cannot be moved or written.
        """
        if self._move(name, "dropped"):
            write_durably(self._reason_file(name), why.encode())
            log.warning(
                "imaging_request.dropped", file=str(self._folder / "dropped" / name), why=why
            )

    def drop_reason(self, name: str) -> str | None:
        """Return why a request (file name) was dropped, or None if it was not."""
        try:
            return self._reason_file(name).read_text(encoding="utf-8")
        except OSError:
            return None

    def _reason_file(self, name: str) -> Path:
        """Return the file with the reason for which a request (file name) was dropped."""
        return (self._folder / "dropped" / name).with_suffix(".txt")

    def _move(self, name: str, to: str) -> bool:
        """Move a file into a subfolder durably and return whether it was still there."""
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


def _time_text(time: datetime) -> str:
    """Return a time as the first part of a request's file name; it sorts by time."""
    return f"{time.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"


def _describe(error: OSError | ValidationError) -> str:
    """Return why a file is no valid request, in one line."""
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()
    )
