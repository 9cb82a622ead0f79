"""Alerts for operators, raised once for each cause until the cause is cleared."""

from collections.abc import Callable
from datetime import datetime

import structlog

from schemas.errors import StoreError
from schemas.messages import AlertData, AlertKind
from store.ports import Outbox

log = structlog.get_logger()


class Alerts:
    """Raises each alert once, in the log and in the outbox, until its cause is cleared."""

    def __init__(self, store: Outbox, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._active: set[tuple[AlertKind, str]] = set()

    def raise_once(
        self, kind: AlertKind, cause: str, message: str, plate: str | None = None
    ) -> None:
        """Log and publish an alert message, unless an alert of this kind and cause is active."""
        if self.is_active(kind, cause):
            return
        self._active.add((kind, cause))
        log.warning("alert.raised", kind=kind, plate=plate, message=message)
        try:
            self._store.add_message(
                AlertData(kind=kind, plate=plate, message=message), self._clock()
            )
        except StoreError as error:
            # The alert may be about the store itself. It is in the log; the next call tries again.
            self._active.discard((kind, cause))
            log.error("alert.not_stored", kind=kind, reason=str(error))

    def is_active(self, kind: AlertKind, cause: str) -> bool:
        """Return whether an alert of this kind and cause was raised and not cleared."""
        return (kind, cause) in self._active

    @property
    def active_count(self) -> int:
        """The number of alerts that were raised and not cleared."""
        return len(self._active)

    def clear(self, kind: AlertKind, cause: str) -> None:
        """Clear the alert of a kind and cause, if it is active, and log it."""
        if self.is_active(kind, cause):
            self._active.discard((kind, cause))
            log.info("alert.cleared", kind=kind, cause=cause)
