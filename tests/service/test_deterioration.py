"""The real service learns deterioration: by departure until assays are in, then by predicted deterioration, and it says so."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.plate_map import Group
from simulation.kinds import Mechanism
from simulation.microscope import microscopes
from simulation.robot import write_plates
from tests.service_bench import Bench

PLATES = tuple(f"VIRTUAL-0021-0{number}" for number in range(1, 6))
*TAUGHT_BY, OWN = PLATES


@pytest.fixture(scope="module")
def five_plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render five plates of 18 wells on the dosing and the readout day, with their assays."""
    out = tmp_path_factory.mktemp("five")
    scopes = []
    for scope in microscopes(len(PLATES), 21, 96, mechanism=Mechanism.SHRINKING):
        treatments = list(
            dict.fromkeys(
                plan.treatment for plan in scope.plate.wells if plan.group is Group.SCREENING
            )
        )[:3]
        kept = [
            *[plan for plan in scope.plate.wells if plan.group is Group.UNTREATED][:7],
            *[plan for plan in scope.plate.wells if plan.group is Group.SINGLE_DOSE][:2],
            *[plan for plan in scope.plate.wells if plan.treatment in treatments],
        ]
        scopes.append(replace(scope, plate=replace(scope.plate, wells=tuple(kept))))
    write_plates(out, scopes, days=(7, 10), assay=True)
    return out / "drop"


def bring(bench: Bench, plates: Path, plate: str) -> None:
    """Let a plate appear in the drop folder, without its assay."""
    shutil.copytree(
        plates / plate, bench.drop / plate, ignore=shutil.ignore_patterns("*.assay.csv")
    )


def revisions(bench: Bench) -> list[tuple[str, int, int, str]]:
    return [
        (each.plate, each.day, each.revision, each.method)
        for plate in PLATES
        for each in bench.rankings(plate)
    ]


@pytest.mark.slow
def test_rankings_are_by_departure_until_four_plates_were_assayed_then_by_deterioration(
    empty_bench: Bench, five_plates: Path
) -> None:
    bench = empty_bench
    folder = bench.folder / "rankings" / OWN
    by_departure = [(plate, 10, 1, "departure") for plate in TAUGHT_BY]
    for plate in TAUGHT_BY:
        bring(bench, five_plates, plate)
    assert bench.run_once().returncode == 0
    assert revisions(bench) == by_departure
    first = bench.drop / TAUGHT_BY[0] / f"{TAUGHT_BY[0]}.assay.csv"
    first.write_text("well,viability_percent\nB02,100\nH12,40\n")
    checked = bench.ask("check")
    assert checked.returncode == 78
    assert (
        f"{first.parent.name}/{first.name}: line 3: well H12 is not in the plate map"
        in checked.stderr
    )
    with bench.running():
        bench.wait_for(lambda: bench.events("alert.raised"))
        [alert] = bench.events("alert.raised")
        assert (alert["kind"], alert["plate"]) == ("assay", TAUGHT_BY[0])
        assert (
            "line 3: well H12 is not in the plate map; expected one of its 18 wells"
            in alert["message"]
        )
        for plate in TAUGHT_BY:
            shutil.copy(five_plates / plate / f"{plate}.assay.csv", bench.drop / plate)
        bench.wait_for(
            lambda: [
                learned
                for learned in bench.events("calibration.learned")
                if len(learned["plates"]) == len(TAUGHT_BY)
            ]
        )
        assert revisions(bench) == by_departure  # an assay alone makes no old ranking anew
        bring(bench, five_plates, OWN)
        bench.wait_for((folder / "latest.json").exists)
    learned = len(bench.events("calibration.learned"))
    [ranking] = bench.rankings(OWN)
    assert (ranking.final, ranking.method) == (True, "deterioration"), ranking.notes
    assert ranking.calibration is not None
    assert ranking.calibration.plates == tuple(TAUGHT_BY)
    assert all(
        row.deterioration_percent is not None for row in ranking.wells if row.score is not None
    )
    assert json.loads((folder / "latest.json").read_text())["calibration"]["valid"]
    assert "intact by predicted deterioration" in (folder / "day10-r1.html").read_text()
    before = revisions(bench)
    assert bench.run_once().returncode == 0
    assert revisions(bench) == before
    assert len(bench.events("calibration.learned")) == learned
    asked = bench.ask("rank", "--plate", OWN)
    assert asked.returncode == 0, asked.stderr
    assert "percent of predicted deterioration" in asked.stdout
    assert revisions(bench) == before


def test_an_assay_that_comes_long_after_the_images_is_taken_in_without_a_new_one(
    empty_bench: Bench, five_plates: Path
) -> None:
    bench = empty_bench
    bring(bench, five_plates, OWN)
    for day in ("day07", "day10"):
        shutil.rmtree(bench.drop / OWN / day)
    assert bench.run_once().returncode == 0
    wrong = (five_plates / OWN / f"{OWN}.assay.csv").read_text().replace("well,", "position,")
    (bench.drop / OWN / f"{OWN}.assay.csv").write_text(wrong)
    assert bench.run_once().returncode == 0
    [alert] = bench.events("alert.raised")
    assert (
        "line 1 has columns ['position', 'viability_percent']; expected well,viability_percent"
        in alert["message"]
    )
    shutil.copy(five_plates / OWN / f"{OWN}.assay.csv", bench.drop / OWN)
    assert bench.run_once().returncode == 0
    with bench.store() as store:
        [assay] = store.assays()
    assert (assay.plate, len(assay.viability_percent)) == (OWN, 18)
