"""The pages for monitoring of the real service, and the metrics that rules and dashboard name."""

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.running_messages import free_ports
from tests.service_process import PLATE, WELLS, ServiceProcess

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
ADDRESS = f"127.0.0.1:{free_ports(1)[0]}"  # of this test process alone
IMAGED = 3
METRIC = re.compile(r"\bspherorank_[a-z_]+\b")


def get(page: str) -> tuple[int, str]:
    """Return the code and the text of a page; code 0 before it is served."""
    try:
        with urlopen(f"http://{ADDRESS}/{page}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def problems(page: str) -> tuple[int, list[str]]:
    code, text = get(page)
    return code, json.loads(text)["problems"] if code else []


def scrape() -> dict[str, Metric]:
    """Return each family of metrics by its name."""
    return {each.name: each for each in text_string_to_metric_families(get("metrics")[1])}


def value(name: str, **labels: str) -> float:
    """Return the value of a sample with some of its labels."""
    (found,) = [
        sample.value
        for family in scrape().values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found


def with_some_images(service: ServiceProcess) -> None:
    """Leave the images of a few wells on one day, and add a file that is refused."""
    for day in ("day08", "day10"):
        for file in (service.drop / PLATE / day).iterdir():
            file.unlink()
    kept = sorted({file.name[:3] for file in (service.drop / PLATE / "day07").iterdir()})[:IMAGED]
    for file in (service.drop / PLATE / "day07").iterdir():
        if file.name[:3] not in kept:
            file.unlink()
    (service.drop / PLATE / "day07" / "X99_z1.tif").write_bytes(b"no well")
    path = service.drop / PLATE / f"{PLATE}.plate.toml"
    seeded_at = tomllib.loads(path.read_text())["seeded_at"]
    readout_day = (datetime.now(UTC) - seeded_at).days + 10  # the plate stays live
    path.write_text(
        f'plate = "{PLATE}"\nseeded_at = {seeded_at.isoformat()}\n'
        f"dosed_on_day = {readout_day - 1}\nreadout_day = {readout_day}\n"
    )


@pytest.fixture
def running(service: ServiceProcess) -> Iterator[ServiceProcess]:
    """Yield a running service that has ingested a few images of a plate and refused a file."""
    service.configure(health=ADDRESS, publisher='must_ack = ["lims"]')
    with_some_images(service)
    with service.running():
        service.wait_for(lambda: len(service.events("image.stored")) == IMAGED)
        service.wait_for(lambda: service.events("image.rejected"))
        service.wait_for(lambda: value("spherorank_live_plates") == 1)
        # The numbers from the store are measured every five seconds.
        missing = WELLS - IMAGED
        service.wait_for(lambda: value("spherorank_plate_missing_wells", plate=PLATE) == missing)
        yield service


def named_metrics(text: str) -> set[str]:
    return set(METRIC.findall(text))


def test_the_service_exports_each_metric_that_a_rule_or_a_panel_names(
    running: ServiceProcess,
) -> None:
    exported = {sample.name for family in scrape().values() for sample in family.samples}
    rules = (MONITORING / "spherorank.rules.yml").read_text()
    dashboard = (MONITORING / "grafana-dashboard.json").read_text()
    in_panels = {
        name
        for panel in json.loads(dashboard)["panels"]
        for target in panel["targets"]
        for name in named_metrics(target["expr"])
    }
    in_rules = named_metrics(rules)
    assert len(in_rules) > 10
    assert len(in_panels) > 15
    assert sorted((in_rules | in_panels) - exported) == []
    page = (MONITORING.parents[1] / "docs" / "how-to" / "monitor.md").read_text()
    families = {each for each in exported if not each.endswith(("_sum", "_created"))}
    assert [each for each in sorted(families) if f"`{each}`" not in page] == []

    assert value("spherorank_images_total", outcome="stored") == IMAGED
    assert value("spherorank_images_total", outcome="rejected") == 1
    assert value("spherorank_refusals_total", kind="name") == 1
    assert value("spherorank_rejected_files") == 1
    assert value("spherorank_unacknowledged_finals", subscriber="lims") == 0
    assert value("spherorank_standing_alerts", kind="disk") == 0
    assert value("spherorank_encoder_info", provider="cpu") == 1
    assert value("spherorank_source_reachable") == 1
    assert value("spherorank_disk_free_bytes", folder=str(running.folder)) > 0
    for stage in ("read", "segment", "embed"):
        assert value("spherorank_stage_seconds_count", stage=stage) == IMAGED
        assert value("spherorank_stage_seconds_sum", stage=stage) > 0
    assert value("spherorank_stage_seconds_count", stage="image") == IMAGED + 1
    # Images of a backlog share commits.
    assert 1 <= value("spherorank_stage_seconds_count", stage="commit") <= IMAGED + 1
    assert value("spherorank_stage_seconds_count", stage="rank") == 0
    assert problems("healthz") == problems("readyz") == (200, [])
    assert get("other") == (404, "expected /healthz, /readyz or /metrics\n")


def test_a_service_whose_folder_is_gone_is_not_ready_with_the_reason(
    empty_service: ServiceProcess, tmp_path: Path
) -> None:
    empty_service.configure(health=ADDRESS)
    with empty_service.running():
        empty_service.wait_for(lambda: get("readyz")[0] == 200)
        empty_service.drop.rename(tmp_path / "unmounted")
        empty_service.wait_for(lambda: value("spherorank_source_reachable") == 0)
        code, found = problems("readyz")
        assert code == 503
        assert str(empty_service.drop) in found[0]
        assert value("spherorank_standing_alerts", kind="source_gone") == 1
        assert value("spherorank_blocking_alerts") == 1
