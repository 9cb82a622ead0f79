"""Requests that a client sends to the requests socket, and the replies; both are JSON."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from schemas.frozen_model import FrozenModel
from schemas.ids import printable
from schemas.messages import StandingAlert, StatusData
from schemas.plate_map import PlateId
from schemas.ranking import Ranking

MAX_LISTED_FILES = 50
"""Largest number of rejected and of unreadable files in a status reply."""
MAX_SEQUENCE = 2**63 - 1
"""Largest sequence number that the store can hold."""
SUBSCRIBER_NAME = r"^[A-Za-z0-9._-]{1,64}$"
"""Pattern of the names of subscribers and client keys."""
_EXAMPLE = '{"kind": "status"}'


def _topic(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError("printable ASCII characters, as in spherorank.v1.ranking")
    return text


Topic = Annotated[str, AfterValidator(_topic)]
"""Beginning of a topic; topics are ASCII."""


class StatusRequest(FrozenModel):
    """Request for the status of the service."""

    kind: Literal["status"] = "status"
    """Kind of the request."""


class LatestRequest(FrozenModel):
    """Request for the newest ranking of a plate."""

    kind: Literal["latest"] = "latest"
    """Kind of the request."""
    plate: PlateId
    """Plate id."""


class ReplayRequest(FrozenModel):
    """Request for the messages after a sequence number."""

    kind: Literal["replay"] = "replay"
    """Kind of the request."""
    after: int = Field(ge=0, le=MAX_SEQUENCE)
    """Sequence number of the last message that the client has; 0 if it has none."""
    topic: Topic = ""
    """Text with which the requested topics start; empty for all topics."""


class AckRequest(FrozenModel):
    """Acknowledgement that a subscriber has processed every message up to a sequence number."""

    kind: Literal["ack"] = "ack"
    """Kind of the request."""
    subscriber: str = Field(pattern=SUBSCRIBER_NAME)
    """Name of the subscriber; with CURVE, the name of the client's key."""
    sequence: int = Field(ge=0, le=MAX_SEQUENCE)
    """Sequence number of the last processed message. 0 acknowledges nothing: the reply contains
    the number that was acknowledged before.
    """


class PendingImagesData(FrozenModel):
    """Well images of one plate that are pending for one reason."""

    plate: str
    """Plate id."""
    reason: str
    """Reason why they are pending."""
    images: int
    """Number of well images. For a plate without a valid plate map: its wells with new files."""


class RejectedFileData(FrozenModel):
    """A rejected file that no valid version has replaced."""

    path: str
    """Path, relative to the drop folder."""
    reason: str
    """Reason for the rejection: the value that was found and the value that was expected."""
    rejected_at: datetime
    """Time of the rejection."""


class UnreadableFileData(FrozenModel):
    """A file that cannot be read or processed now, and is tried again."""

    path: str
    """Path, relative to the drop folder."""
    reason: str
    """Fault of the last attempt."""


class UnacknowledgedData(FrozenModel):
    """A final ranking that a subscriber of ``publisher.must_ack`` has not acknowledged."""

    subscriber: str
    """Name of the subscriber."""
    plate: str
    """Plate id."""
    day: int
    """Culture day of the ranking."""
    revision: int
    """Revision of the ranking."""
    sequence: int
    """Sequence number of its message."""
    created_at: datetime
    """Time of the ranking."""


class StatusDetails(FrozenModel):
    """Lists that a status reply has and a periodic status message does not."""

    pending: tuple[PendingImagesData, ...] = ()
    """All pending well images, by plate and reason."""
    other_alerts: tuple[StandingAlert, ...] = ()
    """Further standing alerts, after those in ``alerts``; ``standing_alerts`` is the number of all.
    """
    rejected_files: tuple[RejectedFileData, ...] = ()
    """Newest rejected files, the newest first; ``rejected`` is the number of all."""
    unreadable: int = 0
    """Number of files that cannot be read or processed now."""
    unreadable_files: tuple[UnreadableFileData, ...] = ()
    """First unreadable files, by path."""
    unacknowledged: tuple[UnacknowledgedData, ...] = ()
    """Final rankings that a subscriber has to acknowledge, the oldest first: at most 50 of each
    subscriber.
    """


class StatusReply(StatusData, StatusDetails):
    """Status of the service: the fields of its periodic status message, and lists of files."""

    kind: Literal["status"] = "status"
    """Kind of the reply."""


class LatestReply(FrozenModel):
    """Newest ranking of a plate, which is the last revision of its last ranked day."""

    kind: Literal["latest"] = "latest"
    """Kind of the reply."""
    plate: str
    """Plate id."""
    ranking: Ranking
    """Newest ranking, with the fields of the message ``ranking``."""


class ReplayedMessage(FrozenModel):
    """A message with the content and number under which it is published."""

    topic: str
    """Topic of the message."""
    sequence: int
    """Sequence number of the message."""
    body: dict[str, Any]
    """The CloudEvents event."""


class ReplayReply(FrozenModel):
    """Next messages in order, as many as one reply can contain."""

    kind: Literal["replay"] = "replay"
    """Kind of the reply."""
    after: int
    """Value of ``after`` in the request."""
    topic: str
    """Value of ``topic`` in the request."""
    messages: tuple[ReplayedMessage, ...]
    """Messages in the order of their sequence numbers."""
    more: bool
    """True if more messages exist: send another request with ``after`` = ``last``."""
    last: int
    """Sequence number up to which the client now has every message of this topic."""
    newest: int
    """Largest sequence number that the service has issued. It is smaller than ``after`` if the
    service has another store than before.
    """
    deleted_through: int = 0
    """Messages up to this sequence number may be missing because the service has deleted old
    messages (``[retention]``). If it is larger than ``after``, the reply may have a gap. Messages
    about rankings and the last message of each topic are never deleted.
    """


class AckReply(FrozenModel):
    """Result of an acknowledgement."""

    kind: Literal["ack"] = "ack"
    """Kind of the reply."""
    subscriber: str
    """Name of the subscriber."""
    sequence: int
    """Sequence number up to which the subscriber has acknowledged all messages; 0 if none."""
    required: bool
    """True if the service requires acknowledgements of this subscriber (`publisher.must_ack`)."""


class ErrorReply(FrozenModel):
    """Error that explains why a request cannot be answered."""

    kind: Literal["error"] = "error"
    """Kind of the reply."""
    error: str
    """Problem: the value that was found and the value that was expected."""
    retry: bool = False
    """True if the request is valid and may succeed later."""


AnyRequest = StatusRequest | LatestRequest | ReplayRequest | AckRequest
Request = Annotated[AnyRequest, Field(discriminator="kind")]
"""Any request."""
Reply = Annotated[
    StatusReply | LatestReply | ReplayReply | AckReply | ErrorReply, Field(discriminator="kind")
]
"""Any reply."""

_REQUESTS: dict[str, type[FrozenModel]] = {
    "status": StatusRequest,
    "latest": LatestRequest,
    "replay": ReplayRequest,
    "ack": AckRequest,
}
_READER: TypeAdapter[AnyRequest] = TypeAdapter(Request)


def parse_request(text: bytes) -> AnyRequest:
    """Parse the JSON bytes of a request into the model of its kind.

    Raises
    ------
    ValueError
        If the text is not a valid request; the message names the value found and the expected
        value.
    """
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # refuses lone surrogates
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"the request is not JSON in UTF-8 ({error}); expected an object such as {_EXAMPLE}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(  # noqa: TRY004 - the text is wrong, not a Python type
            f"the request is {_shortened(content)}; expected an object such as {_EXAMPLE}"
        )
    if not (isinstance(content.get("kind"), str) and content["kind"] in _REQUESTS):
        found = f"is {_shortened(content['kind'])}" if "kind" in content else "is missing"
        raise ValueError(f"key kind {found}; expected one of {', '.join(_REQUESTS)}")
    try:
        return _READER.validate_python(content, strict=True)
    except ValidationError as error:
        raise ValueError(
            "; ".join(_describe(content["kind"], problem) for problem in error.errors())
        ) from error


def _describe(kind: str, problem: Any) -> str:  # noqa: ANN401 - pydantic's TypedDict of a problem
    """Return one pydantic error of a request as text: ``key K is V; expected …``."""
    key = problem["loc"][-1]
    if problem["type"] == "missing":
        return f"key {key} is missing; expected it in a request of kind {kind}"
    if problem["type"] == "extra_forbidden":
        fields = ", ".join(_REQUESTS[kind].model_fields)
        return f"key {key} is unknown; expected only {fields} in a request of kind {kind}"
    expected = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if problem["type"] == "string_pattern_mismatch":
        expected = f"a text that matches {problem['ctx']['pattern']}"
    return f"key {key} is {_shortened(problem['input'])}; expected {expected}"


def _shortened(value: object) -> str:
    """Return a value as JSON text of at most 80 characters, all of them printable."""
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - about one line
