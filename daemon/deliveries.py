"""Final rankings that a subscriber has not acknowledged, and the alerts about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daemon.alerts import Alerts
from daemon.duration_text import duration_text
from schemas.messages import AlertKind
from schemas.requests import UnacknowledgedData
from store.ports import AcknowledgementStore

REPEATED_AFTER = timedelta(days=1)
"""Interval at which the alert about an overdue acknowledgement is repeated."""
MAX_LISTED = 50
"""Largest number of final rankings of one subscriber that are listed, the oldest first."""


def unacknowledged_finals(
    store: AcknowledgementStore, must_ack: Sequence[str]
) -> tuple[UnacknowledgedData, ...]:
    """Return the final rankings that the subscribers in ``must_ack`` have not acknowledged."""
    if not must_ack:
        return ()
    acknowledged = store.acknowledged()
    return tuple(
        UnacknowledgedData(
            subscriber=subscriber,
            plate=final.plate,
            day=final.day,
            revision=final.revision,
            sequence=final.sequence,
            created_at=final.created_at,
        )
        for subscriber in must_ack
        for final in store.finals_after(acknowledged.get(subscriber, 0), MAX_LISTED)
    )


@dataclass(frozen=True)
class Deliveries:
    """Raises an alert for each final ranking that a subscriber acknowledges too late.

    Parameters
    ----------
    must_ack
        Names of the subscribers that have to acknowledge final rankings.
    ack_within
        Time in which they have to do so.
    now
        Returns the current time.
    """

    store: AcknowledgementStore
    must_ack: Sequence[str]
    ack_within: timedelta
    alerts: Alerts
    now: Callable[[], datetime]
    _raised: dict[str, datetime] = field(default_factory=dict)  # time of each alert, by its cause

    def check(self) -> None:
        """Raise due alerts, repeat them each day, and clear those that were acknowledged."""
        now = self.now()
        overdue = {
            f"{final.subscriber} {final.sequence}": final
            for final in unacknowledged_finals(self.store, self.must_ack)
            if now - final.created_at > self.ack_within
        }
        for cause, raised_at in list(self._raised.items()):
            if cause not in overdue or now - raised_at >= REPEATED_AFTER:
                self.alerts.clear(AlertKind.DELIVERY, cause)
                del self._raised[cause]
        for cause, final in overdue.items():
            if cause in self._raised:
                continue
            self.alerts.raise_once(
                AlertKind.DELIVERY,
                cause,
                f"{final.subscriber} has not acknowledged the final ranking of plate "
                f"{final.plate} (day {final.day}, revision {final.revision}, message "
                f"{final.sequence}) for {duration_text(now - final.created_at)}; expected an "
                f"acknowledgement within {duration_text(self.ack_within)}",
                final.plate,
            )
            if self.alerts.is_active(AlertKind.DELIVERY, cause):
                self._raised[cause] = now
