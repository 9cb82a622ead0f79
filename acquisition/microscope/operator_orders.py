"""Orders of an operator to the process that drives the microscope: pause, and abort a day.

An order is a file in the microscope's state folder. It is synced to disk, so it survives the end of
every process. Each file contains the time of the order.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acquisition.durable_files import write_durably
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest
from schemas.errors import OutputError
from schemas.plate_map import PlateId
from schemas.portable_files import sync_folder

ABORTED = "aborted by the operator"
"""The reason for which the request of an aborted day is dropped."""


class PresentJob(BaseModel):
    """The plate and culture day that are being imaged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plate: PlateId
    day: int = Field(ge=1)


@dataclass(frozen=True)
class OperatorOrders:
    """The orders in the folder ``orders`` of the microscope's state folder.

    Every method raises OutputError if a file cannot be read, written or removed.
    """

    state: Path

    def pause(self, at: datetime) -> None:
        """Order a pause at a time, unless one is ordered already."""
        if self.paused_since() is None:
            write_durably(self._pause, at.isoformat().encode())

    def paused_since(self) -> datetime | None:
        """Return the time of the order to pause; None without such an order."""
        return _read_time(self._pause)

    def resume(self) -> None:
        """Withdraw the order to pause; do nothing without one."""
        _remove(self._pause)

    def confirm_pause(self, since: datetime) -> None:
        """Record that the pause ordered at a time is in effect: no well is imaged any more."""
        write_durably(self._confirmed, since.isoformat().encode())

    def is_pause_confirmed(self) -> bool:
        """Return whether the present pause is in effect."""
        since = self.paused_since()
        return since is not None and _read_time(self._confirmed) == since

    def abort(self, plate: str, day: int, at: datetime) -> None:
        """Order at a time that a plate (id) is not imaged any more on a culture day."""
        write_durably(self._aborted(plate, day), at.isoformat().encode())

    def withdraw_abort(self, plate: str, day: int) -> None:
        """Withdraw the order to abort a day; do nothing without one."""
        _remove(self._aborted(plate, day))

    def is_aborted(
        self, plate: str, day: int, request: ImagingRequest | None, run_since: datetime | None
    ) -> bool:
        """Return whether the imaging of a plate on a day, or a request for it, was aborted.

        Parameters
        ----------
        request
            None: the day that the schedule makes due. A request that an operator made after the
            order is not aborted.
        run_since
            Earlier orders are about another use of the plate id; None: all count.
        """
        at = _read_time(self._aborted(plate, day))
        if at is None or (run_since is not None and at < run_since):
            return False
        is_asked_later = request is not None and request.reason == ASKED and request.made_at > at
        return not is_asked_later

    def note_present(self, job: PresentJob | None) -> None:
        """Record the job that is being imaged, for operators; None: no job is being imaged."""
        if job is None:
            _remove(self._present)
        else:
            write_durably(self._present, job.model_dump_json().encode())

    def present_job(self) -> PresentJob | None:
        """Return the job that is being imaged, or that a crash interrupted; None without one."""
        try:
            return PresentJob.model_validate_json(self._present.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        except OSError as error:
            raise _unreadable(self._present, error) from error

    @property
    def folder(self) -> Path:
        """The folder of the orders."""
        return self.state / "orders"

    @property
    def _pause(self) -> Path:
        return self.folder / "pause"

    @property
    def _confirmed(self) -> Path:
        return self.folder / "pause_confirmed"

    @property
    def _present(self) -> Path:
        return self.folder / "present_job.json"

    def _aborted(self, plate: str, day: int) -> Path:
        return self.folder / "aborted" / f"{plate}-day{day:02d}"


def _read_time(path: Path) -> datetime | None:
    """Return the time in the file of an order, or None without the file.

    The time of the file counts if its content is no time, for example after ``touch``.
    """
    try:
        written_at = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        at = datetime.fromisoformat(path.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    except ValueError:
        return written_at
    except OSError as error:
        raise _unreadable(path, error) from error
    return at if at.tzinfo is not None else written_at


def _remove(path: Path) -> None:
    """Remove a file durably, if it exists."""
    try:
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            path, f"cannot be removed ({error.strerror}); expected a writable folder"
        ) from error


def _unreadable(path: Path, error: OSError) -> OutputError:
    """Return the error that the file of an order cannot be read."""
    return OutputError(path, f"cannot be read ({error.strerror}); expected a readable file")
