"""Status and messages of a running service, for ``spherorank status`` and ``spherorank listen``."""

import signal
import sys

from daemon.messaging.listen import ask, listen, requests_url_beside, write_message
from schemas.messages import StatusData
from schemas.requests import StatusReply, StatusRequest


def ask_status(requests_url: str, timeout_s: float = 3.0) -> StatusReply:
    """Request the status of a running service at an address, and return it.

    Raises
    ------
    SpheroRankError
        If no answer arrives in time, or it does not come from SpheroRank.
    """
    return ask(requests_url, StatusRequest(), StatusReply, timeout_s=timeout_s)


def format_status(status: StatusData) -> str:
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
        f"last image    {last_image}",
        f"backlog       {status.backlog} well images",
        f"rejected      {status.rejected} files or images (spherorank rejected lists them)",
        f"plates        {', '.join(status.plates) or 'none'}",
        *(f"held          {plate}: {reason}" for plate, reason in status.held.items()),
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
