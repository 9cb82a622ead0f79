"""Contract of file events, tested with the operating system.

Events may be late or missing, but are never about a wrong version of a file.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from acquisition.drop_folder.file_events import WatchdogEvents
from schemas.well_image import FileVersion

SOON_S = 5.0


@pytest.fixture
def events() -> Iterator[WatchdogEvents]:
    watching = WatchdogEvents()
    yield watching
    watching.stop()


def closed_soon(events: WatchdogEvents, woken: threading.Event) -> set[FileVersion]:
    """Return the versions that were reported as closed, as soon as there are any."""
    closed: set[FileVersion] = set()
    deadline_s = time.monotonic() + SOON_S
    while not closed and time.monotonic() < deadline_s:
        woken.wait(0.1)
        woken.clear()
        closed |= events.drain()[1]
    return closed


def version(root: Path, path: str) -> FileVersion:
    status = (root / path).stat()
    return FileVersion(path, status.st_size, status.st_mtime_ns)


def test_a_closed_file_is_reported_with_its_version(events: WatchdogEvents, tmp_path: Path) -> None:
    woken = threading.Event()
    events.start(tmp_path, woken.set)
    (tmp_path / "a.tif").write_bytes(b"whole")
    assert closed_soon(events, woken) == {version(tmp_path, "a.tif")}


def test_a_renamed_file_is_reported_with_its_new_name(
    events: WatchdogEvents, tmp_path: Path
) -> None:
    (tmp_path / "a.tif.part").write_bytes(b"whole")
    woken = threading.Event()
    events.start(tmp_path, woken.set)
    (tmp_path / "a.tif.part").rename(tmp_path / "a.tif")
    assert closed_soon(events, woken) == {version(tmp_path, "a.tif")}


def test_reading_a_file_causes_no_event(events: WatchdogEvents, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"whole")
    woken = threading.Event()
    events.start(tmp_path, woken.set)
    (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(b"whole")
    assert closed_soon(events, woken) == {version(tmp_path, "b.tif")}


def test_a_folder_without_events_is_logged_once(events: WatchdogEvents, tmp_path: Path) -> None:
    threads = threading.active_count()
    with capture_logs() as logs:
        events.start(tmp_path / "missing", lambda: None)
    assert [(line["event"], line["path"]) for line in logs] == [
        ("source.events_unavailable", str(tmp_path / "missing"))
    ]
    assert events.drain() == (set(), set())
    assert threading.active_count() == threads
