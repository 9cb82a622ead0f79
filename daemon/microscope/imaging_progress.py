"""The progress of the imaging of one day or request, added to its events."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

PROGRESS_EVENTS = frozenset(
    {
        "day.started",
        "well.saved",
        "well.failed",
        "well.repeated",
        "imaging.paused",
        "imaging.resumed",
        "day.aborted",
        "day.halted",
        "day.done",
    }
)
"""The events of which the service publishes a message."""


@dataclass
class ImagingProgress:
    """Counts the wells of one day or request, and estimates the time that is left.

    Parameters
    ----------
    emit
        Is called with the name and fields of each event.
    reason
        The reason for the imaging: ``due``, ``asked``, or the cause of an imaging request.
    wells_saved
        Number of wells that have an image already.
    clock
        Returns the current time.
    """

    emit: Callable[..., None]
    plate: str
    day: int
    reason: str
    wells_total: int
    wells_saved: int
    clock: Callable[[], datetime]
    _saved_here: int = field(default=0, init=False)
    _paused: timedelta = field(default=timedelta(0), init=False)

    def __post_init__(self) -> None:
        self._started_at = self.clock()

    def emit_event(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - fields of any event
        """Emit an event with its fields; add plate, day and progress to the events of progress."""
        if event == "well.saved":
            self.wells_saved += 1
            self._saved_here += 1
        elif event == "well.repeated":
            self.wells_saved -= fields["was_saved"]
        if event in PROGRESS_EVENTS:
            fields |= {
                "plate": self.plate,
                "day": self.day,
                "reason": self.reason,
                "wells_saved": self.wells_saved,
                "wells_total": self.wells_total,
                "remaining_s": self._remaining_s(),
                "at": self.clock().isoformat(),
            }
        self.emit(event, **fields)

    def add_pause(self, pause: timedelta) -> None:
        """Leave a pause out of the time per well."""
        self._paused += pause

    def _remaining_s(self) -> float | None:
        """Return the estimated time until the last well is imaged, from the mean time per well."""
        if not self._saved_here:
            return None
        imaging = self.clock() - self._started_at - self._paused
        per_well_s = imaging.total_seconds() / self._saved_here
        return round(per_well_s * (self.wells_total - self.wells_saved), 1)
