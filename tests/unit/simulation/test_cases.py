from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from schemas.ranking import Condition
from simulation.cases import CaseImage, draw_case, reduce_case
from simulation.kinds import Case

SIZE_PX = 512
SEED = 7
EXPLODED = (Case.DISINTEGRATED, Case.BURST_WITH_CORE)
WITHOUT_CONDITION = (Case.NO_BACKGROUND, Case.EMPTY_WITH_DIRT)
COVERAGE = {
    Case.LARGE_BODY: (0.25, 0.85),
    Case.TWO_TOUCHING: (0.48, 0.8),
    Case.NO_BACKGROUND: (0.95, 1.0),
    Case.EMPTY_WITH_DIRT: (0.0, 0.0),
}
Mask = npt.NDArray[np.bool_]


@lru_cache(maxsize=64)
def image_of(case: Case, seed: int = SEED) -> CaseImage:
    return draw_case(case, seed, SIZE_PX)


def dice(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def filled(mask: Mask) -> Mask:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    solid = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(solid, contours, -1, 1, cv2.FILLED)
    return solid > 0


def inner(mask: Mask, margin_px: int = 9) -> Mask:
    kernel = np.ones((margin_px, margin_px), np.uint8)
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel) > 0)


def levels(image: CaseImage) -> tuple[float, float]:
    """Return the median grey values of the tissue and of the ground beside it."""
    near = cv2.dilate(image.mask.astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    ground = inner(near & ~image.mask)
    return float(np.median(image.plane[inner(image.mask)])), float(np.median(image.plane[ground]))


def steepest_edge(plane: npt.NDArray[np.uint16]) -> float:
    """Return the largest gradient of a smoothed plane per pixel, relative to its range."""
    smooth = cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 1.5)
    slopes = np.hypot(*np.gradient(smooth))
    return float(np.quantile(slopes, 0.998) / np.ptp(smooth))


@pytest.mark.parametrize("case", list(Case))
def test_each_case_has_its_plane_mask_and_condition(case: Case) -> None:
    image = image_of(case)
    lowest, highest = COVERAGE.get(case, (0.003, 0.7))

    assert image.plane.shape == image.mask.shape == (SIZE_PX, SIZE_PX)
    assert image.plane.dtype == np.uint16
    assert np.ptp(image.plane) > 0
    assert lowest <= image.mask.mean() <= highest
    assert image.blurred == (case is Case.BLURRED)
    assert (image.fragmentation > 0) == (case in EXPLODED)
    if case in WITHOUT_CONDITION:
        assert image.condition is None
    else:
        assert image.condition is (Condition.EXPLODED if case in EXPLODED else Condition.INTACT)


@pytest.mark.parametrize("case", [Case.DISINTEGRATED, Case.HOLE, Case.BURNED_IN_TEXT, Case.FIBRE])
def test_a_scene_is_the_same_at_every_size(case: Case) -> None:
    small, large = draw_case(case, 3, 256), draw_case(case, 3, 1024)
    reduced = reduce_case(large, 256)
    smooth, smooth_reduced = (
        cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 2)
        for plane in (small.plane, reduced.plane)
    )

    assert dice(small.mask, reduced.mask) > 0.99
    assert np.quantile(abs(smooth - smooth_reduced), 0.99) < 0.02 * 65535
    assert (small.bodies, small.fragmentation) == (large.bodies, large.fragmentation)


def test_an_image_does_not_depend_on_earlier_images() -> None:
    first = draw_case(Case.SCRATCHES, 4, 128)
    for case in (Case.BUBBLE, Case.FIBRE):
        draw_case(case, 4, 128)

    again = draw_case(Case.SCRATCHES, 4, 128)

    assert np.array_equal(first.plane, again.plane)
    assert np.array_equal(first.mask, again.mask)


def test_seeds_and_cases_give_different_scenes() -> None:
    masks = {image_of(Case.FIBRE, seed).mask.tobytes() for seed in (SEED, SEED + 1)}

    assert len(masks | {image_of(Case.SCRATCHES).mask.tobytes()}) == 3


def test_tissue_is_darker_than_its_ground_except_on_dark_ground() -> None:
    for case in (Case.LARGE_BODY, Case.FIBRE, Case.UNEVEN_LIGHT, Case.WELL_WALL, Case.BLURRED):
        tissue, ground = levels(image_of(case))
        assert tissue < 0.95 * ground, case
    for seed in (SEED, SEED + 1):
        tissue, ground = levels(image_of(Case.BRIGHT_ON_DARK, seed))
        assert tissue > 1.3 * ground


def test_the_background_is_visible_through_holes_and_they_are_not_tissue() -> None:
    image = image_of(Case.HOLE)
    holes = inner(filled(image.mask) & ~image.mask, 5)
    tissue, ground = levels(image)

    assert holes.any()
    assert abs(np.median(image.plane[holes]) - ground) < 0.2 * abs(tissue - ground)


@pytest.mark.parametrize("case", [Case.SEVERAL_BODIES, Case.ORGANOIDS])
def test_separate_bodies_are_separate_parts_of_the_mask(case: Case) -> None:
    for seed in (SEED, SEED + 1):
        image = draw_case(case, seed, 2048)
        parts = cv2.connectedComponents(image.mask.astype(np.uint8))[0] - 1

        assert abs(parts - image.bodies) <= 0.02 * image.bodies


def test_fragments_are_more_and_wider_apart_with_the_fragmentation() -> None:
    images = [image_of(Case.DISINTEGRATED, seed) for seed in range(6)]
    fragmentation = [image.fragmentation for image in images]
    distances = [float(np.std(np.nonzero(image.mask), axis=1).mean()) for image in images]

    assert spearmanr(fragmentation, [image.bodies for image in images]).statistic > 0.8
    assert spearmanr(fragmentation, distances).statistic > 0.5


def test_a_body_at_two_borders_covers_a_part_of_each() -> None:
    for seed in (SEED, SEED + 1):
        mask = image_of(Case.TOUCHES_TWO_BORDERS, seed).mask
        borders = (mask[0], mask[-1], mask[:, 0], mask[:, -1])

        assert sum(border.mean() > 0.02 for border in borders) >= 2


def test_a_failed_autofocus_removes_steep_edges() -> None:
    sharp = min(steepest_edge(image_of(Case.HOLE, seed).plane) for seed in (SEED, SEED + 1))
    blurred = max(steepest_edge(image_of(Case.BLURRED, seed).plane) for seed in (SEED, SEED + 1))

    assert sharp > 1.5 * blurred


def test_text_is_black_or_white_in_an_8_bit_image() -> None:
    for seed in (SEED, SEED + 1):
        plane = image_of(Case.BURNED_IN_TEXT, seed).plane

        assert not (plane % 257).any()
        assert max((plane == 0).mean(), (plane == 65535).mean()) > 0.0005


def test_black_bars_hide_the_tissue() -> None:
    image = image_of(Case.BLACK_BARS)
    dark = image.plane < 0.05 * 65535
    borders = [dark[0], dark[-1], dark[:, 0], dark[:, -1]]

    assert any(border.mean() > 0.95 for border in borders)
    assert not (image.mask[0] & dark[0]).any()


def test_the_scale_follows_the_size_and_large_fields_have_none() -> None:
    large = next(
        image
        for seed in range(9)
        if (image := draw_case(Case.FIBRE, seed, 256)).um_per_px is not None
    )
    reduced = reduce_case(large, 128)

    assert large.um_per_px is not None
    assert reduced.um_per_px == pytest.approx(2 * large.um_per_px)
    assert image_of(Case.LARGE_BODY).um_per_px is None


def test_an_image_cannot_be_reduced_to_a_larger_one() -> None:
    with pytest.raises(ValueError, match="1024 pixels are more than the 512"):
        reduce_case(image_of(Case.FIBRE), 1024)
