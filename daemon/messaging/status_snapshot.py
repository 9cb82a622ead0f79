"""Snapshots of the status, which the main process sends to the process of the sockets."""

import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

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


class StatusFeed:
    """Receives snapshots on a thread, and keeps the newest one.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
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
