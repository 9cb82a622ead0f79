"""Status and messages of a running service, for ``spherorank status`` and ``spherorank listen``."""

import signal
import sys
from collections.abc import Sequence

from daemon.messaging.listen import ask, listen, requests_url_beside, write_message
from schemas.requests import StatusReply, StatusRequest

MAX_SHOWN = 5
"""Number of lines of each list in the text of a status."""


def ask_status(requests_url: str, timeout_s: float = 3.0) -> StatusReply:
    """Request the status of a running service at an address, and return it.

    Raises
    ------
    SpheroRankError
        If no answer arrives in time, or it does not come from SpheroRank.
    """
    return ask(requests_url, StatusRequest(), StatusReply, timeout_s=timeout_s)


def format_status(status: StatusReply) -> str:
    """Return a status as lines of text for a terminal."""
    last_image = (
        status.last_image_at.isoformat(timespec="seconds")
        if status.last_image_at
        else "none since the start"
    )
    lines = [
        (
            f"SpheroRank {status.version}, {status.state} since "
            f"{status.started_at:%Y-%m-%d %H:%M:%S %Z}, encoder {status.encoder_id}"
        ),
        f"measures      {status.measured_by or 'method not recorded'}",
        f"last image    {last_image}",
        f"backlog       {status.backlog} well images",
        *_first_few(
            f"pending       {len(status.pending)} plates and reasons",
            [f"{each.plate}: {each.images} ({each.reason})" for each in status.pending],
            len(status.pending),
        ),
        *_first_few(
            f"rejected      {status.rejected} files (spherorank rejected lists them)",
            [f"{each.path}: {each.reason}" for each in status.rejected_files],
            status.rejected,
        ),
        *_first_few(
            f"unreadable    {status.unreadable} files, which are tried again",
            [f"{each.path}: {each.reason}" for each in status.unreadable_files],
            status.unreadable,
        ),
        f"plates        {', '.join(status.plates) or 'none'}",
    ]
    if status.microscope:
        where = (
            f", plate {status.microscope.plate}, day {status.microscope.day}"
            if status.microscope.plate
            else ""
        )
        lines.append(f"microscope    {status.microscope.state}{where}")
    if status.source_gone:
        lines.append(f"source gone   {status.source_gone}")
    return "\n".join(lines)


def _first_few(heading: str, lines: Sequence[str], count: int) -> list[str]:
    """Return a heading and the first of its lines; the last line has the number of the others."""
    shown = [f"              {line}" for line in lines[:MAX_SHOWN]]
    others = count - len(shown)
    return [heading, *shown, *([f"              and {others} more (--json)"] if others > 0 else [])]


def print_messages(
    events_url: str, requests_url: str | None, *, after: int | None, topic: str
) -> None:
    """Print every message, one a line, until a signal or a closed pipe ends it."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: received.append(number))
    try:
        listen(
            events_url,
            requests_url or requests_url_beside(events_url),
            after=after,
            topic=topic,
            on_message=lambda message: write_message(message, sys.stdout),
            should_stop=lambda: bool(received),
            on_silence=lambda problem: print(problem, file=sys.stderr),  # noqa: T201 - a report on the terminal
        )
    except BrokenPipeError:
        sys.stderr.close()  # the reader closed the pipe
