"""The clock of this process, which gives the time of the service."""

from datetime import datetime

from daemon.steady_clock import SteadyClock

CLOCK = SteadyClock()
"""Read it as ``service_clock.CLOCK``: a benchmark sets another clock before the service starts."""


def now() -> datetime:
    """Return the time of the service, in UTC."""
    return CLOCK.now()
