"""Attack the sockets of a running service, and print the costs for other clients and the memory.

    python -m benchmarks.hostile_clients

The process of the sockets runs with a store of 2,000 messages of 20 kB. During each attack, another
client requests the status every 0.1 s and a subscriber follows the messages, of which one is
committed every 0.1 s. The table has the slowest answer, the messages that arrived, the largest
memory of the process, and whether the process ended.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from tests.running_messages import (
    UNREAD,
    RunningMessages,
    ask,
    client,
    frame,
    raw_client,
    raw_connection,
)

FLOOD = """
import contextlib, sys, time, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.connect(sys.argv[1])
end, sent = time.monotonic() + float(sys.argv[2]), 0
start = time.monotonic()
while time.monotonic() < end:
    with contextlib.suppress(zmq.Again):
        socket.send(b'{"kind":"status"}', zmq.DONTWAIT)
        sent += 1
    if sent > 10_000 * (time.monotonic() - start):
        time.sleep(0.001)
    while socket.poll(0):
        socket.recv()
"""
MIB = 2**20


def _port_scan(running: RunningMessages, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for url in (running.events, running.requests):
            with contextlib.suppress(OSError), raw_connection(url) as connection:
                connection.sendall(bytes(range(256)) * 4)


def _flood(running: RunningMessages, seconds: float) -> None:
    _run(FLOOD, running.requests, str(seconds))


def _unread_replays(running: RunningMessages, seconds: float) -> None:
    _run(UNREAD, running.requests)
    time.sleep(seconds)


def _unfinished_message(running: RunningMessages, seconds: float) -> None:
    part, end = frame(65_536, bytes(65_536), more=True), time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), raw_client(running.requests, "DEALER") as hostile:
            while time.monotonic() < end:
                hostile.sendall(part)
        time.sleep(0.1)


def _large_frames(running: RunningMessages, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for url, kind in ((running.events, "SUB"), (running.requests, "DEALER")):
            with contextlib.suppress(OSError), raw_client(url, kind) as hostile:
                hostile.sendall(frame(600_000_000, bytes(1_000_000)))


ATTACKS: dict[str, Callable[[RunningMessages, float], None]] = {
    "none": lambda _running, seconds: time.sleep(seconds),
    "port scan with garbage": _port_scan,
    "10,000 requests a second": _flood,
    "5,000 unread replays, then gone": _unread_replays,
    "unfinished message": _unfinished_message,
    "frames of 600 MB": _large_frames,
}


def _run(script: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", script, *arguments], check=True)


class Observer:
    """Measures what other clients notice during an attack."""

    def __init__(self, running: RunningMessages) -> None:
        self._running = running
        self.slowest_s = 0.0
        self.largest_bytes = 0
        self.committed: set[int] = set()

    def observe(self, attack: threading.Thread) -> None:
        """Ask, commit and measure until the attack has ended, and a second longer."""
        end = float("inf")
        while time.monotonic() < end:
            if end == float("inf") and not attack.is_alive():
                end = time.monotonic() + 1
            self._running.process.poll()
            self.largest_bytes = max(self.largest_bytes, self._running.memory_bytes())
            self.committed.add(self._running.add_alert("during the attack"))
            started = time.monotonic()
            while not ask(self._running.requests, timeout_s=1.0, kind="status"):
                self._running.process.poll()
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
            time.sleep(0.1)


def measure(name: str, seconds: float) -> str:
    """Return one line of the table: the costs of one attack."""
    with tempfile.TemporaryDirectory() as folder:
        running = RunningMessages(Path(folder))
        for number in range(2000):
            running.add_alert(f"{number} " + "x" * 20_000)
        running.wait_for(
            lambda: running.store.published_through() >= running.store.last_sequence(), "published"
        )
        observer = Observer(running)
        with client(zmq.SUB, running.events) as subscriber:
            attack = threading.Thread(target=ATTACKS[name], args=(running, seconds))
            attack.start()
            observer.observe(attack)
            live = set()
            while subscriber.poll(500):
                live.add(int.from_bytes(subscriber.recv_multipart()[1], "big"))
        replayed, after = set(), min(observer.committed) - 1
        more = True
        while more:
            reply = ask(running.requests, kind="replay", after=after)
            replayed |= {message["sequence"] for message in reply["messages"]}
            after, more = reply["last"], reply["more"]
        alerts = running.alert_messages()
        running.close()
    missing = len(observer.committed - replayed)
    ends = sum("process that publishes messages" in text for text in alerts)
    return (
        f"| {name} | {observer.slowest_s:.2f} "
        f"| {len(live & observer.committed)} of {len(observer.committed)} | {missing} "
        f"| {observer.largest_bytes / MIB:.0f} | {ends} |"
    )


def main() -> None:
    """Run every attack, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each attack")
    arguments = parser.parse_args()
    print(
        "| attack | slowest answer, s | received live | missing after replay "
        "| memory, MiB | ends |\n|---|---|---|---|---|---|"
    )
    for name in ATTACKS:
        print(measure(name, arguments.seconds), flush=True)


if __name__ == "__main__":
    main()
