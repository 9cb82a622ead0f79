"""The world of the virtual microscope: its frames and its files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from schemas.errors import ConfigError, MicroscopeError
from schemas.plate_map import Group
from simulation.plate import WellPlan, plan_plate, select_wells
from simulation.world import A1_UM, FOCUS_Z_UM, SPACING_UM, World, WorldFile

SIZE_PX = 128
START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
PLATE = "VIRTUAL-0003-01"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(tmp_path: Path, clock: Clock) -> World:
    return world_in(tmp_path / "world", clock)


def world_in(folder: Path, clock: Clock, **settings: object) -> World:
    """Write a world with changed settings into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.toml").write_text(
        WorldFile(seed=3, size_px=SIZE_PX).model_copy(update=settings).toml()
    )
    return World.load(folder, clock)


def treated(world: World) -> WellPlan:
    """Return well C04, which is treated."""
    return next(
        plan for plan in world.scopes[PLATE].plate.wells if (plan.row, plan.column) == (3, 4)
    )


def middle_of(plan: WellPlan) -> tuple[float, float]:
    """Return the stage position with the middle of a well under the objective."""
    return A1_UM[0] + SPACING_UM * (plan.column - 1), A1_UM[1] - SPACING_UM * (plan.row - 1)


def frame_of_well(
    world: World,
    plan: WellPlan,
    *,
    dx: float = 0,
    dy: float = 0,
    dz: float = 0,
    lamp: float = 1.0,
    exposure_ms: float = 10.0,
) -> np.ndarray:
    """Return a frame of a well, off its middle and off focus by dx, dy and dz in µm."""
    x, y = middle_of(plan)
    return world.render_frame(
        x + dx, y + dy, world.focus_height_um(plan) + dz, lamp=lamp, exposure_ms=exposure_ms
    )


def centre(frame: np.ndarray) -> tuple[float, float]:
    """Return the centre of the dark region, in pixels from left and top."""
    rows, columns = np.nonzero(frame < 0.7 * np.median(frame))
    return float(columns.mean()), float(rows.mean())


def sharpness(frame: np.ndarray) -> float:
    return float(cv2.Laplacian(frame.astype(np.float32), cv2.CV_32F).var())


def test_tissue_is_sharpest_at_its_focus_height(world: World) -> None:
    world.place_plate(PLATE, 7)

    sharp = {
        dz: sharpness(frame_of_well(world, treated(world), dz=dz)) for dz in (-120, -60, 0, 60, 120)
    }

    assert max(sharp, key=sharp.__getitem__) == 0
    assert sharp[0] > 1.5 * max(sharp[-120], sharp[120])


def test_the_stage_moves_the_plate_under_the_objective(world: World) -> None:
    world.place_plate(PLATE, 7)
    x, y = centre(frame_of_well(world, treated(world)))
    right = centre(frame_of_well(world, treated(world), dx=300))
    up = centre(frame_of_well(world, treated(world), dy=300))

    assert right == pytest.approx((x - 300 / world.um_per_px, y), abs=1)
    assert up == pytest.approx((x, y + 300 / world.um_per_px), abs=1)


def test_brightness_grows_with_exposure_until_the_camera_is_saturated(world: World) -> None:
    world.place_plate(PLATE, 7)
    levels = [
        float(np.median(frame_of_well(world, treated(world), exposure_ms=ms))) for ms in (2, 4, 8)
    ]

    assert levels[1] / levels[0] == pytest.approx(2, rel=0.15)
    assert levels[2] / levels[1] == pytest.approx(2, rel=0.15)
    assert np.mean(frame_of_well(world, treated(world), exposure_ms=100) == 65535) > 0.5


def test_frames_without_the_lamp_are_dark_and_uniform(world: World) -> None:
    world.place_plate(PLATE, 7)
    dark = frame_of_well(world, treated(world), lamp=0)

    assert dark.mean() < 0.03 * frame_of_well(world, treated(world)).mean()
    assert abs(dark[40:90, 40:90].mean() - dark.mean()) < 20


def test_the_wall_of_a_well_and_the_space_between_wells_are_dark(world: World) -> None:
    world.place_plate(PLATE, 7)
    inside = np.median(frame_of_well(world, treated(world)))
    at_wall = frame_of_well(world, treated(world), dx=2800)

    assert at_wall[:, -5:].mean() < 0.1 * inside
    assert at_wall[:, :40].mean() > 0.8 * inside
    assert frame_of_well(world, treated(world), dx=4500, dy=4500).mean() < 0.1 * inside


def test_a_blank_well_and_an_empty_stage_show_no_tissue(world: World) -> None:
    world.place_plate(PLATE, 7)
    empty_well = world.render_frame(*A1_UM, FOCUS_Z_UM, lamp=1.0, exposure_ms=10)
    world.remove_plate()
    empty_stage = world.render_frame(
        *middle_of(treated(world)), FOCUS_Z_UM, lamp=1.0, exposure_ms=10
    )

    assert np.mean(empty_well < 0.7 * np.median(empty_well)) < 0.01
    assert np.mean(empty_stage < 0.9 * np.median(empty_stage)) == 0


def test_tissue_grows_when_another_process_changes_the_day(
    world: World, tmp_path: Path, clock: Clock
) -> None:
    world.place_plate(PLATE, 3)
    young = np.mean(frame_of_well(world, treated(world)) < 30_000)
    World.load(tmp_path / "world", clock).place_plate(PLATE, 7)

    assert np.mean(frame_of_well(world, treated(world)) < 30_000) > 1.2 * young


def test_no_well_deviates_from_the_tilted_plane_by_more_than_the_focus_error(
    tmp_path: Path, clock: Clock
) -> None:
    even, uneven = (
        world_in(tmp_path / f"{error}", clock, focus_error_um=error) for error in (0.0, 30.0)
    )
    for world in (even, uneven):
        world.place_plate(PLATE, 7)
    errors = [
        uneven.focus_height_um(plan) - even.focus_height_um(plan)
        for plan in even.scopes[PLATE].plate.wells
    ]

    assert max(map(abs, errors)) <= 30
    assert np.std(errors) > 12
    low, high = (
        even.focus_height_um(plan)
        for plan in (even.scopes[PLATE].plate.wells[0], even.scopes[PLATE].plate.wells[9])
    )
    assert high - low == pytest.approx(30 * 9 / 11)


def test_virtual_time_continues_with_the_real_clock_also_after_the_plate_returns(
    world: World, clock: Clock
) -> None:
    plate = world.scopes[PLATE].plate
    world.place_plate(PLATE, 6)
    first = world.virtual_time()
    clock.now += timedelta(minutes=3)
    world.place_plate(PLATE, 7)
    other_day = world.virtual_time()
    world.place_plate(PLATE, 6)

    assert first == plate.seeded_at + timedelta(days=5, minutes=90)
    assert other_day == plate.seeded_at + timedelta(days=6, minutes=90)
    assert world.virtual_time() == first + timedelta(minutes=3)
    world.remove_plate()
    assert world.virtual_time() == first + timedelta(minutes=3)


def test_the_lamp_is_off_at_first_and_its_state_survives_the_process(
    world: World, tmp_path: Path, clock: Clock
) -> None:
    assert not world.is_lamp_on
    world.switch_lamp(on=True)

    assert World.load(tmp_path / "world", clock).is_lamp_on


@pytest.mark.parametrize(
    "content", ["not json", '{"plate": "OTHER", "day": 7}', '{"day": 7}', '["VIRTUAL-0003-01", 7]']
)
def test_an_invalid_on_stage_file_is_an_error_that_names_the_plates(
    world: World, content: str
) -> None:
    (world.folder / "on_stage.json").write_text(content)

    with pytest.raises(MicroscopeError, match=rf"on_stage\.json.*expected.*{PLATE}"):
        world.staged_plate()


def test_an_unknown_plate_or_day_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match=f"OTHER.*{PLATE}"):
        world.place_plate("OTHER", 7)
    with pytest.raises(ConfigError, match="day 0"):
        world.place_plate(PLATE, 0)
    assert world.staged_plate() is None


@pytest.mark.parametrize("text", ["plates = 0\n", "colour = 1\n", "plates = \n"])
def test_an_invalid_world_file_is_refused(tmp_path: Path, clock: Clock, text: str) -> None:
    (tmp_path / "world.toml").write_text(text)

    with pytest.raises(ConfigError, match=r"world\.toml"):
        World.load(tmp_path, clock)


def test_a_folder_without_a_world_file_is_refused(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(ConfigError, match="simulate --microscope"):
        World.load(tmp_path, clock)


@pytest.mark.parametrize("count", [12, 24, 36, 60])
def test_a_smaller_plate_keeps_whole_treatments_and_enough_untreated_wells(count: int) -> None:
    whole = plan_plate(5)
    plate = select_wells(whole, count)
    groups = [plan.group for plan in plate.wells]

    assert len(plate.wells) == count
    assert groups.count(Group.UNTREATED) >= 0.3 * count
    for treatment in {plan.treatment for plan in plate.wells if plan.group is Group.SCREENING}:
        assert (
            sum(plan.treatment == treatment for plan in plate.wells)
            == sum(plan.treatment == treatment for plan in whole.wells)
            == 3
        )
    assert set(plate.wells) <= set(whole.wells)


def test_a_world_without_a_clock_of_its_own_has_the_real_time(tmp_path: Path, clock: Clock) -> None:
    world = world_in(tmp_path / "other", clock, own_clock=False)
    assert world.virtual_time() == clock.now
    world.place_plate(PLATE, 6)
    assert world.virtual_time() == clock.now
