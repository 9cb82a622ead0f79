"""Publish the progress of the imaging process as messages of the service."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from pydantic import ValidationError

from daemon.microscope.supervised_process import ProcessEvent
from schemas.errors import StoreError
from schemas.messages import AcquisitionData, AcquisitionStep
from store.ports import Outbox

log = structlog.get_logger()

STEPS = {
    "day.started": AcquisitionStep.STARTED,
    "well.saved": AcquisitionStep.WELL_SAVED,
    "well.failed": AcquisitionStep.WELL_FAILED,
    "imaging.paused": AcquisitionStep.PAUSED,
    "imaging.resumed": AcquisitionStep.RESUMED,
    "day.aborted": AcquisitionStep.ABORTED,
    "day.halted": AcquisitionStep.HALTED,
    "day.done": AcquisitionStep.DONE,
}
"""The step that the message of an event reports, by event."""


@dataclass(frozen=True)
class AcquisitionMessages:
    """Commits a message for each event of progress; the process of the sockets publishes it.

    Parameters
    ----------
    clock
        Returns the current time, for events without a time.
    """

    store: Outbox
    clock: Callable[[], datetime]

    def publish(self, event: ProcessEvent) -> None:
        """Commit the message of an event; do nothing for an event that is no progress.

        A message that cannot be committed is logged, and the imaging continues.
        """
        step = STEPS.get(event.event)
        if step is None:
            return
        try:
            fields = event.model_dump(include=set(AcquisitionData.model_fields), exclude_unset=True)
            message = AcquisitionData.model_validate({"step": step, **fields})
            self.store.add_message(message, event.at or self.clock())
        except (StoreError, ValidationError) as error:
            log.error("acquisition.not_published", step=step, plate=event.plate, reason=str(error))
