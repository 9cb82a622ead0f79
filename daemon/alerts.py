"""Alerts: a person should look. Each cause is said once, and again only after it went away."""

from collections.abc import Callable
from datetime import datetime

import structlog

from schemas.errors import StoreError
from schemas.messages import AlertData, AlertKind
from store.ports import Outbox

log = structlog.get_logger()


class Alerts:
    """Raises alerts into the log and the outbox."""

    def __init__(self, store: Outbox, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._active: set[tuple[AlertKind, str]] = set()

    def raise_once(
        self, kind: AlertKind, cause: str, message: str, plate: str | None = None
    ) -> None:
        """Raise an alert unless this cause stands already. ``cause`` tells two alerts of one kind apart."""
        if self.is_active(kind, cause):
            return
        self._active.add((kind, cause))
        log.warning("alert.raised", kind=kind, plate=plate, message=message)
        try:
            self._store.add_message(
                AlertData(kind=kind, plate=plate, message=message), self._clock()
            )
        except StoreError as error:
            # The store itself may be what the alert is about; the log has said it, and the next occurrence tries again.
            self._active.discard((kind, cause))
            log.error("alert.not_stored", kind=kind, reason=str(error))

    def is_active(self, kind: AlertKind, cause: str) -> bool:
        """Return whether this cause was raised and has not gone away."""
        return (kind, cause) in self._active

    @property
    def active_count(self) -> int:
        """How many causes were raised and have not gone away."""
        return len(self._active)

    def clear(self, kind: AlertKind, cause: str) -> None:
        """Take note that a cause went away."""
        if self.is_active(kind, cause):
            self._active.discard((kind, cause))
            log.info("alert.cleared", kind=kind, cause=cause)
