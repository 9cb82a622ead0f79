"""The bound sockets of the service: PUB for messages, ROUTER for requests."""

import socket
from contextlib import ExitStack, suppress
from typing import Self

import zmq

from daemon.messaging.access import AccessControl
from daemon.messaging.key_files import KeyFolder
from daemon.messaging.publisher import QUEUED_MESSAGES, Publisher
from daemon.messaging.requests import RequestSocket
from schemas.errors import ConfigError

HANDSHAKE_S = 3.0
"""Time in which a client has to complete its handshake; then its connection is closed."""
LOST_CLIENT_S = 60
"""A connection is closed after this time without any sign of the client's machine."""

_WAKE_UPS = 4096  # bytes that one wait reads, one for each wake-up


class MessageSockets:
    """Both bound sockets, with the control of access to them.

    Parameters
    ----------
    events, requests
        ``tcp://host:port`` (``*`` picks a free port) or ``ipc://path``.
    keys
        The keys of the service and its clients; None: no encryption.
    wake
        A socket that does not block, and that ends a wait when it has received something.
    linger_s
        Longest wait of :meth:`close` for messages that are being sent, in seconds.
    queued_messages
        Messages kept for one slow subscriber before it loses some.

    Raises
    ------
    ConfigError
        If an address cannot be bound, or the key pair of the service cannot be read.
    """

    def __init__(
        self,
        events: str,
        requests: str,
        *,
        keys: KeyFolder | None = None,
        wake: socket.socket | None = None,
        linger_s: float = 1.0,
        queued_messages: int = QUEUED_MESSAGES,
    ) -> None:
        self.events_url, self.requests_url = events, requests
        self._keys = keys
        self._wake = wake
        self._linger_s = linger_s
        self._queued_messages = queued_messages
        self._open()

    def _open(self) -> None:
        self._stack = ExitStack()
        try:
            context = self._stack.enter_context(zmq.Context())
            self._access = self._stack.enter_context(AccessControl(context, self._keys))
            self._poller = zmq.Poller()
            if self._wake is not None:
                self._poller.register(self._wake, zmq.POLLIN)
            self._poller.register(self._access.socket, zmq.POLLIN)
            publishing = self._make(context, zmq.PUB, b"events", self.events_url)
            answering = self._make(context, zmq.ROUTER, b"requests", self.requests_url)
            self._poller.register(answering, zmq.POLLIN)
            self.publisher = Publisher(publishing, queued_messages=self._queued_messages)
            self.requests = RequestSocket(answering)
            self.events_url, self.requests_url = _bind(
                (publishing, "publisher.events", self.events_url),
                (answering, "publisher.requests", self.requests_url),
            )
        except BaseException:
            self.close()
            raise

    def disconnect_revoked(self) -> bool:
        """Open both sockets again if a connected client is allowed no longer; return whether.

        ZeroMQ cannot close one connection. All clients connect again, and the allowed ones request
        a replay of messages that they missed.
        """
        if not self._access.has_revoked():
            return False
        self.close()
        self._open()
        return True

    def wait(self, timeout_s: float) -> None:
        """Wait for a request or a wake-up, and answer the handshakes that arrive meanwhile."""
        self._poller.poll(max(0, round(timeout_s * 1000)))
        if self._wake is not None:
            with suppress(BlockingIOError):
                self._wake.recv(_WAKE_UPS)
        self._access.answer()

    def close(self) -> None:
        """Close the sockets after at most ``linger_s`` seconds; safe to call twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _make(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, domain: bytes, url: str
    ) -> zmq.Socket[bytes]:
        """Return a socket for an address with limits of its connections, not bound yet.

        ZMTP heartbeats are off: in libzmq 4.3.5 their timer ends the process by an assertion when
        it meets a connection that broke while its requests were not read. The keep-alive of TCP
        finds vanished machines instead.
        """
        socket = self._stack.enter_context(context.socket(kind))
        socket.set(zmq.LINGER, round(self._linger_s * 1000))
        socket.set(zmq.IPV6, "[" in url)
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
    for bound, key, url in sockets:
        try:
            bound.bind(url)
        except zmq.ZMQError as error:
            problem = (
                f"{url} cannot be bound ({error.strerror}); expected a free address of this "
                f"machine, such as tcp://127.0.0.1:5556"
            )
            problems.append((key, problem))
    if problems:
        raise ConfigError(*problems[0], more=tuple(problems[1:]))
    return [bound.get_string(zmq.LAST_ENDPOINT) for bound, *_ in sockets]
