"""The classical segmenter on tissue that is large, broken, bright or beside other objects.

Simulated scenes have a case and a seed (``simulation/cases.py``).
"""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.condition import classify_condition
from inference.tissue.measures import Measures, measure_tissue
from schemas.ranking import Condition
from schemas.tissue import Segmentation, Unsure
from simulation.cases import CaseImage, draw_case
from simulation.kinds import Case
from tests.drawn_planes import Mask, Plane, dice, disc, expose, grain

SIDE = 512
SEEDS = (1, 2)
ARTEFACTS = (
    Case.FIBRE,
    Case.SCRATCHES,
    Case.BUBBLE,
    Case.WELL_WALL,
    Case.BURNED_IN_TEXT,
    Case.BLACK_BARS,
    Case.CONDENSATION,
    Case.UNEVEN_LIGHT,
)


@lru_cache
def found_in(case: Case, seed: int) -> tuple[CaseImage, Segmentation, Measures]:
    """Return a simulated image, its Segmentation and its measures."""
    image = draw_case(case, seed, SIDE)
    found = ClassicalSegmenter().segment(image.plane, image.um_per_px)
    return image, found, measure_tissue(image.plane, found, image.um_per_px)


def segment(plane: Plane) -> tuple[Segmentation, Measures]:
    """Return the Segmentation of a plane and its measures in pixels."""
    found = ClassicalSegmenter().segment(plane, None)
    return found, measure_tissue(plane, found, None)


def thick(tissue: Mask, density: float = 1.1) -> Plane:
    """Return the image of tissue, (SIDE, SIDE), with an optical density and grain of cells."""
    return expose(tissue * (density + 0.18 * grain(SIDE)))


def fragments(count: int, area: float, reach: float, core: float = 0.0) -> Mask:
    """Return the mask of ragged fragments of one size on all sides of a core, (SIDE, SIDE).

    ``area`` is that of all fragments as a share of the field. ``reach`` is the distance of the
    farthest fragment from the centre, and ``core`` the radius of the core, as shares of the side.
    """
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    radius = float(np.sqrt(area / count / 2.3 / np.pi))
    nearest = core + 2.2 * radius if core else 0.0
    discs = [(0.5, 0.5, core)]
    for number in range(count):
        far = np.sqrt(nearest**2 + (reach**2 - nearest**2) * (number + 0.5) / count)
        angle, turn = number * np.pi * (3 - np.sqrt(5)), 2.4 * number
        x, y = 0.5 + far * np.cos(angle), 0.5 + far * np.sin(angle)
        discs.append((x, y, radius))
        for lobe in (turn, turn + 1.9):
            step = 1.1 * radius * np.array([np.cos(lobe), np.sin(lobe)])
            discs.append((x + step[0], y + step[1], 0.8 * radius))
    for x, y, size in discs:
        if size > 0:
            centre = round(x * SIDE * 16), round(y * SIDE * 16)
            cv2.circle(canvas, centre, round(size * SIDE * 16), 1, -1, cv2.LINE_8, 4)
    return canvas.astype(bool)


def test_tissue_that_covers_three_quarters_of_the_field_is_found() -> None:
    truth = disc(0.5, 0.5, 0.49, SIDE)
    found, measures = segment(thick(truth))
    assert truth.mean() > 0.74
    assert dice(found.body, truth) > 0.97
    assert measures["pieces"] == 1


@pytest.mark.parametrize("radius", [0.4, 0.45, 0.49])
def test_smooth_tissue_that_covers_most_of_the_field_is_found_or_refused(radius: float) -> None:
    truth = disc(0.5, 0.5, radius, SIDE)
    found, _ = segment(expose(1.2 * truth))
    assert found.is_refused or dice(found.body, truth) > 0.95


@pytest.mark.parametrize("seed", [*SEEDS, 103])
def test_a_large_body_is_found(seed: int) -> None:
    image, found, measures = found_in(Case.LARGE_BODY, seed)
    assert dice(found.body, image.mask) > 0.95
    assert measures["pieces"] == 1


def test_two_bodies_that_touch_are_counted_as_two() -> None:
    one, other = disc(0.32, 0.5, 0.2, SIDE), disc(0.7, 0.5, 0.2, SIDE)
    found, measures = segment(thick(one | other))
    assert measures["pieces"] == 2
    assert measures["area_px"] == np.count_nonzero(found.body)
    assert measures["largest_area_px"] == pytest.approx(np.count_nonzero(one), rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_bodies_that_touch_and_cover_half_of_the_field_are_outlined(seed: int) -> None:
    image, found, _ = found_in(Case.TWO_TOUCHING, seed)
    assert dice(found.body, image.mask) > 0.95


@pytest.mark.parametrize("width", [0.4, 0.6])
def test_a_band_that_touches_two_borders_is_found_and_reported_as_cut(width: float) -> None:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    truth = np.abs(rows - 0.5 - 0.03 * np.sin(6 * columns)) < width / 2
    found, measures = segment(thick(truth))
    assert dice(found.body, truth) > 0.97
    assert measures["pieces"] == 1
    assert Unsure.CUT in found.unsure


@pytest.mark.parametrize("seed", SEEDS)
def test_a_body_that_touches_two_borders_is_found_and_reported_as_cut(seed: int) -> None:
    image, found, _ = found_in(Case.TOUCHES_TWO_BORDERS, seed)
    assert dice(found.body, image.mask) > 0.95
    assert Unsure.CUT in found.unsure


@pytest.mark.parametrize("seed", SEEDS)
def test_several_bodies_are_all_counted_and_the_area_is_their_sum(seed: int) -> None:
    image, found, measures = found_in(Case.SEVERAL_BODIES, seed)
    assert dice(found.body, image.mask) > 0.95
    assert measures["pieces"] == image.bodies
    unit = "px" if image.um_per_px is None else "um2"
    true_area = np.count_nonzero(image.mask) * (image.um_per_px or 1.0) ** 2
    assert measures[f"area_{unit}"] == pytest.approx(true_area, rel=0.05)
    assert measures[f"largest_area_{unit}"] == pytest.approx(
        measures["largest_piece_share"] * measures[f"area_{unit}"]
    )


@pytest.mark.parametrize("case", [Case.DISINTEGRATED, Case.BURST_WITH_CORE])
@pytest.mark.parametrize("seed", SEEDS)
def test_disintegrated_tissue_is_exploded_with_and_without_a_core(case: Case, seed: int) -> None:
    _, _, measures = found_in(case, seed)
    result = classify_condition(measures)
    assert result is not None
    assert result[0] is Condition.EXPLODED
    assert result[1] is not None
    assert result[1] > 0


@pytest.mark.parametrize("cores", [(0.0, 0.0, 0.0), (0.11, 0.09, 0.06)])
def test_the_degree_increases_with_fragmentation(cores: tuple[float, float, float]) -> None:
    whole = np.pi * 0.13**2
    degrees = []
    for count, core in zip((10, 20, 40), cores, strict=True):
        truth = fragments(count, whole - np.pi * core**2, 0.24, core)
        result = classify_condition(segment(thick(truth, 0.9))[1])
        assert result is not None
        assert result[0] is Condition.EXPLODED
        degrees.append(result[1])
    assert degrees == sorted(degrees)
    assert len(set(degrees)) == len(degrees)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", ARTEFACTS)
def test_other_objects_do_not_become_tissue(case: Case, seed: int) -> None:
    image, found, measures = found_in(case, seed)
    assert dice(found.body, image.mask) > 0.8
    result = classify_condition(measures)
    assert result is not None
    assert result[0] is Condition.INTACT


@pytest.mark.parametrize("seed", [*SEEDS, 70021, 70115])  # the last two have wide fibres
def test_dirt_in_an_empty_well_is_not_tissue(seed: int) -> None:
    _, found, measures = found_in(Case.EMPTY_WITH_DIRT, seed)
    assert found.is_empty
    assert not found.is_refused
    assert measures["pieces"] == 0


@pytest.mark.parametrize("side", [600, 1024])
def test_an_empty_well_of_a_larger_image_is_empty(side: int) -> None:
    found, measures = segment(expose(np.zeros((side, side))))
    assert found.body.shape == (side, side)
    assert found.is_empty
    assert measures["pieces"] == 0


@pytest.mark.parametrize("density", [0.8, 1.2, 3.0])
def test_holes_are_excluded_from_the_area_and_counted(density: float) -> None:
    holes = disc(0.43, 0.5, 0.05, SIDE) | disc(0.6, 0.54, 0.04, SIDE)
    truth = disc(0.5, 0.5, 0.22, SIDE) & ~holes
    found, measures = segment(thick(truth, density))
    assert dice(found.body, truth) > 0.98
    assert measures["holes"] == 2
    assert measures["hole_area_px"] == pytest.approx(np.count_nonzero(holes), rel=0.1)
    assert measures["area_px"] == np.count_nonzero(found.body)
    assert measures["pieces"] == 1


def test_the_pale_middle_of_a_body_is_not_a_hole() -> None:
    truth, middle = disc(0.5, 0.5, 0.2, SIDE), disc(0.5, 0.5, 0.07, SIDE)
    found, measures = segment(expose(truth * (0.9 + 0.12 * grain(SIDE)) - 0.6 * middle))
    assert dice(found.body, truth) > 0.98
    assert measures["holes"] == 0


@pytest.mark.parametrize("ground", [0.03, 0.2])
def test_bright_tissue_is_found_with_the_doubt_bright(ground: float) -> None:
    truth = disc(0.45, 0.5, 0.15, SIDE)
    light = ground + (0.5 - ground) * truth * (1 + 0.1 * grain(SIDE))
    noise = np.random.default_rng(4).normal(1, 0.01, (SIDE, SIDE))
    plane = np.round(65535 * np.clip(light * noise, 0, 1)).astype(np.uint16)
    found, measures = segment(plane)
    assert dice(found.body, truth) > 0.97
    assert Unsure.BRIGHT in found.unsure
    assert measures["pieces"] == 1
    true_density = float(np.log10(ground / 0.5))
    assert measures["od_mean"] == pytest.approx(true_density, abs=0.1)
    np.testing.assert_allclose(found.background, ground * 65535, rtol=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_bright_tissue_on_dark_ground_is_found(seed: int) -> None:
    image, found, measures = found_in(Case.BRIGHT_ON_DARK, seed)
    assert dice(found.body, image.mask) > 0.9
    assert Unsure.BRIGHT in found.unsure
    assert measures["od_mean"] < 0


def test_dark_tissue_is_not_called_bright() -> None:
    for case in (Case.LARGE_BODY, Case.SEVERAL_BODIES, Case.BUBBLE):
        assert Unsure.BRIGHT not in found_in(case, 1)[1].unsure


@pytest.mark.parametrize("seed", SEEDS)
def test_an_image_without_background_is_refused_and_has_no_measures(seed: int) -> None:
    _, found, measures = found_in(Case.NO_BACKGROUND, seed)
    assert found.is_refused
    assert found.is_empty
    assert not found.debris.any()
    assert found.unsure == (Unsure.NO_BACKGROUND,)
    assert measures == {}
    assert classify_condition(measures) is None


@pytest.mark.parametrize("cell", [0.004, 0.01, 0.02])
def test_cells_that_fill_the_field_are_refused(cell: float) -> None:
    found, measures = segment(expose(1.0 + 0.3 * grain(SIDE, cell)))
    assert found.is_refused
    assert measures == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_many_organoids_are_counted_and_intact(seed: int) -> None:
    image, found, measures = found_in(Case.ORGANOIDS, seed)
    assert measures["pieces"] == pytest.approx(image.bodies, rel=0.4)
    assert dice(found.body, image.mask) > 0.75
    assert classify_condition(measures) == (Condition.INTACT, 0.0)


def test_round_bodies_all_over_the_field_are_counted_with_the_distribution_of_their_sizes() -> None:
    truth = np.zeros((SIDE, SIDE), dtype=bool)
    radii = np.array([0.02, 0.025, 0.03, 0.035] * 4)
    for number, radius in enumerate(radii):
        truth |= disc(0.14 + 0.24 * (number % 4), 0.14 + 0.24 * (number // 4), radius, SIDE)
    found, measures = segment(thick(truth))
    assert measures["pieces"] == len(radii)
    assert dice(found.body, truth) > 0.95
    for percent in (10, 50, 90):
        expected = 2 * SIDE * float(np.quantile(radii, percent / 100))
        assert measures[f"piece_diameter_q{percent}_px"] == pytest.approx(expected, rel=0.06)
    assert classify_condition(measures) == (Condition.INTACT, 0.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_image_out_of_focus_is_called_blurred(seed: int) -> None:
    assert Unsure.BLURRED in found_in(Case.BLURRED, seed)[1].unsure


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sharp_image_of_tissue_with_a_soft_edge_is_not_called_blurred(seed: int) -> None:
    assert Unsure.BLURRED not in found_in(Case.SHARP_SOFT_EDGE, seed)[1].unsure


SHAPES = ("area", "equivalent_diameter", "perimeter", "circularity", "solidity")


def shares_of_the_field(measures: Measures, field: float, unit: str) -> npt.NDArray[np.float64]:
    """Return the area, lengths and shapes, (5,), independent of the size of a field's side."""
    area = measures[f"area_{unit}{2 if unit == 'um' else ''}"] / field**2
    lengths = [measures[f"{name}_{unit}"] / field for name in SHAPES[1:3]]
    return np.array([area, *lengths, measures["circularity"], measures["solidity"]])


@pytest.mark.parametrize("case", [Case.LARGE_BODY, Case.SEVERAL_BODIES, Case.HOLE])
def test_one_scene_has_the_same_doubts_and_measures_at_512_to_4096_pixels(case: Case) -> None:
    doubts, values = [], []
    for side in (512, 1024, 2048, 4096):
        image = draw_case(case, 1, side)
        found = ClassicalSegmenter().segment(image.plane, image.um_per_px)
        measures = measure_tissue(image.plane, found, image.um_per_px)
        doubts.append(found.unsure)
        unit, scale = ("px", 1.0) if image.um_per_px is None else ("um", image.um_per_px)
        values.append(shares_of_the_field(measures, side * scale, unit))
    assert doubts == doubts[:1] * 4
    limits = (0.01, 0.01, 0.03, 0.03, 0.02)  # camera noise at 512 px makes an outline longer
    spreads = np.ptp(values, axis=0) / np.mean(values, axis=0)
    for name, limit, spread in zip(SHAPES, limits, spreads, strict=True):
        assert spread < limit, f"{name} varies by {spread:.3f}"
