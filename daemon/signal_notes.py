"""Signals leave a note, and the loop looks: a handler that did more could meet the main thread in the middle of anything."""

import signal
from collections.abc import Callable


def take_notes_of_signals(notes: list[int], end_now: Callable[[int], None]) -> None:
    """Let SIGTERM, SIGINT and SIGHUP, of a terminal that closes, leave a note for the loop; a second one calls ``end_now`` at once."""

    def note(number: int, _frame: object) -> None:
        notes.append(number)
        if len(notes) > 1:
            end_now(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if (
            number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        ):  # under nohup a closed terminal is nothing
            signal.signal(number, note)
