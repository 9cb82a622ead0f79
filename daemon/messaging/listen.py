"""A subscriber of the PUB socket that misses nothing: it notices gaps, replays and acknowledges."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO
from urllib.parse import urlsplit

import zmq

from daemon.messaging.asking import POLL_S, ReplyT, ask, connect
from daemon.messaging.key_files import ClientKeys
from schemas.errors import ConfigError, SilentServiceError
from schemas.frozen_model import FrozenModel
from schemas.ids import printable, printable_json
from schemas.messages import TOPIC_PREFIX
from schemas.requests import AckReply, AckRequest, ReplayReply, ReplayRequest

SILENT_S = 15.0
"""Time without any message after which the service is gone; it sends its status every 5 s."""
RETRY_S = 10.0
"""Pause before a message that could not be processed is processed again."""
ACK_INTERVAL_S = 1.0
"""Smallest interval of acknowledgements, except the last one."""


@dataclass(frozen=True)
class Message:
    """A received message; ``body`` is a CloudEvents event."""

    topic: str
    sequence: int
    body: dict[str, Any]

    def json_line(self) -> str:
        """Return ``{"topic": …, "sequence": …, "body": …}``."""
        content = {"topic": self.topic, "sequence": self.sequence, "body": self.body}
        return printable_json(json.dumps(content, ensure_ascii=False))


@dataclass(frozen=True)
class Service:
    """The addresses of one service, and the keys with which to connect; None: no encryption."""

    events: str
    requests: str
    keys: ClientKeys | None = None


def requests_url_beside(events_url: str) -> str:
    """Return the default address of the requests socket: the host and next port of the events.

    Raises
    ------
    ConfigError
        If ``events_url`` has no port to count from.
    """
    parts = urlsplit(events_url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "tcp" or not parts.hostname or port is None:
        raise ConfigError(
            "--connect",
            f"{events_url} is not a tcp address with a port; expected one such as "
            f"tcp://127.0.0.1:5556, or --requests",
        )
    return f"{events_url.rpartition(':')[0]}:{port + 1}"


def listen(
    service: Service,
    *,
    after: int | None,
    topic: str,
    on_message: Callable[[Message], bool | None],
    should_stop: Callable[[], bool],
    on_silence: Callable[[str], None],
    ack_as: str | None = None,
    reply_timeout_s: float = 5.0,
    silent_s: float = SILENT_S,
) -> None:
    """Call ``on_message`` once for each message, in order and without gaps, until ``should_stop``.

    Parameters
    ----------
    after
        The last known sequence number; all later messages are replayed first. None: only new
        messages, or with ``ack_as`` all messages after the last acknowledged one.
    topic
        Prefix of the topics that are passed on. All messages are received, to detect gaps.
    on_message
        Returns False if the message could not be processed.
    on_silence
        Called with a text when a request is not answered within ``reply_timeout_s``, which is
        retried; when no message of any topic arrives for ``silent_s``; when messages arrive again;
        and when the service has deleted messages that are requested.
    ack_as
        Name under which processed messages are acknowledged. A message that could not be processed
        is processed again until that succeeds, because an acknowledgement covers all earlier
        messages.

    Raises
    ------
    ConfigError
        If an address cannot be used, a request is refused, or ``after`` is from another store.
    """
    requester = _Requester(service, reply_timeout_s, should_stop, on_silence)
    acknowledger = _Acknowledger(requester, ack_as) if ack_as else None
    with zmq.Context() as context, context.socket(zmq.SUB) as events:
        events.subscribe(TOPIC_PREFIX)
        connect(events, service.events, service.keys)
        if acknowledger and after is None:
            after = acknowledger.acknowledged()
        silence = _SilenceReport(service, silent_s, on_silence)
        for message in _messages_without_gaps(events, requester, after, should_stop, silence):
            if message is None:
                silence.note_nothing(events)
            else:
                is_processed = not message.topic.startswith(topic) or _process(
                    message, on_message, should_stop, may_fail=acknowledger is None
                )
                if acknowledger and is_processed:
                    acknowledger.note(message.sequence)
            if acknowledger:
                acknowledger.send_due()
    if acknowledger:
        acknowledger.send_last()


def _process(
    message: Message,
    on_message: Callable[[Message], bool | None],
    should_stop: Callable[[], bool],
    *,
    may_fail: bool,
) -> bool:
    """Process a message, again and again unless it may fail; return whether it was processed."""
    while on_message(message) is False and not may_fail:
        again_s = time.monotonic() + RETRY_S
        while time.monotonic() < again_s:
            if should_stop():
                return False
            time.sleep(POLL_S)
    return True


def write_message(message: Message, stream: TextIO) -> None:
    """Write a message as one line to a stream: JSON to a pipe or file, text to a terminal."""
    line = printable(_readable(message)) if stream.isatty() else message.json_line()
    stream.write(f"{line}\n")
    stream.flush()


def _messages_without_gaps(
    events: zmq.Socket[bytes],
    requester: "_Requester",
    last: int | None,
    should_stop: Callable[[], bool],
    silence: "_SilenceReport",
) -> Iterator[Message | None]:
    """Yield every message after ``last`` in order, and None while nothing arrives.

    Without ``last``, from the first received one.
    """
    if last is not None:
        for message in requester.messages_after(last):
            last = message.sequence
            yield message
    heard_through = last  # replayed messages after this number arrive again
    while not should_stop():
        if not events.poll(round(POLL_S * 1000)):
            yield None
            continue
        heard = _decode(events.recv_multipart())
        silence.note_message()
        if last is None or heard.sequence == last + 1:
            last = heard.sequence
            yield heard
        elif heard_through is None or not heard_through < heard.sequence <= last:
            # A gap, a message sent twice, or another store behind the same address: the replay
            # tells which.
            for message in requester.messages_after(last):
                last = message.sequence
                yield message
        heard_through = heard.sequence


class _SilenceReport:
    """Reports once that no message arrives, and once that messages arrive again."""

    def __init__(self, service: Service, silent_s: float, report: Callable[[str], None]) -> None:
        self._service = service
        self._silent_s = silent_s
        self._report = report
        self._heard_s = self._connected_s = time.monotonic()
        self._is_silent = False

    def note_nothing(self, events: zmq.Socket[bytes]) -> None:
        """Report a silence that has just become too long, and connect again while it lasts.

        A connection whose other machine vanished looks open, so it is replaced.
        """
        now_s = time.monotonic()
        url = self._service.events
        if now_s - self._heard_s >= self._silent_s and not self._is_silent:
            self._is_silent = True
            allowing = " and allows this key" if self._service.keys else ""
            self._report(
                f"{url}: no message for {self._silent_s:g} s, not even a status; expected a "
                f"running service (spherorank run) that publishes at this address{allowing}; "
                "still listening"
            )
        if self._is_silent and now_s - self._connected_s >= self._silent_s:
            self._connected_s = now_s
            with suppress(zmq.ZMQError):
                events.disconnect(url)
            connect(events, url, self._service.keys)

    def note_message(self) -> None:
        """Record that a message arrived, and report the end of a silence."""
        self._heard_s = time.monotonic()
        if self._is_silent:
            self._is_silent = False
            self._report(f"{self._service.events}: messages arrive again")


class _Requester:
    """Sends requests, and retries until they are answered."""

    def __init__(
        self,
        service: Service,
        timeout_s: float,
        should_stop: Callable[[], bool],
        on_silence: Callable[[str], None],
    ) -> None:
        self.service = service
        self.timeout_s = timeout_s
        self._should_stop = should_stop
        self.on_silence = on_silence

    def messages_after(self, sequence: int) -> Iterator[Message]:
        """Yield all messages after a sequence number, in order, up to the newest."""
        more, is_gap_reported = True, False
        while more:
            reply = self.answer_to(ReplayRequest(after=sequence), ReplayReply)
            if reply is None:
                return
            if reply.newest < sequence:
                raise ConfigError(
                    self.service.requests,
                    f"has issued {reply.newest} messages, so number {sequence} is from another "
                    f"store; expected --after {reply.newest} or less",
                )
            if reply.deleted_through > sequence and not is_gap_reported:
                is_gap_reported = True
                self.on_silence(
                    f"{self.service.requests}: old messages from {sequence + 1} to "
                    f"{reply.deleted_through} were deleted ([retention] of the service); messages "
                    "about rankings were kept"
                )
            for message in reply.messages:
                yield Message(message.topic, message.sequence, message.body)
            sequence, more = reply.last, reply.more and not self._should_stop()

    def answer_to(self, request: FrozenModel, reply: type[ReplyT]) -> ReplyT | None:
        """Return the reply to a request, however long it takes; None when listening ends."""
        while not self._should_stop():
            again = time.monotonic() + self.timeout_s
            try:
                return ask(
                    self.service.requests,
                    request,
                    reply,
                    timeout_s=self.timeout_s,
                    keys=self.service.keys,
                    should_stop=self._should_stop,
                )
            except SilentServiceError as error:
                if not self._should_stop():
                    self.on_silence(f"{error}; retrying")
            while time.monotonic() < again and not self._should_stop():
                time.sleep(POLL_S)
        return None


class _Acknowledger:
    """Acknowledges processed messages under a name, the last one of each second."""

    def __init__(self, requester: _Requester, name: str) -> None:
        self._requester = requester
        self._name = name
        self._acknowledged = self._processed = 0
        self._again_s = float("-inf")

    def acknowledged(self) -> int | None:
        """Return the last acknowledged sequence number, which the service knows."""
        request = AckRequest(subscriber=self._name, sequence=0)
        reply = self._requester.answer_to(request, AckReply)
        if reply is None:
            return None
        if not reply.required:
            self._requester.on_silence(
                f"{self._requester.service.requests}: publisher.must_ack does not contain "
                f"{self._name}; the service raises no alert if an acknowledgement is missing"
            )
        self._acknowledged = self._processed = reply.sequence
        return reply.sequence

    def note(self, sequence: int) -> None:
        """Record that every message up to a sequence number was processed."""
        self._processed = max(self._processed, sequence)

    def send_due(self) -> None:
        """Send an acknowledgement, if there is a new one and the last one is long enough ago."""
        if self._processed > self._acknowledged and time.monotonic() >= self._again_s:
            request = AckRequest(subscriber=self._name, sequence=self._processed)
            if (reply := self._requester.answer_to(request, AckReply)) is not None:
                self._acknowledged = reply.sequence
            self._again_s = time.monotonic() + ACK_INTERVAL_S

    def send_last(self) -> None:
        """Send the last acknowledgement when listening has ended; without success, none is sent."""
        if self._processed > self._acknowledged:
            with suppress(SilentServiceError):
                ask(
                    self._requester.service.requests,
                    AckRequest(subscriber=self._name, sequence=self._processed),
                    AckReply,
                    timeout_s=self._requester.timeout_s,
                    keys=self._requester.service.keys,
                )


def _decode(parts: list[bytes]) -> Message:
    try:
        topic, sequence, body = parts
        return Message(topic.decode("ascii"), int.from_bytes(sequence, "big"), json.loads(body))
    except ValueError as error:
        raise ConfigError(
            "--connect",
            f"a message of {len(parts)} parts cannot be read ({error}); expected topic, "
            f"sequence and a JSON body",
        ) from error


def _readable(message: Message) -> str:
    data = message.body.get("data", {})
    words = [
        str(message.sequence).rjust(8),
        str(message.body.get("time", ""))[:19],
        message.topic.removeprefix(f"{TOPIC_PREFIX}."),
    ]
    return "  ".join(
        [
            *words,
            *(
                f"{key}={data[key]}"
                for key in _PRINTED_FIELDS
                if data.get(key) not in (None, "", [], ())
            ),
        ]
    )


_PRINTED_FIELDS = (
    "step",
    "well",
    "day",
    "wells_saved",
    "wells_total",
    "remaining_s",
    "z_um",
    "focus_found",
    "problem",
    "given_up",
    "paused_since",
    "revision",
    "final",
    "state",
    "backlog",
    "reason",
    "kind",
    "message",
    "flags",
    "unsure",
)
"""Fields of a message's data that are printed on a terminal, if they have a value."""
