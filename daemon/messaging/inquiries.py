"""Status and messages of a running service, for ``spherorank status`` and ``spherorank listen``."""

import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.duration_text import duration_text
from daemon.messaging.listen import Message, ask, listen, requests_url_beside, write_message
from daemon.messaging.message_command import parse_command
from schemas.ids import printable_lines
from schemas.messages import MicroscopeData
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


def format_status(status: StatusReply, now: datetime) -> str:
    """Return a status as lines of text for a terminal, at the present time."""
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
        *_alert_lines(status),
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
        *_unacknowledged_lines(status, now),
        f"plates        {', '.join(status.plates) or 'none'}",
    ]
    if status.microscope:
        lines.append(f"microscope    {_microscope_text(status.microscope, now)}")
    if status.source_gone:
        lines.append(f"source gone   {status.source_gone}")
    return printable_lines(lines)


def _alert_lines(status: StatusReply) -> list[str]:
    """Return the lines about standing alerts; none if there is no alert."""
    if not status.standing_alerts:
        return []
    return _first_few(
        f"alerts        {status.standing_alerts}",
        [
            f"{each.kind} since {each.since.astimezone():%Y-%m-%d %H:%M}: {each.message}"
            for each in status.alerts
        ],
        status.standing_alerts,
    )


def _unacknowledged_lines(status: StatusReply, now: datetime) -> list[str]:
    """Return the lines about final rankings without acknowledgement; none if there are none."""
    finals = [
        f"{each.subscriber}: plate {each.plate}, day {each.day}, revision {each.revision}, for "
        f"{duration_text(now - each.created_at)}"
        for each in status.unacknowledged
    ]
    heading = f"no ack        {len(finals)} final rankings that a subscriber has to acknowledge"
    return _first_few(heading, finals, len(finals)) if finals else []


def _microscope_text(microscope: MicroscopeData, now: datetime) -> str:
    """Return the state of the microscope as text, with its plate, progress and pause."""
    parts = [str(microscope.state)]
    if microscope.paused_since:
        since = microscope.paused_since
        parts[0] += f" for {duration_text(now - since)} (since {since.astimezone():%Y-%m-%d %H:%M})"
    if microscope.plate:
        parts.append(f"plate {microscope.plate}, day {microscope.day}")
    if microscope.wells_total is not None:
        parts.append(f"{microscope.wells_saved} of {microscope.wells_total} wells")
    if microscope.remaining_s is not None:
        parts.append(f"{duration_text(timedelta(seconds=microscope.remaining_s))} left")
    return ", ".join(parts)


def _first_few(heading: str, lines: Sequence[str], count: int) -> list[str]:
    """Return a heading and the first of its lines; the last line has the number of the others."""
    shown = [f"              {line}" for line in lines[:MAX_SHOWN]]
    others = count - len(shown)
    return [heading, *shown, *([f"              and {others} more (--json)"] if others > 0 else [])]


def print_messages(
    events_url: str,
    requests_url: str | None,
    *,
    after: int | None,
    topic: str,
    command: str | None,
) -> None:
    """Print every message, one a line, until a signal or a closed pipe ends it.

    Parameters
    ----------
    command
        Command line that is run for each message instead; None: print the messages.

    Raises
    ------
    ConfigError
        If an address or the command cannot be used.
    """
    on_message = parse_command(command, _report).run if command is not None else _print_message
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: received.append(number))
    try:
        listen(
            events_url,
            requests_url or requests_url_beside(events_url),
            after=after,
            topic=topic,
            on_message=on_message,
            should_stop=lambda: bool(received),
            on_silence=_report,
        )
    except BrokenPipeError:
        sys.stderr.close()  # the reader closed the pipe


def _print_message(message: Message) -> None:
    """Print a message as one line on stdout."""
    write_message(message, sys.stdout)


def _report(problem: str) -> None:
    """Print a problem on stderr."""
    print(problem, file=sys.stderr)  # noqa: T201 - a report on the terminal
