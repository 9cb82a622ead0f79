"""Replies to client requests: status, latest ranking of a plate, and replay of messages.

Requests and replies are JSON on a ROUTER socket, for REQ and DEALER clients.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog
import zmq
from pydantic import BaseModel

from daemon.messaging.rate_limit import RateLimit
from schemas.errors import StoreError
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
REPLAY_BYTES = 1_000_000  # of bodies in one reply; one message always fits
REQUESTS_PER_S = 50.0  # of one client, in the long run
BURST_REQUESTS = 200.0  # of one client, at once
QUEUED_REQUESTS = 10  # of one client, before its further requests stay with the client
QUEUED_REPLIES = 2  # of one client that does not read; the next ones are lost to it
_REPLAY_BATCH = 100  # messages read from the store at once
MAX_REQUEST_BYTES = 65_536
_MAX_PARTS = 3  # identity, the empty part of a REQ socket, request


log = structlog.get_logger()


class RequestStore(Outbox, PlateMapStore, RankingStore, Protocol):
    """The parts of the store that requests are answered from."""


class RequestSocket:
    """A ROUTER socket whose replies never block; a client that does not read loses them."""

    def __init__(
        self, socket: zmq.Socket[bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Set the limits of a ROUTER socket that is not bound yet; its owner binds and closes it.

        Parameters
        ----------
        clock
            A monotonic clock in seconds, for the limit of requests per second.
        """
        self._socket = socket
        self._limit = RateLimit(REQUESTS_PER_S, BURST_REQUESTS, clock)
        socket.set(zmq.RCVHWM, QUEUED_REQUESTS)
        socket.set(zmq.SNDHWM, QUEUED_REPLIES)
        socket.set(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)

    def answer(self, reply_to_request: Callable[[bytes], str]) -> bool:
        """Answer one request by a function from bytes to text; return whether there was one."""
        if not self._socket.poll(0):
            return False
        # REQ sends [identity, empty, request], DEALER [identity, request]: the envelope is
        # returned.
        client, *envelope, request = self._socket.recv_multipart(flags=zmq.DONTWAIT)
        if len(envelope) > _MAX_PARTS - 2:
            envelope, reply = (
                [],
                _error(
                    f"the request has {len(envelope) + 1} parts; expected one"
                ).model_dump_json(),
            )
        elif not self._limit.allows(client):
            reply = _error(
                f"this client sends more than {REQUESTS_PER_S:g} requests a second; expected fewer",
                retry=True,
            ).model_dump_json()
        else:
            reply = reply_to_request(request)
        self._socket.send_multipart([client, *envelope, reply.encode()], flags=zmq.DONTWAIT)
        return True


def reply_to(
    request: bytes,
    store: RequestStore,
    status: StatusData,
    details: StatusDetails,
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
    status: StatusData,
    details: StatusDetails,
) -> BaseModel:
    match request:
        case StatusRequest():
            return StatusReply(**status.model_dump(), **details.model_dump())
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
