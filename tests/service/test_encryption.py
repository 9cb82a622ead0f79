"""Encrypted sockets and allowed clients: real processes, keys in files."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from daemon.messaging.key_files import ClientKeys, KeyFolder, new_pair, read_client_keys
from schemas.errors import ConfigError
from tests.running_messages import RunningMessages, ask, client, free_ports
from tests.service_process import SPHERORANK, ServiceProcess


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[RunningMessages]:
    """Yield the process of the sockets with keys; no client is allowed yet."""
    new_pair(tmp_path / "keys", "service")
    new_pair(tmp_path, "lims")
    new_pair(tmp_path, "other")
    made = RunningMessages(tmp_path, keys=KeyFolder(tmp_path / "keys"))
    yield made
    made.close()


def keys_of(name: str, folder: Path, server: str = "keys/service.public") -> dict[str, bytes]:
    """Return the options of a socket for the keys of a client in a folder."""
    keys: ClientKeys = read_client_keys(folder / f"{name}.secret", folder / server)
    return {
        "curve_publickey": keys.pair.public,
        "curve_secretkey": keys.pair.secret,
        "curve_serverkey": keys.server,
    }


def reply_to(running: RunningMessages, options: dict[str, bytes], **request: object) -> object:
    """Return the reply to a request of a client with keys; None without a reply within 1 s."""
    with client(zmq.DEALER, running.requests, **options) as dealer:
        dealer.send_json(request)
        return json.loads(dealer.recv()) if dealer.poll(1000) else None


def test_a_client_needs_an_allowed_key(encrypted: RunningMessages, tmp_path: Path) -> None:
    lims, other = keys_of("lims", tmp_path), keys_of("other", tmp_path)
    assert reply_to(encrypted, lims, kind="status") is None
    KeyFolder(tmp_path / "keys").allow("lims", tmp_path / "lims.public")
    reply = reply_to(encrypted, lims, kind="status")
    assert isinstance(reply, dict)
    assert reply["kind"] == "status"
    wrong_server = keys_of("lims", tmp_path, server="other.public")
    for options in (other, wrong_server, {}):
        assert reply_to(encrypted, options, kind="status") is None
    assert ask(encrypted.requests, timeout_s=1.0, kind="status") == {}


def test_messages_are_published_to_allowed_clients_only(
    encrypted: RunningMessages, tmp_path: Path
) -> None:
    KeyFolder(tmp_path / "keys").allow("lims", tmp_path / "lims.public")
    with (
        client(zmq.SUB, encrypted.events, **keys_of("lims", tmp_path)) as allowed,
        client(zmq.SUB, encrypted.events, **keys_of("other", tmp_path)) as unknown,
        client(zmq.SUB, encrypted.events) as without_key,
    ):
        encrypted.wait_for(lambda: allowed.poll(0), "a message for the allowed client")
        assert not unknown.poll(500)
        assert not without_key.poll(0)


def test_a_revoked_client_is_disconnected_and_others_stay(
    encrypted: RunningMessages, tmp_path: Path
) -> None:
    folder = KeyFolder(tmp_path / "keys")
    for name in ("lims", "other"):
        folder.allow(name, tmp_path / f"{name}.public")
    with (
        client(zmq.SUB, encrypted.events, **keys_of("lims", tmp_path)) as lims,
        client(zmq.SUB, encrypted.events, **keys_of("other", tmp_path)) as other,
        client(zmq.DEALER, encrypted.requests, **keys_of("lims", tmp_path)) as dealer,
    ):
        dealer.send(b'{"kind": "status"}')
        assert dealer.poll(10_000)
        encrypted.wait_for(lambda: lims.poll(0) and other.poll(0), "messages for both clients")
        process = encrypted.child.pid
        folder.revoke("lims")
        encrypted.wait_for(lambda: not drained(lims, 1500), "no message for the revoked client")
        assert drained(other, 5000) > 0
        dealer.recv()
        with contextlib.suppress(zmq.Again):  # it has no connection
            dealer.send(b'{"kind": "status"}', zmq.DONTWAIT)
        assert not dealer.poll(1000)
        assert encrypted.child.pid == process


def drained(subscriber: zmq.Socket[bytes], wait_ms: int) -> int:
    """Read everything that has arrived, and return the number of messages in a time after it."""
    while subscriber.poll(0):
        subscriber.recv_multipart()
    return int(subscriber.poll(wait_ms))


def test_a_client_acknowledges_under_the_name_of_its_key(
    encrypted: RunningMessages, tmp_path: Path
) -> None:
    KeyFolder(tmp_path / "keys").allow("lims", tmp_path / "lims.public")
    encrypted.add_alert("a message")
    lims = keys_of("lims", tmp_path)
    replies = [
        reply_to(encrypted, lims, kind="ack", subscriber=name, sequence=1)
        for name in ("lims", "other")
    ]
    assert [isinstance(reply, dict) and reply["kind"] for reply in replies] == ["ack", "error"]
    assert "expected 'lims', the name of this client's key" in str(replies[1])
    assert encrypted.store.acknowledged() == {"lims": 1}


def test_the_service_does_not_start_without_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"service\.secret: does not exist.*keys new"):
        RunningMessages(tmp_path, keys=KeyFolder(tmp_path / "keys"))


@pytest.mark.parametrize(
    "url", ["tcp://0.0.0.0:5556", "tcp://*:5556", "tcp://192.168.1.5:5556", "tcp://lab-pc:5556"]
)
def test_an_address_for_other_computers_is_refused_without_curve(
    url: str, empty_service: ServiceProcess
) -> None:
    text = empty_service.config.read_text()
    lines = [
        f'{line.split(" ")[0]} = "{url}"' if line.startswith(("events", "requests")) else line
        for line in text.splitlines()
    ]
    empty_service.config.write_text("\n".join(lines))
    for command in (("check",), ("run", "--once")):
        done = empty_service.ask(*command)
        assert done.returncode == 78, done.stderr
        for key in ("events", "requests"):
            assert f"key publisher.{key}: is '{url}'; expected an address of this" in done.stderr
        assert "or publisher.curve = true" in done.stderr


def test_keys_are_made_and_used_from_the_command_line(
    empty_service: ServiceProcess, tmp_path: Path
) -> None:
    events, requests = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    empty_service.config.write_text(
        f'[publisher]\ncurve = true\nkeys = "{tmp_path}/keys"\nheartbeat_s = 0.5\n'
        f'events = "{events}"\nrequests = "{requests}"\n[health]\nhttp = ""\n'
    )
    assert "keys new" in empty_service.ask("check").stderr
    empty_service.ask("keys", "new")
    pair = [str(SPHERORANK), "keys", "new", "--client", "lims", "--out", str(tmp_path)]
    assert subprocess.run(pair, check=True, capture_output=True, text=True).stdout
    assert empty_service.ask("keys", "allow", "lims", f"{tmp_path}/lims.public").returncode == 0
    listed = empty_service.ask("keys", "list").stdout
    assert [line.split("\t")[0] for line in listed.splitlines()] == ["(service)", "lims"]
    with empty_service.running():
        empty_service.wait_for(lambda: empty_service.ask("status").returncode == 0)
        arguments = [
            "--connect",
            events,
            "--requests",
            requests,
            "--after",
            "0",
            "--ack-as",
            "lims",
        ]
        arguments += ["--key", f"{tmp_path}/lims.secret"]
        arguments += ["--server-key", f"{tmp_path}/keys/service.public"]
        with subprocess.Popen(
            [str(SPHERORANK), "listen", *arguments], stdout=subprocess.PIPE, text=True
        ) as listener:
            assert listener.stdout is not None
            first = json.loads(listener.stdout.readline())
            listener.terminate()
    assert (first["sequence"], first["body"]["data"]["state"]) == (1, "online")
    assert empty_service.ask("keys", "revoke", "lims").returncode == 0
    assert "lims" not in empty_service.ask("keys", "list").stdout
    secret = (tmp_path / "keys" / "service.secret").read_text().strip()
    logs = [path.read_text() for path in (empty_service.folder / "logs").iterdir()]
    assert not any(secret in text for text in (*logs, listed))
