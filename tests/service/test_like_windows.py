"""The drop-folder service without the names, modules and folders of the system that Windows lacks.

The service runs on Linux: ``tests/like_windows/sitecustomize.py`` hides them from its code and
refuses the file operations that Windows refuses. Nothing here ran on Windows itself.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.ranking import Ranking
from store.sql_store import SqlStore
from tests.posix_names import posix_only
from tests.running_messages import free_ports
from tests.service_process import PLATE

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "store", "acquisition", "inference", "simulation", "daemon")
HIDDEN = {
    "modules": ["fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"],
    "names": {
        "os": sorted(posix_only("os") | {"kill"}),
        "signal": sorted(posix_only("signal") | {"set_wakeup_fd"}),
        "time": sorted(posix_only("time")),
        "errno": sorted(posix_only("errno")),
    },
    "code": [f"{ROOT / package}{os.sep}" for package in PACKAGES],
}

LOCK_AND_WAIT = """
import sys, time
from store.locks import ServiceUse, lock_store
lock = lock_store(sys.argv[1], ServiceUse("lab-1", ""), wait_s=0.0)
print("locked", flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class LikeWindows:
    """A folder with a drop folder, in which commands run as if on Windows."""

    folder: Path

    @property
    def missed(self) -> set[str]:
        """The hidden names that the commands looked for, and the operations that were refused."""
        return set((self.folder / "missed.txt").read_text().splitlines())

    def environment(self) -> dict[str, str]:
        hidden = HIDDEN | {"data": f"{self.folder}/"}
        (self.folder / "hidden.json").write_text(json.dumps(hidden))
        paths = f"{ROOT / 'tests' / 'like_windows'}{os.pathsep}{ROOT}"
        return os.environ | {"LIKE_WINDOWS": str(self.folder), "PYTHONPATH": paths}

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def ask(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("-m", "daemon", *arguments, "--config", f"{self.folder}/spherorank.toml")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> LikeWindows:
    """Return a folder in which the service has ranked the small plate as if on Windows."""
    made = LikeWindows(tmp_path_factory.mktemp("windows"))
    shutil.copytree(rendered / "drop", made.folder / "drop")
    events, requests = free_ports(2)
    (made.folder / "spherorank.toml").write_text(
        "[source]\nsettle_s = 0.3\npoll_s = 0.3\n[ranking]\ncorrection_quiet_s = 0.5\n"
        '[health]\nhttp = ""\n[publisher]\n'
        f'events = "tcp://127.0.0.1:{events}"\nrequests = "tcp://127.0.0.1:{requests}"\n'
    )
    done = made.ask("run", "--once")
    assert done.returncode == 0, done.stderr
    return made


def test_a_plate_goes_from_images_to_a_final_ranking(ranked: LikeWindows) -> None:
    latest = ranked.folder / "rankings" / PLATE / "latest.json"
    ranking = Ranking.model_validate_json(latest.read_bytes())
    assert (ranking.day, ranking.final, ranking.quality.gate) == (10, True, "passed")
    assert not ranking.quality.missing_images
    assert len(ranking.treatments) == 3


def test_the_service_found_nothing_of_linux_and_replaced_a_file_that_was_in_use(
    ranked: LikeWindows,
) -> None:
    assert {"os.O_DIRECTORY", "signal.SIGHUP", "time.CLOCK_BOOTTIME", "os.rename"} <= ranked.missed


def test_the_hook_hides_names_and_modules_from_our_code_only(tmp_path: Path) -> None:
    done = LikeWindows(tmp_path).run(
        "-c",
        "import os, subprocess\n"
        "subprocess.run(['true'], check=True)\n"
        "print(hasattr(os, 'fork'), hasattr(os, 'getpid'))\n"
        "import fcntl",
    )
    assert done.stdout == "False True\n"
    assert "ModuleNotFoundError: No module named 'fcntl'" in done.stderr


def test_a_backup_of_the_store_is_restored(ranked: LikeWindows) -> None:
    backup = ranked.folder / "backup.sqlite"
    for command in ("backup", "restore"):
        done = ranked.ask("store", command, str(backup))
        assert done.returncode == 0, done.stderr
    store = SqlStore(f"sqlite:///{ranked.folder}/spherorank.sqlite")
    assert store.plates() == [PLATE]
    store.close()


def test_two_services_never_use_one_store_and_a_killed_one_releases_it(tmp_path: Path) -> None:
    windows = LikeWindows(tmp_path)
    url = f"sqlite:///{tmp_path}/store.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", LOCK_AND_WAIT, url],
        env=windows.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        second = windows.run("-c", LOCK_AND_WAIT, url)
        assert f"is used by the service lab-1 (process {first.pid} on" in second.stderr
        first.kill()
        first.wait()
    third = LOCK_AND_WAIT.replace("time.sleep(60)", "")
    assert windows.run("-c", third, url).stdout == "locked\n"
