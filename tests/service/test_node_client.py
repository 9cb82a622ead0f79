"""A client in another language and library: Node.js with ``zeromq`` of npm."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from daemon.messaging.key_files import KeyFolder, new_pair
from tests.running_messages import RunningMessages

CLIENT = Path(__file__).parent / "node_client"
INSTALL_S = 100


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the client and its packages; skip without Node.js or its registry."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm (Debian packages nodejs and npm)")
    folder = tmp_path_factory.mktemp("node") / "client"
    shutil.copytree(CLIENT, folder)
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    done = subprocess.run(
        [npm, "install", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_S,
    )
    if done.returncode:
        pytest.skip(f"npm cannot install zeromq here: {done.stderr.strip()[-200:]}")
    return folder


class NodeClient:
    """A started client whose lines are written to a file."""

    def __init__(self, folder: Path, out: Path, *arguments: str) -> None:
        self.out = out
        with out.open("ab") as stream, out.with_suffix(".err").open("ab") as errors:
            self.process = subprocess.Popen(
                ["node", str(folder / "client.mjs"), *arguments], stdout=stream, stderr=errors
            )

    @property
    def numbers(self) -> list[int]:
        """The sequence numbers of all printed messages."""
        return [line["sequence"] for line in self.lines()]

    def lines(self) -> list[dict[str, object]]:
        return [
            json.loads(line)
            for line in self.out.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningMessages]:
    new_pair(tmp_path / "keys", "service")
    new_pair(tmp_path, "lims")
    keys = KeyFolder(tmp_path / "keys")
    keys.allow("lims", tmp_path / "lims.public")
    made = RunningMessages(tmp_path, must_ack=("lims",), keys=keys)
    yield made
    made.close()


def test_a_client_in_node_misses_nothing_and_acknowledges(
    running: RunningMessages, installed: Path, tmp_path: Path
) -> None:
    arguments = [running.events, running.requests, "lims"]
    arguments += [str(tmp_path / "lims.secret"), str(tmp_path / "lims.public")]
    arguments += [str(tmp_path / "keys" / "service.public")]
    store = running.store
    before = running.add_alert("before the client starts")
    with NodeClient(installed, tmp_path / "lines", *arguments) as first:
        running.wait_for(lambda: before in first.numbers, "the alert before the start is replayed")
        live = running.add_alert("live")
        running.wait_for(lambda: live in first.numbers, "the live alert")
        # These numbers are marked as sent and never sent, so the client sees a gap.
        suspended = running.suspend()
        lost = [running.add_alert(f"lost {number}") for number in range(3)]
        store.mark_published(lost[-1])
        suspended.kill()
        running.wait_for(lambda: lost[-1] in first.numbers, "the lost alerts are replayed")
        running.wait_for(lambda: store.acknowledged().get("lims", 0) >= lost[-1], "acknowledged")
    away = running.add_alert("while the client is away")
    with NodeClient(installed, tmp_path / "lines", *arguments) as second:
        running.wait_for(lambda: away in second.numbers, "the alert while it was away")
    numbers = second.numbers
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1))
    how = {line["sequence"]: line["how"] for line in second.lines()}
    assert (how[before], how[lost[0]]) == ("replayed", "replayed")
    assert "live" in how.values()
