"""The thread that publishes committed messages, answers requests and sends heartbeats."""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from daemon.messaging.publisher import OutboxDrain, Publisher
from daemon.messaging.requests import RequestSocket, RequestStore, reply_to
from schemas.errors import SpheroRankError, StoreError
from schemas.messages import ServiceState, StatusData
from schemas.requests import StatusDetails

log = structlog.get_logger()

_MAX_PUBLISH_DELAY_S = 0.1  # longest wait of a committed message
_MAX_REQUESTS_PER_TURN = 100  # before the outbox is checked again
_RETRY_S = 1.0


class IoThread:
    """Publishes messages, answers requests and sends heartbeats, until :meth:`stop` returns.

    The caller opens the store and the sockets, and closes them.

    Parameters
    ----------
    status
        Returns the current status of the service; called from this thread.
    details
        Returns the lists of a status reply; called from this thread.
    tick_age_s
        Returns the time since the main loop last made progress, in seconds.
    clock
        A monotonic clock in seconds, such as ``time.monotonic``.
    now
        Returns the current time, for the messages.
    heartbeat_s
        Interval of the heartbeats, in seconds.
    stall_s
        No heartbeat is sent after this time without progress of the main loop.
    store_patience_s
        The thread ends after the store has failed for this time.
    """

    def __init__(
        self,
        store: RequestStore,
        publisher: Publisher,
        requests: RequestSocket,
        *,
        status: Callable[[], StatusData],
        tick_age_s: Callable[[], float],
        clock: Callable[[], float],
        now: Callable[[], datetime],
        details: Callable[[], StatusDetails] = StatusDetails,
        heartbeat_s: float = 5.0,
        stall_s: float = 60.0,
        store_patience_s: float = 60.0,
    ) -> None:
        self._store = store
        self._outbox = OutboxDrain(store, publisher)
        self._requests = requests
        self._status = status
        self._details = details
        self._tick_age_s = tick_age_s
        self._clock = clock
        self._now = now
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._store_patience_s = store_patience_s
        self._state = ServiceState.ONLINE  # of the next heartbeat
        self._beat_due = clock()
        self._failing_since: float | None = None
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="spherorank-io", daemon=True)

    def start(self) -> None:
        """Start the thread; its first heartbeat has the state online."""
        self._thread.start()

    def check(self) -> None:
        """Raise the error that ended the thread, if any; the main loop calls this in every turn."""
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout_s: float) -> None:
        """Publish a stopping message and everything committed, then end the thread.

        Raises
        ------
        SpheroRankError
            If this takes longer than ``timeout_s``; the sockets must stay open then. Also the error
            that ended the thread early.
        """
        self._stopping.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise SpheroRankError(
                "publisher",
                f"did not finish within {timeout_s:g} s; expected the store to answer; "
                f"unpublished messages are published at the next start",
            )
        self.check()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
            self._store.add_message(self._status_with(ServiceState.STOPPING), self._now())
            while self._outbox.step():
                pass
        except Exception as error:  # noqa: BLE001 - check() raises it in the main loop
            self._failure = error

    def _turn(self) -> None:
        """Publish a batch, send a due heartbeat, then answer requests until the next turn."""
        wait_s = _MAX_PUBLISH_DELAY_S
        try:
            if (
                self._outbox.step()
            ):  # before the heartbeat: a full disk prevents writing, not reading
                wait_s = 0.0
            self._beat()
            self._failing_since = None
        except StoreError as error:
            self._wait_for_store(error)
            wait_s = _RETRY_S
        for _ in range(_MAX_REQUESTS_PER_TURN):
            if not self._requests.serve(
                lambda request: reply_to(request, self._store, self._status, self._details), wait_s
            ):
                return
            wait_s = 0.0

    def _beat(self) -> None:
        if self._clock() < self._beat_due or self._tick_age_s() > self._stall_s:
            return
        self._store.add_message(self._status_with(self._state), self._now())
        self._state = ServiceState.RUNNING
        self._beat_due = self._clock() + self._heartbeat_s

    def _status_with(self, state: ServiceState) -> StatusData:
        return self._status().model_copy(update={"state": state})

    def _wait_for_store(self, error: StoreError) -> None:
        if self._failing_since is None:
            self._failing_since = self._clock()
            log.error("store.unreachable", problem=str(error), patience_s=self._store_patience_s)
        elif self._clock() - self._failing_since > self._store_patience_s:
            raise error
