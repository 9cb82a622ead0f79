"""Publishing of committed messages from the outbox on a PUB socket, in order.

Each message has three parts: topic, sequence number (8 bytes, big-endian) and body.
"""

from collections.abc import Callable

import zmq

from store.ports import Outbox

BATCH = 50  # messages read from the outbox at once; a ranking of 1536 wells has 1.5 MB
MAX_SUBSCRIPTION_BYTES = 4096  # of one frame that a subscriber sends; a topic is shorter
QUEUED_MESSAGES = 300  # kept for one slow subscriber; the next ones are lost to it


class Publisher:
    """A PUB socket whose sending never blocks; a slow subscriber loses messages."""

    def __init__(
        self, socket: zmq.Socket[bytes], *, queued_messages: int = QUEUED_MESSAGES
    ) -> None:
        """Set the limits of a PUB socket that is not bound yet.

        Parameters
        ----------
        socket
            The socket; its owner binds and closes it.
        queued_messages
            Messages kept for one slow subscriber before it loses some.
        """
        self._socket = socket
        socket.set(zmq.SNDHWM, queued_messages)
        socket.set(zmq.RCVHWM, 100)
        socket.set(zmq.MAXMSGSIZE, MAX_SUBSCRIPTION_BYTES)

    def send(self, topic: str, sequence: int, body: str) -> None:
        """Send a message to all subscribers: topic, sequence number and body as JSON text."""
        self._socket.send_multipart(
            [topic.encode("ascii"), sequence.to_bytes(8, "big"), body.encode()], flags=zmq.DONTWAIT
        )


class OutboxDrain:
    """Publishes unpublished messages of the store, each at least once.

    Parameters
    ----------
    send
        Sends a message: topic, sequence number and body, as :meth:`Publisher.send`.
    """

    def __init__(self, store: Outbox, send: Callable[[str, int, str], None]) -> None:
        self._store = store
        self._send = send
        self._published: int | None = None  # last published number, read once
        self._drained_at: int | None = None  # change number at which no message was left

    def step(self) -> bool:
        """Publish one batch of messages, and return whether more may be unpublished.

        Raises
        ------
        StoreError
            If the outbox fails; the next step sends the batch again.
        """
        change = self._store.change_number()
        if change is not None and change == self._drained_at:
            return False
        if self._published is None:
            self._published = self._store.published_through()
        messages = self._store.messages_after(self._published, limit=BATCH)
        if not messages:
            self._drained_at = change
            return False
        for message in messages:
            self._send(message.topic, message.sequence, message.body)
        self._store.mark_published(messages[-1].sequence)
        self._published = messages[-1].sequence
        return len(messages) == BATCH
