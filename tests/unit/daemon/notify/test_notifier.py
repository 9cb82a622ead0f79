"""Notifications are complete for each channel, limited in their rate, and have no other content."""

import json
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from daemon.messaging.listen import Message
from daemon.notify.events import MAX_LINES, body_of, event_of, title_of
from daemon.notify.notifier import FIRST_RETRY_S, GATHER_S, LONGEST_RETRY_S, SILENT_S, Notifier
from daemon.notify.process import local_address, starting_numbers
from schemas.events import to_event
from schemas.messages import AlertData, AlertKind, MessageData, topic_of
from schemas.notification import ChannelState, NotificationState
from tests import samples

INTERVAL_S = 300.0
SECRETS = ("gemcitabine", "PAT-07", "/srv/robot", "untreated")


def message(sequence: int, data: MessageData) -> Message:
    event = to_event(data, sequence=sequence, service="test", at=samples.NOW)
    return Message(topic_of(data), sequence, json.loads(event))


def alert(sequence: int, kind: AlertKind = AlertKind.DISK, plate: str | None = None) -> Message:
    text = "/srv/robot/PAT-07: gemcitabine, untreated"
    return message(sequence, AlertData(kind=kind, plate=plate, message=text))


@dataclass
class RecordingChannel:
    """A channel that keeps its texts, or fails while it has a problem."""

    identity: str
    problem: str = ""
    sent: list[tuple[str, str]] = field(default_factory=list)
    attempts: int = 0

    @property
    def where(self) -> str:
        return f"line {self.identity}"

    def send(self, title: str, body: str) -> str:
        self.attempts += 1
        if not self.problem:
            self.sent.append((title, body))
        return self.problem


class People:
    """A notifier with two channels and a clock under the control of a test."""

    def __init__(self) -> None:
        self.s = 0.0
        self.mail, self.chat = RecordingChannel("mail"), RecordingChannel("chat")
        self.notifier = Notifier(
            [self.mail, self.chat],
            interval_s=INTERVAL_S,
            clock=lambda: self.s,
            now=lambda: samples.NOW + timedelta(seconds=self.s),
        )
        self.notifier.begin({"mail": 10, "chat": 10})

    def after(self, seconds: float) -> None:
        self.s += seconds
        self.notifier.send_due()

    def sequence(self, channel: str) -> int:
        return self.notifier.state().channels[channel].sequence


def test_the_first_event_is_sent_at_once_and_the_next_ones_together_after_the_interval() -> None:
    people = People()
    people.notifier.note(alert(11))
    people.after(GATHER_S)
    assert [title for title, _ in people.mail.sent] == ["SpheroRank: service: alert disk"]
    for sequence in range(12, 200):
        people.notifier.note(alert(sequence, AlertKind.RANKING, f"P{sequence % 3}"))
    people.after(INTERVAL_S - 1)
    assert len(people.mail.sent) == 1
    people.after(2)
    assert [title for title, _ in people.mail.sent[1:]] == ["SpheroRank: 188 events"]
    assert "plate P0: alert ranking (63 times)" in people.mail.sent[1][1]
    assert people.sequence("mail") == 199


def test_a_failing_channel_keeps_its_events_and_the_other_channel_continues() -> None:
    people = People()
    people.mail.problem = "no route"
    people.notifier.note(alert(11))
    people.after(GATHER_S)
    people.notifier.note(alert(12, AlertKind.CLOCK))
    people.after(INTERVAL_S)
    assert (len(people.chat.sent), people.mail.sent) == (2, [])
    state = people.notifier.state().channels
    assert (state["mail"].sequence, state["chat"].sequence) == (10, 12)
    assert state["mail"].problem == "no route"
    assert state["mail"].failing_since == samples.NOW + timedelta(seconds=GATHER_S)
    assert state["chat"].failing_since is None
    people.mail.problem = ""
    people.after(LONGEST_RETRY_S)
    ((_, body),) = people.mail.sent
    assert "service: alert disk\nservice: alert clock\n" in body
    assert people.sequence("mail") == 12
    assert people.notifier.state().channels["mail"].failing_since is None


def test_the_pause_between_failed_attempts_doubles_up_to_a_limit() -> None:
    people = People()
    people.mail.problem = "no route"
    people.notifier.note(alert(11))
    people.after(GATHER_S)
    pauses = [FIRST_RETRY_S * 2**n for n in range(6)] + [LONGEST_RETRY_S] * 3
    for attempts, pause_s in enumerate(pauses, start=1):
        people.after(pause_s - 0.5)
        assert people.mail.attempts == attempts
        people.after(0.5)
    assert people.mail.attempts == len(pauses) + 1


def test_a_channel_skips_messages_that_it_sent_before() -> None:
    people = People()
    people.notifier.begin({"mail": 10, "chat": 12})
    for sequence in (11, 12, 13):
        people.notifier.note(alert(sequence))
    people.after(GATHER_S)
    assert people.mail.sent[0][1].startswith("service: alert disk (3 times)\n")
    assert people.chat.sent[0][1].startswith("service: alert disk\n")


def test_messages_without_an_event_advance_the_number_and_send_nothing() -> None:
    people = People()
    observed = samples.observation()
    for sequence, data in enumerate(
        [
            samples.status_data(),
            samples.observation_data(observed),
            samples.rejected_data(samples.rejected()),
            samples.specimen_data(samples.specimen_ranking()),
        ],
        start=11,
    ):
        people.notifier.note(message(sequence, data))
    people.after(GATHER_S)
    assert (people.mail.attempts, people.sequence("mail")) == (0, 14)


def test_people_are_notified_of_a_silent_service_and_of_its_return_once() -> None:
    people = People()
    for pause_s in (SILENT_S, GATHER_S, 10 * SILENT_S):
        people.after(pause_s)
        people.notifier.check_silence()
    assert [title for title, _ in people.mail.sent] == [
        "SpheroRank: service: no messages from the service"
    ]
    people.notifier.note(message(11, samples.status_data()))
    people.after(INTERVAL_S)
    assert people.mail.sent[1][0] == "SpheroRank: service: messages from the service again"
    assert len(people.mail.sent) == 2


def test_a_notification_has_plate_and_kind_and_nothing_else_of_a_message() -> None:
    ranked = samples.ranking()
    messages = [
        alert(1, AlertKind.QUALITY_GATE, "PDAC-0042"),
        message(2, samples.ranking_data(ranked)),
        message(3, samples.ranking_data(ranked.model_copy(update={"final": False}))),
    ]
    treatments = [each.treatment for each in ranked.treatments if each.treatment]
    assert treatments
    events = [event_of(each, samples.NOW) for each in messages]
    found = [event for event in events if event is not None]
    text = title_of(found) + body_of(found)
    assert "plate PDAC-0042: alert quality_gate\n" in text
    assert f"plate {samples.PLATE}: final ranking\n" in text
    assert f"plate {samples.PLATE}: provisional ranking\n" in text
    assert "For research use only" in text
    assert [each for each in (*SECRETS, *treatments) if each in text] == []


def test_a_kind_of_another_version_is_not_copied_into_the_text() -> None:
    body = {"data": {"kind": "gemcitabine", "plate": "P1\nX", "message": "text"}, "time": 5}
    event = event_of(Message("spherorank.v1.alert", 1, body), samples.NOW)
    assert event is not None
    assert event.text == "plate P1\\nX: alert of another version of SpheroRank"


def test_a_long_summary_names_the_number_of_further_lines_and_the_period() -> None:
    people = People()
    for sequence in range(11, 11 + MAX_LINES + 5):
        people.notifier.note(alert(sequence, plate=f"P{sequence}"))
    people.after(GATHER_S)
    ((title, body),) = people.mail.sent
    assert title == "SpheroRank: 25 events"
    assert "\nand 5 more plates and kinds\n" in body
    assert body.count("\n") == MAX_LINES + 3


def channel_state(sequence: int) -> ChannelState:
    return ChannelState(where="line", sequence=sequence)


@pytest.mark.parametrize(
    ("known", "newest", "expected"),
    [
        ({}, 50, {"a": 50, "b": 50}),
        ({"a": 40, "b": 45}, 50, {"a": 40, "b": 45}),
        ({"a": 40, "old": 30}, 50, {"a": 40, "b": 30}),
        ({"a": 60, "b": 45}, 50, {"a": 0, "b": 0}),
    ],
    ids=["first start", "continued", "a channel replaced", "a new store"],
)
def test_each_channel_starts_after_its_last_sent_message(
    known: dict[str, int], newest: int, expected: dict[str, int]
) -> None:
    channels = {key: channel_state(number) for key, number in known.items()}
    state = NotificationState(channels=channels)
    assert starting_numbers(["a", "b"], state, newest) == expected


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        ("tcp://0.0.0.0:5556", "tcp://127.0.0.1:5556"),
        ("tcp://*:5556", "tcp://127.0.0.1:5556"),
        ("tcp://[::]:5556", "tcp://127.0.0.1:5556"),
        ("tcp://192.0.2.1:5556", "tcp://192.0.2.1:5556"),
        ("ipc:///run/events", "ipc:///run/events"),
    ],
)
def test_a_client_reaches_a_service_that_listens_at_every_address(bound: str, reached: str) -> None:
    assert local_address(bound) == reached
