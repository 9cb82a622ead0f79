import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from simulation.kinds import Mechanism, OpticsName
from simulation.microscope import (
    NO_MECHANISM,
    Fault,
    VirtualMicroscope,
    plan_faults,
    virtual_microscopes,
)
from simulation.plate import CULTURE_DAYS, READOUT_DAY, plan_plate
from simulation.scene import tissue_mask
from simulation.tissue import simulate_tissue

SIZE_PX = 128


def scope_of(
    mechanism: Mechanism | None = None, seed: int = 3, optics: OpticsName = OpticsName.DEFAULT
) -> VirtualMicroscope:
    return VirtualMicroscope(plan_plate(seed, mechanism=mechanism), SIZE_PX, optics)


def sharpness(plane: np.ndarray) -> float:
    return float(
        cv2.Laplacian(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 1), cv2.CV_32F).var()
        / plane.mean() ** 2
    )


def test_a_well_image_does_not_depend_on_earlier_images() -> None:
    first, second = scope_of(), scope_of()
    for plan in second.plate.wells[:3]:
        second.render(plan, 2)

    one, other = (scope.render(scope.plate.wells[9], 8) for scope in (first, second))

    assert np.array_equal(one.planes, other.planes)
    assert one.truth == other.truth


def test_images_differ_between_wells_days_plates_and_seeds() -> None:
    scope = scope_of()
    other_plate = virtual_microscopes(2, 3, SIZE_PX)[1]
    looks = [
        (scope, 0, 7),
        (scope, 1, 7),
        (scope, 0, 8),
        (other_plate, 0, 7),
        (scope_of(seed=4), 0, 7),
    ]

    assert len(
        {view.render(view.plate.wells[well], day).planes.tobytes() for view, well, day in looks}
    ) == len(looks)


def test_planes_are_in_the_range_of_a_12_or_16_bit_camera() -> None:
    whites = set()
    for seed in range(6):
        scope = scope_of(seed=seed)
        planes = scope.render(scope.plate.wells[30], 7).planes
        whites.add(scope.conditions.white)

        assert planes.shape == (3, SIZE_PX, SIZE_PX)
        assert planes.dtype == np.uint16
        assert planes.max() < scope.conditions.white
    assert whites == {4095, 65535}


def test_the_middle_plane_is_the_sharpest() -> None:
    for seed in range(6):
        scope = VirtualMicroscope(plan_plate(seed), 384)
        below, middle, above = map(sharpness, scope.render(scope.plate.wells[30], 7).planes)

        assert middle > max(below, above)


def test_the_contrast_of_the_rim_changes_through_focus() -> None:
    scope = scope_of(seed=8)
    view = scope.render(scope.plate.wells[5], 7)
    mask = view.mask.astype(np.uint8)
    just_outside = (cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0) & ~view.mask
    far_outside = cv2.dilate(mask, np.ones((25, 25), np.uint8)) == 0
    below, _, above = view.planes.astype(float)

    assert (
        above[just_outside].mean() / above[far_outside].mean()
        < below[just_outside].mean() / below[far_outside].mean()
    )


@pytest.mark.parametrize("mechanism", Mechanism)
def test_the_truth_agrees_with_the_mask_with_and_without_rendering(mechanism: Mechanism) -> None:
    scope = scope_of(mechanism)
    for plan in scope.plate.wells[::7]:
        view = scope.render(plan, READOUT_DAY)

        assert view.truth == scope.truth(plan, READOUT_DAY)
        assert view.truth.area_px == view.mask.sum()
        assert view.truth.mechanism == (mechanism if plan.mechanism else NO_MECHANISM)


def test_tissue_is_darker_than_its_surroundings() -> None:
    for seed in range(8):
        scope = scope_of(seed=seed)
        view = scope.render(scope.plate.wells[11], 7)
        assert view.planes[1][view.mask].mean() < 0.9 * view.planes[1][~view.mask].mean()


def test_exploded_wells_have_a_larger_spread() -> None:
    scope = scope_of(Mechanism.BURSTING)
    truths = [scope.truth(plan, READOUT_DAY) for plan in scope.plate.wells]
    reach = {
        exploded: np.mean([t.spread_um for t in truths if t.exploded == exploded])
        for exploded in (0, 1)
    }

    assert reach[1] > 1.15 * reach[0]


def test_untreated_tissue_grows_after_it_has_aggregated() -> None:
    scope = scope_of()
    plan = next(plan for plan in scope.plate.wells if plan.mechanism is None)
    areas = [scope.truth(plan, day).area_px for day in CULTURE_DAYS]

    assert areas[3:] == sorted(areas[3:])
    doublings = 3 / scope.plate.growth.doubling_days  # of the volume from day 7 to day 10
    assert areas[9] > 0.9 * 4 ** (doublings / 3) * areas[6]


@pytest.mark.parametrize("mechanism", [Mechanism.SHRINKING, Mechanism.GROWTH_ARREST])
def test_a_higher_kill_gives_a_smaller_body(mechanism: Mechanism) -> None:
    scope = scope_of(mechanism)
    treated = [plan for plan in scope.plate.wells if plan.mechanism]
    change = [
        scope.truth(plan, READOUT_DAY).area_px / scope.truth(plan, 7).area_px for plan in treated
    ]

    assert spearmanr(change, [plan.kill(READOUT_DAY) for plan in treated]).statistic < -0.9


def test_death_in_place_changes_opacity_and_grain() -> None:
    scope = scope_of(Mechanism.IN_PLACE)
    treated = max(
        (plan for plan in scope.plate.wells if plan.mechanism),
        key=lambda plan: plan.kill(READOUT_DAY),
    )
    before, after = (
        simulate_tissue(scope.plate, treated, day, scope.cell_line) for day in (7, READOUT_DAY)
    )

    assert abs(np.exp(-after.opacity) - np.exp(-before.opacity)) > 0.15
    assert after.grain > 1.5 * before.grain


def test_pre_dose_images_do_not_depend_on_the_treatment() -> None:
    shrinking, bursting = (
        scope_of(mechanism) for mechanism in (Mechanism.SHRINKING, Mechanism.BURSTING)
    )

    for one, other in list(zip(shrinking.plate.wells, bursting.plate.wells, strict=True))[::9]:
        assert np.array_equal(shrinking.render(one, 7).planes, bursting.render(other, 7).planes)


@pytest.mark.parametrize("optics", OpticsName)
def test_another_microscope_shows_the_same_tissue(optics: OpticsName) -> None:
    usual, other = scope_of(), scope_of(optics=optics)
    one, shifted = (scope.render(scope.plate.wells[4], 9) for scope in (usual, other))

    assert np.array_equal(one.mask, shifted.mask)
    assert np.array_equal(one.planes, shifted.planes) is (optics is OpticsName.DEFAULT)


def test_image_faults_are_visible_in_the_image() -> None:
    for seed in range(4):
        scope = scope_of(seed=seed)
        plan = scope.plate.wells[20]
        good, blurred, cut, empty = (
            scope.render(plan, 7, fault) for fault in (None, Fault.BLURRED, Fault.CUT, Fault.EMPTY)
        )

        border = np.ones((SIZE_PX, SIZE_PX), dtype=bool)
        border[1:-1, 1:-1] = False
        assert not good.mask[border].any()
        assert cut.mask[border].any()
        assert empty.truth.area_px == 0
        assert max(map(sharpness, blurred.planes)) < 0.7 * sharpness(good.planes[1])


def test_burst_tissue_does_not_reach_the_border_of_the_field() -> None:
    for seed in range(2):
        scope = scope_of(Mechanism.BURSTING, seed=seed)
        for plan in scope.plate.wells:
            mask = tissue_mask(
                simulate_tissue(scope.plate, plan, READOUT_DAY, scope.cell_line), SIZE_PX
            )
            assert mask.any()
            assert not mask[1:-1, 1:-1].sum() < mask.sum()


def test_the_given_share_of_well_images_has_a_fault() -> None:
    plate = plan_plate(1)

    faults = plan_faults(plate, CULTURE_DAYS, 0.1)

    assert 30 < len(faults) < 90
    assert set(faults.values()) == set(Fault)
    assert faults == plan_faults(plate, CULTURE_DAYS, 0.1)
    assert plan_faults(plate, CULTURE_DAYS, 0.0) == {}


def test_the_area_alone_ranks_mixed_plates_moderately() -> None:
    correlations = []
    for seed in range(6):
        scope = scope_of(seed=seed)
        treated = [plan for plan in scope.plate.wells if plan.mechanism]
        change = [
            scope.truth(plan, READOUT_DAY).area_px / scope.truth(plan, 7).area_px
            for plan in treated
        ]
        correlations.append(
            -spearmanr(change, [plan.kill(READOUT_DAY) for plan in treated]).statistic
        )

    assert 0.4 < np.mean(correlations) < 0.75
