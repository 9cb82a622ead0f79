"""Full and read-only disks of the store, the rankings and the logs: nothing is lost."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.running_messages import free_ports
from tests.service_process import PLATE, ServiceProcess
from tests.small_disk import small_disk


@pytest.fixture
def address() -> str:
    """Return the address of the monitoring page, which no other test uses at the same time."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def health(address: str) -> tuple[int, dict[str, Any]]:
    """Return the code and the content of the health page; code 0 before it is served."""
    try:
        with urlopen(f"http://{address}/healthz", timeout=5) as page:
            return page.status, json.load(page)
    except HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def has_problem(address: str, text: str) -> bool:
    """Return whether a problem on the health page contains a text."""
    return any(text in problem for problem in health(address)[1].get("problems", ()))


def status_of(service: ServiceProcess) -> dict[str, Any]:
    """Return the status, which is at most a second older than the health page."""
    status: dict[str, Any] = json.loads(service.ask("status", "--json").stdout)
    return status


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_rankings_and_log_lines_wait_for_the_disk(
    ranked_copy: ServiceProcess, address: str, fault: str
) -> None:
    written = {path.name for path in (ranked_copy.folder / "rankings" / PLATE).iterdir()}
    shutil.rmtree(ranked_copy.folder / "rankings")
    shutil.rmtree(ranked_copy.folder / "logs")
    ranked_copy.configure(health=address)
    with ExitStack() as stack:
        disks = [
            stack.enter_context(small_disk(ranked_copy.folder / name, fault))
            for name in ("rankings", "logs")
        ]
        for disk in disks:
            disk.break_down()
        with ranked_copy.running():
            ranked_copy.wait_for(lambda: has_problem(address, "cannot be written"))
            code, page = health(address)
            assert (code, page["state"]) == (503, "running")
            ranked_copy.wait_for(lambda: status_of(ranked_copy)["standing_alerts"] >= 2)
            status = status_of(ranked_copy)
            assert {alert["kind"] for alert in status["alerts"]} == {"disk"}
            assert "alerts " in ranked_copy.ask("status").stdout
            for disk in disks:
                disk.repair()
            folder = ranked_copy.folder / "rankings" / PLATE
            ranked_copy.wait_for(
                lambda: folder.exists() and {path.name for path in folder.iterdir()} >= written,
                timeout_s=20,
            )
            ranked_copy.wait_for(lambda: health(address)[0] == 200)
            ranked_copy.wait_for(lambda: ranked_copy.events("log.lines_missed"))
    assert len(ranked_copy.rankings()) == 2


@pytest.mark.slow
def test_images_wait_for_a_full_store_and_the_state_says_so(
    service: ServiceProcess, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(service.drop / PLATE / "day08")
    day10 = tmp_path / "day10"
    shutil.move(service.drop / PLATE / "day10", day10)
    service.configure(health=address)
    with small_disk(tmp_path / "disk", "full") as disk:
        monkeypatch.setenv("SPHERORANK_STORE__URL", f"sqlite:///{disk.path}/spherorank.sqlite")
        wells = len(list(day10.glob("*_z1.tif")))
        with service.running():
            service.wait_for(lambda: len(service.events("image.stored")) == wells)
            disk.break_down()
            shutil.move(day10, service.drop / PLATE / "day10")
            service.wait_for(lambda: has_problem(address, "does not accept"))
            assert health(address)[0] == 503
            service.wait_for(lambda: health(address)[1]["standing_alerts"] >= 1)
            disk.repair()
            service.wait_for(lambda: len(service.events("image.stored")) == 2 * wells)
            service.wait_for(lambda: health(address)[0] == 200)
    assert not service.events("image.rejected")
