"""The one small thread beside the loop: publishes what is committed, answers requests, and beats while the loop is alive."""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from daemon.messaging.publisher import OutboxDrain, Publisher
from daemon.messaging.requests import RequestSocket, RequestStore, reply_to
from schemas.errors import SpheroRankError, StoreError
from schemas.messages import ServiceState, StatusData

log = structlog.get_logger()

_MAX_PUBLISH_DELAY_S = 0.1  # how long a committed message waits at most before it is published
_MAX_REQUESTS_PER_TURN = 100  # requests answered before the outbox is looked at again
_RETRY_S = 1.0


class IoThread:
    """Owns no socket and no store: it uses them until :meth:`stop` returns, and whoever opened them closes them.

    Parameters
    ----------
    status
        What the service knows now; called from this thread.
    tick_age_s
        How long ago the loop last showed that it is alive.
    clock
        Seconds that never go back, such as ``time.monotonic``.
    now
        The time that messages carry.
    heartbeat_s
        A heartbeat is sent this often,
    stall_s
        … but not while the loop has stood still this long.
    store_patience_s
        A store that cannot be read this long ends the thread.
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
        heartbeat_s: float = 5.0,
        stall_s: float = 60.0,
        store_patience_s: float = 60.0,
    ) -> None:
        self._store = store
        self._outbox = OutboxDrain(store, publisher)
        self._requests = requests
        self._status = status
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
        """Say that the service is online and begin."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if anything did; the loop asks at every turn."""
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout_s: float) -> None:
        """Say that the service stops, publish everything committed, end; then raise what ended the thread early, if anything did.

        Raises
        ------
        SpheroRankError
            If that takes longer than ``timeout_s``; the sockets must not be closed then.
        """
        self._stopping.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise SpheroRankError(
                "publisher",
                f"did not finish within {timeout_s:g} s; expected the store to answer; unpublished messages are published at the next start",
            )
        self.check()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
            self._store.add_message(self._status_with(ServiceState.STOPPING), self._now())
            while self._outbox.step():
                pass
        except Exception as error:  # noqa: BLE001 - a thread has no caller: what ended it is raised in the loop by check()
            self._failure = error

    def _turn(self) -> None:
        """Publish and beat, then answer requests until the next turn is due."""
        wait_s = _MAX_PUBLISH_DELAY_S
        try:
            if (
                self._outbox.step()
            ):  # before the beat: a full disk stops what is written, not what is read
                wait_s = 0.0
            self._beat()
            self._failing_since = None
        except StoreError as error:
            self._wait_for_store(error)
            wait_s = _RETRY_S
        for _ in range(_MAX_REQUESTS_PER_TURN):
            if not self._requests.serve(
                lambda request: reply_to(request, self._store, self._status), wait_s
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
