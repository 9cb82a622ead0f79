"""Record the stop signals in a list, which the main loop polls.

A handler that did more could interrupt the main thread in the middle of a commit.
"""

import signal
from collections.abc import Callable

HANG_UP = getattr(signal, "SIGHUP", None)
"""The signal that stops a service which is then started again; None on Windows."""
STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")  # SIGBREAK is Ctrl-Break of Windows
    if hasattr(signal, name)
)


def record_stop_signals(received: list[int], on_second: Callable[[int], None]) -> None:
    """Install handlers that append each stop signal to a list; the second calls ``on_second``.

    Parameters
    ----------
    received
        The list that the handlers append to. The process stops when it is not empty.
    on_second
        Called with the number of the second and each later signal, to end the process at once.
    """

    def record(number: int, _frame: object) -> None:
        received.append(number)
        if len(received) > 1:
            on_second(number)

    for number in STOP_SIGNALS:
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        if number == HANG_UP and is_ignored:
            continue  # under nohup the process outlives its terminal
        signal.signal(number, record)
