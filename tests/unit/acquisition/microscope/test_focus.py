import math
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.image_reading import read_image
from acquisition.microscope.focus import find_focus
from simulation.kinds import OpticsName
from simulation.microscope import virtual_microscopes
from simulation.optics import compute_transmission, expose_camera, illumination, transmitted_light
from simulation.scene import draw_scene
from simulation.tissue import simulate_tissue
from tests.real_data import real_data

HEIGHTS_UM = tuple(float(z) for z in range(-90, 91, 15))


def virtual_stack(
    focus_um: float,
    optics: OpticsName = OpticsName.DEFAULT,
    *,
    day: int = 7,
    tissue: bool = True,
    lamp: float = 1.0,
    heights: tuple[float, ...] = HEIGHTS_UM,
) -> npt.NDArray[np.uint16]:
    """Return a stack of a virtual well, (n, 512, 512), that is in focus at one height in µm."""
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
def test_focus_is_found_within_10_um_in_a_scan_with_15_um_steps(
    optics: OpticsName, focus_um: float, day: int
) -> None:
    focus = find_focus(virtual_stack(focus_um, optics, day=day), HEIGHTS_UM)
    assert (focus.found, focus.at_edge) == (True, False)
    assert focus.z_um == pytest.approx(focus_um, abs=10)


@pytest.mark.parametrize("handedness", [1, -1])
def test_focus_does_not_depend_on_the_direction_of_the_focus_drive(handedness: int) -> None:
    planes = virtual_stack(20.0, OpticsName.PHASE_RIM)[::handedness]
    assert find_focus(planes, HEIGHTS_UM).z_um == pytest.approx(handedness * 20.0, abs=8)


@pytest.mark.parametrize("focus_um", [-100.0, 95.0, 110.0])
def test_focus_beyond_the_scanned_heights_is_reported_as_at_the_edge(focus_um: float) -> None:
    focus = find_focus(virtual_stack(focus_um), HEIGHTS_UM)
    assert focus.at_edge
    assert focus.z_um == pytest.approx(math.copysign(90, focus_um), abs=15)


@pytest.mark.parametrize("optics", OpticsName)
def test_no_focus_is_found_in_a_well_without_tissue(optics: OpticsName) -> None:
    assert not find_focus(virtual_stack(5.0, optics, tissue=False), HEIGHTS_UM).found


@pytest.mark.parametrize("optics", [OpticsName.DEFAULT, OpticsName.DIM])
def test_no_focus_is_found_with_the_lamp_off(optics: OpticsName) -> None:
    focus = find_focus(virtual_stack(5.0, optics, lamp=0.0), HEIGHTS_UM)
    assert (focus.z_um, focus.found, focus.at_edge) == (0.0, False, False)


@pytest.mark.parametrize("level", [0, 2000, 4095])
def test_no_focus_is_found_in_uniform_planes(level: int) -> None:
    assert not find_focus(np.full((5, 128, 128), level, np.uint16), (0.0, 1.0, 2.0, 3.0, 4.0)).found


@pytest.mark.parametrize("optics", OpticsName)
@pytest.mark.parametrize("planes", [7, 13])
def test_no_focus_is_found_if_the_focus_drive_does_not_move(
    optics: OpticsName, planes: int
) -> None:
    still = virtual_stack(0.0, optics, heights=(10.0,) * planes)
    focus = find_focus(still, HEIGHTS_UM[:planes])
    assert (focus.found, focus.changes) == (False, False)
    assert find_focus(virtual_stack(0.0, optics), HEIGHTS_UM).changes


def test_focus_does_not_depend_on_frame_size_and_bits() -> None:
    planes = virtual_stack(18.0)
    expected_um = find_focus(planes, HEIGHTS_UM).z_um
    large = [cv2.resize(plane, (1024, 1024), interpolation=cv2.INTER_LINEAR) for plane in planes]
    in_8_bits = [(plane / (planes.max() / 255)).astype(np.uint8) for plane in planes]
    assert find_focus(large, HEIGHTS_UM).z_um == pytest.approx(expected_um, abs=3)
    assert find_focus(in_8_bits, HEIGHTS_UM).z_um == pytest.approx(expected_um, abs=3)


def test_focus_of_a_real_stack_is_a_plane_that_a_person_calls_sharp() -> None:
    files = sorted(real_data("evos_organoid_zstack").glob("*.TIF"))
    planes = np.concatenate([read_image(path).planes for path in files])
    focus = find_focus(planes, range(len(planes)))
    assert (focus.found, focus.at_edge) == (True, False)
    assert round(focus.z_um) in (
        5,
        6,
    )  # organoids lie at several heights: in these planes most of them have sharp rims
