"""Tells what is committed: the outbox, in order, on a PUB socket. Each message has three parts: topic, sequence (8 bytes, big-endian), body."""

from typing import Self

import zmq

from schemas.errors import ConfigError
from store.ports import Outbox

BATCH = 500  # messages read from the outbox at once


class Publisher:
    """A bound PUB socket. Sending never blocks: a subscriber that is too slow loses messages and asks for them again."""

    def __init__(self, url: str, *, high_water_mark: int = 10_000, linger_s: float = 1.0) -> None:
        """Bind.

        Parameters
        ----------
        url
            ``tcp://host:port`` (``*`` picks a free port) or ``ipc://path``.
        high_water_mark
            Messages kept for one slow subscriber before it loses some.
        linger_s
            How long closing waits for what is still on its way.

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
                f"{url} cannot be bound ({error.strerror}); expected a free address of this machine, such as tcp://127.0.0.1:5556",
            ) from error
        self.url = self._socket.get_string(zmq.LAST_ENDPOINT)

    def send(self, topic: str, sequence: int, body: str) -> None:
        """Hand one message to the socket."""
        self._socket.send_multipart(
            [topic.encode("ascii"), sequence.to_bytes(8, "big"), body.encode()], flags=zmq.DONTWAIT
        )

    def close(self) -> None:
        """Wait ``linger_s`` at most for what is on its way, then release the socket. Safe to call twice."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class OutboxDrain:
    """Publishes what the store holds and has not published; at least once, because the mark follows the message."""

    def __init__(self, store: Outbox, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self._published: int | None = None  # through this number; asked once, then known

    def step(self) -> bool:
        """Publish one batch. Return whether more may wait.

        Raises
        ------
        StoreError
            If the outbox cannot be read or marked; what was sent since is sent again by the next step.
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
