"""Hostile and broken clients cost the service nothing: real sockets, real processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import zmq

import daemon.messaging.message_process
from daemon.messaging.access import MAX_CONNECTIONS
from daemon.messaging.serving_process import MAX_DATA_BYTES
from schemas.messages import AlertData, AlertKind
from tests.running_messages import (
    UNREAD,
    RunningMessages,
    ask,
    client,
    frame,
    free_ports,
    is_closed,
    raw_client,
    raw_connection,
)
from tests.samples import NOW
from tests.service_process import ServiceProcess

MEBIBYTE = 2**20
UNFINISHED_BYTES = 954_000_000


@pytest.fixture
def messages(tmp_path: Path) -> Iterator[RunningMessages]:
    made = RunningMessages(tmp_path)
    yield made
    made.close()


def numbers_on(subscriber: zmq.Socket[bytes]) -> list[int]:
    """Return the sequence numbers of the messages that have arrived at a subscriber."""
    numbers = []
    while subscriber.poll(100):
        numbers.append(int.from_bytes(subscriber.recv_multipart()[1], "big"))
    return numbers


# The process


def test_a_killed_process_is_started_again_and_no_message_is_missing(
    messages: RunningMessages,
) -> None:
    with client(zmq.SUB, messages.events) as subscriber:
        messages.wait_for(lambda: subscriber.poll(0), "a subscriber hears the first message")
        first = messages.child
        first.kill()
        number = messages.add_alert("committed while no process published")
        messages.wait_for(
            lambda: messages.store.published_through() >= number, "the alert is published"
        )
        assert messages.child.pid != first.pid
        messages.wait_for(
            lambda: not messages.alerts.active_count, "the alert about the process is cleared"
        )
        messages.wait_for(messages.answers, "another client is answered")
        assert subscriber.poll(5000)  # it has connected again
    assert any("signal SIGKILL" in text for text in messages.alert_messages())
    last = messages.store.last_sequence()
    reply = ask(messages.requests, kind="replay", after=0)
    assert {message["sequence"] for message in reply["messages"]} >= set(range(1, last + 1))


def test_a_process_that_is_stopped_publishes_stopping_and_everything_committed(
    tmp_path: Path,
) -> None:
    made = RunningMessages(tmp_path)
    made.wait_for(
        lambda: made.store.messages_after(0, "spherorank.v1.status"), "the first heartbeat"
    )
    made.add_alert("last")
    made.process.stop(20)
    states = [
        json.loads(each.body)["data"]["state"]
        for each in made.store.messages_after(0, "spherorank.v1.status")
    ]
    assert (states[0], states[-1]) == ("online", "stopping")
    assert made.store.published_through() == made.store.last_sequence()
    made.store.close()


def test_a_stuck_main_loop_ends_the_heartbeats_and_not_the_replies(tmp_path: Path) -> None:
    made = RunningMessages(tmp_path, stall_s=0.2, heartbeat_s=0.1)
    made.wait_for(lambda: made.store.last_sequence() >= 2, "two heartbeats")
    made.loop_age_s = 1000.0
    time.sleep(1.0)  # two snapshots
    stood = made.store.last_sequence()
    time.sleep(0.5)
    assert made.store.last_sequence() == stood
    assert made.answers()
    made.close()


def test_a_process_that_hangs_is_ended_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.messaging.message_process, "SNAPSHOT_S", 0.0001)
    monkeypatch.setattr(daemon.messaging.message_process, "STUCK_S", 1.0)
    made = RunningMessages(tmp_path)
    hanging = made.suspend()  # its pipe fills up; the main loop never waits for it
    made.wait_for(lambda: not hanging.is_running(), "the process that hangs is ended")
    monkeypatch.undo()
    made.wait_for(made.answers, "a new process answers")
    made.close()


def test_the_status_with_a_file_name_that_is_not_utf_8_is_answered(tmp_path: Path) -> None:
    made = RunningMessages(tmp_path)
    made.source_gone = "plate\udce9/B02.tif"  # as Python reads a name in Latin-1
    made.wait_for(
        lambda: ask(made.requests, kind="status")["source_gone"] == "plate\ufffd/B02.tif",
        "the status with the name",
    )
    made.close()


PARENT = """
import sys, time
from pathlib import Path
from tests.running_messages import RunningMessages
if __name__ == "__main__":
    made = RunningMessages(Path(sys.argv[1]))
    print(made.child.pid, made.events, made.requests, flush=True)
    time.sleep(600)
"""


def test_the_process_ends_with_a_killed_service_and_a_new_service_gets_the_same_addresses(
    tmp_path: Path,
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    ) as parent:
        assert parent.stdout is not None
        pid, events, requests = parent.stdout.readline().split()
        parent.send_signal(signal.SIGKILL)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(pid)).wait(timeout=10)
    made = RunningMessages(tmp_path, events=events, requests=requests)
    assert made.answers()
    made.close()


# Clients

GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
    bytes(range(256)) * 100,
    b"\xff" * 100_000,
    b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00CURVE" + bytes(200),
)


def send_garbage(*urls: str) -> None:
    """Connect to each address many times, and send bytes of other protocols."""
    for url in urls:
        for _ in range(50):
            raw_connection(url).close()
        for content in GARBAGE:
            with raw_connection(url) as connection, contextlib.suppress(OSError):
                connection.sendall(content)


def test_a_port_scan_and_garbage_bytes_end_nothing(messages: RunningMessages) -> None:
    before = messages.child.pid
    send_garbage(messages.events, messages.requests)
    assert messages.answers()
    number = messages.add_alert("after the scan")
    messages.wait_for(
        lambda: messages.store.published_through() >= number, "the next message is published"
    )
    assert messages.child.pid == before


def test_a_client_without_a_handshake_is_disconnected(messages: RunningMessages) -> None:
    with raw_connection(messages.requests) as silent:
        assert is_closed(silent, within_s=10)


@pytest.mark.parametrize("kind", ["SUB", "DEALER"])
def test_a_frame_of_600_megabytes_is_refused_before_it_arrives(
    kind: str, messages: RunningMessages
) -> None:
    url = messages.events if kind == "SUB" else messages.requests
    with raw_client(url, kind) as hostile:
        hostile.sendall(frame(600_000_000, b"\x01" * 1000))
        assert is_closed(hostile, within_s=10)
    assert messages.child.memory_info().rss < 250 * MEBIBYTE
    assert messages.answers()


def send_unfinished_message(url: str, size: int, measure: Callable[[], None]) -> int:
    """Send a message that never ends, and return the bytes sent until the connection is closed.

    ``measure`` is called after every 100 parts.
    """
    part, sent = frame(65_536, bytes(65_536), more=True), 0
    with raw_client(url, "DEALER") as hostile, contextlib.suppress(OSError):
        while sent < size:
            hostile.sendall(part)
            sent += len(part)
            if sent % (100 * len(part)) == 0:
                measure()
    return sent


class LargestMemory:
    """The largest resident memory of processes, each at the moments of the calls."""

    def __init__(self, *processes: psutil.Process) -> None:
        self.bytes = dict.fromkeys(processes, 0)

    def measure(self) -> None:
        for process in self.bytes:
            with contextlib.suppress(psutil.Error):
                self.bytes[process] = max(self.bytes[process], process.memory_info().rss)


def test_an_unfinished_message_ends_at_most_the_process_of_the_sockets(
    messages: RunningMessages,
) -> None:
    memory = LargestMemory(messages.child)
    sent = send_unfinished_message(messages.requests, 2 * MAX_DATA_BYTES, memory.measure)
    assert max(memory.bytes.values()) < MAX_DATA_BYTES + 100 * MEBIBYTE
    assert sent < 2 * MAX_DATA_BYTES  # the connection was closed
    messages.wait_for(messages.answers, "another client is answered")
    assert psutil.Process().is_running()


def test_a_flood_of_requests_is_refused_with_retry_and_other_clients_are_answered(
    messages: RunningMessages,
) -> None:
    refused, answer_times_s = 0, []
    with client(zmq.DEALER, messages.requests, sndhwm=1000, rcvhwm=100_000) as flood:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for _ in range(500):
                with contextlib.suppress(zmq.Again):
                    flood.send(b'{"kind":"status"}', zmq.DONTWAIT)
            started = time.monotonic()
            assert messages.answers()
            answer_times_s.append(time.monotonic() - started)
            while flood.poll(0):
                refused += json.loads(flood.recv()).get("retry", False)
        number = messages.add_alert("during the flood")
        messages.wait_for(
            lambda: messages.store.published_through() >= number, "a message is published"
        )
    assert refused > 0
    assert max(answer_times_s) < 2
    assert messages.child.memory_info().rss < MAX_DATA_BYTES


def test_more_connections_than_allowed_are_refused_until_others_close(
    messages: RunningMessages,
) -> None:
    held = [raw_client(messages.requests, "DEALER") for _ in range(MAX_CONNECTIONS + 2)]
    admitted = sum(connection.fileno() >= 0 for connection in held)
    is_full = not messages.answers()
    for connection in held:
        connection.close()
    assert admitted == MAX_CONNECTIONS
    assert is_full
    messages.wait_for(messages.answers, "a client is answered after the others have left")


def test_a_request_of_many_parts_is_refused(messages: RunningMessages) -> None:
    with client(zmq.DEALER, messages.requests) as odd:
        odd.send_multipart([b"x"] * 1000)
        assert odd.poll(10_000)
        assert "has 1000 parts" in json.loads(odd.recv())["error"]


def test_a_subscriber_that_vanishes_without_reading_ends_nothing(messages: RunningMessages) -> None:
    before = messages.child.pid
    with raw_client(messages.events, "SUB") as subscriber:
        subscriber.sendall(frame(1, b"\x01"))  # subscribes to everything
        for number in range(200):
            messages.add_alert(f"{number} " + "x" * 50_000)
    number = messages.add_alert("after it")
    messages.wait_for(
        lambda: messages.store.published_through() >= number, "the last alert is published"
    )
    assert messages.child.pid == before


# The whole service


def socket_processes(service: int) -> list[psutil.Process]:
    """Return the running child processes of a service (pid) that own its sockets."""
    children = psutil.Process(service).children()
    return [
        child
        for child in children
        if child.status() != psutil.STATUS_ZOMBIE
        and any("spawn_main" in word for word in child.cmdline())
    ]


def test_a_service_whose_process_of_the_sockets_is_killed_three_times_ranks_its_plate(
    service: ServiceProcess,
) -> None:
    with service.running() as process:
        for ended, stored in enumerate((5, 15, 25)):
            # A killed process is listed until the service has noticed its end.
            service.wait_for(lambda: len(service.events("messages.process_ended")) == ended)  # noqa: B023
            service.wait_for(lambda: len(service.events("image.stored")) >= stored)  # noqa: B023
            service.wait_for(lambda: socket_processes(process.pid))
            for child in socket_processes(process.pid):
                child.kill()
        service.wait_for(lambda: [each for each in service.rankings() if each.final])
        service.wait_for(lambda: ask(service.requests, timeout_s=1.0, kind="status"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert len(service.events("messages.process_ended")) == 3
    with service.store() as store:
        assert store.published_through() == store.last_sequence()


def attackable(service: ServiceProcess) -> tuple[str, str]:
    """Let a service listen on TCP ports, and return the addresses of events and requests."""
    text = service.config.read_text()
    urls = [f"tcp://127.0.0.1:{port}" for port in free_ports(2)]
    for old, new in zip((f"ipc://{service.folder}/events", service.requests), urls, strict=True):
        text = text.replace(old, new)
    service.config.write_text(text)
    return urls[0], urls[1]


@pytest.mark.slow
def test_a_service_with_a_ranked_plate_survives_unread_replays_garbage_and_an_unfinished_message(
    ranked_copy: ServiceProcess,
) -> None:
    events, requests = attackable(ranked_copy)
    with ranked_copy.store() as store:
        for number in range(300):
            message = f"{number} " + "x" * 20_000
            store.add_message(AlertData(kind=AlertKind.DISK, plate=None, message=message), NOW)
    with ranked_copy.running() as process:
        ranked_copy.wait_for(lambda: ask(requests, timeout_s=1.0, kind="status"))
        (sockets,) = socket_processes(process.pid)
        memory = LargestMemory(psutil.Process(process.pid), sockets)
        with subprocess.Popen([sys.executable, "-c", UNREAD, requests]) as unread:
            send_garbage(events, requests)
        send_unfinished_message(requests, UNFINISHED_BYTES, memory.measure)
        memory.measure()
        assert unread.returncode == 0
        time.sleep(
            10
        )  # libzmq ended the process when its first heartbeat met the broken connection
        # The process of the sockets may end at the limit of its memory, and is started again.
        ranked_copy.wait_for(lambda: ask(requests, timeout_s=1.0, kind="status"))
        status = ask(requests, kind="status")
        assert len(status["plates"]) + status["closed_plates"] == 1
        assert process.poll() is None
    main, of_sockets = memory.bytes.values()
    assert main < 700 * MEBIBYTE
    assert of_sockets < MAX_DATA_BYTES + 100 * MEBIBYTE


def test_an_address_that_another_program_uses_is_a_wrong_configuration(
    empty_service: ServiceProcess,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        text = empty_service.config.read_text().replace(empty_service.requests, url)
        empty_service.config.write_text(text)
        done = empty_service.ask("run")
    assert done.returncode == 78
    assert f"publisher.requests: {url} cannot be bound" in done.stderr
