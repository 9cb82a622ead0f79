"""The status of the service, written by the main loop and read by other threads."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from schemas.messages import MicroscopeData, ServiceState, StandingAlert, StatusData
from schemas.observation import RejectedFile
from schemas.requests import (
    MAX_LISTED_FILES,
    PendingImagesData,
    RejectedFileData,
    StatusDetails,
    UnreadableFileData,
)
from schemas.well_image import Rejected, SourceStatus, WellImage

MAX_STANDING_ALERTS = 5
"""Largest number of standing alerts in a status message; a reply to a request lists more."""


class RejectedFiles:
    """The rejected files that no valid version has replaced, as the store has them.

    The main loop changes it, and other threads read it.

    Parameters
    ----------
    stored
        The rejected files in the store, the oldest first.
    """

    def __init__(self, stored: Iterable[RejectedFile]) -> None:
        self._files = {
            each.path: RejectedFileData(
                path=each.path, reason=each.reason, rejected_at=each.rejected_at
            )
            for each in stored
        }

    def __len__(self) -> int:
        return len(self._files)

    def note_outcome(self, item: WellImage | Rejected, now: datetime) -> None:
        """Add the files of a refusal, or remove the files of a well image that was processed."""
        for file in item.files:
            self._files.pop(file.path, None)
            if isinstance(item, Rejected):
                self._files[file.path] = RejectedFileData(
                    path=file.path, reason=item.reason, rejected_at=now
                )

    def newest(self) -> tuple[RejectedFileData, ...]:
        """Return the newest rejected files, the newest first."""
        return tuple(self._files.values())[: -MAX_LISTED_FILES - 1 : -1]


@dataclass
class ServiceStatus:
    """The numbers that heartbeats, ``spherorank status`` and the health page report."""

    version: str
    encoder_id: str
    measured_by: str
    started_at: datetime
    microscope: Callable[[], MicroscopeData | None]
    rejected_files: RejectedFiles
    source: SourceStatus = field(default_factory=SourceStatus)
    last_image_at: datetime | None = None
    standing_alerts: Callable[[], Sequence[StandingAlert]] = tuple
    plates: tuple[str, ...] = ()  # with a plate map in the store, not closed
    closed_plates: int = 0

    @property
    def backlog(self) -> int:
        """The number of well images that the source has seen and the service has not processed."""
        return sum(self.source.pending.values())

    def message(self) -> StatusData:
        """Return the StatusData of a status message; its state is ``running``."""
        standing = self.standing_alerts()
        return StatusData(
            state=ServiceState.RUNNING,
            version=self.version,
            encoder_id=self.encoder_id,
            measured_by=self.measured_by,
            started_at=self.started_at,
            last_image_at=self.last_image_at,
            backlog=self.backlog,
            rejected=len(self.rejected_files),
            plates=self.plates,
            closed_plates=self.closed_plates,
            held=self.source.held,
            source_gone=self.source.gone,
            microscope=self.microscope(),
            alerts=_by_urgency(standing)[:MAX_STANDING_ALERTS],
            standing_alerts=len(standing),
        )

    def details(self) -> StatusDetails:
        """Return the StatusDetails of a status reply: pending, rejected and unreadable files."""
        source = self.source
        return StatusDetails(
            pending=tuple(
                PendingImagesData(plate=each.plate, reason=each.reason, images=each.images)
                for each in source.waiting
            ),
            other_alerts=_by_urgency(self.standing_alerts())[MAX_STANDING_ALERTS:MAX_LISTED_FILES],
            rejected_files=self.rejected_files.newest(),
            unreadable=len(source.unreadable),
            unreadable_files=tuple(
                UnreadableFileData(path=path, reason=reason)
                for path, reason in sorted(source.unreadable.items())[:MAX_LISTED_FILES]
            ),
        )


def _by_urgency(alerts: Sequence[StandingAlert]) -> tuple[StandingAlert, ...]:
    """Return the alerts that block the service, then the newest others."""
    return tuple(sorted(alerts, key=lambda alert: (alert.blocks, alert.since), reverse=True))
