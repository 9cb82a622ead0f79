"""The bound sockets of the service: PUB for messages, ROUTER for requests."""

from contextlib import ExitStack
from typing import Self

import zmq

from daemon.messaging.access import AccessControl
from daemon.messaging.publisher import QUEUED_MESSAGES, Publisher
from daemon.messaging.requests import RequestSocket
from schemas.errors import ConfigError

HANDSHAKE_S = 3.0
"""Time in which a client has to complete its handshake; then its connection is closed."""
LOST_CLIENT_S = 60
"""A connection is closed after this time without any sign of the client's machine."""


class MessageSockets:
    """Both bound sockets, with the control of access to them.

    Parameters
    ----------
    events, requests
        ``tcp://host:port`` (``*`` picks a free port) or ``ipc://path``.
    linger_s
        Longest wait of :meth:`close` for messages that are being sent, in seconds.
    queued_messages
        Messages kept for one slow subscriber before it loses some.

    Raises
    ------
    ConfigError
        If an address cannot be bound.
    """

    def __init__(
        self,
        events: str,
        requests: str,
        *,
        linger_s: float = 1.0,
        queued_messages: int = QUEUED_MESSAGES,
    ) -> None:
        self._stack = ExitStack()
        self._linger_s = linger_s
        try:
            context = self._stack.enter_context(zmq.Context())
            self._access = self._stack.enter_context(AccessControl(context))
            self._poller = zmq.Poller()
            self._poller.register(self._access.socket, zmq.POLLIN)
            publishing = self._open(context, zmq.PUB, b"events")
            answering = self._open(context, zmq.ROUTER, b"requests")
            self._poller.register(answering, zmq.POLLIN)
            self.publisher = Publisher(publishing, queued_messages=queued_messages)
            self.requests = RequestSocket(answering)
            self.events_url, self.requests_url = _bind(
                (publishing, "publisher.events", events),
                (answering, "publisher.requests", requests),
            )
        except BaseException:
            self.close()
            raise

    def wait(self, timeout_s: float) -> None:
        """Wait until a request arrives, and answer the handshakes that arrive meanwhile."""
        self._poller.poll(max(0, round(timeout_s * 1000)))
        self._access.answer()

    def close(self) -> None:
        """Close the sockets after at most ``linger_s`` seconds; safe to call twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _open(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, domain: bytes
    ) -> zmq.Socket[bytes]:
        """Return a socket with limits of its connections, not bound yet.

        ZMTP heartbeats are off: in libzmq 4.3.5 their timer ends the process by an assertion when
        it meets a connection that broke while its requests were not read. The keep-alive of TCP
        finds vanished machines instead.
        """
        socket = self._stack.enter_context(context.socket(kind))
        socket.set(zmq.LINGER, round(self._linger_s * 1000))
        socket.set(zmq.HANDSHAKE_IVL, round(HANDSHAKE_S * 1000))
        socket.set(zmq.TCP_KEEPALIVE, 1)
        socket.set(zmq.TCP_KEEPALIVE_IDLE, LOST_CLIENT_S // 2)
        socket.set(zmq.TCP_KEEPALIVE_INTVL, LOST_CLIENT_S // 6)
        socket.set(zmq.TCP_KEEPALIVE_CNT, 3)
        socket.set(zmq.TCP_MAXRT, LOST_CLIENT_S * 1000)
        self._poller.register(self._access.watch(socket, domain), zmq.POLLIN)
        return socket


def _bind(*sockets: tuple[zmq.Socket[bytes], str, str]) -> list[str]:
    """Bind each socket of (socket, key, address), and return the addresses with actual ports.

    Raises
    ------
    ConfigError
        With every address that cannot be bound.
    """
    problems = []
    for socket, key, url in sockets:
        try:
            socket.bind(url)
        except zmq.ZMQError as error:
            problem = (
                f"{url} cannot be bound ({error.strerror}); expected a free address of this "
                f"machine, such as tcp://127.0.0.1:5556"
            )
            problems.append((key, problem))
    if problems:
        raise ConfigError(*problems[0], more=tuple(problems[1:]))
    return [socket.get_string(zmq.LAST_ENDPOINT) for socket, *_ in sockets]
