"""Alerts for operators, raised once for each cause until the cause is cleared."""

from collections.abc import Callable
from datetime import datetime

import structlog

from schemas.errors import StoreError
from schemas.messages import AlertData, AlertKind, StandingAlert
from store.ports import Outbox

log = structlog.get_logger()


class Alerts:
    """Raises each alert once, in the log and in the outbox, until its cause is cleared.

    An alert stands whether or not the store accepts its message.

    Attributes
    ----------
    standing : tuple of StandingAlert
        The alerts that were raised and not cleared, the oldest first. Any thread may read it.
    """

    def __init__(self, store: Outbox, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._active: dict[tuple[AlertKind, str], StandingAlert] = {}
        self._unpublished: set[tuple[AlertKind, str]] = set()
        self.standing: tuple[StandingAlert, ...] = ()

    def raise_once(
        self,
        kind: AlertKind,
        cause: str,
        message: str,
        plate: str | None = None,
        *,
        blocks: bool = False,
    ) -> None:
        """Log and publish an alert message, unless an alert of this kind and cause is active.

        Parameters
        ----------
        blocks
            Whether the service cannot do its work until the cause is cleared.
        """
        if self.is_active(kind, cause):
            return
        self._active[kind, cause] = StandingAlert(
            kind=kind, plate=plate, message=message, since=self._clock(), blocks=blocks
        )
        self.standing = tuple(self._active.values())
        log.warning("alert.raised", kind=kind, plate=plate, message=message)
        self._unpublished.add((kind, cause))
        self.publish_delayed()

    def publish_delayed(self) -> None:
        """Publish the alerts that the store has not accepted yet; the alert may be about the store.

        The next call tries again.
        """
        for key in [key for key in self._active if key in self._unpublished]:
            alert = self._active[key]
            try:
                self._store.add_message(
                    AlertData(kind=alert.kind, plate=alert.plate, message=alert.message),
                    self._clock(),
                )
            except StoreError as error:
                log.error("alert.not_stored", kind=alert.kind, reason=str(error))
                return
            self._unpublished.discard(key)

    def is_active(self, kind: AlertKind, cause: str) -> bool:
        """Return whether an alert of this kind and cause was raised and not cleared."""
        return (kind, cause) in self._active

    @property
    def active_count(self) -> int:
        """The number of alerts that were raised and not cleared."""
        return len(self._active)

    def clear(self, kind: AlertKind, cause: str) -> None:
        """Clear the alert of a kind and cause, if it is active, and log it."""
        if self._active.pop((kind, cause), None) is not None:
            self._unpublished.discard((kind, cause))
            self.standing = tuple(self._active.values())
            log.info("alert.cleared", kind=kind, cause=cause)
