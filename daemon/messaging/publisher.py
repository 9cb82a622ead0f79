"""Publishing of committed messages from the outbox on a PUB socket, in order.

Each message has three parts: topic, sequence number (8 bytes, big-endian) and body.
"""

from typing import Self

import zmq

from schemas.errors import ConfigError
from store.ports import Outbox

BATCH = 500  # messages read from the outbox at once


class Publisher:
    """A bound PUB socket whose sending never blocks; a slow subscriber loses messages."""

    def __init__(self, url: str, *, high_water_mark: int = 10_000, linger_s: float = 1.0) -> None:
        """Bind the socket to an address.

        Parameters
        ----------
        url
            ``tcp://host:port`` (``*`` picks a free port) or ``ipc://path``.
        high_water_mark
            Messages kept for one slow subscriber before it loses some.
        linger_s
            Longest wait of :meth:`close` for messages that are being sent, in seconds.

        Raises
        ------
        ConfigError
            If the address cannot be bound.
        """
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.set(zmq.LINGER, round(linger_s * 1000))
        self._socket.set(zmq.SNDHWM, high_water_mark)
        self._socket.set(
            zmq.HEARTBEAT_IVL, 10_000
        )  # ms; a subscriber whose machine vanished is dropped instead of collecting messages
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, 30_000)
        try:
            self._socket.bind(url)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                "publisher.events",
                f"{url} cannot be bound ({error.strerror}); expected a free address of this "
                f"machine, such as tcp://127.0.0.1:5556",
            ) from error
        self.url = self._socket.get_string(zmq.LAST_ENDPOINT)

    def send(self, topic: str, sequence: int, body: str) -> None:
        """Send a message to all subscribers: topic, sequence number and body as JSON text."""
        self._socket.send_multipart(
            [topic.encode("ascii"), sequence.to_bytes(8, "big"), body.encode()], flags=zmq.DONTWAIT
        )

    def close(self) -> None:
        """Close the socket after at most ``linger_s`` seconds; safe to call twice."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class OutboxDrain:
    """Publishes unpublished messages of the store, each at least once."""

    def __init__(self, store: Outbox, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self._published: int | None = None  # last published number, read once

    def step(self) -> bool:
        """Publish one batch of messages, and return whether more may be unpublished.

        Raises
        ------
        StoreError
            If the outbox fails; the next step sends the batch again.
        """
        if self._published is None:
            self._published = self._store.published_through()
        messages = self._store.messages_after(self._published, limit=BATCH)
        if not messages:
            return False
        for message in messages:
            self._publisher.send(message.topic, message.sequence, message.body)
        self._store.mark_published(messages[-1].sequence)
        self._published = messages[-1].sequence
        return len(messages) == BATCH
