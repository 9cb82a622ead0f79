"""The loop that publishes committed messages, answers requests and sends heartbeats."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from daemon.messaging.publisher import OutboxDrain
from daemon.messaging.replies import Replies, RequestStore
from daemon.messaging.sockets import MessageSockets
from daemon.messaging.status_snapshot import StatusSnapshot
from schemas.errors import StoreError
from schemas.messages import ServiceState, StatusData

log = structlog.get_logger()

_MAX_PUBLISH_DELAY_S = 0.5  # longest wait of a message that another process committed
_ANSWERING_S = 0.05  # longest time of answering requests before the outbox is checked again …
_REST_S = 0.05  # … and the rest after it, so that requests use half of one core at most
_RETRY_S = 1.0
_CHECK_KEYS_S = 1.0


class Feed(Protocol):
    """Knows the status of the service."""

    def snapshot(self) -> StatusSnapshot:
        """Return the newest snapshot of the status."""
        ...

    def loop_age_s(self) -> float:
        """Return the time since the main loop last made progress, in seconds."""
        ...


class MessageLoop:
    """Publishes messages, answers requests and sends heartbeats, until a snapshot says stop.

    The caller opens the store and the sockets, and closes them.

    Parameters
    ----------
    clock
        A monotonic clock in seconds, such as ``time.monotonic``.
    now
        Returns the current time, for the messages.
    heartbeat_s
        Interval of the heartbeats, in seconds.
    stall_s
        No heartbeat is sent after this time without progress of the main loop.
    must_ack
        Names of the subscribers that have to acknowledge final rankings.
    """

    def __init__(
        self,
        store: RequestStore,
        sockets: MessageSockets,
        feed: Feed,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        heartbeat_s: float,
        stall_s: float,
        must_ack: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._replies = Replies(store, must_ack, now)
        self._outbox = OutboxDrain(store, self._send)
        self._sockets = sockets
        self._feed = feed
        self._clock = clock
        self._now = now
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._state = ServiceState.ONLINE  # of the next heartbeat
        self._beat_due = clock()
        self._is_store_failing = False
        self._check_keys_due = clock()

    def run(self) -> None:
        """Run until a snapshot says stop; publish a stopping message and everything committed.

        Raises
        ------
        StoreError
            If the store fails at the end. Unpublished messages are published at the next start.
        """
        while not self._feed.snapshot().is_stopping:
            self._turn()
        self._store.add_message(self._status_with(ServiceState.STOPPING), self._now())
        while self._outbox.step():
            pass

    def _turn(self) -> None:
        """Publish a batch, send a due heartbeat, then answer requests until the next turn."""
        wait_s = _MAX_PUBLISH_DELAY_S
        self._check_keys()
        try:
            # before the heartbeat: a full disk prevents writing, not reading
            if self._outbox.step():
                wait_s = 0.0
            self._beat()
            if (until_beat_s := self._beat_due - self._clock()) > 0:
                wait_s = min(wait_s, until_beat_s)
            self._is_store_failing = False
        except StoreError as error:
            if not self._is_store_failing:
                log.error("store.unreachable", problem=str(error))
            self._is_store_failing = True
            wait_s = _RETRY_S
        self._sockets.wait(wait_s)
        answered_until = self._clock() + _ANSWERING_S
        while self._sockets.requests.answer(self._reply):
            if self._clock() > answered_until:
                time.sleep(_REST_S)
                return

    def _send(self, topic: str, sequence: int, body: str) -> None:
        self._sockets.publisher.send(topic, sequence, body)

    def _check_keys(self) -> None:
        """End the connections of clients that are allowed no longer, once a second."""
        if self._clock() >= self._check_keys_due:
            self._check_keys_due = self._clock() + _CHECK_KEYS_S
            if self._sockets.disconnect_revoked():
                log.info("keys.revoked")

    def _reply(self, request: bytes, key_name: str | None) -> str:
        return self._replies.reply_to(request, key_name, self._feed.snapshot())

    def _beat(self) -> None:
        if self._clock() < self._beat_due or self._feed.loop_age_s() > self._stall_s:
            return
        self._store.add_message(self._status_with(self._state), self._now())
        self._state = ServiceState.RUNNING
        self._beat_due = self._clock() + self._heartbeat_s

    def _status_with(self, state: ServiceState) -> StatusData:
        return self._feed.snapshot().status.model_copy(update={"state": state})
