"""Published messages and replies to requests, on real sockets of this machine."""

import itertools
import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zmq

import daemon.messaging.listen
import daemon.messaging.publisher
import daemon.messaging.replies
from daemon.messaging.asking import ask
from daemon.messaging.listen import Message, Service, listen
from daemon.messaging.message_loop import MessageLoop
from daemon.messaging.message_process import SNAPSHOT_S
from daemon.messaging.publisher import OutboxDrain
from daemon.messaging.sockets import MessageSockets
from daemon.messaging.status_snapshot import StatusSnapshot
from schemas.errors import ConfigError, SilentServiceError
from schemas.json_schemas import json_schemas
from schemas.messages import AcquisitionData, AcquisitionStep, AlertData, AlertKind
from schemas.requests import ReplayReply, ReplayRequest, StatusDetails, StatusReply, StatusRequest
from store.sql_store import SqlStore
from tests import samples
from tests.running_messages import RunningMessages

ANY_PORT = "tcp://127.0.0.1:*"
TIMEOUT_S = 20.0


def alert(message: str = "look") -> AlertData:
    return AlertData(kind=AlertKind.DISK, plate=None, message=message)


def wait_until(condition: Callable[[], bool], description: str) -> None:
    """Wait until a condition is true; after the timeout, fail with its description."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, f"not within {TIMEOUT_S} s: {description}"
        time.sleep(0.01)


class Messaging:
    """A store with sockets and the loop that serves them on a thread, which can be restarted."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "messaging.sqlite"
        self.store = SqlStore(f"sqlite:///{self.database}", service="test")
        self.sockets = MessageSockets(ANY_PORT, ANY_PORT, linger_s=0)
        self.tick_age_s = 0.0
        self.thread: threading.Thread | None = None
        self.is_stopping = False
        self.must_ack: tuple[str, ...] = ()

    @property
    def events(self) -> str:
        return self.sockets.events_url

    @property
    def requests(self) -> str:
        return self.sockets.requests_url

    def start(self, *, heartbeat_s: float = 3600.0) -> None:
        loop = MessageLoop(
            self.store,
            self.sockets,
            self,
            clock=time.monotonic,
            now=lambda: samples.NOW,
            heartbeat_s=heartbeat_s,
            stall_s=1.0,
            must_ack=self.must_ack,
        )
        self.is_stopping = False
        self.thread = threading.Thread(target=loop.run)
        self.thread.start()

    def snapshot(self) -> StatusSnapshot:
        return StatusSnapshot(
            status=samples.status_data(plates=tuple(self.store.plates())),
            details=StatusDetails(),
            loop_age_s=self.tick_age_s,
            is_stopping=self.is_stopping,
        )

    def loop_age_s(self) -> float:
        return self.tick_age_s

    def stop(self) -> None:
        assert self.thread is not None
        self.is_stopping = True
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive()
        self.thread = None

    def add_alerts(self, *messages: str) -> list[int]:
        """Store an alert with each message, and return the sequence numbers."""
        return [self.store.add_message(alert(message), samples.NOW) for message in messages]

    def close(self) -> None:
        if self.thread is not None:
            self.stop()
        self.sockets.close()
        self.store.close()


class Listener:
    """``spherorank listen`` on a thread of the test."""

    def __init__(self, messaging: Messaging, **options: Any) -> None:  # noqa: ANN401 - of listen
        self.received: list[Message] = []
        self.silences: list[str] = []
        self.problem: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(Service(messaging.events, messaging.requests), options)
        )
        self._thread.start()

    def _run(self, service: Service, options: dict[str, Any]) -> None:
        usual = {
            "topic": "",
            "on_message": self.received.append,
            "should_stop": self._stop.is_set,
            "on_silence": self.silences.append,
            "reply_timeout_s": 0.5,
        }
        try:
            listen(service, **usual | options)
        except Exception as problem:  # noqa: BLE001 - a test reads it
            self.problem = problem

    @property
    def numbers(self) -> list[int]:
        return [message.sequence for message in self.received]

    @property
    def alerts(self) -> list[str]:
        return [
            message.body["data"]["message"]
            for message in self.received
            if message.topic.endswith(".alert")
        ]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def messaging(tmp_path: Path) -> Iterator[Messaging]:
    made = Messaging(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start_listener(messaging: Messaging) -> Iterator[Callable[..., Listener]]:
    """Yield a function that starts a listener with the options of ``Listener``."""
    listeners: list[Listener] = []

    def start(**options: Any) -> Listener:  # noqa: ANN401 - any options of Listener
        listeners.append(Listener(messaging, **options))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.stop()


@contextmanager
def client(
    kind: int, url: str, *, receive_high_water_mark: int = 1000
) -> Iterator[zmq.Socket[bytes]]:
    """Yield a connected socket of a kind, such as ``zmq.SUB``; it subscribes to all topics."""
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVHWM, receive_high_water_mark)
        if kind == zmq.SUB:
            socket.subscribe("")
        socket.connect(url)
        yield socket


def exchange(url: str, kind: int, *parts: bytes) -> list[bytes]:
    """Send the parts of one request from a socket of a kind, and return the parts of the reply."""
    with client(kind, url) as socket:
        socket.send_multipart(parts)
        assert socket.poll(round(TIMEOUT_S * 1000)), "no answer"
        return socket.recv_multipart()


def request_json(messaging: Messaging, **content: object) -> Any:  # noqa: ANN401 - JSON
    """Send a JSON request with these keys, and return the content of the JSON reply."""
    return json.loads(exchange(messaging.requests, zmq.REQ, json.dumps(content).encode())[-1])


# Published messages


def test_a_message_has_a_topic_a_big_endian_number_and_a_cloudevents_body(
    messaging: Messaging,
) -> None:
    with client(zmq.SUB, messaging.events) as subscriber:
        messaging.start()
        # A subscription takes effect after a delay, so alerts are added until one is received.
        topic = number = body = b""
        for attempt in itertools.count():
            messaging.add_alerts(f"attempt {attempt}")
            while topic != b"spherorank.v1.alert" and subscriber.poll(200):
                topic, number, body = subscriber.recv_multipart()  # the first is a status
            if topic == b"spherorank.v1.alert":
                break
            assert attempt < 50
    event = json.loads(body)
    assert topic == b"spherorank.v1.alert"
    assert len(number) == 8
    assert int(event["sequence"]) == int.from_bytes(number, "big") >= 1
    assert (event["specversion"], event["type"], event["data"]["kind"]) == (
        "1.0",
        "spherorank.v1.alert",
        "disk",
    )


def test_every_kind_of_message_fits_its_schema(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    observation, rejection, ranking = (
        samples.observation("D02", 8),
        samples.rejected(),
        samples.ranking(),
    )
    messaging.store.add_observation(observation, samples.observation_data(observation))
    messaging.store.add_rejected(rejection, samples.rejected_data(rejection), samples.NOW)
    messaging.store.add_ranking(ranking, samples.ranking_data(ranking))
    messaging.store.add_message(
        AcquisitionData(step=AcquisitionStep.STARTED, plate="P1", day=7), samples.NOW
    )
    messaging.add_alerts("look")
    messaging.start()
    listener = start_listener(after=0)
    wait_until(lambda: len(listener.received) >= 6, "six messages")
    schemas = json_schemas()
    kinds = set()
    for message in listener.received:
        kind = message.topic.split(".")[2]
        jsonschema.Draft202012Validator(
            schemas[f"{kind}.json"], format_checker=jsonschema.FormatChecker()
        ).validate(message.body)
        kinds.add(kind)
    assert kinds == {"observation", "rejected", "ranking", "acquisition", "status", "alert"}


def test_the_first_message_is_not_lost_after_0(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start()
    first, *_ = messaging.add_alerts("first", "second")
    listener = start_listener(after=first - 1)
    wait_until(lambda: listener.alerts == ["first", "second"], "both alerts")


def test_a_listener_reports_once_that_requested_messages_were_deleted(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    first, _, third = messaging.add_alerts("deleted", "deleted", "kept")
    messaging.store.delete_messages([first, third - 1])
    messaging.start()
    listener = start_listener(after=0)
    wait_until(lambda: third in listener.numbers, "the kept message arrives")
    assert listener.alerts == ["kept"]
    [report] = listener.silences
    assert f"old messages from 1 to {third - 1} were deleted" in report


def test_live_messages_follow_the_replayed_ones_without_gap_or_repetition(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start()
    listener = start_listener(after=0)
    for n in range(100):
        messaging.add_alerts(str(n))
    wait_until(lambda: len(listener.alerts) >= 100, "100 alerts")
    assert listener.alerts == [str(n) for n in range(100)]
    assert listener.numbers == sorted(set(listener.numbers))


def test_sequence_numbers_continue_after_a_restart_and_the_replay_includes_earlier_messages(
    tmp_path: Path,
) -> None:
    before = Messaging(tmp_path)
    before.start()
    before.add_alerts("before")
    before.close()
    after = Messaging(tmp_path)
    after.start()
    after.add_alerts("after")
    listener = Listener(after, after=0)
    wait_until(lambda: listener.alerts == ["before", "after"], "both alerts")
    listener.stop()
    after.close()
    states = [
        message.body["data"]["state"]
        for message in listener.received
        if message.topic.endswith(".status")
    ]
    assert states == ["online", "stopping", "online"]
    assert listener.numbers == list(range(1, len(listener.numbers) + 1))


def test_messages_that_a_crash_left_in_the_outbox_are_sent_at_the_next_start(
    messaging: Messaging,
) -> None:
    numbers = messaging.add_alerts("a", "b")
    assert messaging.store.published_through() == 0
    messaging.start()
    wait_until(lambda: messaging.store.published_through() >= numbers[-1], "the outbox is empty")


def test_a_listener_reports_a_repeated_message_once(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start()
    listener = start_listener(after=0)
    messaging.add_alerts("a", "b")
    wait_until(lambda: listener.alerts == ["a", "b"], "both alerts")
    messaging.stop()
    for message in messaging.store.messages_after(0):  # a crash between sending and marking
        messaging.sockets.publisher.send(message.topic, message.sequence, message.body)
    messaging.start()
    messaging.add_alerts("c")
    wait_until(lambda: "c" in listener.alerts, "the alert after the repetition")
    assert listener.alerts == ["a", "b", "c"]


def test_a_listener_fills_a_gap_in_the_sequence_numbers_in_order(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start()
    listener = start_listener(after=None)
    for attempt in itertools.count():
        messaging.add_alerts("until received")
        time.sleep(0.05)
        if listener.received:
            break
        assert attempt < 400
    messaging.stop()
    lost = messaging.add_alerts("lost 1", "lost 2", "lost 3")
    messaging.store.mark_published(lost[-1])  # marked as sent, but not received
    messaging.start()
    messaging.add_alerts("received")
    wait_until(lambda: "received" in listener.alerts, "the alert after the gap")
    assert listener.alerts[-4:] == ["lost 1", "lost 2", "lost 3", "received"]
    assert listener.numbers == list(range(listener.numbers[0], listener.numbers[-1] + 1))


def test_a_listener_with_a_topic_receives_every_message_of_the_topic_and_no_other(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start(heartbeat_s=0.05)
    listener = start_listener(after=0, topic="spherorank.v1.alert")
    for n in range(20):
        messaging.add_alerts(str(n))
        time.sleep(0.01)
    wait_until(lambda: len(listener.alerts) == 20, "20 alerts")
    assert {message.topic for message in listener.received} == {"spherorank.v1.alert"}


def test_a_subscriber_that_does_not_read_does_not_block_the_publisher() -> None:
    with MessageSockets(ANY_PORT, ANY_PORT, queued_messages=10, linger_s=0) as sockets:
        with client(zmq.SUB, sockets.events_url, receive_high_water_mark=1) as subscriber:
            for _ in range(3):
                sockets.wait(0.2)  # for the handshake
            body = "x" * 100_000
            for number in range(1, 3001):
                sockets.publisher.send("spherorank.v1.test", number, body)
                if number == 1:
                    time.sleep(0.2)  # until the subscription takes effect
            read = 0
            while subscriber.poll(200):
                subscriber.recv_multipart()
                read += 1
        assert 0 < read < 2999  # most were dropped; the publisher never waited


# Heartbeats


def test_the_service_publishes_online_then_running_then_stopping(messaging: Messaging) -> None:
    messaging.start(heartbeat_s=0.05)
    wait_until(lambda: messaging.store.last_sequence() >= 3, "three heartbeats")
    messaging.stop()
    states = [
        json.loads(message.body)["data"]["state"]
        for message in messaging.store.messages_after(0, "spherorank.v1.status")
    ]
    assert states[0] == "online"
    assert set(states[1:-1]) == {"running"}
    assert states[-1] == "stopping"
    assert messaging.store.published_through() == messaging.store.last_sequence()


def test_a_stuck_main_loop_stops_the_heartbeat_and_not_the_replies(
    messaging: Messaging,
) -> None:
    messaging.start(heartbeat_s=0.05)
    wait_until(lambda: messaging.store.last_sequence() >= 2, "two heartbeats")
    messaging.tick_age_s = 1000.0
    assert request_json(messaging, kind="status")["state"] == "running"
    stood = messaging.store.last_sequence()
    time.sleep(0.5)  # ten heartbeat intervals
    assert messaging.store.last_sequence() == stood
    messaging.tick_age_s = 0.0
    wait_until(lambda: messaging.store.last_sequence() > stood, "the heartbeat returns")


# A store that fails


def break_store(messaging: Messaging) -> None:
    with sqlite3.connect(messaging.database) as connection:
        connection.execute("ALTER TABLE message RENAME TO hidden")
    connection.close()


def repair_store(messaging: Messaging) -> None:
    with sqlite3.connect(messaging.database) as connection:
        connection.execute("ALTER TABLE hidden RENAME TO message")
    connection.close()


def test_a_store_failure_is_retried_and_a_client_receives_an_error_to_retry(
    messaging: Messaging,
) -> None:
    messaging.start()
    messaging.add_alerts("before")
    wait_until(lambda: messaging.store.published_through() >= 2, "the first alert is sent")
    break_store(messaging)
    reply = request_json(messaging, kind="replay", after=0)
    assert (reply["kind"], reply["retry"]) == ("error", True)
    repair_store(messaging)
    (number,) = messaging.add_alerts("after")
    wait_until(
        lambda: messaging.store.published_through() >= number, "the alert after the failure is sent"
    )


# Requests


def test_req_and_dealer_sockets_receive_replies_with_their_envelope(messaging: Messaging) -> None:
    messaging.start()
    ask_status = b'{"kind": "status"}'
    assert json.loads(exchange(messaging.requests, zmq.REQ, ask_status)[0])["kind"] == "status"
    assert [
        json.loads(part)["kind"] for part in exchange(messaging.requests, zmq.DEALER, ask_status)
    ] == ["status"]
    empty, reply = exchange(messaging.requests, zmq.DEALER, b"", ask_status)
    assert empty == b""
    assert json.loads(reply)["kind"] == "status"


@pytest.mark.parametrize(
    "request_text",
    [
        b"",
        b"{",
        b"\x00\xff",
        b'"status"',
        b'{"kind": "\\ud800"}',
        b'{"kind": "latest", "plate": "\\ud800"}',
        b'{"kind": "replay", "after": "x"}',
        b'{"kind": "ack"}',
    ],
)
def test_the_reply_to_a_malformed_request_names_the_expected_content(
    request_text: bytes, messaging: Messaging
) -> None:
    messaging.start()
    (reply,) = exchange(messaging.requests, zmq.REQ, request_text)
    content = json.loads(reply)
    assert content["kind"] == "error"
    assert "expected" in content["error"]
    assert request_json(messaging, kind="status")["kind"] == "status"


def test_every_reply_fits_its_schema(messaging: Messaging) -> None:
    ranking = samples.ranking()
    messaging.store.add_ranking(ranking, samples.ranking_data(ranking))
    messaging.start()
    schemas = json_schemas()
    requests: list[dict[str, object]] = [
        {"kind": "status"},
        {"kind": "latest", "plate": samples.PLATE},
        {"kind": "replay", "after": 0},
        {"kind": "ack", "subscriber": "lims", "sequence": 1},
        {"kind": "nonsense"},
    ]
    for request in requests[:-1]:
        jsonschema.Draft202012Validator(schemas["request.json"]).validate(request)
    for request in requests:
        jsonschema.Draft202012Validator(
            schemas["reply.json"], format_checker=jsonschema.FormatChecker()
        ).validate(request_json(messaging, **request))


def test_the_latest_ranking_is_the_last_revision_of_the_last_day(messaging: Messaging) -> None:
    for day, revision in ((8, 1), (10, 1), (10, 2), (8, 2)):
        made = samples.ranking(day=day, revision=revision)
        messaging.store.save_plate_map(samples.plate_map(), samples.NOW)
        messaging.store.add_ranking(made, samples.ranking_data(made))
    messaging.start()
    reply = request_json(messaging, kind="latest", plate=samples.PLATE)
    assert (reply["ranking"]["day"], reply["ranking"]["revision"]) == (10, 2)
    unknown = request_json(messaging, kind="latest", plate="PDAC-9999")
    assert unknown["kind"] == "error"
    assert "'PDAC-9999' has no ranking" in unknown["error"]
    assert samples.PLATE in unknown["error"]


def test_a_replay_reply_says_whether_more_messages_follow_and_the_last_number(
    messaging: Messaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than one read from the store returns.
    monkeypatch.setattr(daemon.messaging.replies, "REPLAY_MESSAGES", 120)
    messaging.add_alerts(*(str(n) for n in range(125)))
    messaging.start()
    first = request_json(messaging, kind="replay", after=0, topic="spherorank.v1.alert")
    assert (len(first["messages"]), first["more"], first["last"]) == (120, True, 120)
    rest = request_json(messaging, kind="replay", after=first["last"], topic="spherorank.v1.alert")
    assert ([message["body"]["data"]["message"] for message in rest["messages"]], rest["more"]) == (
        ["120", "121", "122", "123", "124"],
        False,
    )
    assert rest["last"] == rest["newest"] == messaging.store.last_sequence()


def test_a_replay_reply_is_limited_in_bytes_and_contains_at_least_one_message(
    messaging: Messaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.messaging.replies, "REPLAY_BYTES", 10_000)
    messaging.add_alerts("x" * 10_001, "y" * 5_000, "z" * 5_000, "end")
    messaging.start()
    counts, after, more = [], 0, True
    while more:
        reply = request_json(messaging, kind="replay", after=after, topic="spherorank.v1.alert")
        counts.append(len(reply["messages"]))
        after, more = reply["last"], reply["more"]
    assert counts == [1, 1, 2]


def test_a_client_that_does_not_read_its_replies_does_not_block_others(
    messaging: Messaging,
) -> None:
    messaging.add_alerts(*("x" * 100_000 for _ in range(20)))
    messaging.start()
    with client(zmq.DEALER, messaging.requests, receive_high_water_mark=1) as dealer:
        for _ in range(100):
            dealer.send(b'{"kind": "replay", "after": 0}')
        assert request_json(messaging, kind="status")["kind"] == "status"


# Acknowledgements


def test_an_acknowledgement_is_stored_and_covers_all_earlier_messages(messaging: Messaging) -> None:
    messaging.must_ack = ("lims",)
    ranking = samples.ranking()
    final = messaging.store.add_ranking(ranking, samples.ranking_data(ranking))
    messaging.start()
    (open_final,) = request_json(messaging, kind="status")["unacknowledged"]
    assert (open_final["subscriber"], open_final["sequence"]) == ("lims", final)
    (later,) = messaging.add_alerts("later")
    for sequence in (0, later, final):
        reply = request_json(messaging, kind="ack", subscriber="lims", sequence=sequence)
        assert reply == {
            "kind": "ack",
            "subscriber": "lims",
            "sequence": later if sequence else 0,
            "required": True,
        }
    assert request_json(messaging, kind="status")["unacknowledged"] == []
    assert messaging.store.acknowledged() == {"lims": later}


@pytest.mark.parametrize(
    ("subscriber", "sequence", "problem"),
    [
        ("lims", 1000, "key sequence is 1000; expected"),
        ("lims", -1, "key sequence is -1; expected"),
        ("", 1, 'key subscriber is ""; expected a text that matches'),
        ("a b", 1, 'key subscriber is "a b"; expected a text that matches'),
    ],
)
def test_a_wrong_acknowledgement_is_refused(
    subscriber: str, sequence: int, problem: str, messaging: Messaging
) -> None:
    messaging.start()
    messaging.add_alerts("a message")
    reply = request_json(messaging, kind="ack", subscriber=subscriber, sequence=sequence)
    assert (reply["kind"], reply["retry"]) == ("error", False)
    assert problem in reply["error"]
    assert messaging.store.acknowledged() == {}


def test_the_number_of_names_that_acknowledge_is_limited(
    messaging: Messaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.messaging.replies, "MAX_SUBSCRIBERS", 2)
    messaging.must_ack = ("lims",)
    messaging.add_alerts("a message")
    messaging.start()
    kinds = [
        request_json(messaging, kind="ack", subscriber=name, sequence=1)["kind"]
        for name in ("a", "b", "c", "lims", "a")
    ]
    assert kinds == ["ack", "ack", "error", "ack", "ack"]


def test_a_listener_acknowledges_and_starts_after_the_last_acknowledged_message(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.must_ack = ("lims",)
    messaging.start()
    first = start_listener(after=None, ack_as="lims")
    (number,) = messaging.add_alerts("a")
    wait_until(
        lambda: messaging.store.acknowledged().get("lims", 0) >= number, "the acknowledgement"
    )
    first.stop()
    messaging.add_alerts("b")
    second = start_listener(after=None, ack_as="lims")
    wait_until(lambda: second.alerts == ["b"], "the alert after the acknowledged one")
    second.stop()  # the last acknowledgement is sent at the end
    assert messaging.store.acknowledged()["lims"] == second.numbers[-1]
    assert first.silences == second.silences == []


def test_a_message_that_cannot_be_processed_is_processed_again_and_not_acknowledged(
    messaging: Messaging,
    start_listener: Callable[..., Listener],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemon.messaging.listen, "RETRY_S", 0.2)
    ranking = samples.ranking()
    number = messaging.store.add_ranking(ranking, samples.ranking_data(ranking))
    attempts: list[int] = []
    is_working = threading.Event()

    def process(message: Message) -> bool:
        attempts.append(message.sequence)
        return is_working.is_set()

    messaging.start()
    start_listener(after=None, ack_as="lims", topic="spherorank.v1.ranking.", on_message=process)
    wait_until(lambda: len(attempts) >= 3, "three attempts")
    assert messaging.store.acknowledged() == {}
    is_working.set()
    wait_until(lambda: messaging.store.acknowledged().get("lims", 0) >= number, "it is processed")
    assert set(attempts) == {number}


def test_a_listener_reports_that_its_acknowledgements_are_not_required(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start()
    listener = start_listener(after=None, ack_as="LIMS")
    wait_until(lambda: bool(listener.silences), "a report")
    assert "publisher.must_ack does not contain LIMS" in listener.silences[0]


def test_a_listener_fills_a_jump_of_the_sequence_numbers_of_a_restored_store(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start()
    listener = start_listener(after=0)
    messaging.add_alerts("before")
    wait_until(lambda: listener.alerts == ["before"], "the first alert")
    with sqlite3.connect(messaging.database) as connection:
        connection.execute("UPDATE sequence_counter SET last = last + 1000000")
    connection.close()
    (number,) = messaging.add_alerts("after")
    wait_until(lambda: listener.alerts == ["before", "after"], "the alert after the jump")
    assert number > 1_000_000


# Problems of a listener


def test_a_listener_waits_for_a_service_that_starts_later(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    listener = start_listener(after=0)
    wait_until(lambda: bool(listener.silences), "the silence is is_raised")
    messaging.add_alerts("at last")
    messaging.start()
    wait_until(lambda: listener.alerts == ["at last"], "the alert")


def test_a_listener_reports_that_the_service_is_gone_and_that_it_is_back(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start(heartbeat_s=0.1)
    listener = start_listener(after=0, silent_s=0.5)
    wait_until(lambda: len(listener.received) >= 2, "two heartbeats")
    messaging.stop()
    wait_until(lambda: len(listener.silences) == 1, "the silence is reported")
    assert "no message for 0.5 s, not even a status" in listener.silences[0]
    time.sleep(1.2)  # it connects again twice
    missed = messaging.add_alerts("missed")
    messaging.store.mark_published(missed[0])
    messaging.start(heartbeat_s=0.1)
    wait_until(lambda: listener.alerts == ["missed"], "the missed alert is replayed")
    assert listener.silences[1:] == [f"{messaging.events}: messages arrive again"]
    assert listener.numbers == list(range(1, len(listener.numbers) + 1))


def test_a_start_number_from_another_store_is_an_error(
    messaging: Messaging, start_listener: Callable[..., Listener]
) -> None:
    messaging.start()
    listener = start_listener(after=500)
    wait_until(lambda: listener.problem is not None, "the problem")
    assert isinstance(listener.problem, ConfigError)
    assert "number 500 is from another store" in str(listener.problem)


def test_ask_returns_the_reply_or_raises_an_error_without_an_answer(messaging: Messaging) -> None:
    with pytest.raises(SilentServiceError, match=r"no answer within 0\.3 s"):
        ask(messaging.requests, StatusRequest(), StatusReply, timeout_s=0.3)
    messaging.start()
    assert (
        ask(messaging.requests, StatusRequest(), StatusReply, timeout_s=TIMEOUT_S).state
        == "running"
    )
    assert (
        ask(messaging.requests, ReplayRequest(after=0), ReplayReply, timeout_s=TIMEOUT_S).newest
        == 1
    )


# Addresses


@pytest.mark.parametrize(
    "url", ["tcp://127.0.0.1:{taken}", "tcp://no.such.host.invalid:5556", "nonsense"]
)
def test_every_address_that_cannot_be_bound_is_named(url: str, messaging: Messaging) -> None:
    wanted = url.replace("{taken}", messaging.events.rpartition(":")[2])
    with pytest.raises(ConfigError, match=re.escape(wanted)) as error:
        MessageSockets(wanted, wanted)
    keys = [where for where, _ in error.value.problems]
    assert keys == ["publisher.events", "publisher.requests"]
    assert "expected" in error.value.problem


def test_the_loopback_address_of_ipv6_can_be_used() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    url = "tcp://[::1]:*"
    with MessageSockets(url, url, linger_s=0) as sockets:
        with pytest.raises(SilentServiceError):
            ask(sockets.requests_url, StatusRequest(), StatusReply, timeout_s=0.3)
        assert sockets.events_url.startswith("tcp://[::1]:")


# The documentation


def test_the_subscriber_of_the_documentation_receives_every_message(messaging: Messaging) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "follow-messages.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    namespace: dict[str, Any] = {}
    exec(code[1], namespace)  # noqa: S102 - the example of the page
    messaging.start()
    messaging.add_alerts("before")
    seen: list[int] = []
    end = threading.Event()

    def handle(sequence: int, _topic: str, event: dict[str, Any]) -> bool:
        seen.append(sequence)
        if event["data"].get("message") == "end":
            end.set()
        return not end.is_set()

    follower = threading.Thread(
        target=namespace["follow"],
        args=(messaging.events, messaging.requests, 0, handle),
    )
    follower.start()
    for n in range(20):
        messaging.add_alerts(str(n))
        time.sleep(0.01)
    # These numbers are never sent, so the subscriber sees a gap.
    messaging.stop()
    messaging.store.mark_published(messaging.add_alerts("lost")[0])
    messaging.start()
    messaging.add_alerts("end")
    follower.join(TIMEOUT_S)
    assert not follower.is_alive()
    assert seen == list(range(1, len(seen) + 1))


def test_the_drain_reports_whether_more_may_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.messaging.publisher, "BATCH", 5)
    store = SqlStore(f"sqlite:///{tmp_path / 'messaging.sqlite'}")
    with MessageSockets(ANY_PORT, ANY_PORT, linger_s=0) as sockets:
        drain = OutboxDrain(store, sockets.publisher.send)
        assert drain.step() is False
        for n in range(6):
            store.add_message(alert(str(n)), samples.NOW)
        assert [drain.step(), drain.step()] == [True, False]
        assert store.published_through() == 6
    store.close()


def test_a_wake_up_ends_the_wait_for_requests_once() -> None:
    waking, woken = socket.socketpair()
    woken.setblocking(False)
    with (
        waking,
        woken,
        MessageSockets(ANY_PORT, ANY_PORT, linger_s=0, wake=woken) as sockets,
    ):
        waking.send(b"\0\0")
        begun_s = time.monotonic()
        sockets.wait(TIMEOUT_S)
        woken_s = time.monotonic()
        assert woken_s - begun_s < TIMEOUT_S / 2
        sockets.wait(0.1)
        assert time.monotonic() - woken_s >= 0.1


def test_a_commit_lets_the_process_of_the_sockets_look_for_messages_at_once(
    tmp_path: Path,
) -> None:
    running = RunningMessages(tmp_path)
    try:
        sent = running.snapshots
        begun_s = time.monotonic()
        while running.snapshots < sent + 10:
            running.process.publish_now()
            time.sleep(0.02)
            assert time.monotonic() - begun_s < TIMEOUT_S
        assert time.monotonic() - begun_s < 10 * SNAPSHOT_S
    finally:
        running.close()
