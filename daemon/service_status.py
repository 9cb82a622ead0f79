"""The status of the service, written by the main loop and read by other threads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.messages import MicroscopeData, ServiceState, StatusData
from schemas.well_image import SourceStatus
from store.ports import PlateMapStore


@dataclass
class ServiceStatus:
    """The numbers that heartbeats, ``spherorank status`` and the health page report."""

    version: str
    encoder_id: str
    started_at: datetime
    plate_maps: PlateMapStore
    microscope: Callable[[], MicroscopeData | None]
    rejected: int  # refused files in the store
    source: SourceStatus = field(default_factory=SourceStatus)
    last_image_at: datetime | None = None

    @property
    def backlog(self) -> int:
        """The number of well images that the source has seen and the service has not processed."""
        return sum(self.source.pending.values())

    def message(self) -> StatusData:
        """Return the StatusData of a status message; its state is ``running``."""
        return StatusData(
            state=ServiceState.RUNNING,
            version=self.version,
            encoder_id=self.encoder_id,
            started_at=self.started_at,
            last_image_at=self.last_image_at,
            backlog=self.backlog,
            rejected=self.rejected,
            plates=tuple(self.plate_maps.plates()),
            held=self.source.held,
            source_gone=self.source.gone,
            microscope=self.microscope(),
        )
