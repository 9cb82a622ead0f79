"""Published messages and replies to requests, on real sockets of this machine."""

import itertools
import json
import re
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

import daemon.messaging.publisher
import daemon.messaging.requests
from daemon.messaging.io_thread import IoThread
from daemon.messaging.listen import Message, ask, listen
from daemon.messaging.publisher import OutboxDrain, Publisher
from daemon.messaging.requests import RequestSocket
from schemas.errors import ConfigError, SilentServiceError, StoreError
from schemas.json_schemas import json_schemas
from schemas.messages import AlertData, AlertKind, StatusData
from schemas.requests import ReplayReply, ReplayRequest, StatusReply, StatusRequest
from store.sql_store import SqlStore
from tests import samples

ANY_PORT = "tcp://127.0.0.1:*"
PATIENCE_S = 20.0


def alert(message: str = "look") -> AlertData:
    return AlertData(kind=AlertKind.DISK, plate=None, message=message)


def wait_until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.01)


class Talk:
    """A store with publisher, request socket and I/O thread, which can be restarted."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "talk.sqlite"
        self.store = SqlStore(f"sqlite:///{self.database}", service="bench")
        self.publisher = Publisher(ANY_PORT, linger_s=0)
        self.requests = RequestSocket(ANY_PORT, linger_s=0)
        self.tick_age_s = 0.0
        self.thread: IoThread | None = None

    def start(self, *, heartbeat_s: float = 3600.0, store_patience_s: float = 60.0) -> IoThread:
        self.thread = IoThread(
            self.store,
            self.publisher,
            self.requests,
            status=self.status,
            tick_age_s=lambda: self.tick_age_s,
            clock=time.monotonic,
            now=lambda: samples.NOW,
            heartbeat_s=heartbeat_s,
            stall_s=1.0,
            store_patience_s=store_patience_s,
        )
        self.thread.start()
        return self.thread

    def stop(self) -> None:
        assert self.thread is not None
        thread, self.thread = self.thread, None
        thread.stop(PATIENCE_S)

    def status(self) -> StatusData:
        return samples.status_data(plates=tuple(self.store.plates()))

    def tell(self, *messages: str) -> list[int]:
        return [self.store.add_message(alert(message), samples.NOW) for message in messages]

    def close(self) -> None:
        if self.thread is not None:
            self.stop()
        self.publisher.close()
        self.requests.close()
        self.store.close()


class Listener:
    """``spherorank listen`` on a thread of the test."""

    def __init__(self, talk: Talk, *, after: int | None, topic: str = "") -> None:
        self.heard: list[Message] = []
        self.silences: list[str] = []
        self.problem: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(talk.publisher.url, talk.requests.url, after, topic)
        )
        self._thread.start()

    def _run(self, events_url: str, requests_url: str, after: int | None, topic: str) -> None:
        try:
            listen(
                events_url,
                requests_url,
                after=after,
                topic=topic,
                on_message=self.heard.append,
                should_stop=self._stop.is_set,
                on_silence=self.silences.append,
                reply_timeout_s=0.5,
            )
        except Exception as problem:  # noqa: BLE001 - kept for the test that asks for it
            self.problem = problem

    @property
    def numbers(self) -> list[int]:
        return [message.sequence for message in self.heard]

    @property
    def alerts(self) -> list[str]:
        return [
            message.body["data"]["message"]
            for message in self.heard
            if message.topic.endswith(".alert")
        ]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def listening(talk: Talk) -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(**options: Any) -> Listener:  # noqa: ANN401 - any options of Listener
        listeners.append(Listener(talk, **options))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.stop()


@contextmanager
def client(
    kind: int, url: str, *, receive_high_water_mark: int = 1000
) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVHWM, receive_high_water_mark)
        if kind == zmq.SUB:
            socket.subscribe("")
        socket.connect(url)
        yield socket


def exchange(url: str, kind: int, *parts: bytes) -> list[bytes]:
    with client(kind, url) as socket:
        socket.send_multipart(parts)
        assert socket.poll(round(PATIENCE_S * 1000)), "no answer"
        return socket.recv_multipart()


def question(talk: Talk, **content: object) -> Any:  # noqa: ANN401 - JSON
    return json.loads(exchange(talk.requests.url, zmq.REQ, json.dumps(content).encode())[-1])


# What is published


def test_a_message_has_a_topic_a_big_endian_number_and_a_cloudevents_body(talk: Talk) -> None:
    with client(zmq.SUB, talk.publisher.url) as subscriber:
        talk.start()
        # A subscription is in force only after a while, so the message is repeated until it arrives.
        for attempt in itertools.count():
            talk.tell(f"attempt {attempt}")
            if subscriber.poll(200):
                break
            assert attempt < 50
        topic, number, body = subscriber.recv_multipart()
        while topic != b"spherorank.v1.alert":  # the service says online first
            topic, number, body = subscriber.recv_multipart()
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
    talk: Talk, listening: Callable[..., Listener]
) -> None:
    observation, refusal, ranking = (
        samples.observation("D02", 8),
        samples.rejected(),
        samples.ranking(),
    )
    talk.store.add_observation(observation, samples.observation_data(observation))
    talk.store.add_rejected(refusal, samples.rejected_data(refusal), samples.NOW)
    talk.store.add_ranking(ranking, samples.ranking_data(ranking))
    talk.tell("look")
    talk.start()
    listener = listening(after=0)
    wait_until(lambda: len(listener.heard) >= 5, "five messages")
    schemas = json_schemas()
    kinds = set()
    for message in listener.heard:
        kind = message.topic.split(".")[2]
        jsonschema.Draft202012Validator(
            schemas[f"{kind}.json"], format_checker=jsonschema.FormatChecker()
        ).validate(message.body)
        kinds.add(kind)
    assert kinds == {"observation", "rejected", "ranking", "status", "alert"}


def test_the_first_message_is_not_lost_after_0(
    talk: Talk, listening: Callable[..., Listener]
) -> None:
    talk.start()
    first, *_ = talk.tell("first", "second")
    listener = listening(after=first - 1)
    wait_until(lambda: listener.alerts == ["first", "second"], "both alerts")


def test_live_messages_follow_the_replayed_ones_without_gap_or_repetition(
    talk: Talk, listening: Callable[..., Listener]
) -> None:
    talk.start()
    listener = listening(after=0)
    for n in range(100):
        talk.tell(str(n))
    wait_until(lambda: len(listener.alerts) >= 100, "100 alerts")
    assert listener.alerts == [str(n) for n in range(100)]
    assert listener.numbers == sorted(set(listener.numbers))


def test_numbers_go_on_after_a_restart_and_the_replay_reaches_back_over_it(tmp_path: Path) -> None:
    before = Talk(tmp_path)
    before.start()
    before.tell("before")
    before.close()
    after = Talk(tmp_path)
    after.start()
    after.tell("after")
    listener = Listener(after, after=0)
    wait_until(lambda: listener.alerts == ["before", "after"], "both alerts")
    listener.stop()
    after.close()
    states = [
        message.body["data"]["state"]
        for message in listener.heard
        if message.topic.endswith(".status")
    ]
    assert states == ["online", "stopping", "online"]
    assert listener.numbers == list(range(1, len(listener.numbers) + 1))


def test_what_was_committed_and_not_sent_before_a_crash_is_sent_at_the_next_start(
    talk: Talk,
) -> None:
    numbers = talk.tell("a", "b")
    assert talk.store.published_through() == 0
    talk.start()
    wait_until(lambda: talk.store.published_through() >= numbers[-1], "the outbox is empty")


def test_what_was_sent_twice_is_heard_once(talk: Talk, listening: Callable[..., Listener]) -> None:
    talk.start()
    listener = listening(after=0)
    talk.tell("a", "b")
    wait_until(lambda: listener.alerts == ["a", "b"], "both alerts")
    talk.stop()
    for message in talk.store.messages_after(0):  # as after a crash between sending and marking
        talk.publisher.send(message.topic, message.sequence, message.body)
    talk.start()
    talk.tell("c")
    wait_until(lambda: "c" in listener.alerts, "the alert after the repetition")
    assert listener.alerts == ["a", "b", "c"]


def test_a_gap_in_the_live_numbers_is_filled_in_order(
    talk: Talk, listening: Callable[..., Listener]
) -> None:
    talk.start()
    listener = listening(after=None)
    for attempt in itertools.count():
        talk.tell("until heard")
        time.sleep(0.05)
        if listener.heard:
            break
        assert attempt < 400
    talk.stop()
    lost = talk.tell("lost 1", "lost 2", "lost 3")
    talk.store.mark_published(lost[-1])  # marked as sent, but not received
    talk.start()
    talk.tell("heard")
    wait_until(lambda: "heard" in listener.alerts, "the alert after the gap")
    assert listener.alerts[-4:] == ["lost 1", "lost 2", "lost 3", "heard"]
    assert listener.numbers == list(range(listener.numbers[0], listener.numbers[-1] + 1))


def test_a_topic_narrows_what_is_printed_and_nothing_of_it_is_missed(
    talk: Talk, listening: Callable[..., Listener]
) -> None:
    talk.start(heartbeat_s=0.05)
    listener = listening(after=0, topic="spherorank.v1.alert")
    for n in range(20):
        talk.tell(str(n))
        time.sleep(0.01)
    wait_until(lambda: len(listener.alerts) == 20, "20 alerts")
    assert {message.topic for message in listener.heard} == {"spherorank.v1.alert"}


def test_a_subscriber_that_does_not_read_holds_nobody_up() -> None:
    with Publisher(ANY_PORT, high_water_mark=10, linger_s=0) as publisher:
        with client(zmq.SUB, publisher.url, receive_high_water_mark=1) as asleep:
            body = "x" * 100_000
            for number in range(1, 3001):
                publisher.send("spherorank.v1.test", number, body)
                if number == 1:
                    time.sleep(0.2)  # the subscription is in force by now
            read = 0
            while asleep.poll(200):
                asleep.recv_multipart()
                read += 1
        assert 0 < read < 2999  # some reached it, most were dropped, and the publisher never waited


# Heartbeats


def test_the_service_says_online_beats_and_says_stopping(talk: Talk) -> None:
    talk.start(heartbeat_s=0.05)
    wait_until(lambda: talk.store.last_sequence() >= 3, "three heartbeats")
    talk.stop()
    states = [
        json.loads(message.body)["data"]["state"]
        for message in talk.store.messages_after(0, "spherorank.v1.status")
    ]
    assert states[0] == "online"
    assert set(states[1:-1]) == {"running"}
    assert states[-1] == "stopping"
    assert talk.store.published_through() == talk.store.last_sequence()


def test_no_heartbeat_while_the_loop_stands_still_and_requests_are_answered_all_the_same(
    talk: Talk,
) -> None:
    talk.start(heartbeat_s=0.05)
    wait_until(lambda: talk.store.last_sequence() >= 2, "two heartbeats")
    talk.tick_age_s = 1000.0
    assert question(talk, kind="status")["state"] == "running"
    stood = talk.store.last_sequence()
    time.sleep(0.5)  # ten heartbeats' time
    assert talk.store.last_sequence() == stood
    talk.tick_age_s = 0.0
    wait_until(lambda: talk.store.last_sequence() > stood, "the heartbeat returns")


# A store that fails


def break_store(talk: Talk) -> None:
    with sqlite3.connect(talk.database) as connection:
        connection.execute("ALTER TABLE message RENAME TO hidden")
    connection.close()


def mend_store(talk: Talk) -> None:
    with sqlite3.connect(talk.database) as connection:
        connection.execute("ALTER TABLE hidden RENAME TO message")
    connection.close()


def test_a_store_that_fails_for_a_while_is_waited_for_and_a_client_is_told(talk: Talk) -> None:
    thread = talk.start()
    talk.tell("before")
    wait_until(lambda: talk.store.published_through() >= 2, "the first alert is sent")
    break_store(talk)
    reply = question(talk, kind="replay", after=0)
    assert (reply["kind"], reply["retry"]) == ("error", True)
    mend_store(talk)
    (number,) = talk.tell("after")
    wait_until(
        lambda: talk.store.published_through() >= number, "the alert after the failure is sent"
    )
    thread.check()


def test_a_store_that_never_comes_back_ends_the_thread_and_the_loop_is_told(talk: Talk) -> None:
    thread = talk.start(store_patience_s=0.5)
    wait_until(lambda: talk.store.published_through() >= 1, "the service is online")
    break_store(talk)

    def told() -> bool:
        try:
            thread.check()
        except StoreError:
            return True
        return False

    wait_until(told, "check() raises")
    with pytest.raises(StoreError):
        thread.stop(PATIENCE_S)
    talk.thread = None


# Requests


def test_req_and_dealer_are_answered_in_kind(talk: Talk) -> None:
    talk.start()
    ask_status = b'{"kind": "status"}'
    assert json.loads(exchange(talk.requests.url, zmq.REQ, ask_status)[0])["kind"] == "status"
    assert [
        json.loads(part)["kind"] for part in exchange(talk.requests.url, zmq.DEALER, ask_status)
    ] == ["status"]
    empty, reply = exchange(talk.requests.url, zmq.DEALER, b"", ask_status)
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
        b'{"kind": "replay", "after": "x"}',
        b'{"kind": "ack"}',
    ],
)
def test_a_malformed_request_is_answered_with_what_was_expected(
    request_text: bytes, talk: Talk
) -> None:
    talk.start()
    (reply,) = exchange(talk.requests.url, zmq.REQ, request_text)
    content = json.loads(reply)
    assert content["kind"] == "error"
    assert "expected" in content["error"]
    assert question(talk, kind="status")["kind"] == "status"


def test_every_reply_fits_its_schema(talk: Talk) -> None:
    ranking = samples.ranking()
    talk.store.add_ranking(ranking, samples.ranking_data(ranking))
    talk.start()
    schemas = json_schemas()
    asked: list[dict[str, object]] = [
        {"kind": "status"},
        {"kind": "latest", "plate": samples.PLATE},
        {"kind": "replay", "after": 0},
        {"kind": "nonsense"},
    ]
    for request in asked[:-1]:
        jsonschema.Draft202012Validator(schemas["request.json"]).validate(request)
    for request in asked:
        jsonschema.Draft202012Validator(
            schemas["reply.json"], format_checker=jsonschema.FormatChecker()
        ).validate(question(talk, **request))


def test_the_latest_ranking_is_the_last_revision_of_the_last_day(talk: Talk) -> None:
    for day, revision in ((8, 1), (10, 1), (10, 2), (8, 2)):
        made = samples.ranking(day=day, revision=revision)
        talk.store.save_plate_map(samples.plate_map(), samples.NOW)
        talk.store.add_ranking(made, samples.ranking_data(made))
    talk.start()
    reply = question(talk, kind="latest", plate=samples.PLATE)
    assert (reply["ranking"]["day"], reply["ranking"]["revision"]) == (10, 2)
    refused = question(talk, kind="latest", plate="PDAC-9999")
    assert refused["kind"] == "error"
    assert "'PDAC-9999' has no ranking" in refused["error"]
    assert samples.PLATE in refused["error"]


def test_a_replay_says_whether_there_is_more_and_where_to_go_on(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        daemon.messaging.requests, "REPLAY_MESSAGES", 120
    )  # more than is read from the store at once
    talk.tell(*(str(n) for n in range(125)))
    talk.start()
    first = question(talk, kind="replay", after=0, topic="spherorank.v1.alert")
    assert (len(first["messages"]), first["more"], first["last"]) == (120, True, 120)
    rest = question(talk, kind="replay", after=first["last"], topic="spherorank.v1.alert")
    assert ([message["body"]["data"]["message"] for message in rest["messages"]], rest["more"]) == (
        ["120", "121", "122", "123", "124"],
        False,
    )
    assert rest["last"] == rest["newest"] == talk.store.last_sequence()


def test_a_replay_of_large_messages_is_cut_by_bytes_and_one_always_fits(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.messaging.requests, "REPLAY_BYTES", 10_000)
    talk.tell("x" * 10_001, "y" * 5_000, "z" * 5_000, "end")
    talk.start()
    counts, after, more = [], 0, True
    while more:
        reply = question(talk, kind="replay", after=after, topic="spherorank.v1.alert")
        counts.append(len(reply["messages"]))
        after, more = reply["last"], reply["more"]
    assert counts == [1, 1, 2]


def test_a_client_that_asks_and_never_reads_holds_nobody_up(talk: Talk) -> None:
    talk.tell(*("x" * 100_000 for _ in range(20)))
    talk.start()
    with client(zmq.DEALER, talk.requests.url, receive_high_water_mark=1) as rude:
        for _ in range(100):
            rude.send(b'{"kind": "replay", "after": 0}')
        assert question(talk, kind="status")["kind"] == "status"


# A listener in trouble


def test_a_listener_waits_for_a_service_that_is_not_there_yet(
    talk: Talk, listening: Callable[..., Listener]
) -> None:
    listener = listening(after=0)
    wait_until(lambda: bool(listener.silences), "the silence is told")
    talk.tell("at last")
    talk.start()
    wait_until(lambda: listener.alerts == ["at last"], "the alert")


def test_a_number_from_another_store_is_told_and_not_waited_for(
    talk: Talk, listening: Callable[..., Listener]
) -> None:
    talk.start()
    listener = listening(after=500)
    wait_until(lambda: listener.problem is not None, "the problem")
    assert isinstance(listener.problem, ConfigError)
    assert "number 500 is from another store" in str(listener.problem)


def test_asking_returns_the_status_or_says_that_nothing_answers(talk: Talk) -> None:
    with pytest.raises(SilentServiceError, match=r"no answer within 0\.3 s"):
        ask(talk.requests.url, StatusRequest(), StatusReply, timeout_s=0.3)
    talk.start()
    assert (
        ask(talk.requests.url, StatusRequest(), StatusReply, timeout_s=PATIENCE_S).state
        == "running"
    )
    assert (
        ask(talk.requests.url, ReplayRequest(after=0), ReplayReply, timeout_s=PATIENCE_S).newest
        == 1
    )


# Addresses


@pytest.mark.parametrize("socket", [Publisher, RequestSocket])
@pytest.mark.parametrize(
    "url", ["tcp://127.0.0.1:{taken}", "tcp://no.such.host.invalid:5556", "nonsense"]
)
def test_an_address_that_cannot_be_bound_is_named(
    socket: type[Publisher | RequestSocket], url: str, talk: Talk
) -> None:
    wanted = url.replace("{taken}", talk.publisher.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=re.escape(wanted)) as error:
        socket(wanted)
    assert error.value.where.startswith("publisher.")
    assert "expected" in error.value.problem


# The page


def test_the_subscriber_of_the_documentation_misses_nothing(talk: Talk) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "follow-messages.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    namespace: dict[str, Any] = {}
    exec(code[1], namespace)  # noqa: S102 - the page's own example
    talk.start()
    talk.tell("before")
    seen: list[int] = []
    end = threading.Event()

    def handle(sequence: int, _topic: str, event: dict[str, Any]) -> bool:
        seen.append(sequence)
        if event["data"].get("message") == "end":
            end.set()
        return not end.is_set()

    follower = threading.Thread(
        target=namespace["follow"], args=(talk.publisher.url, talk.requests.url, 0, handle)
    )
    follower.start()
    for n in range(20):
        talk.tell(str(n))
        time.sleep(0.01)
    # These numbers are never sent, so the subscriber sees a gap.
    talk.stop()
    talk.store.mark_published(talk.tell("lost")[0])
    talk.start()
    talk.tell("end")
    follower.join(PATIENCE_S)
    assert not follower.is_alive()
    assert seen == list(range(1, len(seen) + 1))


def test_the_drain_reports_whether_more_may_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.messaging.publisher, "BATCH", 5)
    store = SqlStore(f"sqlite:///{tmp_path / 'talk.sqlite'}")
    with Publisher(ANY_PORT, linger_s=0) as publisher:
        drain = OutboxDrain(store, publisher)
        assert drain.step() is False
        for n in range(6):
            store.add_message(alert(str(n)), samples.NOW)
        assert [drain.step(), drain.step()] == [True, False]
        assert store.published_through() == 6
    store.close()
