"""A subscriber of the PUB socket that requests a replay of missing sequence numbers."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar
from urllib.parse import urlsplit

import zmq
from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigError, SilentServiceError
from schemas.messages import TOPIC_PREFIX
from schemas.requests import ErrorReply, ReplayReply, ReplayRequest

ReplyT = TypeVar("ReplyT", bound=BaseModel)
_POLL_S = 0.2  # interval of the checks of should_stop
SILENT_S = 15.0
"""Time without any message after which the service is gone; it sends its status every 5 s."""


@dataclass(frozen=True)
class Message:
    """A received message; ``body`` is a CloudEvents event."""

    topic: str
    sequence: int
    body: dict[str, Any]

    def json_line(self) -> str:
        """Return ``{"topic": …, "sequence": …, "body": …}``."""
        return json.dumps(
            {"topic": self.topic, "sequence": self.sequence, "body": self.body}, ensure_ascii=False
        )


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


def ask(
    requests_url: str,
    request: BaseModel,
    reply: type[ReplyT],
    *,
    timeout_s: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> ReplyT:
    """Send a request to a running service, and return its reply parsed as the model ``reply``.

    Raises
    ------
    SilentServiceError
        If no reply arrives within ``timeout_s`` or before ``should_stop``, or the service cannot
        answer now.
    ConfigError
        If the address cannot be used, the request is refused, or the reply is not SpheroRank's.
    """
    # A socket for each request, so that a late reply is never taken for another one.
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        _connect(socket, requests_url)
        socket.send(request.model_dump_json().encode())
        give_up = time.monotonic() + timeout_s
        while not socket.poll(round(_POLL_S * 1000)):
            if time.monotonic() > give_up or should_stop():
                raise SilentServiceError(
                    requests_url,
                    f"no answer within {timeout_s:g} s; expected a running service (spherorank "
                    f"run) at this address",
                )
        return _parse(socket.recv_multipart()[-1], reply, requests_url)


def listen(
    events_url: str,
    requests_url: str,
    *,
    after: int | None,
    topic: str,
    on_message: Callable[[Message], None],
    should_stop: Callable[[], bool],
    on_silence: Callable[[str], None],
    reply_timeout_s: float = 5.0,
    silent_s: float = SILENT_S,
) -> None:
    """Call ``on_message`` once for each message, in order and without gaps, until ``should_stop``.

    Parameters
    ----------
    after
        The last known sequence number; all later messages are replayed first. None: only new
        messages.
    topic
        Prefix of the topics that are passed on. All messages are received, to detect gaps.
    on_silence
        Called with a text when a replay is not answered within ``reply_timeout_s``, which is
        retried; when no message of any topic arrives for ``silent_s``; and when messages arrive
        again.

    Raises
    ------
    ConfigError
        If an address cannot be used, the replay is refused, or ``after`` is from another store.
    """
    with zmq.Context() as context, context.socket(zmq.SUB) as events:
        events.subscribe(TOPIC_PREFIX)
        _connect(events, events_url)
        requests = _Replayer(requests_url, reply_timeout_s, should_stop, on_silence)
        silence = _SilenceReport(events_url, silent_s, on_silence)
        for message in _messages_without_gaps(events, requests, after, should_stop, silence):
            if message.topic.startswith(topic):
                on_message(message)


def write_message(message: Message, stream: TextIO) -> None:
    """Write a message as one line to a stream: JSON to a pipe or file, text to a terminal."""
    stream.write((_readable(message) if stream.isatty() else message.json_line()) + "\n")
    stream.flush()


def _messages_without_gaps(
    events: zmq.Socket[bytes],
    requests: "_Replayer",
    last: int | None,
    should_stop: Callable[[], bool],
    silence: "_SilenceReport",
) -> Iterator[Message]:
    """Yield every message after ``last`` in order.

    Without ``last``, from the first received one.
    """
    if last is not None:
        for message in requests.after(last):
            last = message.sequence
            yield message
    heard_through = last  # replayed messages after this number arrive again
    while not should_stop():
        if not events.poll(round(_POLL_S * 1000)):
            silence.note_nothing()
            continue
        heard = _decode(events.recv_multipart())
        silence.note_message()
        if last is None or heard.sequence == last + 1:
            last = heard.sequence
            yield heard
        elif heard_through is None or not heard_through < heard.sequence <= last:
            # A gap, a message sent twice, or another store behind the same address: the replay
            # tells which.
            for message in requests.after(last):
                last = message.sequence
                yield message
        heard_through = heard.sequence


class _SilenceReport:
    """Reports once that no message arrives, and once that messages arrive again."""

    def __init__(self, url: str, silent_s: float, report: Callable[[str], None]) -> None:
        self._url = url
        self._silent_s = silent_s
        self._report = report
        self._heard_s = time.monotonic()
        self._is_silent = False

    def note_nothing(self) -> None:
        """Report the silence if it has just become too long."""
        if not self._is_silent and time.monotonic() - self._heard_s >= self._silent_s:
            self._is_silent = True
            self._report(
                f"{self._url}: no message for {self._silent_s:g} s, not even a status; expected a "
                "running service (spherorank run) that publishes at this address; still listening"
            )

    def note_message(self) -> None:
        """Record that a message arrived, and report the end of a silence."""
        self._heard_s = time.monotonic()
        if self._is_silent:
            self._is_silent = False
            self._report(f"{self._url}: messages arrive again")


class _Replayer:
    """Requests a replay of messages, and retries until it is answered."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        should_stop: Callable[[], bool],
        on_silence: Callable[[str], None],
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._should_stop = should_stop
        self._on_silence = on_silence

    def after(self, sequence: int) -> Iterator[Message]:
        """Yield all messages after a sequence number, in order, up to the newest."""
        more = True
        while more and not self._should_stop():
            reply = self._ask(ReplayRequest(after=sequence))
            if reply is None:
                continue
            if reply.newest < sequence:
                raise ConfigError(
                    self._url,
                    f"has issued {reply.newest} messages, so number {sequence} is from another "
                    f"store; expected --after {reply.newest} or less",
                )
            for message in reply.messages:
                yield Message(message.topic, message.sequence, message.body)
            sequence, more = reply.last, reply.more

    def _ask(self, request: ReplayRequest) -> ReplayReply | None:
        """Return the reply to a request, or None without a reply within ``timeout_s``."""
        again = time.monotonic() + self._timeout_s
        try:
            return ask(
                self._url,
                request,
                ReplayReply,
                timeout_s=self._timeout_s,
                should_stop=self._should_stop,
            )
        except SilentServiceError as error:
            if not self._should_stop():
                self._on_silence(f"{error}; retrying")
        while time.monotonic() < again and not self._should_stop():
            time.sleep(_POLL_S)
        return None


def _parse(content: bytes, kind: type[ReplyT], url: str) -> ReplyT:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        unexpected = error
    try:
        refusal = ErrorReply.model_validate_json(content)
    except ValidationError:
        raise ConfigError(
            url,
            f"answered {content[:80]!r}; expected a {kind.__name__} (is this SpheroRank's "
            f"requests socket?)",
        ) from unexpected
    if refusal.retry:
        raise SilentServiceError(url, refusal.error)
    raise ConfigError(url, refusal.error)


def _connect(socket: zmq.Socket[bytes], url: str) -> None:
    socket.set(
        zmq.LINGER, 0
    )  # closing waits for nothing: a question that is not answered is asked again
    try:
        socket.connect(url)
    except zmq.ZMQError as error:
        raise ConfigError(
            "--connect",
            f"{url} cannot be used ({error.strerror}); expected an address such as "
            f"tcp://127.0.0.1:5556",
        ) from error


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
