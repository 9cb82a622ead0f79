"""Decides which clients may connect: ZAP (ZeroMQ RFC 27), and a limit of connections."""

import time
from typing import Self

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

log = structlog.get_logger()

MAX_CONNECTIONS = 100
"""Largest number of connections of each socket; further ones are refused."""
LOG_INTERVAL_S = 60.0
"""Smallest interval of logged refusals."""
ZAP_ADDRESS = "inproc://zeromq.zap.01"
_ZAP_PARTS = 6  # version, request id, domain, address, routing id, mechanism; then credentials


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
    connections is refused.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
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
        self._counts[domain] = ConnectionCount(socket)
        return self._counts[domain].monitor

    def answer(self) -> None:
        """Read the events of the connections, and answer every handshake that has arrived."""
        for count in self._counts.values():
            count.update()  # also without a handshake, so that the events do not pile up
        while self.socket.poll(0):
            request = self.socket.recv_multipart()
            if len(request) < _ZAP_PARTS:
                self.socket.send_multipart([b"1.0", b"", b"500", b"not a ZAP request", b"", b""])
                continue
            version, request_id, domain, address, *_ = request
            refusal = self._refusal(domain)
            if refusal:
                self._log_refusal(domain, address, refusal)
            code, text = (b"400", refusal.encode()) if refusal else (b"200", b"OK")
            self.socket.send_multipart([version, request_id, code, text, b"", b""])

    def _refusal(self, domain: bytes) -> str:
        """Return the reason to refuse a handshake; empty if it is admitted."""
        open_connections = self._counts[domain].update()  # with the one of the handshake
        if open_connections > MAX_CONNECTIONS:
            return f"{open_connections} connections; expected {MAX_CONNECTIONS} or fewer"
        return ""

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
