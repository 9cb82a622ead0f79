"""Decides which clients may connect: ZAP (ZeroMQ RFC 27), and a limit of connections."""

import time
from collections.abc import Sequence
from typing import Self

import structlog
import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from daemon.messaging.key_files import KeyFolder

log = structlog.get_logger()

MAX_CONNECTIONS = 100
"""Largest number of connections of each socket; further ones are refused."""
HANDSHAKES_PER_TURN = 100
"""Handshakes that are answered before messages are published again."""
LOG_INTERVAL_S = 60.0
"""Smallest interval of logged refusals."""
ZAP_ADDRESS = "inproc://zeromq.zap.01"
SERVICE_USER = "(service)"
"""Name of a client with the key of the service itself, such as ``spherorank status``."""
_ZAP_PARTS = 6  # version, request id, domain, address, routing id, mechanism; then credentials


class RefusedError(Exception):
    """A client may not connect; the text is the reason."""


class ConnectionCount:
    """The open connections of one bound socket, counted from the events of its monitor."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.monitor = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._open: set[int] = set()  # file descriptors

    def update(self) -> int:
        """Read the events that have arrived, and return the number of open connections."""
        while self.monitor.poll(0):
            event = parse_monitor_message(self.monitor.recv_multipart())
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._open.add(event["value"])
            else:
                self._open.discard(event["value"])
        return len(self._open)


class AccessControl:
    """Answers the handshakes of all sockets of a context.

    Each socket names its domain (``ZMQ_ZAP_DOMAIN``). A handshake in a domain with too many
    connections is refused. With keys, clients need CURVE and an allowed key.

    Parameters
    ----------
    keys
        The keys of the service and its clients; None: no encryption.

    Raises
    ------
    ConfigError
        If the key pair of the service cannot be read.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], keys: KeyFolder | None = None
    ) -> None:
        self._keys = keys
        self._service_pair = keys.service_pair() if keys else None
        self._admitted: set[bytes] = set()  # public keys, as Z85
        self.socket = context.socket(zmq.REP)
        self.socket.bind(ZAP_ADDRESS)
        self._counts: dict[bytes, ConnectionCount] = {}
        self._refusals = 0
        self._log_again_s = float("-inf")

    def watch(self, socket: zmq.Socket[bytes], domain: bytes) -> zmq.Socket[bytes]:
        """Let a socket ask for each handshake, under a domain; return its monitor.

        It is called before the socket is bound.
        """
        socket.set(zmq.ZAP_DOMAIN, domain)
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        if self._service_pair is not None:
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.CURVE_SECRETKEY, self._service_pair.secret)
        self._counts[domain] = ConnectionCount(socket)
        return self._counts[domain].monitor

    def answer(self) -> None:
        """Read the events of the connections, and answer every handshake that has arrived."""
        for count in self._counts.values():
            count.update()  # also without a handshake, so that the events do not pile up
        for _ in range(HANDSHAKES_PER_TURN):
            if not self.socket.poll(0):
                return
            request = self.socket.recv_multipart()
            if len(request) < _ZAP_PARTS:
                self.socket.send_multipart([b"1.0", b"", b"500", b"not a ZAP request", b"", b""])
                continue
            version, request_id, domain, address, _, mechanism, *credentials = request
            try:
                name = self._admit(domain, mechanism, credentials)
            except RefusedError as refusal:
                self._log_refusal(domain, address, str(refusal))
                status = [b"400", str(refusal).encode(), b""]
            else:
                status = [b"200", b"OK", name.encode()]
            self.socket.send_multipart([version, request_id, *status, b""])

    def has_revoked(self) -> bool:
        """Return whether a client that was admitted is allowed no longer."""
        return self._keys is not None and not self._admitted <= self._keys.allowed().keys()

    def _admit(self, domain: bytes, mechanism: bytes, credentials: Sequence[bytes]) -> str:
        """Return the name of the client of a handshake; empty without keys.

        Raises
        ------
        RefusedError
            If the client may not connect.
        """
        open_connections = self._counts[domain].update()  # with the one of the handshake
        if open_connections > MAX_CONNECTIONS:
            raise RefusedError(
                f"{open_connections} connections; expected {MAX_CONNECTIONS} or fewer"
            )
        if self._keys is None or self._service_pair is None:
            return ""
        if mechanism != b"CURVE" or len(credentials) != 1:
            raise RefusedError("no CURVE; expected a client with a key")
        key = z85.encode(credentials[0])
        if key == self._service_pair.public:
            return SERVICE_USER
        name = self._keys.allowed().get(key)
        if name is None:
            raise RefusedError("unknown key; expected one of `spherorank keys list`")
        self._admitted.add(key)
        return name

    def _log_refusal(self, domain: bytes, address: bytes, reason: str) -> None:
        """Log a refusal, but only one in a while, because a client may try again at once."""
        self._refusals += 1
        if time.monotonic() < self._log_again_s:
            return
        log.warning(
            "connection.refused",
            socket=domain.decode(),
            address=address.decode(errors="replace"),
            reason=reason,
            refusals=self._refusals,
        )
        self._log_again_s = time.monotonic() + LOG_INTERVAL_S

    def close(self) -> None:
        """Close the socket of the handshakes and the monitors; the watched sockets are closed."""
        for count in self._counts.values():
            count.monitor.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
