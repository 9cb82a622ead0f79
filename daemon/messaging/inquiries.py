"""Status and messages of a running service, for ``spherorank status`` and ``spherorank listen``."""

import signal
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from daemon.commands.console import errors
from daemon.duration_text import duration_text
from daemon.messaging.asking import POLL_S, ask
from daemon.messaging.key_files import ClientKeys, read_client_keys
from daemon.messaging.listen import (
    Message,
    Service,
    listen,
    requests_url_beside,
    write_message,
)
from daemon.messaging.message_command import parse_command
from schemas.errors import ConfigError
from schemas.messages import TOPIC_PREFIX, MicroscopeData
from schemas.requests import StatusReply, StatusRequest

MAX_SHOWN = 5
"""Number of lines of each list in the text of a status."""


def ask_status(
    requests_url: str, keys: ClientKeys | None = None, timeout_s: float = 3.0
) -> StatusReply:
    """Request the status of a running service at an address, and return it.

    Parameters
    ----------
    keys
        The keys with which to connect; None: no encryption.

    Raises
    ------
    SpheroRankError
        If no answer arrives in time, or it does not come from SpheroRank.
    """
    return ask(requests_url, StatusRequest(), StatusReply, keys=keys, timeout_s=timeout_s)


def status_lines(status: StatusReply, now: datetime) -> list[str]:
    """Return a status as lines of text for a console, at the present time."""
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
        f"plates        {', '.join(status.plates) or 'none'}; {status.closed_plates} closed",
    ]
    if status.microscope:
        lines.append(f"microscope    {_microscope_text(status.microscope, now)}")
    if status.source_gone:
        lines.append(f"source gone   {status.source_gone}")
    return lines


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


def services_of(
    events: Sequence[str],
    requests: Sequence[str],
    *,
    key: Path | None,
    server_keys: Sequence[Path],
) -> list[Service]:
    """Return the services of the options ``--connect``, ``--requests`` and of the keys, in order.

    Parameters
    ----------
    requests
        One address for each service; empty: the host and next port of the events.
    key
        File with the secret key of this client; None: no encryption.
    server_keys
        File with the public key of each service, or one file for all.

    Raises
    ------
    ConfigError
        If the numbers of options differ, or a key or address cannot be used.
    """
    count = len(events)
    if len(requests) not in (0, count):
        raise ConfigError(
            "--requests", f"is given {len(requests)} times; expected {count}, as --connect, or none"
        )
    if len(server_keys) not in ((1, count) if key else (0,)):
        expected = "one, or one for each --connect" if key else "none without --key"
        raise ConfigError("--server-key", f"is given {len(server_keys)} times; expected {expected}")
    keys: Sequence[ClientKeys | None] = [None] * count
    if key is not None:
        pairs = [read_client_keys(key, each) for each in server_keys]
        keys = pairs * count if len(pairs) == 1 else pairs
    urls = requests or [requests_url_beside(each) for each in events]
    return [Service(*each) for each in zip(events, urls, keys, strict=True)]


def print_messages(
    services: Sequence[Service],
    *,
    after: int | None,
    topic: str,
    command: str | None,
    ack_as: str | None,
) -> None:
    """Print every message, one a line, until a signal or a closed pipe ends it.

    Parameters
    ----------
    command
        Command line that is run for each message instead; None: print the messages.
    ack_as
        Name under which printed messages are acknowledged; None: no acknowledgement.

    Raises
    ------
    ConfigError
        If an address, a topic or the command cannot be used.
    """
    if after and len(services) > 1:
        raise ConfigError(
            "--after",
            f"is {after}; expected 0 or none with several --connect: each service has "
            "its own sequence numbers",
        )
    rankings = f"{TOPIC_PREFIX}.ranking."
    if ack_as is not None and not rankings.startswith(topic):
        raise ConfigError(
            "--topic",
            f"is {topic}; expected a start of {rankings} with --ack-as, since an acknowledgement "
            "covers the rankings",
        )
    on_message = parse_command(command, _report).run if command is not None else _print_message
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: received.append(number))
    lock = Lock()

    def one_at_a_time(message: Message) -> bool | None:
        with lock:
            return on_message(message)

    with ThreadPoolExecutor(len(services)) as pool:
        running = [
            pool.submit(
                listen,
                service,
                after=after,
                topic=topic,
                on_message=one_at_a_time,
                should_stop=lambda: bool(received),
                on_silence=_report,
                ack_as=ack_as,
            )
            for service in services
        ]
        # With a timeout, because a signal that another thread receives does not end a wait.
        while not received and all(not each.done() for each in running):
            wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        received.append(signal.SIGTERM)  # one has failed, so the others end as well
    try:
        for each in running:
            each.result()
    except BrokenPipeError:
        sys.stderr.close()  # the reader closed the pipe


def _print_message(message: Message) -> None:
    """Print a message as one line on stdout."""
    write_message(message, sys.stdout)


def _report(problem: str) -> None:
    """Print a problem on stderr."""
    errors.print(problem)
