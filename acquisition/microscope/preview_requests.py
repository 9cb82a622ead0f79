"""Requests for a preview to the process that drives the microscope, one file each.

They are not durable: an operator waits for the result, and a request whose operator has gone is not
fulfilled.
"""

import contextlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from acquisition.durable_files import write_durably
from acquisition.microscope.preview import Preview
from schemas.plate_map import WellName


class PreviewRequest(BaseModel):
    """A request for one frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    well: WellName | None = None  # None: the stage stays where it is
    focus: bool = False  # search the focus first
    made_at: AwareDatetime
    process: int  # the operator's process, which waits for the result


class PreviewResult(BaseModel):
    """The description of a frame that was taken, or the problem."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class PreviewRequests:
    """A folder of requests for previews and of their results.

    Every method raises OutputError if a file cannot be written.
    """

    folder: Path

    def add(self, well: str | None, now: datetime, *, focus: bool) -> str:
        """Store a request for a frame, at a well if given, and return its name."""
        request = PreviewRequest(well=well, focus=focus, made_at=now, process=os.getpid())
        name = f"{now:%Y%m%dT%H%M%S.%f}-{request.process}"
        write_durably(self._request(name), request.model_dump_json().encode())
        return name

    def pending(self) -> list[tuple[str, PreviewRequest]]:
        """Return (name, request) of each request whose operator still waits, oldest first."""
        found = []
        for path in sorted(self.folder.glob("*.request")):
            try:
                request = PreviewRequest.model_validate_json(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValidationError):
                self.forget(path.stem)
                continue
            if psutil.pid_exists(request.process):
                found.append((path.stem, request))
            else:
                self.forget(path.stem)
        return found

    def fulfil(self, name: str, result: Preview | str) -> None:
        """Store the preview of a request, or the problem, and remove the request."""
        if isinstance(result, Preview):
            write_durably(self._frame(name), result.png)
            described = PreviewResult(description=result.description)
        else:
            described = PreviewResult(problem=result)
        write_durably(self._result(name), described.model_dump_json().encode())
        self._request(name).unlink(missing_ok=True)

    def result(self, name: str) -> Preview | str | None:
        """Return the preview of a request, or the problem as text; None while it is pending."""
        try:
            found = PreviewResult.model_validate_json(self._result(name).read_bytes())
            if found.problem is not None:
                return found.problem
            return Preview(self._frame(name).read_bytes(), found.description)
        except FileNotFoundError:
            return None

    def forget(self, name: str) -> None:
        """Remove a request and its result."""
        for path in (self._request(name), self._result(name), self._frame(name)):
            with contextlib.suppress(OSError):
                path.unlink()

    def _request(self, name: str) -> Path:
        return self.folder / f"{name}.request"

    def _result(self, name: str) -> Path:
        return self.folder / f"{name}.result"

    def _frame(self, name: str) -> Path:
        return self.folder / f"{name}.png"
