"""The real process of the sockets, with a store, and clients that speak to it."""

import json
import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import zmq

from daemon.alerts import Alerts
from daemon.messaging.message_process import MessageProcess
from daemon.messaging.serving_process import MessageSettings
from daemon.messaging.status_snapshot import StatusSnapshot
from schemas.messages import AlertData, AlertKind
from schemas.requests import StatusDetails
from store.sql_store import SqlStore
from tests import samples

TIMEOUT_S = 40.0
UNREAD = """
import os, sys, time, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.sndhwm, socket.rcvhwm = 0, 1
socket.connect(sys.argv[1])
for _ in range(5000):
    socket.send(b'{"kind":"replay","after":0}')
time.sleep(2)
os._exit(0)
"""
"""Program of a client that requests 5,000 replays at an address and reads none of them."""
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)


class RunningMessages:
    """The process of the sockets under the control of this test, as the main process has it."""

    def __init__(self, folder: Path, **changes: Any) -> None:  # noqa: ANN401 - any settings
        events, requests = free_ports(2)
        self._store_file = folder / "messages.sqlite"
        settings: dict[str, Any] = {
            "events": f"tcp://127.0.0.1:{events}",
            "requests": f"tcp://127.0.0.1:{requests}",
            "store_url": f"sqlite:///{self._store_file}",
            "service": "test",
            "heartbeat_s": 0.5,
            "stall_s": 5.0,
            "must_ack": (),
            "keys": None,
            "logs": None,
            "log_days": 90,
        }
        self.settings = MessageSettings(**settings | changes)
        self.store = SqlStore(self.settings.store_url, service=self.settings.service)
        self.alerts = Alerts(self.store, lambda: samples.NOW)
        self.loop_age_s = 0.0
        self.snapshots = 0
        self.source_gone: str | None = None
        self.process = MessageProcess(self.settings, self.alerts)
        self.process.serve(self.snapshot)

    @property
    def events(self) -> str:
        return self.settings.events

    @property
    def requests(self) -> str:
        return self.settings.requests

    @property
    def child(self) -> psutil.Process:
        """The process of the sockets that runs now."""
        assert self.process._child is not None
        return psutil.Process(self.process._child._process.pid)

    def suspend(self) -> psutil.Process:
        """Stop the process that runs now while it holds no lock of the store, and return it."""
        child = self.child
        with closing(sqlite3.connect(self._store_file, timeout=TIMEOUT_S)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            child.suspend()
        return child

    def memory_bytes(self) -> int:
        """Return the memory of the process that runs now; 0 if none runs."""
        try:
            return int(self.child.memory_info().rss)
        except (psutil.Error, AssertionError):
            return 0

    def snapshot(self) -> StatusSnapshot:
        self.snapshots += 1
        return StatusSnapshot(
            status=samples.status_data(source_gone=self.source_gone),
            details=StatusDetails(),
            loop_age_s=self.loop_age_s,
        )

    def wait_for(self, condition: Callable[[], object], description: str) -> None:
        """Poll the process, as the main loop does, until a condition is true."""
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f"not within {TIMEOUT_S} s: {description}"
            self.process.poll()
            time.sleep(0.02)

    def answers(self) -> bool:
        """Return whether a new client receives the status within 2 s."""
        return ask(self.requests, timeout_s=2.0, kind="status").get("kind") == "status"

    def add_alert(self, text: str) -> int:
        data = AlertData(kind=AlertKind.DISK, plate=None, message=text)
        return self.store.add_message(data, samples.NOW)

    def alert_messages(self) -> list[str]:
        """Return the text of each alert in the store, in order."""
        messages = self.store.messages_after(0, "spherorank.v1.alert")
        return [json.loads(each.body)["data"]["message"] for each in messages]

    def close(self) -> None:
        with suppress(psutil.Error, AssertionError):
            self.child.resume()  # a test that failed may have left it suspended
        self.process.stop(TIMEOUT_S)
        self.store.close()


def free_ports(count: int) -> list[int]:
    """Return numbers of TCP ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def client(kind: int, url: str, **options: Any) -> Iterator[zmq.Socket[bytes]]:  # noqa: ANN401 - zmq options
    """Yield a connected socket of a kind, such as ``zmq.SUB``, with options like ``rcvhwm=1``."""
    with zmq.Context() as context, context.socket(kind) as made:
        made.linger = 0
        for name, value in options.items():
            setattr(made, name, value)
        if kind == zmq.SUB:
            made.subscribe("")
        made.connect(url)
        yield made


def ask(url: str, *, timeout_s: float = TIMEOUT_S, **request: object) -> dict[str, Any]:
    """Send one request from a new client, and return the reply; empty without a reply in time."""
    with client(zmq.REQ, url) as made:
        made.send_json(request)
        if not made.poll(round(timeout_s * 1000)):
            return {}
        reply: dict[str, Any] = json.loads(made.recv())
        return reply


def raw_connection(url: str) -> socket.socket:
    """Return a TCP connection to an address that speaks no protocol yet."""
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


def raw_client(url: str, kind: str) -> socket.socket:
    """Return a TCP connection after the handshake of ZMTP 3.0, as a socket type such as SUB.

    It is closed if the service refused the handshake.
    """
    made = raw_connection(url)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode()
    received = b""
    try:
        made.sendall(GREETING + bytes([4, len(ready)]) + ready)
        while b"READY" not in received and (content := made.recv(1000)):
            received += content
    except OSError:
        received = b""
    if b"READY" not in received:
        made.close()
    return made


def frame(size: int, content: bytes, *, more: bool = False) -> bytes:
    """Return a ZMTP frame that announces a size, with its content or the first part of it."""
    return struct.pack(">BQ", 2 | more, size) + content


def is_closed(connection: socket.socket, within_s: float) -> bool:
    """Return whether the other side closes a connection within a time."""
    connection.settimeout(within_s)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
