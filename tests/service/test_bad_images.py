"""Bad images in the real service: each is refused or tried again, and all others are stored."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.service_process import PLATE, ServiceProcess
from tests.stored import all_ended_files

YEAR_10000_S = 253_402_300_800


@pytest.fixture
def crashing(
    service: ServiceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ServiceProcess:
    """Return a service whose processes abort when they open the file B05_z2.tif of day 8."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def end(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('day08/B05_z2.tif'):\n"
        "        os.abort()\n"
        "sys.addaudithook(end)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"), prepend=os.pathsep)
    return service


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_image_that_ends_the_process_is_quarantined_after_the_restart(
    crashing: ServiceProcess,
) -> None:
    assert crashing.run_once().returncode < 0
    assert crashing.run_once().returncode == 0
    with crashing.store() as store:
        refused = store.rejected()
        ended = {version.path for version in all_ended_files(store)}
        messages = [json.loads(message.body)["data"] for message in store.messages_after(0)]
    expected = {f"{PLATE}/day08/B05_z{plane}.tif" for plane in (1, 2, 3)}
    assert {file.path for file in refused} == expected
    assert all(file.reason.startswith("quarantined: ") for file in refused)
    written = {str(path.relative_to(crashing.drop)) for path in crashing.drop.rglob("*.tif")}
    assert ended == written
    alerts = [data for data in messages if data.get("kind") == "image"]
    assert [alert["plate"] for alert in alerts] == [PLATE]
    assert "B05_z1.tif: quarantined" in alerts[0]["message"]
    assert len(crashing.events("crash.child_ended")) == 2


@pytest.mark.slow
def test_a_file_time_beyond_the_year_9999_does_not_stop_the_service(
    service: ServiceProcess,
) -> None:
    for path in service.well(service.wells()[0], 8):
        os.utime(path, (YEAR_10000_S, YEAR_10000_S))
    assert service.run_once().returncode == 0
    assert len(service.events("image.stored")) == len(list(service.drop.rglob("*_z1.tif")))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_unreadable_file_raises_an_alert_and_is_ingested_when_it_can_be_read(
    service: ServiceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = service.well(service.wells()[0], 10)
    content = first.read_bytes()
    first.unlink()
    first.write_bytes(b"")
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def fail(event, arguments):\n"
        f"    if event == 'open' and str(arguments[0]) == {str(first)!r}:\n"
        "        if not os.stat(arguments[0]).st_size:\n"
        "            raise OSError(5, 'Input/output error')\n"
        "sys.addaudithook(fail)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"), prepend=os.pathsep)
    result = service.run_once()
    assert result.returncode == 0
    (alert,) = [alert for alert in service.events("alert.raised") if alert["kind"] == "image"]
    assert "Input/output error" in alert["message"]
    with service.store() as store:
        assert store.rejected() == []
    first.unlink()
    first.write_bytes(content)
    shutil.copystat(service.well(service.wells()[1], 10)[0], first)
    assert service.run_once().returncode == 0
    with service.store() as store:
        assert f"{PLATE}/day10/{first.name}" in {version.path for version in all_ended_files(store)}
