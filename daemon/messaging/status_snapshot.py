"""Snapshots of the status, which the main process sends to the process of the sockets."""

import json
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from schemas.events import as_utf8
from schemas.frozen_model import FrozenModel
from schemas.messages import StatusData
from schemas.requests import StatusDetails


class StatusSnapshot(FrozenModel):
    """The status at one time."""

    status: StatusData
    details: StatusDetails
    loop_age_s: float
    """Time since the main loop last made progress, in seconds."""
    is_stopping: bool = False
    """True in the last snapshot: the process publishes everything committed, and ends."""


def snapshot_bytes(snapshot: StatusSnapshot) -> bytes:
    """Return a snapshot as JSON; bytes of file names that are not UTF-8 are replaced."""
    return json.dumps(as_utf8(snapshot.model_dump(mode="json"))).encode()


class StatusFeed:
    """Receives snapshots on a thread, and keeps the newest one.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.
    on_arrival
        Called on the thread after each snapshot.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Callable[[], float],
        on_arrival: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._on_arrival = on_arrival
        self._newest: tuple[StatusSnapshot, float] | None = None  # with the time of its arrival
        self._arrived = threading.Event()
        threading.Thread(target=self._receive, name="status-feed", daemon=True).start()

    def snapshot(self) -> StatusSnapshot:
        """Return the newest snapshot; wait for the first one."""
        return self._wait_for_first()[0]

    def loop_age_s(self) -> float:
        """Return the time since the main loop last made progress, as far as this process knows."""
        snapshot, arrived_s = self._wait_for_first()
        return snapshot.loop_age_s + self._clock() - arrived_s

    def _wait_for_first(self) -> tuple[StatusSnapshot, float]:
        while self._newest is None:
            self._arrived.wait()
        return self._newest

    def _receive(self) -> None:
        """Receive snapshots until the main process closes the pipe or ends."""
        while True:
            try:
                content = self._connection.recv_bytes()
            except (EOFError, OSError):
                return
            self._newest = StatusSnapshot.model_validate_json(content), self._clock()
            self._arrived.set()
            self._on_arrival()
