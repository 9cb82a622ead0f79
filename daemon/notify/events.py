"""The events of which people are notified, and the text of a notification.

A text contains the plate id and the kind of each event, and nothing else of a message.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from daemon.messaging.listen import Message
from schemas.ids import printable
from schemas.messages import TOPIC_PREFIX, AlertKind
from schemas.ranking import FOR_RESEARCH_USE_ONLY

MAX_LINES = 20
"""Largest number of lines about events in one notification."""
NO_MESSAGES = "no messages from the service"
MESSAGES_AGAIN = "messages from the service again"


@dataclass(frozen=True)
class Event:
    """An event that people are notified of.

    Parameters
    ----------
    plate
        Plate id; None if the event is about the service.
    kind
        Kind of the event, such as ``alert disk`` or ``final ranking``.
    first_at, last_at
        Times of the first and the last message about it.
    count
        Number of messages about it.
    """

    plate: str | None
    kind: str
    first_at: datetime
    last_at: datetime
    count: int = 1

    @property
    def text(self) -> str:
        """The plate or "service", and the kind of the event."""
        subject = f"plate {printable(self.plate)}" if self.plate else "service"
        return f"{subject}: {self.kind}"

    def joined_with(self, later: "Event") -> "Event":
        """Return one event for this one and a later one of the same plate and kind."""
        return replace(self, last_at=later.last_at, count=self.count + later.count)


def event_of(message: Message, received_at: datetime) -> Event | None:
    """Return the event of a message; None for a message of which people are not notified.

    Parameters
    ----------
    received_at
        The time of the event if the message has none.
    """
    data = message.body.get("data", {})
    kind = _kind_of(message.topic, data)
    if kind is None:
        return None
    plate = data.get("plate")
    at = _time_of(message) or received_at
    return Event(plate if isinstance(plate, str) and plate else None, kind, at, at)


def _kind_of(topic: str, data: dict[str, object]) -> str | None:
    if topic == f"{TOPIC_PREFIX}.alert":
        known = data.get("kind") in tuple(AlertKind)
        return f"alert {data['kind']}" if known else "alert of another version of SpheroRank"
    if topic.startswith(f"{TOPIC_PREFIX}.ranking."):
        return "final ranking" if data.get("final") is True else "provisional ranking"
    return None


def _time_of(message: Message) -> datetime | None:
    try:
        at = datetime.fromisoformat(message.body.get("time", ""))
    except (TypeError, ValueError):
        return None
    return at.astimezone(UTC)


def title_of(events: Iterable[Event]) -> str:
    """Return the title of a notification about one or more events."""
    found = list(events)
    if len(found) == 1:
        return f"SpheroRank: {found[0].text}"
    return f"SpheroRank: {sum(event.count for event in found)} events"


def body_of(events: Iterable[Event]) -> str:
    """Return the text of a notification about one or more events, the alerts first."""
    found = sorted(events, key=lambda event: ("ranking" in event.kind, event.first_at))
    lines = [
        f"{event.text}{f' ({event.count} times)' if event.count > 1 else ''}"
        for event in found[:MAX_LINES]
    ]
    others = found[MAX_LINES:]
    if others:
        lines.append(f"and {len(others)} more plates and kinds")
    first = min(event.first_at for event in found)
    last = max(event.last_at for event in found)
    times = [f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" for at in (first, last)]
    period = f"From {times[0]} to {times[1]} UTC." if times[0] != times[1] else f"{times[0]} UTC."
    return "\n".join(
        [
            *lines,
            "",
            f"{period} The command spherorank status shows the details.",
            FOR_RESEARCH_USE_ONLY,
        ]
    )
