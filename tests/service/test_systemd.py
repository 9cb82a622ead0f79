"""The systemd units: signs of life for systemd, the command lines, and the installation script."""

import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.service_process import SPHERORANK, ServiceProcess

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
INSTALL = ROOT / "deploy" / "install.sh"
STATES_OF_A_START = ("EXTEND_TIMEOUT_USEC", "READY", "WATCHDOG")


class SystemdSocket:
    """A notification socket as systemd has it; collects the messages of a service."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("")  # Linux chooses an abstract name
        self.address = "@" + self._socket.getsockname()[1:].decode()

    def next(self, timeout_s: float) -> str | None:
        """Return the next message, or None if none arrives in time."""
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(1000).decode()
        except TimeoutError:
            return None

    def wait_for(self, state: str, timeout_s: float = 60.0) -> list[str]:
        """Return the messages up to the first one with a state."""
        found: list[str] = []
        while not found or not found[-1].startswith(f"{state}="):
            message = self.next(timeout_s)
            assert message is not None, f"no {state} after {found}"
            found.append(message)
        return found

    def close(self) -> None:
        self._socket.close()


def command_of(unit: str, service: ServiceProcess) -> list[str]:
    """Return the ExecStart command of a unit, with the program and configuration of a test."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / unit)
    line = parser["Service"]["ExecStart"]
    for installed, here in (
        ("/opt/spherorank/current/bin/spherorank", str(SPHERORANK)),
        ("/etc/spherorank/spherorank.toml", str(service.config)),
        ("/var/lib/spherorank", str(service.folder)),
        ("%%", "%"),  # systemd's escapes
        ("$$", "$"),
    ):
        line = line.replace(installed, here)
    return shlex.split(line)


@contextmanager
def under_systemd(
    service: ServiceProcess, unit: str = "spherorank.service"
) -> Iterator[tuple[SystemdSocket, subprocess.Popen[str]]]:
    """Start the command of a unit with a notification socket."""
    with (
        closing(SystemdSocket()) as systemd,
        (service.folder / "stderr.log").open("a") as log,
        subprocess.Popen(
            command_of(unit, service),
            env={**os.environ, "NOTIFY_SOCKET": systemd.address},
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield systemd, process
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock for writing, as another program does that copies the file."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_systemd_hears_of_migration_readiness_life_and_end_and_nothing_while_the_loop_is_stuck(
    service: ServiceProcess,
) -> None:
    images = service.drop.with_name("later")
    service.drop.rename(images)
    service.drop.mkdir()
    with under_systemd(service) as (systemd, process):
        started = [message.partition("=")[0] for message in systemd.wait_for("WATCHDOG")]
        assert started == list(STATES_OF_A_START)
        with locked(service.folder / "spherorank.sqlite"):
            shutil.copytree(images, service.drop, dirs_exist_ok=True)
            silent_s, end = 0.0, time.monotonic() + 60
            while silent_s < 4 and time.monotonic() < end:
                begun = time.monotonic()
                message = systemd.next(4)
                silent_s = time.monotonic() - begun
            assert message is None
        systemd.wait_for("WATCHDOG")
        service.wait_for(lambda: service.events("image.stored"))
        process.terminate()
        assert process.wait(timeout=60) == 0
        assert systemd.wait_for("STOPPING")[-1] == "STOPPING=1"
    with under_systemd(service) as (systemd, _process):
        assert systemd.next(60) == "READY=1"  # the tables are there: no migration


def test_systemd_hears_of_the_readiness_life_and_end_of_the_process_that_notifies_people(
    empty_service: ServiceProcess,
) -> None:
    with empty_service.config.open("a") as config:
        config.write('[notify]\nurls = ["json://127.0.0.1:1"]\n')
    with under_systemd(empty_service, "spherorank-notify.service") as (systemd, process):
        assert systemd.wait_for("WATCHDOG") == ["READY=1", "WATCHDOG=1"]
        process.terminate()
        systemd.wait_for("STOPPING")
        assert process.wait(timeout=60) == 0


def test_the_command_of_the_backup_unit_writes_a_backup_of_the_day(
    ranked_copy: ServiceProcess,
) -> None:
    (ranked_copy.folder / "backups").mkdir()
    done = subprocess.run(
        command_of("spherorank-backup.service", ranked_copy),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (backup,) = (ranked_copy.folder / "backups").iterdir()
    assert backup.name in {f"day{day}.sqlite" for day in range(1, 8)}
    gone = ranked_copy.well("B02", 8)[0]
    with closing(sqlite3.connect(backup)) as database:
        database.execute(
            "DELETE FROM file_version WHERE path = ?",
            (gone.relative_to(ranked_copy.drop).as_posix(),),
        )
        database.commit()
    complete = ranked_copy.ask("store", "restore", "--dry-run", str(backup))
    assert complete.returncode == 0, complete.stderr
    assert "Files of images since the backup: 1. Missing or changed: 0." in complete.stdout
    gone.unlink()
    lost = ranked_copy.ask("store", "restore", "--dry-run", str(backup))
    assert lost.returncode == 1
    assert f"{gone.name}: is missing or has changed; its image would be lost" in lost.stderr


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="the program systemd-analyze is missing"
)
@pytest.mark.parametrize(
    "unit", ["spherorank.service", "spherorank-backup.service", "spherorank-notify.service"]
)
def test_a_unit_is_valid_and_its_exposure_is_at_most_15(unit: str) -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold=15",
            str(UNITS / unit),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert "Unknown key" not in done.stderr


@pytest.mark.parametrize(
    ("action", "last"),
    [
        ("install", "systemctl try-restart --no-block spherorank-notify.service"),
        ("upgrade", "mv -T /opt/spherorank/.previous.new /opt/spherorank/previous"),
        ("rollback", "systemctl start --no-block spherorank"),
        ("uninstall", "systemctl daemon-reload"),
    ],
)
def test_the_installation_script_prints_its_commands_and_changes_nothing(
    action: str, last: str
) -> None:
    done = subprocess.run(
        [str(INSTALL), action, "--dry-run", "--python", sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    assert commands[-1] == f"+ {last}"
    assert not Path("/opt/spherorank/.current.new").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--nothing"], "--nothing is unknown; expected install"),
        (["install", "--dry-run", "--wheels", "/missing"], "/missing is no folder"),
        (["install", "--dry-run", "--python", "python0"], "python0 is missing; expected Python"),
        (["install", "--python"], "--python has no value"),
    ],
)
def test_the_installation_script_names_a_wrong_argument(arguments: list[str], problem: str) -> None:
    done = subprocess.run(
        [str(INSTALL), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert problem in done.stderr
