"""A full or read-only disk of the store: images wait, and nothing is lost or stored twice."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from store.database import Database
from store.maintenance.check import find_problems
from store.sql_store import SqlStore
from tests.service_process import PLATE, ServiceProcess

WELLS = 4
DISK_KIB = 3072


def mount(*arguments: str) -> bool:
    """Call mount; return whether it succeeded, which needs root in most containers."""
    if shutil.which("mount") is None or os.geteuid() != 0:
        return False
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of a small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs", str(folder)):
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def with_store_on(service: ServiceProcess, disk: Path) -> str:
    url = f"sqlite:///{disk}/spherorank.sqlite"
    service.config.write_text(f'{service.config.read_text()}[store]\nurl = "{url}"\n')
    return url


def add_images(service: ServiceProcess, rendered: Path, wells: slice) -> int:
    """Copy the images of some wells on day 7 into the drop folder; return the number of wells."""
    of_day = rendered / "drop" / PLATE / "day07"
    (service.drop / PLATE / "day07").mkdir(parents=True, exist_ok=True)
    names = sorted({path.name[:3] for path in of_day.iterdir()})[wells]
    for path in sorted((rendered / "drop" / PLATE).glob("*.*")):
        shutil.copy2(path, service.drop / PLATE)
    for name in names:
        for path in of_day.glob(f"{name}_*"):
            shutil.copy2(path, service.drop / PLATE / "day07")
    return len(names)


def fill(disk: Path) -> Path:
    """Fill a file system completely with one file, and return the file."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def test_images_wait_for_space_on_the_disk_of_the_store_and_are_stored_once(
    empty_service: ServiceProcess, disk: Path, rendered: Path
) -> None:
    url = with_store_on(empty_service, disk)
    first = add_images(empty_service, rendered, slice(WELLS))
    with empty_service.running() as process:
        empty_service.wait_for(lambda: len(empty_service.events("image.stored")) == first)
        ballast = fill(disk)
        more = add_images(empty_service, rendered, slice(WELLS, 2 * WELLS))
        empty_service.wait_for(
            lambda: any(
                alert["kind"] == "disk" and "an image is queued" in alert["message"]
                for alert in empty_service.events("alert.raised")
            )
        )
        assert len(empty_service.events("image.stored")) == first
        assert process.poll() is None
        ballast.unlink()
        empty_service.wait_for(lambda: len(empty_service.events("image.stored")) == first + more)
        process.terminate()
        assert process.wait(timeout=60) == 0
    with closing(Database(url, timeout_s=5.0)) as database:
        assert list(find_problems(database)) == []
    with closing(SqlStore(url)) as store:
        assert len(store.arrived(PLATE)) == first + more
        numbers = [message.sequence for message in store.messages_after(0, limit=10_000)]
        assert numbers == list(range(1, len(numbers) + 1))
        topics = [message.topic for message in store.messages_after(0, limit=10_000)]
        assert topics.count(f"spherorank.v1.observation.{PLATE}") == first + more


def test_the_service_does_not_start_with_a_store_that_cannot_be_written(
    empty_service: ServiceProcess, disk: Path
) -> None:
    url = with_store_on(empty_service, disk)
    SqlStore(url).close()
    read_only = str(disk)
    assert mount("-o", "remount,ro", read_only)
    for arguments, code in ((("run", "--once"), 1), (("check",), 78)):
        done = empty_service.ask(*arguments)
        assert done.returncode == code, done.stderr
        assert f"{disk}/spherorank.sqlite.lock: cannot be opened (Read-only file" in done.stderr
        assert "Traceback" not in done.stderr
