"""Sends events to people on each channel: at a limited rate, again after a failure, none lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from daemon.messaging.listen import Message
from daemon.notify.events import MESSAGES_AGAIN, NO_MESSAGES, Event, body_of, event_of, title_of
from schemas.notification import ChannelState, NotificationState

log = structlog.get_logger()

GATHER_S = 2.0
"""Time after the first event in which further events join the same notification."""
FIRST_RETRY_S = 10.0
LONGEST_RETRY_S = 600.0
"""Longest pause after a failed attempt; the pause doubles with each failure in a row."""
SILENT_S = 300.0
"""Time without any message of the service after which people are notified."""


class Channel(Protocol):
    """A way to send a text to people."""

    @property
    def identity(self) -> str:
        """Name of the channel in the state file."""
        ...

    @property
    def where(self) -> str:
        """Place of the channel in the configuration, for people."""
        ...

    def send(self, title: str, body: str) -> str:
        """Send a text, and return the problem; the empty text if it was sent."""
        ...


@dataclass
class _Queue:
    """The events that wait for one channel, and the state of the channel."""

    channel: Channel
    sequence: int = 0  # every message up to this number was sent or needs no text
    pending: dict[tuple[str | None, str], Event] = field(default_factory=dict)  # by plate and kind
    due_s: float = float("-inf")  # earliest time of the next attempt
    pause_s: float = FIRST_RETRY_S
    failing_since: datetime | None = None
    problem: str = ""

    def add(self, event: Event, gathered_s: float) -> None:
        if not self.pending:
            self.due_s = max(self.due_s, gathered_s)
        key = event.plate, event.kind
        known = self.pending.get(key)
        self.pending[key] = known.joined_with(event) if known else event


class Notifier:
    """Collects the events of received messages, and sends them on each channel.

    After a notification, the next one on this channel is sent ``interval_s`` later, with all events
    of that time. A failed channel keeps its events. Its sequence number stays at the last sent
    message, so that a new process requests the others again.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.
    now
        Returns the present time.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        interval_s: float,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        self._queues = [_Queue(channel) for channel in channels]
        self._interval_s = interval_s
        self._clock = clock
        self._now = now
        self._received = 0  # sequence number of the last message
        self._heard_s = clock()
        self._heard_at: datetime | None = None
        self._is_silent = False

    def begin(self, numbers: Mapping[str, int]) -> None:
        """Set the sequence number of each channel, before its first message is received."""
        for queue in self._queues:
            queue.sequence = numbers[queue.channel.identity]
        self._received = min(queue.sequence for queue in self._queues)

    def note(self, message: Message) -> None:
        """Add the event of the next message to each channel that has not sent it."""
        self._received = message.sequence
        self._heard_s, self._heard_at = self._clock(), self._now()
        if self._is_silent:
            self._is_silent = False
            self._add(self._event_now(MESSAGES_AGAIN))
        event = event_of(message, self._heard_at)
        if event is not None:
            self._add(event, message.sequence)

    def check_silence(self) -> None:
        """Add an event if the service has sent no message for a long time."""
        if not self._is_silent and self._clock() - self._heard_s >= SILENT_S:
            self._is_silent = True
            self._add(self._event_now(NO_MESSAGES))

    def send_due(self) -> bool:
        """Send the events of each channel whose pause is over; return whether it was tried."""
        is_tried = False
        for queue in self._queues:
            if queue.pending and self._clock() >= queue.due_s:
                is_tried = True
                self._send(queue)
            if not queue.pending:
                queue.sequence = max(queue.sequence, self._received)
        return is_tried

    def state(self) -> NotificationState:
        """Return the present state of all channels."""
        return NotificationState(
            heard_at=self._heard_at,
            channels={
                queue.channel.identity: ChannelState(
                    where=queue.channel.where,
                    sequence=queue.sequence,
                    failing_since=queue.failing_since,
                    problem=queue.problem,
                )
                for queue in self._queues
            },
        )

    def _event_now(self, kind: str) -> Event:
        return Event(None, kind, self._now(), self._now())

    def _add(self, event: Event, sequence: int | None = None) -> None:
        for queue in self._queues:
            if sequence is None or sequence > queue.sequence:
                queue.add(event, self._clock() + GATHER_S)

    def _send(self, queue: _Queue) -> None:
        events = queue.pending.values()
        queue.problem = queue.channel.send(title_of(events), body_of(events))
        if queue.problem:
            queue.failing_since = queue.failing_since or self._now()
            queue.due_s = self._clock() + queue.pause_s
            queue.pause_s = min(2 * queue.pause_s, LONGEST_RETRY_S)
            log.error("notification.failed", channel=queue.channel.where, reason=queue.problem)
            return
        log.info("notification.sent", channel=queue.channel.where, events=len(events))
        queue.pending.clear()
        queue.failing_since, queue.pause_s = None, FIRST_RETRY_S
        queue.due_s = self._clock() + self._interval_s
