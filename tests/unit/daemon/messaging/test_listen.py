import io
import json

import pytest

from daemon.messaging.listen import Message, requests_url_beside, write_message
from schemas.errors import ConfigError

MESSAGE = Message(
    "spherorank.v1.alert",
    41,
    {
        "time": "2026-11-22T20:00:00Z",
        "data": {"kind": "disk", "plate": None, "message": "µ is nearly full"},
    },
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("events", "requests"),
    [
        ("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5557"),
        ("tcp://lab-7.example:6000", "tcp://lab-7.example:6001"),
        ("tcp://[::1]:5556", "tcp://[::1]:5557"),
    ],
)
def test_requests_are_one_port_up(events: str, requests: str) -> None:
    assert requests_url_beside(events) == requests


@pytest.mark.parametrize(
    "events", ["ipc:///run/spherorank", "tcp://127.0.0.1", "tcp://127.0.0.1:many", "127.0.0.1:5556"]
)
def test_without_a_port_the_requests_address_has_to_be_given(events: str) -> None:
    with pytest.raises(ConfigError, match="--requests"):
        requests_url_beside(events)


def test_in_a_pipe_a_message_is_one_json_object_a_line() -> None:
    out = io.StringIO()
    write_message(MESSAGE, out)
    write_message(MESSAGE, out)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"topic": MESSAGE.topic, "sequence": 41, "body": MESSAGE.body}
    ] * 2


def test_on_a_terminal_a_message_is_a_line_for_a_person() -> None:
    out = Terminal()
    write_message(MESSAGE, out)
    assert out.getvalue().split() == [
        "41",
        "2026-11-22T20:00:00",
        "alert",
        "kind=disk",
        "message=µ",
        "is",
        "nearly",
        "full",
    ]
