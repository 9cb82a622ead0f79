"""The socket for requests of REQ and DEALER clients, with its limits."""

import time
from collections.abc import Callable

import zmq

from daemon.messaging.rate_limit import RateLimit
from daemon.messaging.replies import error_reply

REQUESTS_PER_S = 50.0  # of one client, in the long run
BURST_REQUESTS = 200.0  # of one client, at once
QUEUED_REQUESTS = 10  # of one client, before its further requests stay with the client
QUEUED_REPLIES = 2  # of one client that does not read; the next ones are lost to it
MAX_REQUEST_BYTES = 65_536
MAX_PARTS = 3  # identity, the empty part of a REQ socket, request


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

    def answer(self, reply_to: Callable[[bytes, str | None], str]) -> bool:
        """Answer one request, and return whether there was one.

        Parameters
        ----------
        reply_to
            Returns the reply to the bytes of a request of a client with the name of its key, or
            None without authentication.
        """
        if not self._socket.poll(0):
            return False
        # REQ sends [identity, empty, request], DEALER [identity, request]: the envelope is
        # returned.
        parts = self._socket.recv_multipart(flags=zmq.DONTWAIT, copy=False)
        client, envelope = parts[0].bytes, [part.bytes for part in parts[1:-1]]
        if len(parts) > MAX_PARTS:
            envelope = []
            problem = error_reply(f"the request has {len(parts) - 1} parts; expected one")
            reply = problem.model_dump_json()
        elif not self._limit.allows(client):
            reply = error_reply(
                f"this client sends more than {REQUESTS_PER_S:g} requests a second; expected fewer",
                retry=True,
            ).model_dump_json()
        else:
            reply = reply_to(parts[-1].bytes, _key_name(parts[-1]))
        self._socket.send_multipart([client, *envelope, reply.encode()], flags=zmq.DONTWAIT)
        return True


def _key_name(part: zmq.Frame) -> str | None:
    """Return the name of the key of the client that sent a part; None without authentication."""
    try:
        return str(part.get("User-Id")) or None
    except zmq.ZMQError:  # the part has no such property
        return None
