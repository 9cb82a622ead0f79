import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.image_reading import read_image
from acquisition.microscope.focus import AGREEING, FocusSurface, find_focus, scan
from acquisition.microscope.settings import MicroscopeSettings
from simulation.kinds import OpticsName
from simulation.microscope import virtual_microscopes
from simulation.optics import compute_transmission, expose_camera, illumination, transmitted_light
from simulation.scene import draw_scene
from simulation.tissue import simulate_tissue
from tests.real_data import real_data

HEIGHTS_UM = tuple(float(z) for z in range(-90, 91, 15))
SETTINGS = MicroscopeSettings(config=Path("MMConfig.cfg"), a1_um=(0.0, 0.0), focus_z_um=100.0)


def look(
    focus_um: float,
    optics: OpticsName = OpticsName.DEFAULT,
    *,
    day: int = 7,
    tissue: bool = True,
    lamp: float = 1.0,
    heights: tuple[float, ...] = HEIGHTS_UM,
) -> npt.NDArray[np.uint16]:
    """Return (n, 512, 512): a virtual well, in focus at this height, seen from each of these."""
    (scope,) = virtual_microscopes(1, 11, 512, optics=optics)
    plan = scope.plate.wells[day]
    field = compute_transmission(
        draw_scene(
            replace(simulate_tissue(scope.plate, plan, day, scope.cell_line), present=tissue), 512
        ),
        scope.plate,
        plan,
        scope.conditions,
    )
    light = illumination(scope.plate, plan, scope.conditions, 512, 1.0) * np.float32(lamp)
    rng = np.random.default_rng(day)
    return np.stack(
        [
            expose_camera(
                transmitted_light(field, scope.conditions.optics, z - focus_um) * light,
                scope.conditions,
                rng.standard_normal(light.shape, dtype=np.float32),
            )
            for z in heights
        ]
    )


@pytest.mark.parametrize("optics", OpticsName)
@pytest.mark.parametrize(
    ("focus_um", "day"), [(-27.0, 1), (3.0, 5), (30.0, 10), (-70.0, 3), (66.0, 8)]
)
def test_focus_is_found_within_8_um_by_steps_of_15(
    optics: OpticsName, focus_um: float, day: int
) -> None:
    focus = find_focus(look(focus_um, optics, day=day), HEIGHTS_UM)
    assert (focus.found, focus.at_edge) == (True, False)
    assert focus.z_um == pytest.approx(focus_um, abs=8)


@pytest.mark.parametrize("handedness", [1, -1])
def test_focus_does_not_depend_on_which_way_the_drive_counts(handedness: int) -> None:
    planes = look(20.0, OpticsName.PHASE_RIM)[::handedness]
    assert find_focus(planes, HEIGHTS_UM).z_um == pytest.approx(handedness * 20.0, abs=8)


@pytest.mark.parametrize("focus_um", [-100.0, 95.0, 110.0])
def test_focus_beyond_the_scan_is_said_to_lie_at_its_edge(focus_um: float) -> None:
    focus = find_focus(look(focus_um), HEIGHTS_UM)
    assert focus.at_edge
    assert focus.z_um == pytest.approx(math.copysign(90, focus_um), abs=15)


@pytest.mark.parametrize("optics", OpticsName)
def test_in_a_well_without_tissue_no_focus_is_found(optics: OpticsName) -> None:
    assert not find_focus(look(5.0, optics, tissue=False), HEIGHTS_UM).found


@pytest.mark.parametrize("optics", [OpticsName.DEFAULT, OpticsName.DIM])
def test_with_the_lamp_off_no_focus_is_found(optics: OpticsName) -> None:
    focus = find_focus(look(5.0, optics, lamp=0.0), HEIGHTS_UM)
    assert (focus.z_um, focus.found, focus.at_edge) == (0.0, False, False)


@pytest.mark.parametrize("level", [0, 2000, 4095])
def test_planes_without_any_structure_have_no_focus(level: int) -> None:
    assert not find_focus(np.full((5, 128, 128), level, np.uint16), (0.0, 1.0, 2.0, 3.0, 4.0)).found


def test_frames_of_other_sizes_and_bits_are_judged_alike() -> None:
    planes = look(18.0)
    expected_um = find_focus(planes, HEIGHTS_UM).z_um
    large = [cv2.resize(plane, (1024, 1024), interpolation=cv2.INTER_LINEAR) for plane in planes]
    in_8_bits = [(plane / (planes.max() / 255)).astype(np.uint8) for plane in planes]
    assert find_focus(large, HEIGHTS_UM).z_um == pytest.approx(expected_um, abs=3)
    assert find_focus(in_8_bits, HEIGHTS_UM).z_um == pytest.approx(expected_um, abs=3)


def test_of_a_real_stack_a_plane_is_chosen_that_a_person_calls_sharp() -> None:
    files = sorted(real_data("evos_organoid_zstack").glob("*.TIF"))
    planes = np.concatenate([read_image(path).planes for path in files])
    focus = find_focus(planes, range(len(planes)))
    assert (focus.found, focus.at_edge) == (True, False)
    assert round(focus.z_um) in (
        5,
        6,
    )  # organoids lie at several heights: in these planes most of them have sharp rims


# The surface over a plate.


def tilted(x_um: float, y_um: float) -> float:
    return 100 + 5e-4 * x_um - 3e-4 * y_um


def surface_of(wells: int, error_um: float = 0.0, seed: int = 1) -> FocusSurface:
    rng = np.random.default_rng(seed)
    surface = FocusSurface()
    for number in range(wells):
        x_um, y_um = 9000.0 * (number % 10), -9000.0 * (number // 10)
        surface = surface.with_point(
            x_um, y_um, tilted(x_um, y_um) + rng.uniform(-error_um, error_um)
        )
    return surface


def test_a_few_wells_predict_nothing_yet() -> None:
    assert FocusSurface().predict(0, 0) is None
    assert surface_of(2).predict(0, 0) is None
    assert surface_of(3).predict(0, 0) is not None


def test_a_tilted_plate_is_predicted_where_no_well_was_seen() -> None:
    assert surface_of(40).predict(81_000, -54_000) == pytest.approx(tilted(81_000, -54_000), abs=3)
    assert surface_of(60, error_um=30.0).predict(45_000, -27_000) == pytest.approx(
        tilted(45_000, -27_000), abs=10
    )


def test_wild_wells_do_not_move_the_surface() -> None:
    surface = surface_of(30, error_um=5.0)
    wild = surface
    for number in range(6):
        wild = wild.with_point(9000.0 * number, 0.0, 100_000.0 if number % 2 else -3000.0)
    for x_um, y_um in ((0.0, 0.0), (81_000.0, 0.0), (0.0, -18_000.0)):
        assert wild.predict(x_um, y_um) == pytest.approx(surface.predict(x_um, y_um), abs=10)
    assert wild.spread_um < 15


def test_a_plate_that_lies_higher_the_next_day_is_followed_after_three_wells() -> None:
    surface = surface_of(60, error_um=5.0)
    for number in range(3):
        surface = surface.with_point(9000.0 * number, 0.0, tilted(9000.0 * number, 0.0) + 70)
    assert surface.predict(27_000, 0) == pytest.approx(tilted(27_000, 0) + 70, abs=15)


def test_the_first_wells_of_one_row_tell_little_of_the_plate_s_tilt() -> None:
    surface = FocusSurface(((0.0, 0.0, 80.0), (9000.0, 0.0, 110.0), (18_000.0, 0.0, 130.0)))
    assert surface.predict(99_000, -63_000) == pytest.approx(
        110, abs=60
    )  # a straight line through them would say 355


def test_a_well_counts_once_with_its_newest_height() -> None:
    surface = FocusSurface().with_point(0, 0, 10).with_point(9000, 0, 20).with_point(3, -4, 30)
    assert surface.points == ((9000, 0, 20), (3, -4, 30))


def test_a_surface_comes_back_from_its_text() -> None:
    assert FocusSurface.from_json(surface_of(5).to_json()) == surface_of(5)
    assert FocusSurface.from_json(FocusSurface().to_json()) == FocusSurface()


@pytest.mark.parametrize(
    "text", ["", "{}", "[[1, 2]]", "[[1, 2, null]]", "[[1, 2, 1e999]]", "not json"]
)
def test_a_damaged_text_is_no_surface(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        FocusSurface.from_json(text)


# Where to look.


def test_without_a_surface_the_whole_range_about_the_set_height_is_looked_at() -> None:
    heights = scan(SETTINGS, FocusSurface(), 0, 0, wide=False)
    assert heights == tuple(float(z) for z in range(10, 191, 15))


def test_once_enough_wells_agree_only_the_neighbourhood_of_the_surface_is_looked_at() -> None:
    before, after = surface_of(AGREEING - 1, error_um=2.0), surface_of(AGREEING, error_um=2.0)
    assert len(scan(SETTINGS, before, 27_000, 0, wide=False)) == 13
    heights = scan(SETTINGS, after, 27_000, 0, wide=False)
    assert len(heights) == 5
    assert heights[2] == pytest.approx(tilted(27_000, 0), abs=5)


def test_wells_that_stray_are_looked_for_as_far_as_they_stray_but_not_beyond_the_range() -> None:
    straying = surface_of(30, error_um=30.0)
    heights = scan(SETTINGS, straying, 0, 0, wide=False)
    assert 30 < (heights[-1] - heights[0]) / 2 <= SETTINGS.focus_range_um
    wild = scan(SETTINGS, surface_of(30, error_um=300.0), 0, 0, wide=False)
    assert (wild[-1] - wild[0]) / 2 == pytest.approx(SETTINGS.focus_range_um)


def test_a_wide_scan_goes_farther_about_the_same_middle() -> None:
    heights = scan(SETTINGS, surface_of(40), 0, 0, wide=True)
    assert (heights[-1] - heights[0]) / 2 == pytest.approx(SETTINGS.wide_range_um)
    assert max(np.diff(heights)) <= SETTINGS.focus_step_um


@pytest.mark.parametrize("limits", [(50.0, 120.0), (-1000.0, 60.0), (140.0, 150.0)])
def test_no_scan_leaves_the_limits_of_the_focus_drive(limits: tuple[float, float]) -> None:
    for wide in (True, False):
        heights = scan(replace(SETTINGS, z_limits_um=limits), FocusSurface(), 0, 0, wide=wide)
        assert limits[0] <= heights[0] < heights[-1] <= limits[1]
        assert len(heights) >= 3
        assert list(heights) == sorted(heights)
