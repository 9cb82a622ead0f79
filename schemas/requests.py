"""What a client may ask on the requests socket, and what it is answered; JSON both ways."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from schemas.frozen_model import FrozenModel
from schemas.messages import StatusData
from schemas.ranking import Ranking

MAX_SEQUENCE = 2**63 - 1
_EXAMPLE = '{"kind": "status"}'


class StatusRequest(FrozenModel):
    """Asks how the service is."""

    kind: Literal["status"] = "status"


class LatestRequest(FrozenModel):
    """Asks for the newest ranking of a plate."""

    kind: Literal["latest"] = "latest"
    plate: str


class ReplayRequest(FrozenModel):
    """Asks for what was said after a message."""

    kind: Literal["replay"] = "replay"
    after: int = Field(ge=0, le=MAX_SEQUENCE)
    """sequence number of the last message the client has; 0: none"""
    topic: str = ""
    """only topics that begin so"""


class StatusReply(StatusData):
    """The service's status, as in its heartbeat."""

    kind: Literal["status"] = "status"


class LatestReply(FrozenModel):
    """The newest ranking of a plate: of its last ranked day the last revision."""

    kind: Literal["latest"] = "latest"
    plate: str
    ranking: Ranking


class ReplayedMessage(FrozenModel):
    """A message as it was, or will be, published."""

    topic: str
    sequence: int
    body: dict[str, Any]
    """the CloudEvents event"""


class ReplayReply(FrozenModel):
    """The next messages in order, as many as one reply holds."""

    kind: Literal["replay"] = "replay"
    after: int
    """as asked"""
    topic: str
    """as asked"""
    messages: tuple[ReplayedMessage, ...]
    more: bool
    """true: ask again with ``after`` = ``last``"""
    last: int
    """everything of this topic up to this number is now with the client"""
    newest: int
    """largest number the service has issued; smaller than ``after`` where the service has another store than the client remembers"""


class ErrorReply(FrozenModel):
    """The request was not understood or cannot be answered."""

    kind: Literal["error"] = "error"
    error: str
    """what was found and what was expected"""
    retry: bool = False
    """true: nothing is wrong with the request, ask again later"""


Request = Annotated[StatusRequest | LatestRequest | ReplayRequest, Field(discriminator="kind")]
Reply = Annotated[StatusReply | LatestReply | ReplayReply | ErrorReply, Field(discriminator="kind")]

_REQUESTS: dict[str, type[FrozenModel]] = {
    "status": StatusRequest,
    "latest": LatestRequest,
    "replay": ReplayRequest,
}
_READER: TypeAdapter[StatusRequest | LatestRequest | ReplayRequest] = TypeAdapter(Request)


def parse_request(text: bytes) -> StatusRequest | LatestRequest | ReplayRequest:
    """Read a request.

    Raises
    ------
    ValueError
        Saying what was found and what was expected.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"the request is not JSON ({error}); expected an object such as {_EXAMPLE}"
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
    key = problem["loc"][-1]
    if problem["type"] == "missing":
        return f"key {key} is missing; expected it in a request of kind {kind}"
    if problem["type"] == "extra_forbidden":
        fields = ", ".join(_REQUESTS[kind].model_fields)
        return f"key {key} is unknown; expected only {fields} in a request of kind {kind}"
    expected = problem["msg"].removeprefix("Input should be ")
    return f"key {key} is {_shortened(problem['input'])}; expected {expected}"


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - about one line
