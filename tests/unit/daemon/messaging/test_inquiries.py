from pathlib import Path

import pytest

from daemon.messaging.inquiries import print_messages, services_of
from daemon.messaging.key_files import new_pair
from daemon.messaging.listen import Service
from schemas.errors import ConfigError

A, B = "tcp://127.0.0.1:5556", "tcp://127.0.0.1:6556"


def test_each_service_has_its_own_requests_address() -> None:
    assert services_of([A, B], [], key=None, server_keys=[]) == [
        Service(A, "tcp://127.0.0.1:5557"),
        Service(B, "tcp://127.0.0.1:6557"),
    ]
    given = services_of([A, "ipc:///run/b"], [B, "ipc:///run/c"], key=None, server_keys=[])
    assert [service.requests for service in given] == [B, "ipc:///run/c"]


def test_one_key_of_a_service_is_used_for_all_or_one_for_each(tmp_path: Path) -> None:
    for name in ("client", "one", "two"):
        new_pair(tmp_path, name)
    key, one, two = (tmp_path / name for name in ("client.secret", "one.public", "two.public"))
    for files in ([one], [one, two]):
        services = services_of([A, B], [], key=key, server_keys=files)
        servers = [service.keys.server.decode() for service in services if service.keys]
        assert servers == [file.read_text().strip() for file in (files * 2)[:2]]


@pytest.mark.parametrize(
    ("requests", "key", "server_keys", "problem"),
    [
        ([A], None, [], "--requests: is given 1 times; expected 2"),
        ([], None, [Path("a")], "--server-key: is given 1 times; expected none without --key"),
        ([], Path("a"), [], "--server-key: is given 0 times; expected one, or one for each"),
    ],
)
def test_the_options_of_several_services_have_to_fit(
    requests: list[str], key: Path | None, server_keys: list[Path], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        services_of([A, B], requests, key=key, server_keys=server_keys)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"after": 7}, "--after: is 7; expected 0 or none with several --connect"),
        ({"ack_as": "lims", "topic": "spherorank.v1.alert"}, "--topic: is spherorank.v1.alert"),
        ({"command": "no-such-program"}, "--exec"),
    ],
)
def test_options_that_would_miss_messages_are_refused(
    options: dict[str, object], problem: str
) -> None:
    usual = {"after": None, "topic": "", "command": None, "ack_as": None}
    with pytest.raises(ConfigError, match=problem):
        print_messages([Service(A, B), Service(B, A)], **usual | options)
