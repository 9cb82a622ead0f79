"""A real core of Micro-Manager with a lamp that fails, and with no plate or an empty one."""

from dataclasses import replace
from pathlib import Path

import pytest

from acquisition.microscope.day_plan import EndReason
from acquisition.microscope.day_stop import StopReason
from acquisition.microscope.imaging_requests import open_imaging_requests
from schemas.plate_map import Group
from simulation.plate import WellPlan
from tests.imaged_plate import ImagedPlate

pytestmark = pytest.mark.micromanager

FEW_WELLS = 12  # without tissue, until a run is stopped


def without_tissue(plan: WellPlan) -> WellPlan:
    return replace(plan, group=Group.BLANK, treatment="")


@pytest.mark.parametrize("day", [1, 10])
def test_a_lamp_without_light_stops_the_run_and_the_next_run_images_all_wells(
    tmp_path: Path, day: int
) -> None:
    plate = ImagedPlate.make(tmp_path, day=day, wells=20)
    plate.break_device("Lamp", "DyingLamp", fails_at=1)

    result = plate.image(day)

    assert result.reason is EndReason.HALTED
    assert result.halt is not None
    assert result.halt.reason is StopReason.NO_LIGHT
    assert not plate.pictures(day)
    (message,) = plate.alerts()
    assert "check the lamp, the shutter and the channel" in message
    (halted,) = plate.named("day.halted")
    assert (halted["fault"], halted["no_image"]) == ("no_light", plate.wells)
    assert not plate.named("day.done")
    assert len([entry for entry in plate.journal(day) if entry["step"] == "started"]) < FEW_WELLS
    assert (tmp_path / "world" / "lamp").read_text().strip() == "off"
    assert not open_imaging_requests(tmp_path / "microscope").pending()

    plate.repair_devices()
    assert plate.image(day).reason is EndReason.COMPLETED
    assert sorted(plate.pictures(day)) == plate.wells


def test_without_a_plate_the_run_is_stopped_and_the_next_run_images_all_wells(
    tmp_path: Path,
) -> None:
    day = 8
    plate = ImagedPlate.make(tmp_path, day=day, wells=20)
    plate.world.remove_plate()

    result = plate.image(day)

    assert result.halt is not None
    assert result.halt.reason is StopReason.NO_TISSUE
    assert not plate.pictures(day)
    (message,) = plate.alerts()
    assert "check that a plate is on the stage" in message

    plate.world.place_plate(plate.plate, day)
    assert plate.image(day).reason is EndReason.COMPLETED
    assert sorted(plate.pictures(day)) == plate.wells


def test_a_lamp_that_fails_during_a_run_leaves_no_dark_image_and_no_image_twice(
    tmp_path: Path,
) -> None:
    plate = ImagedPlate.make(tmp_path, day=7, wells=20)
    plate.break_device("Lamp", "DyingLamp", fails_at=9)

    result = plate.image(7)

    assert result.halt is not None
    assert result.halt.reason is StopReason.NO_LIGHT
    assert len(plate.pictures(7)) == 8
    plate.repair_devices()
    assert plate.image(7).reason is EndReason.COMPLETED
    assert sorted(plate.pictures(7)) == plate.wells
    assert len(plate.named("well.saved")) == len(plate.wells)


def test_a_plate_that_is_taken_away_during_a_run_leaves_no_empty_image(tmp_path: Path) -> None:
    plate = ImagedPlate.make(tmp_path, day=7, wells=20)
    remaining = 6

    def take_away(event: str, **fields: object) -> None:
        nonlocal remaining
        plate.events.append((event, fields))
        remaining -= event == "well.saved"
        if remaining == 0:
            plate.world.remove_plate()

    plate._emit = take_away  # type: ignore[method-assign]  # the plate is taken away
    result = plate.image(7)

    assert result.halt is not None
    assert result.halt.reason is StopReason.NO_TISSUE
    assert len(plate.pictures(7)) == 6


def test_a_plate_whose_treated_wells_are_all_dissolved_is_imaged_completely(
    tmp_path: Path,
) -> None:
    plate = ImagedPlate.make(tmp_path, day=9, wells=30)
    with plate.loop() as loop:
        assert plate.image(9, loop=loop).reason is EndReason.COMPLETED
        plate.world.place_plate(plate.plate, 10)
        plate.change_wells(
            lambda plan: plan if plan.group is Group.UNTREATED else without_tissue(plan)
        )
        result = plate.image(10, loop=loop)

    assert result.reason is EndReason.COMPLETED
    assert sorted(plate.pictures(10)) == plate.wells
    assert plate.alerts() == []
    entries = plate.plate_map.entries
    treated = [each.well for each in entries if each.group is not Group.UNTREATED]
    assert sorted(each["well"] for each in plate.named("well.failed")) == sorted(treated)


def test_a_row_without_tissue_is_saved_and_reported_with_its_wells(tmp_path: Path) -> None:
    plate = ImagedPlate.make(tmp_path, day=7, wells=30)
    plate.change_wells(lambda plan: without_tissue(plan) if plan.well[0] == "C" else plan)

    result = plate.image(7)

    assert result.reason is EndReason.COMPLETED
    assert sorted(plate.pictures(7)) == plate.wells
    (message,) = plate.alerts()
    row = [well for well in plate.wells if well[0] == "C"]
    assert f"no tissue in {', '.join(row)}; expected tissue there" in message


def test_a_single_empty_well_is_saved_because_another_well_shows_tissue(tmp_path: Path) -> None:
    plate = ImagedPlate.make(tmp_path, day=7, wells=12)
    empty = plate.wells[3]
    plate.change_wells(lambda plan: without_tissue(plan) if plan.well == empty else plan)

    assert plate.image(7, empty).saved == (empty,)


def test_a_requested_well_without_a_plate_is_not_saved(tmp_path: Path) -> None:
    plate = ImagedPlate.make(tmp_path, day=7, wells=12)
    plate.world.remove_plate()
    assert plate.image(7, plate.wells[3]).reason is EndReason.HALTED
    assert not plate.pictures(7)
