"""Simulated laboratories: renderers, growth, coupling of the kill and hidden mechanisms."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import Measures, measure_tissue
from simulation.growth import MEASURED_GROWTH
from simulation.kinds import HiddenMechanism, Mechanism, RendererName
from simulation.laboratories.laboratory import LaboratoryMicroscope, draw_laboratory
from simulation.microscope import Fault, PlateMicroscope
from simulation.plate import CULTURE_DAYS, DOSED_ON_DAY, READOUT_DAY, WellPlan, select_wells
from simulation.robot import write_plates

SIZE_PX = 160
HIDING = (RendererName.PACKED_CELLS, RendererName.GROWING_FRONT)


def scope_of(
    renderer: RendererName,
    seed: int = 31,
    mechanism: Mechanism | HiddenMechanism | None = None,
    size_px: int = SIZE_PX,
) -> LaboratoryMicroscope:
    return draw_laboratory(seed, renderer).plates(1, size_px=size_px, mechanism=mechanism)[0]


def untreated_wells(scope: PlateMicroscope) -> list[WellPlan]:
    return [plan for plan in scope.plate.wells if plan.mechanism is None]


def strongest(scope: PlateMicroscope) -> WellPlan:
    return max(scope.plate.wells, key=lambda plan: plan.readout_kill)


@pytest.mark.parametrize("renderer", RendererName)
def test_a_seed_gives_the_same_images_whatever_was_rendered_before(renderer: RendererName) -> None:
    first, second = scope_of(renderer), scope_of(renderer)
    second.render(second.plate.wells[3], 4)

    one, other = (scope.render(scope.plate.wells[9], 8) for scope in (first, second))

    assert np.array_equal(one.planes, other.planes)
    assert one.truth == other.truth == first.truth(first.plate.wells[9], 8)
    assert len({plane.tobytes() for plane in one.planes}) == len(one.planes)
    assert not np.array_equal(
        one.planes, scope_of(renderer, seed=32).render(first.plate.wells[9], 8).planes
    )


@pytest.mark.parametrize("renderer", RendererName)
def test_the_mask_agrees_with_the_dark_tissue_of_the_image(renderer: RendererName) -> None:
    scope = scope_of(renderer)
    rendered = scope.render(untreated_wells(scope)[2], DOSED_ON_DAY)
    plane = rendered.planes[1].astype(np.float32)
    light = cv2.GaussianBlur(plane, (0, 0), 1.5)
    outside = cv2.dilate(rendered.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    dark = light < 0.5 * (np.median(plane[outside]) + np.median(plane[rendered.mask]))
    both = np.count_nonzero(dark & rendered.mask)

    assert 2 * both / (np.count_nonzero(dark) + np.count_nonzero(rendered.mask)) > 0.85
    assert rendered.truth.area_px == np.count_nonzero(rendered.mask)


@pytest.mark.parametrize("renderer", RendererName)
def test_the_area_of_the_mask_is_that_of_the_radius(renderer: RendererName) -> None:
    scope = scope_of(renderer, size_px=320)
    for plan in untreated_wells(scope)[:4]:
        radius_um = np.sqrt(scope.truth(plan, READOUT_DAY).area_px / np.pi) * scope.um_per_px

        assert radius_um == pytest.approx(scope.spheroid(plan, READOUT_DAY).radius_um, rel=0.08)


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.CUT])
@pytest.mark.parametrize("renderer", RendererName)
def test_faults_remove_or_cut_the_tissue(renderer: RendererName, fault: Fault) -> None:
    scope = scope_of(renderer)
    plan = untreated_wells(scope)[0]
    mask = scope.render(plan, DOSED_ON_DAY, fault).mask
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])

    assert mask.any() == border.any() == (fault is Fault.CUT)


def test_untreated_growth_is_in_the_measured_range() -> None:
    for seed in range(40):
        growth = draw_laboratory(seed).growth
        rates = np.diff(np.log([growth.radius_um(day) for day in range(5, 15)]))

        assert 1.8 <= growth.doubling_days <= 7.5
        assert np.all(rates > 0)
        assert np.all(np.diff(rates) < 0)  # the growth slows
        assert 0.015 <= growth.spread <= 0.09


def test_growth_passes_through_the_measured_medians() -> None:
    for growth in MEASURED_GROWTH.values():
        assert growth.radius_um(7) == pytest.approx(growth.day_7_um, rel=0.002)
        assert growth.radius_um(10) == pytest.approx(growth.day_10_um, rel=0.002)


@pytest.mark.parametrize("seed", [2, 11, 19])
def test_the_radius_of_untreated_wells_varies_as_the_measured_one(seed: int) -> None:
    laboratory = draw_laboratory(seed)
    (scope,) = laboratory.plates(1)
    radii = [scope.spheroid(plan, READOUT_DAY).radius_um for plan in untreated_wells(scope)]
    measured = laboratory.growth.spread

    assert 0.6 * measured < np.std(np.log(radii)) < 1.7 * measured


def test_laboratories_differ_in_renderer_field_and_coupling() -> None:
    laboratories = [draw_laboratory(seed) for seed in range(40)]
    fields = [laboratory.field_um for laboratory in laboratories]

    assert {laboratory.renderer_name for laboratory in laboratories} == set(RendererName)
    assert min(fields) < 850
    assert max(fields) > 1300
    assert all(700 <= field <= 1500 for field in fields)
    signs = {
        laboratory.coupling.responses[Mechanism.IN_PLACE].opacity > 0 for laboratory in laboratories
    }
    assert signs == {True, False}
    assert draw_laboratory(3) == draw_laboratory(3)


def test_a_plate_mixes_visible_and_hidden_mechanisms() -> None:
    (scope,) = draw_laboratory(31, RendererName.PACKED_CELLS).plates(1)
    mechanisms = {plan.mechanism for plan in scope.plate.wells} - {None}

    assert mechanisms & set(Mechanism)
    assert mechanisms & set(HiddenMechanism)
    assert {scope.truth(plan, 1).mechanism for plan in scope.plate.wells[:4]} <= {
        "untreated",
        *Mechanism,
        *HiddenMechanism,
    }


@pytest.mark.parametrize("renderer", RendererName)
def test_shrinking_reduces_the_area_and_bursting_the_share_of_the_body(
    renderer: RendererName,
) -> None:
    shrinking, bursting = (
        scope_of(renderer, mechanism=mechanism)
        for mechanism in (Mechanism.SHRINKING, Mechanism.BURSTING)
    )
    plan = strongest(shrinking)
    before, after = (shrinking.truth(plan, day).area_px for day in (DOSED_ON_DAY, READOUT_DAY))
    pieces = [
        cv2.connectedComponents(bursting.render(each, READOUT_DAY).mask.astype(np.uint8))[0] - 1
        for each in (untreated_wells(bursting)[0], strongest(bursting))
    ]

    assert after < 0.7 * before
    assert pieces[0] == 1
    assert pieces[1] > 3


def test_the_robot_writes_plates_of_a_laboratory(tmp_path: Path) -> None:
    scope = scope_of(RendererName.GROWING_FRONT, size_px=64)
    few = replace(scope, plate=select_wells(scope.plate, 12))
    write_plates(tmp_path, [few], days=(READOUT_DAY,), masks=True, assay=True)
    with (tmp_path / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    folder = tmp_path / "drop" / "LAB-0031-01"

    assert {row["plate"] for row in rows} == {"LAB-0031-01"}
    assert {row["mechanism"] for row in rows} <= {"untreated", *few.laboratory.mechanisms}
    assert len(list((folder / "day10").glob("*.tif"))) == 3 * len(rows) == 36
    assert (
        f"um_per_px = {scope.laboratory.field_um / 64:.6g}"
        in (folder / "LAB-0031-01.plate.toml").read_text()
    )
    assert (folder / "LAB-0031-01.assay.csv").is_file()


def tissue_measures(scope: LaboratoryMicroscope, plan: WellPlan, level: float) -> Measures:
    """Return the measures of a well, whose texture has changed by a level in every image."""
    spheroid = scope.spheroid(plan, READOUT_DAY)
    drawn = scope.laboratory.renderer.draw(
        replace(spheroid, order=dict.fromkeys(HiddenMechanism, 0.05) | {plan.mechanism: level}),
        scope.size_px,
        scope.laboratory.optics,
    )
    plane = np.clip(drawn.transmitted(0.0) * 40_000, 0, 65_535).astype(np.uint16)
    return measure_tissue(
        plane, ClassicalSegmenter().segment(plane, scope.um_per_px), scope.um_per_px
    )


@pytest.mark.parametrize("mechanism", HiddenMechanism)
@pytest.mark.parametrize("renderer", HIDING)
def test_a_hidden_mechanism_changes_no_measure(
    renderer: RendererName, mechanism: HiddenMechanism
) -> None:
    scope = scope_of(renderer, mechanism=mechanism, size_px=320)
    plans = [plan for plan in scope.plate.wells if plan.mechanism][:3]
    none, all_of_it = (
        [tissue_measures(scope, plan, level) for plan in plans] for level in (0.05, 1.0)
    )

    def change(name: str) -> float:
        return float(
            np.mean(
                [after[name] / before[name] for before, after in zip(none, all_of_it, strict=True)]
            )
        )

    assert change("area_um2") == pytest.approx(1, abs=0.01)
    assert change("od_mean") == pytest.approx(1, abs=0.02)
    assert change("od_spread") == pytest.approx(1, abs=0.05)
    assert change("grain_fine") == pytest.approx(1, abs=0.06)
    assert change("grain_coarse") == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("mechanism", HiddenMechanism)
@pytest.mark.parametrize("renderer", HIDING)
def test_a_hidden_mechanism_changes_the_image_with_the_kill(
    renderer: RendererName, mechanism: HiddenMechanism
) -> None:
    scope = scope_of(renderer, mechanism=mechanism)
    plan = strongest(scope)
    spheroid = scope.spheroid(plan, READOUT_DAY)
    (without, with_it) = (
        scope.laboratory.renderer.draw(each, SIZE_PX, scope.laboratory.optics)
        for each in (replace(spheroid, order=dict.fromkeys(HiddenMechanism, 0.05)), spheroid)
    )
    difference = without.transmitted(0.0) - with_it.transmitted(0.0)

    assert np.array_equal(without.mask, with_it.mask)
    assert difference[with_it.mask].std() > 0.01
    levels = [scope.spheroid(each, READOUT_DAY).order[mechanism] for each in scope.plate.wells]
    kills = [each.kill(READOUT_DAY) for each in scope.plate.wells]
    assert np.corrcoef(levels, kills)[0, 1] > 0.9
    assert all(
        scope.spheroid(plan, day).order[mechanism] < 0.3
        for day in CULTURE_DAYS
        if day <= DOSED_ON_DAY
    )
