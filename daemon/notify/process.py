"""The process that notifies people: follows the service, and sends its events on each channel."""

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from acquisition.durable_files import write_durably
from daemon.messaging.asking import ask
from daemon.messaging.listen import Message, Service, listen
from daemon.notifications import read_state
from daemon.notify.notifier import Channel, Notifier
from schemas.errors import ConfigError, SilentServiceError, SpheroRankError
from schemas.notification import NotificationState
from schemas.requests import MAX_SEQUENCE, ReplayReply, ReplayRequest

log = structlog.get_logger()

TURN_S = 0.2
SAVE_S = 10.0
"""Interval at which the state file is written while nothing is sent."""
ANSWER_S = 5.0


@dataclass(frozen=True)
class NotifySettings:
    """Settings of the process: its service, channels, state file and rate."""

    service: Service
    channels: Sequence[Channel]
    state_file: Path
    interval_s: float


def notify_people(
    settings: NotifySettings,
    *,
    stop_signals: Sequence[int],
    notify_systemd: Callable[[str], None],
) -> None:
    """Notify people of alerts and rankings until a stop signal.

    Parameters
    ----------
    stop_signals
        Signal handlers append to it.
    notify_systemd
        Sends a state such as ``READY=1`` to systemd.

    Raises
    ------
    ConfigError
        If the state file cannot be used.
    SpheroRankError
        If the service cannot be followed any more; a new process continues where this one ended.
    """
    state = read_state(settings.state_file)
    if state is None:
        write_durably(settings.state_file, _content(NotificationState()))
    received: queue.SimpleQueue[Message | Mapping[str, int]] = queue.SimpleQueue()
    ended: list[bool] = []
    notifier = Notifier(
        settings.channels,
        interval_s=settings.interval_s,
        clock=time.monotonic,
        now=lambda: datetime.now(UTC),
    )
    notify_systemd("READY=1")
    log.info("notify.started", channels=[channel.where for channel in settings.channels])
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(
            _follow,
            settings.service,
            [channel.identity for channel in settings.channels],
            state or NotificationState(),
            received.put,
            lambda: bool(ended or stop_signals),
        )
        saved = _StateFile(settings.state_file)
        try:
            while not stop_signals and not following.done():
                _take_received(received, notifier, saved)
                notifier.check_silence()
                is_tried = notifier.send_due()
                saved.save(notifier.state(), is_tried=is_tried)
                notify_systemd("WATCHDOG=1")
        finally:
            ended.append(True)
        notify_systemd("STOPPING=1")
        saved.save(notifier.state(), is_tried=True)
        try:
            following.result()
        except ConfigError as error:
            # The addresses and keys were used before, so a later start may succeed.
            raise SpheroRankError(error.where, error.problem) from error


def starting_numbers(
    identities: Sequence[str], state: NotificationState, newest: int
) -> dict[str, int]:
    """Return the sequence number after which each channel starts, by its identity.

    Without a state, every channel starts after the newest message. A channel that is new starts
    with the channel that is furthest behind. If the service has issued fewer messages than a
    channel has sent, the service has a new store, and each channel starts with its first message.
    """
    known = {key: each.sequence for key, each in state.channels.items()}
    if any(number > newest for number in known.values()):
        log.warning("notify.new_store", newest=newest)
        return dict.fromkeys(identities, 0)
    return {each: known.get(each, min(known.values(), default=newest)) for each in identities}


class _StateFile:
    """Writes the state of the channels after each attempt to send, and at intervals."""

    def __init__(self, path: Path) -> None:
        self.has_begun = False  # before, the state has no sequence numbers
        self._path = path
        self._again_s = float("-inf")

    def save(self, state: NotificationState, *, is_tried: bool) -> None:
        """Write a state after an attempt, or if the last one is old.

        A file that cannot be written is logged and written later.
        """
        if not self.has_begun or not (is_tried or time.monotonic() >= self._again_s):
            return
        self._again_s = time.monotonic() + SAVE_S
        try:
            write_durably(self._path, _content(state))
        except SpheroRankError as error:
            log.error("notify.state_not_written", reason=str(error))


def _content(state: NotificationState) -> bytes:
    return state.model_dump_json(indent=2).encode() + b"\n"


def _take_received(
    received: "queue.SimpleQueue[Message | Mapping[str, int]]",
    notifier: Notifier,
    saved: _StateFile,
) -> None:
    """Pass the messages that have arrived to the notifier; wait a short time for the first one."""
    wait_s = TURN_S
    with suppress(queue.Empty):
        while True:
            item = received.get(timeout=wait_s)
            wait_s = 0.0
            if isinstance(item, Message):
                notifier.note(item)
            else:
                notifier.begin(item)
                saved.has_begun = True


def _follow(
    service: Service,
    identities: Sequence[str],
    state: NotificationState,
    put: Callable[[Message | Mapping[str, int]], None],
    should_stop: Callable[[], bool],
) -> None:
    """Put the starting numbers of the channels into a queue, then each later message."""
    newest = _newest_sequence(service, should_stop)
    if newest is None:
        return
    numbers = starting_numbers(identities, state, newest)
    put(numbers)
    listen(
        service,
        after=min(numbers.values()),
        topic="",
        on_message=put,
        should_stop=should_stop,
        on_silence=lambda text: log.warning("service.silent", reason=text),
    )


def _newest_sequence(service: Service, should_stop: Callable[[], bool]) -> int | None:
    """Return the newest sequence number of a service, however long it takes; None if stopped."""
    while not should_stop():
        request = ReplayRequest(after=MAX_SEQUENCE)
        with suppress(SilentServiceError):
            return ask(
                service.requests,
                request,
                ReplayReply,
                timeout_s=ANSWER_S,
                keys=service.keys,
                should_stop=should_stop,
            ).newest
    return None


def local_address(url: str) -> str:
    """Return the address at which a client on this machine reaches a bound address."""
    parts = urlsplit(url)
    if parts.scheme == "tcp" and parts.hostname in ("*", "0.0.0.0", "::"):  # noqa: S104 - compared
        return f"tcp://127.0.0.1:{parts.port}"
    return url
