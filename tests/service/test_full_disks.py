"""Full and read-only disks of the store, the rankings and the logs: nothing is lost."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from store.database import Database
from store.maintenance.check import find_problems
from store.sql_store import SqlStore
from tests.running_messages import free_ports
from tests.service_process import PLATE, ServiceProcess
from tests.small_disk import failing_disk, small_disk

HEALTH = f"127.0.0.1:{free_ports(1)[0]}"  # of this test process alone
WELLS = 4


def health(name: str = "healthz") -> tuple[int, dict[str, Any]]:
    """Return the code and the content of a page for monitoring; code 0 before it is served."""
    try:
        with urlopen(f"http://{HEALTH}/{name}", timeout=5) as page:
            return page.status, json.load(page)
    except HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def wait_for_problem(service: ServiceProcess, text: str) -> None:
    """Wait until the health page says that a running service has a problem with a text."""
    service.wait_for(lambda: any(text in each for each in health()[1].get("problems", [])))
    code, page = health()
    assert (code, page["state"]) == (503, "running")
    assert page["standing_alerts"] >= 1


def status_of(service: ServiceProcess) -> dict[str, Any]:
    """Return the status, which is at most a second older than the health page."""
    status: dict[str, Any] = json.loads(service.ask("status", "--json").stdout)
    return status


def correct_plate_map(service: ServiceProcess) -> None:
    """Change the last treatment of the plate map, so that its rankings are corrected."""
    (table,) = (service.drop / PLATE).glob("*.wells.csv")
    lines = table.read_text().splitlines()
    well, group, _ = lines[-1].split(",")
    table.write_text("\n".join([*lines[:-1], f"{well},{group},another:1 uM", ""]))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_rankings_wait_for_their_disk_that_breaks_while_the_service_runs(
    ranked_copy: ServiceProcess, fault: str
) -> None:
    shutil.rmtree(ranked_copy.folder / "rankings")
    ranked_copy.configure(health=HEALTH)
    with small_disk(ranked_copy.folder / "rankings", fault) as disk, ranked_copy.running():
        ranked_copy.wait_for(lambda: health()[0] == 200)
        ranked_copy.wait_for((disk.path / PLATE / "latest.json").exists)
        disk.break_down()
        correct_plate_map(ranked_copy)
        wait_for_problem(ranked_copy, "cannot be written")
        ranked_copy.wait_for(lambda: len(ranked_copy.rankings()) == 4)  # two are corrections
        ranked_copy.wait_for(lambda: status_of(ranked_copy)["standing_alerts"] >= 1)
        assert {alert["kind"] for alert in status_of(ranked_copy)["alerts"]} == {"disk"}
        disk.repair()
        names = {f"{each.name}.json" for each in ranked_copy.rankings()}
        ranked_copy.wait_for(
            lambda: {path.name for path in (disk.path / PLATE).iterdir()} >= names, timeout_s=20
        )
        ranked_copy.wait_for(lambda: health()[0] == 200, timeout_s=20)


@pytest.mark.slow
def test_the_service_continues_without_log_lines_and_reports_how_many_are_missing(
    ranked_copy: ServiceProcess,
) -> None:
    shutil.rmtree(ranked_copy.folder / "logs")
    with small_disk(ranked_copy.folder / "logs", "read-only") as disk, ranked_copy.running():
        ranked_copy.wait_for(lambda: ranked_copy.events("service.started"))
        disk.break_down()
        correct_plate_map(ranked_copy)
        ranked_copy.wait_for(lambda: len(ranked_copy.rankings()) == 4)  # two are corrections
        assert not ranked_copy.events("ranking.published")
        disk.repair()
        (ranked_copy.drop / PLATE / "day10" / "X99_z1.tif").write_bytes(b"logged")
        ranked_copy.wait_for(lambda: ranked_copy.events("log.lines_missed"), timeout_s=20)
        assert sum(each["lines"] for each in ranked_copy.events("log.lines_missed")) >= 2


def with_store_on(service: ServiceProcess, disk: Path) -> str:
    """Let the store of a service be on a disk, and return its address."""
    url = f"sqlite:///{disk}/spherorank.sqlite"
    service.configure(health=HEALTH)
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


def check_store(url: str, images: int) -> None:
    """Check that a store is sound and has each image and each sequence number once."""
    with closing(Database(url, timeout_s=5.0)) as database:
        assert list(find_problems(database)) == []
    with closing(SqlStore(url)) as store:
        assert len(store.arrived(PLATE)) == images
        messages = store.messages_after(0, limit=10_000)
    assert [each.sequence for each in messages] == list(range(1, len(messages) + 1))
    topics = [each.topic for each in messages]
    assert topics.count(f"spherorank.v1.observation.{PLATE}") == images


def test_images_wait_for_a_full_store_and_the_state_says_so(
    empty_service: ServiceProcess, tmp_path: Path, rendered: Path
) -> None:
    with small_disk(tmp_path / "disk", "full", "3m") as disk:
        url = with_store_on(empty_service, disk.path)
        images = add_images(empty_service, rendered, slice(WELLS))
        with empty_service.running() as process:
            empty_service.wait_for(lambda: len(empty_service.events("image.stored")) == images)
            disk.break_down()
            empty_service.wait_for(lambda: health("readyz")[0] == 503)  # without any image
            problems = health("readyz")[1]["problems"]
            assert [each for each in problems if each.startswith("the store cannot be written")]
            images += add_images(empty_service, rendered, slice(WELLS, 2 * WELLS))
            wait_for_problem(empty_service, "does not accept")
            assert len(empty_service.events("image.stored")) == WELLS
            disk.repair()
            empty_service.wait_for(lambda: len(empty_service.events("image.stored")) == images)
            empty_service.wait_for(lambda: health()[0] == 200, timeout_s=20)
            process.terminate()
            assert process.wait(timeout=60) == 0
        check_store(url, images)
    assert not empty_service.events("image.rejected")


def test_images_wait_for_a_store_that_becomes_read_only_until_the_restart_after_its_repair(
    empty_service: ServiceProcess, tmp_path: Path, rendered: Path
) -> None:
    with failing_disk(tmp_path / "disk") as disk:
        url = with_store_on(empty_service, disk.path)
        images = add_images(empty_service, rendered, slice(WELLS))
        with empty_service.running() as process:
            empty_service.wait_for(lambda: len(empty_service.events("image.stored")) == images)
            disk.break_down()
            images += add_images(empty_service, rendered, slice(WELLS, 2 * WELLS))
            wait_for_problem(empty_service, "does not accept")
            process.terminate()
            process.wait(timeout=60)
        disk.repair()
        with empty_service.running() as process:
            empty_service.wait_for(lambda: len(empty_service.events("image.stored")) >= images)
            process.terminate()
            assert process.wait(timeout=60) == 0
        check_store(url, images)
    assert not empty_service.events("image.rejected")


def test_the_service_does_not_start_with_a_store_that_cannot_be_written(
    empty_service: ServiceProcess, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "read-only") as disk:
        SqlStore(with_store_on(empty_service, disk.path)).close()
        disk.break_down()
        for arguments, code in ((("run", "--once"), 1), (("check",), 78)):
            done = empty_service.ask(*arguments)
            assert done.returncode == code, done.stderr
            problem = f"{disk.path}/spherorank.sqlite.lock: cannot be opened (Read-only file"
            assert problem in done.stderr
            assert "Traceback" not in done.stderr
