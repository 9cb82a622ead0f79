"""Record SIGTERM, SIGINT and SIGHUP in a list, which the main loop polls.

A handler that did more could interrupt the main thread in the middle of a commit.
"""

import signal
from collections.abc import Callable


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

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        if number == signal.SIGHUP and is_ignored:
            continue  # under nohup the process outlives its terminal
        signal.signal(number, record)
