"""A share that hangs: other work continues, and no image is lost or stored twice."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.service_process import PLATE, ServiceProcess
from tests.stalling_folder import stalling_folder


def gone(service: ServiceProcess) -> list[str]:
    """Return the messages of the alerts about the source so far."""
    alerts = service.events("alert.raised")
    return [alert["message"] for alert in alerts if alert["kind"] == "source_gone"]


def states(service: ServiceProcess) -> int:
    """Return the number of status messages in the store."""
    with service.store() as store:
        return len(store.messages_after(0, "spherorank.v1.status"))


def source_gone(service: ServiceProcess) -> str:
    """Return the reason in the status why the source is not available, or ""."""
    return json.loads(service.ask("status", "--json").stdout)["source_gone"] or ""


def stored_wells(service: ServiceProcess) -> list[tuple[str, str]]:
    return sorted((event["well"], event["visit"]) for event in service.events("image.stored"))


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service call a file system that does not answer gone after 1.5 s."""
    monkeypatch.setenv("SPHERORANK_PUBLISHER__STALL_S", "3")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("short_patience")
def test_a_share_that_hangs_stops_neither_heartbeats_nor_deadlines_and_loses_no_image(
    service: ServiceProcess, tmp_path: Path
) -> None:
    late = service.well(service.wells()[0], 10)
    later = tmp_path / "later"
    later.mkdir()
    for path in late:
        shutil.move(path, later)
    shutil.rmtree(service.drop / PLATE / "day08")
    images = 2 * len(service.wells()) + 1
    with stalling_folder(service.drop, tmp_path / "share") as share:
        service.configure(source=f'path = "{share.path}"', ranking="readout_deadline_h = 0.003")
        with service.running() as process:
            service.wait_for(lambda: len(service.events("image.stored")) == images)
            share.stall()
            service.wait_for(lambda: gone(service))
            assert "has not answered for 1.5 s" in gone(service)[0]
            service.wait_for(service.rankings)  # its deadline passed meanwhile
            assert service.rankings()[0].quality.missing_images == (late[0].name[:3],)
            before = states(service)
            service.wait_for(lambda: "has not answered" in source_gone(service))
            service.wait_for(lambda: states(service) > before + 2)
            for path in later.iterdir():
                shutil.copy2(path, service.drop / PLATE / "day10")
            share.answer()
            service.wait_for(lambda: service.events("alert.cleared"))
            service.wait_for(lambda: len(service.rankings()) == 2)
            assert len(set(stored_wells(service))) == len(stored_wells(service)) == images + 1
            share.stall()
            service.wait_for(lambda: len(gone(service)) == 2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
    assert service.events("source.not_closed")


@pytest.mark.slow
def test_a_share_that_hangs_at_the_start_leaves_the_service_running(
    empty_service: ServiceProcess, tmp_path: Path, short_patience: None
) -> None:
    del short_patience
    with stalling_folder(empty_service.drop, tmp_path / "share") as share:
        empty_service.configure(source=f'path = "{share.path}"')
        share.stall()
        with empty_service.running() as process:
            empty_service.wait_for(lambda: empty_service.events("alert.raised"))
            assert empty_service.ask("status").returncode == 0
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
