"""The active alerts of the imaging process, so that each cause is reported once."""

from collections.abc import Callable
from typing import Any

from schemas.messages import AlertKind


class ActiveAlerts:
    """Emits events and keeps the causes of the alerts that are active.

    Parameters
    ----------
    emit
        Is called with the name and fields of each event.
    """

    def __init__(self, emit: Callable[..., None]) -> None:
        self._emit = emit
        self._plates: dict[str, str | None] = {}  # by cause
        self._kinds: dict[str, str] = {}  # by cause

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - fields of any event
        """Emit a named event with fields; an event ``alert`` makes its cause active."""
        if event == "alert":
            self._plates[fields["cause"]] = fields["plate"]
            self._kinds[fields["cause"]] = fields["kind"]
        self._emit(event, **fields)

    def is_active(self, cause: str) -> bool:
        """Return whether an alert with this cause was raised and not cleared since."""
        return cause in self._plates

    def raise_once(
        self,
        cause: str,
        message: str,
        plate: str | None = None,
        kind: AlertKind = AlertKind.MICROSCOPE,
    ) -> None:
        """Emit an alert with a message and plate (id), unless its cause is active already."""
        if not self.is_active(cause):
            self.emit("alert", kind=str(kind), cause=cause, message=message, plate=plate)

    def clear(self, cause: str) -> None:
        """Emit ``alert.cleared`` if the cause is active."""
        if self.is_active(cause):
            del self._plates[cause]
            self._emit("alert.cleared", kind=self._kinds.pop(cause), cause=cause)

    def clear_plate(self, plate: str) -> None:
        """Clear all active alerts of a plate (id)."""
        for cause in [cause for cause, each in self._plates.items() if each == plate]:
            self.clear(cause)
