import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from schemas.plate_map import parse_plate_map
from simulation.kinds import Delivery
from simulation.microscope import Fault, VirtualMicroscope, virtual_microscopes
from simulation.plate import CULTURE_DAYS, DOSED_ON_DAY
from simulation.robot import imaged_days, run_robot, write_plates
from tests.samples import wells_table

SIZE_PX = 64
TRUTH = ["plate", "well", "day", "mechanism", "kill", "exploded", "spread_um", "area_px"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scope() -> VirtualMicroscope:
    return virtual_microscopes(1, 7, SIZE_PX)[0]


def test_written_plates_have_the_file_names_of_the_contract(
    scope: VirtualMicroscope, tmp_path: Path
) -> None:
    write_plates(tmp_path, [scope], days=(7, 10), masks=True, assay=True)

    name = scope.plate.name
    folder = tmp_path / "drop" / name
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.plate.toml",
        f"{name}.wells.csv",
        f"{name}.assay.csv",
        "day07",
        "day10",
    }
    assert len(list((folder / "day07").iterdir())) == 180
    parse_plate_map(
        (folder / f"{name}.plate.toml").read_text(),
        wells_table((folder / f"{name}.wells.csv").read_text()),
        toml_name="t",
    )
    truth = rows(tmp_path / "truth.csv")
    assert list(truth[0]) == TRUTH
    assert len(truth) == 120
    for row in truth[::17]:
        mask = cv2.imread(
            str(tmp_path / "masks" / name / f"day{int(row['day']):02d}" / f"{row['well']}.png"),
            cv2.IMREAD_UNCHANGED,
        )
        assert set(np.unique(mask)) == {0, 255}
        assert int(row["area_px"]) == np.count_nonzero(mask)


def test_a_tiff_contains_its_time_and_scale(scope: VirtualMicroscope, tmp_path: Path) -> None:
    write_plates(tmp_path, [scope], days=(7,))

    with tifffile.TiffFile(tmp_path / "drop" / scope.plate.name / "day07" / "C05_z2.tif") as tiff:
        page = tiff.pages.first
        assert page.dtype == np.uint16
        assert page.shape == (SIZE_PX, SIZE_PX)
        plan = next(plan for plan in scope.plate.wells if plan.well == "C05")
        assert page.datetime == scope.plate.taken_at(plan, 7).replace(tzinfo=None)
        per_cm = page.tags["XResolution"].value
        assert 1e4 * per_cm[1] / per_cm[0] == pytest.approx(scope.um_per_px, rel=1e-4)


def test_faults_are_listed_in_faults_csv(scope: VirtualMicroscope, tmp_path: Path) -> None:
    write_plates(tmp_path, [scope], days=(8,), faults=0.5)

    planted = rows(tmp_path / "faults.csv")
    assert {row["fault"] for row in planted} == set(Fault)
    sizes = {
        path.name: path.stat().st_size
        for path in (tmp_path / "drop" / scope.plate.name / "day08").iterdir()
    }
    for row in planted:
        shortest = min(sizes[f"{row['well']}_z{plane}.tif"] for plane in (1, 2, 3))
        assert (shortest < SIZE_PX * SIZE_PX * 2) == (
            row["fault"] in {Fault.TRUNCATED, Fault.ZERO_BYTES, Fault.NOT_AN_IMAGE}
        )


@pytest.mark.parametrize("delivery", Delivery)
def test_files_are_incomplete_first_and_complete_in_the_end(
    delivery: Delivery, scope: VirtualMicroscope, tmp_path: Path
) -> None:
    drop, whole = tmp_path / "slow", tmp_path / "whole"
    scope = replace(scope, plate=replace(scope.plate, wells=scope.plate.wells[:12]))
    write_plates(whole, [scope], days=(7, 8))
    expected = {
        path.relative_to(whole / "drop"): path.read_bytes()
        for path in (whole / "drop").rglob("*.tif")
    }
    seen_short: list[str] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        seen_short.extend(
            path.name for path in drop.rglob("*.tif") if path.stat().st_size < SIZE_PX * SIZE_PX * 2
        )

    run_robot(
        [scope], drop, seconds_per_image=0.3, seed=1, sleep=sleep, days=(7, 8), delivery=delivery
    )

    assert {path.relative_to(drop): path.read_bytes() for path in drop.rglob("*.tif")} == expected
    assert sum(slept) == pytest.approx(0.3 * 24)
    assert len(seen_short) == (0 if delivery is Delivery.RENAME else 72)
    assert not list(drop.rglob("*.part"))
    assert len(list(drop.rglob("*.ready"))) == (72 if delivery is Delivery.READY else 0)
    assert {path.name for path in drop.rglob("*.done")} == (
        {"day07.done", "day08.done"} if delivery is Delivery.DAY_DONE else set()
    )


def test_files_are_written_out_of_order(scope: VirtualMicroscope, tmp_path: Path) -> None:
    order: list[str] = []

    def sleep(_seconds: float) -> None:
        order.extend(sorted({path.name for path in tmp_path.rglob("*.tif")} - set(order)))

    run_robot([scope], tmp_path, seconds_per_image=0.0, seed=2, sleep=sleep, days=(7,))

    assert len(order) == 180
    assert order != sorted(order)
    assert any(
        order[place][:3] != order[place + 1][:3] == order[place + 2][:3] != order[place][:3]
        for place in range(0, 178, 3)
    )


def test_the_assay_is_written_after_the_last_image(
    scope: VirtualMicroscope, tmp_path: Path
) -> None:
    path = tmp_path / scope.plate.name / f"{scope.plate.name}.assay.csv"
    seen_early: list[bool] = []
    run_robot(
        [scope],
        tmp_path,
        seconds_per_image=0.0,
        seed=2,
        sleep=lambda _: seen_early.append(path.exists()),
        days=(7,),
        assay=True,
    )
    assert not any(seen_early)
    assert path.read_text().splitlines()[0] == "well,viability_percent"


def test_the_robot_skips_only_days_before_dosing(scope: VirtualMicroscope) -> None:
    for seed in range(10):
        days = imaged_days(scope, seed)
        missing = set(CULTURE_DAYS) - set(days)
        assert len(missing) == 2
        assert max(missing) < DOSED_ON_DAY
    assert imaged_days(scope, 1, (7, 8, 9, 10)) == (7, 8, 9, 10)
