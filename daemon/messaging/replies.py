"""Replies to requests: status, latest ranking of a plate, replay, and acknowledgement."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog
from pydantic import BaseModel

from daemon.deliveries import unacknowledged_finals
from daemon.messaging.status_snapshot import StatusSnapshot
from schemas.errors import StoreError
from schemas.requests import (
    AckReply,
    AckRequest,
    AnyRequest,
    ErrorReply,
    LatestReply,
    LatestRequest,
    ReplayedMessage,
    ReplayReply,
    ReplayRequest,
    StatusReply,
    StatusRequest,
    parse_request,
)
from store.ports import (
    AcknowledgementStore,
    Outbox,
    PlateMapStore,
    PublishedMessage,
    RankingStore,
)

REPLAY_MESSAGES = 1000  # in one reply at most
REPLAY_BYTES = 1_000_000  # of bodies in one reply; one message always fits
MAX_NAMED_PLATES = 20  # in the error about a plate without a ranking
MAX_SUBSCRIBERS = 100  # that may acknowledge, besides those of publisher.must_ack
_REPLAY_BATCH = 20  # messages read from the store at once

log = structlog.get_logger()


class RequestStore(Outbox, PlateMapStore, RankingStore, AcknowledgementStore, Protocol):
    """The parts of the store that requests are answered from."""


@dataclass(frozen=True)
class Replies:
    """Replies to requests from a store; acknowledgements are the only requests that write.

    Parameters
    ----------
    must_ack
        Names of the subscribers that have to acknowledge final rankings.
    now
        Returns the current time.
    """

    store: RequestStore
    must_ack: Sequence[str]
    now: Callable[[], datetime]

    def reply_to(self, request: bytes, key_name: str | None, snapshot: StatusSnapshot) -> str:
        """Return the JSON reply to the bytes of a request; errors are replies too.

        Parameters
        ----------
        key_name
            Name of the client's key; None without authentication.
        """
        try:
            return self._reply(parse_request(request), key_name, snapshot).model_dump_json()
        except ValueError as problem:
            reply = error_reply(str(problem))
        except StoreError as error:
            reply = error_reply(f"the service cannot use its store: {error}", retry=True)
        except Exception as error:  # the boundary of one request: no request ends the service
            log.exception("request.failed", request=request[:200])
            reply = error_reply(f"the service cannot answer this request: {type(error).__name__}")
        return reply.model_dump_json()

    def _reply(
        self, request: AnyRequest, key_name: str | None, snapshot: StatusSnapshot
    ) -> BaseModel:
        match request:
            case StatusRequest():
                return StatusReply(
                    **snapshot.status.model_dump(),
                    **snapshot.details.model_dump(exclude={"unacknowledged"}),
                    unacknowledged=unacknowledged_finals(self.store, self.must_ack),
                )
            case LatestRequest():
                return _latest(request, self.store)
            case ReplayRequest():
                return _replay(request, self.store)
            case AckRequest():
                return self._acknowledge(request, key_name)

    def _acknowledge(self, request: AckRequest, key_name: str | None) -> AckReply:
        """Store an acknowledgement.

        Raises
        ------
        ValueError
            If the number was never published, or the client may not acknowledge under this name.
        """
        name = request.subscriber
        if key_name is not None and key_name != name:
            raise ValueError(
                f"key subscriber is {name!r}; expected {key_name!r}, the name of this client's key"
            )
        last = self.store.last_sequence()
        if request.sequence > last:
            raise ValueError(
                f"key sequence is {request.sequence}; expected {last} or less: the service has "
                "published no later message"
            )
        known = self.store.acknowledged()
        if name not in known and name not in self.must_ack and len(known) >= MAX_SUBSCRIBERS:
            raise ValueError(
                f"key subscriber is {name!r}; expected one of the {len(known)} names that "
                "acknowledged before, or of publisher.must_ack"
            )
        if request.sequence > known.get(name, 0):
            self.store.acknowledge(name, request.sequence, self.now())
        return AckReply(
            subscriber=name,
            sequence=max(request.sequence, known.get(name, 0)),
            required=name in self.must_ack,
        )


def error_reply(text: str, *, retry: bool = False) -> ErrorReply:
    """Return an ErrorReply with a text, without lone surrogates, which UTF-8 cannot encode."""
    return ErrorReply(error=text.encode(errors="backslashreplace").decode(), retry=retry)


def _latest(request: LatestRequest, store: RequestStore) -> LatestReply:
    rankings = store.rankings(request.plate)
    if not rankings:
        known = store.plates()
        names = ", ".join(known[:MAX_NAMED_PLATES]) or "none so far: no plate has a plate map yet"
        others = f" and {len(known) - MAX_NAMED_PLATES} more" if known[MAX_NAMED_PLATES:] else ""
        raise ValueError(f"plate {request.plate!r} has no ranking; expected one of {names}{others}")
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
        deleted_through=store.deleted_through(),
    )


def _messages_after(sequence: int, topic: str, store: RequestStore) -> Iterator[PublishedMessage]:
    while batch := store.messages_after(sequence, topic, limit=_REPLAY_BATCH):
        yield from batch
        sequence = batch[-1].sequence
