"""A limit of the requests per second of each client."""

from collections.abc import Callable

MAX_CLIENTS = 1000  # with a remembered rate; more than there can be connections


class RateLimit:
    """Counts the requests of each client: ``burst`` at once, ``per_second`` in the long run.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._allowances: dict[bytes, tuple[float, float]] = {}  # requests left, at a time

    def allows(self, client: bytes) -> bool:
        """Count one request of a client, and return whether it is within the limit."""
        now_s = self._clock()
        left, at_s = self._allowances.pop(client, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_second)
        is_allowed = left >= 1
        self._allowances[client] = (left - 1 if is_allowed else left, now_s)
        if len(self._allowances) > MAX_CLIENTS:
            del self._allowances[next(iter(self._allowances))]  # silent for the longest time
        return is_allowed
