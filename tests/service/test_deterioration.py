"""The service calibrates deterioration from assay files and then ranks new plates by it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.service_process import ServiceProcess
from tests.small_plates import write_assayed_plates

PLATES = tuple(f"VIRTUAL-0021-0{number}" for number in range(1, 5))
*ASSAYED, OWN = PLATES


@pytest.fixture(scope="module")
def assayed_plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drop folder of four virtual plates of 18 wells with assays, days 7 and 10."""
    out = tmp_path_factory.mktemp("assayed")
    return write_assayed_plates(out, len(PLATES), seed=21, days=(7, 10))


def add_plate(service: ServiceProcess, plates: Path, plate: str) -> None:
    """Copy a plate without its assay to the drop folder of the service."""
    shutil.copytree(
        plates / plate, service.drop / plate, ignore=shutil.ignore_patterns("*.assay.csv")
    )


def revisions(service: ServiceProcess) -> list[tuple[str, int, int, str]]:
    """Return plate, day, revision and method of each stored ranking."""
    return [
        (each.plate, each.day, each.revision, each.method)
        for plate in PLATES
        for each in service.rankings(plate)
    ]


def assay_alerts(service: ServiceProcess) -> list[dict[str, Any]]:
    """Return the alerts about assays."""
    return [each for each in service.events("alert.raised") if each["kind"] == "assay"]


@pytest.mark.slow
def test_a_plate_is_ranked_by_departure_until_plates_have_assays_then_by_deterioration(
    empty_service: ServiceProcess, assayed_plates: Path
) -> None:
    service = empty_service
    folder = service.folder / "rankings" / OWN
    by_departure = [(plate, 10, 1, "departure") for plate in ASSAYED]
    for plate in ASSAYED:
        add_plate(service, assayed_plates, plate)
    assert service.run_once().returncode == 0
    assert revisions(service) == by_departure
    first = service.drop / ASSAYED[0] / f"{ASSAYED[0]}.assay.csv"
    first.write_text("well,viability_percent\nB02,100\nH12,40\n")
    checked = service.ask("check")
    assert checked.returncode == 0  # a problem of one plate
    assert (
        f"{first.parent.name}/{first.name}: line 3: well H12 is not in the plate map"
        in checked.stderr
    )
    with service.running():
        service.wait_for(lambda: assay_alerts(service))
        [alert] = assay_alerts(service)
        assert alert["plate"] == ASSAYED[0]
        assert (
            "line 3: well H12 is not in the plate map; expected one of its 18 wells"
            in alert["message"]
        )
        for plate in ASSAYED:
            shutil.copy(assayed_plates / plate / f"{plate}.assay.csv", service.drop / plate)
        service.wait_for(
            lambda: [
                learned
                for learned in service.events("calibration.learned")
                if len(learned["plates"]) == len(ASSAYED)
            ]
        )
        assert revisions(service) == by_departure  # an assay makes no ranking stale
        add_plate(service, assayed_plates, OWN)
        service.wait_for((folder / "latest.json").exists)
    learned = len(service.events("calibration.learned"))
    [ranking] = service.rankings(OWN)
    assert (ranking.final, ranking.method) == (True, "deterioration"), ranking.notes
    assert ranking.calibration is not None
    assert ranking.calibration.plates == tuple(ASSAYED)
    assert all(
        row.deterioration_percent is not None for row in ranking.wells if row.score is not None
    )
    assert json.loads((folder / "latest.json").read_text())["calibration"]["valid"]
    assert "intact by predicted deterioration" in (folder / "day10-r1.html").read_text()
    before = revisions(service)
    assert service.run_once().returncode == 0
    assert revisions(service) == before
    assert len(service.events("calibration.learned")) == learned
    asked = service.ask("rank", "plate", OWN)
    assert asked.returncode == 0, asked.stderr
    assert "percent of predicted deterioration" in asked.stdout
    assert revisions(service) == before


def test_an_assay_file_is_ingested_on_a_day_without_new_images(
    empty_service: ServiceProcess, assayed_plates: Path
) -> None:
    service = empty_service
    add_plate(service, assayed_plates, OWN)
    for day in ("day07", "day10"):
        shutil.rmtree(service.drop / OWN / day)
    assert service.run_once().returncode == 0
    wrong = (assayed_plates / OWN / f"{OWN}.assay.csv").read_text().replace("well,", "position,")
    (service.drop / OWN / f"{OWN}.assay.csv").write_text(wrong)
    assert service.run_once().returncode == 0
    [alert] = assay_alerts(service)
    assert (
        "line 1 has columns ['position', 'viability_percent']; expected well,viability_percent"
        in alert["message"]
    )
    shutil.copy(assayed_plates / OWN / f"{OWN}.assay.csv", service.drop / OWN)
    assert service.run_once().returncode == 0
    with service.store() as store:
        [assay] = store.assays()
    assert (assay.plate, len(assay.viability_percent)) == (OWN, 18)
