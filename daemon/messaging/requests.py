"""Replies to client requests: status, latest ranking of a plate, and replay of messages.

Requests and replies are JSON on a ROUTER socket, for REQ and DEALER clients.
"""

import json
from collections.abc import Callable, Iterator
from typing import Protocol, Self

import structlog
import zmq
from pydantic import BaseModel

from schemas.errors import ConfigError, StoreError
from schemas.messages import StatusData
from schemas.requests import (
    ErrorReply,
    LatestReply,
    LatestRequest,
    ReplayedMessage,
    ReplayReply,
    ReplayRequest,
    StatusDetails,
    StatusReply,
    StatusRequest,
    parse_request,
)
from store.ports import Outbox, PlateMapStore, PublishedMessage, RankingStore

REPLAY_MESSAGES = 1000  # in one reply at most
REPLAY_BYTES = 8_000_000  # of bodies in one reply; one message always fits
_REPLAY_BATCH = 100  # messages read from the store at once
_LARGEST_REQUEST_BYTES = 65_536


log = structlog.get_logger()


class RequestStore(Outbox, PlateMapStore, RankingStore, Protocol):
    """The parts of the store that requests are answered from."""


class RequestSocket:
    """A bound ROUTER socket whose replies never block; a client that does not read loses them."""

    def __init__(self, url: str, *, linger_s: float = 1.0) -> None:
        """Bind the socket to an address.

        Raises
        ------
        ConfigError
            If the address cannot be bound.
        """
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, round(linger_s * 1000))
        self._socket.set(zmq.SNDHWM, 8)  # answers kept for one client; each may hold REPLAY_BYTES
        self._socket.set(zmq.MAXMSGSIZE, _LARGEST_REQUEST_BYTES)
        self._socket.set(zmq.HEARTBEAT_IVL, 10_000)  # ms
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, 30_000)
        try:
            self._socket.bind(url)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                "publisher.requests",
                f"{url} cannot be bound ({error.strerror}); expected a free address of this "
                f"machine, such as tcp://127.0.0.1:5557",
            ) from error
        self.url = self._socket.get_string(zmq.LAST_ENDPOINT)

    def serve(self, reply_to_request: Callable[[bytes], str], timeout_s: float) -> bool:
        """Answer a request by a function from bytes to text; return whether one came in time."""
        if not self._socket.poll(round(timeout_s * 1000)):
            return False
        # REQ sends [identity, empty, request], DEALER [identity, request]: the envelope is
        # returned.
        *envelope, request = self._socket.recv_multipart(flags=zmq.DONTWAIT)
        self._socket.send_multipart(
            [*envelope, reply_to_request(request).encode()], flags=zmq.DONTWAIT
        )
        return True

    def close(self) -> None:
        """Close the socket after at most ``linger_s`` seconds; safe to call twice."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def reply_to(
    request: bytes,
    store: RequestStore,
    status: Callable[[], StatusData],
    details: Callable[[], StatusDetails],
) -> str:
    """Return the JSON reply to a request's bytes, from store, status and the details of a status.

    Errors are replies too.
    """
    try:
        reply: BaseModel = _reply(parse_request(request), store, status, details)
    except ValueError as problem:
        reply = _error(str(problem))
    except StoreError as error:
        reply = _error(f"the service cannot read its store: {error}", retry=True)
    except Exception as error:  # the boundary of one request: no request ends the service
        log.exception("request.failed", request=request[:200])
        reply = _error(f"the service cannot answer this request: {type(error).__name__}")
    return reply.model_dump_json()


def _error(text: str, *, retry: bool = False) -> ErrorReply:
    # JSON can contain a lone surrogate, which UTF-8 cannot encode; the reply may quote it.
    return ErrorReply(error=text.encode(errors="backslashreplace").decode(), retry=retry)


def _reply(
    request: StatusRequest | LatestRequest | ReplayRequest,
    store: RequestStore,
    status: Callable[[], StatusData],
    details: Callable[[], StatusDetails],
) -> BaseModel:
    match request:
        case StatusRequest():
            return StatusReply(**status().model_dump(), **details().model_dump())
        case LatestRequest():
            return _latest(request, store)
        case ReplayRequest():
            return _replay(request, store)


def _latest(request: LatestRequest, store: RequestStore) -> LatestReply:
    rankings = store.rankings(request.plate)
    if not rankings:
        ranked = [plate for plate in store.plates() if store.rankings(plate)]
        raise ValueError(
            f"plate {request.plate!r} has no ranking; "
            f"expected one of {', '.join(ranked) or 'none so far: no plate has a ranking yet'}"
        )
    return LatestReply(
        plate=request.plate,
        ranking=max(rankings, key=lambda ranking: ranking.order),
    )


def _replay(request: ReplayRequest, store: RequestStore) -> ReplayReply:
    newest = (
        store.last_sequence()
    )  # before the messages are read: a later one is not promised by this reply
    found: list[ReplayedMessage] = []
    size, more = 0, False
    for message in _messages_after(request.after, request.topic, store):
        size += len(message.body.encode())
        if len(found) == REPLAY_MESSAGES or (found and size > REPLAY_BYTES):
            more = True
            break
        found.append(
            ReplayedMessage(
                topic=message.topic, sequence=message.sequence, body=json.loads(message.body)
            )
        )
    last = found[-1].sequence if found else request.after
    newest = max(newest, found[-1].sequence) if found else newest
    return ReplayReply(
        after=request.after,
        topic=request.topic,
        messages=tuple(found),
        more=more,
        last=last if more else max(last, newest),
        newest=newest,
    )


def _messages_after(sequence: int, topic: str, store: RequestStore) -> Iterator[PublishedMessage]:
    while batch := store.messages_after(sequence, topic, limit=_REPLAY_BATCH):
        yield from batch
        sequence = batch[-1].sequence
