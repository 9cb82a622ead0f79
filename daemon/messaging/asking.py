"""One request to a running service, and its reply."""

import time
from collections.abc import Callable
from typing import TypeVar

import zmq
from pydantic import BaseModel, ValidationError

from daemon.messaging.key_files import ClientKeys
from schemas.errors import ConfigError, SilentServiceError
from schemas.requests import ErrorReply

ReplyT = TypeVar("ReplyT", bound=BaseModel)
POLL_S = 0.2
"""Interval of the checks of should_stop."""


def ask(
    requests_url: str,
    request: BaseModel,
    reply: type[ReplyT],
    *,
    timeout_s: float,
    keys: ClientKeys | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ReplyT:
    """Send a request to a running service, and return its reply parsed as the model ``reply``.

    Parameters
    ----------
    keys
        The keys with which to connect; None: no encryption.

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
        connect(socket, requests_url, keys)
        socket.send(request.model_dump_json().encode())
        give_up = time.monotonic() + timeout_s
        while not socket.poll(round(POLL_S * 1000)):
            if time.monotonic() > give_up or should_stop():
                expected = "a running service (spherorank run) at this address"
                if keys is not None:
                    expected += " that has this key and allows the key of this client"
                raise SilentServiceError(
                    requests_url, f"no answer within {timeout_s:g} s; expected {expected}"
                )
        return _parse(socket.recv_multipart()[-1], reply, requests_url)


def connect(socket: zmq.Socket[bytes], url: str, keys: ClientKeys | None) -> None:
    """Connect a socket to an address, encrypted if there are keys.

    Raises
    ------
    ConfigError
        If the address cannot be used.
    """
    # Closing waits for nothing: a question that is not answered is asked again.
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.RECONNECT_IVL_MAX, 2000)  # ms
    socket.set(zmq.IPV6, "[" in url)
    if keys is not None:
        keys.apply(socket)
    try:
        socket.connect(url)
    except zmq.ZMQError as error:
        raise ConfigError(
            "--connect",
            f"{url} cannot be used ({error.strerror}); expected an address such as "
            f"tcp://127.0.0.1:5556",
        ) from error


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
