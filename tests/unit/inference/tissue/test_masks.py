"""Tests of the operations on masks that decide which holes of a mask are tissue."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import binary_fill_holes

from inference.tissue.masks import (
    centre_of_mass,
    depth_of_mask,
    dilate_mask,
    enclosed_px,
    erode_mask,
    fill_lumens,
    label_areas,
    label_openings,
    label_parts,
    median_solidity,
    open_mask,
    select_parts,
)

SIDE_PX = 120


def disc(x: float, y: float, radius: float) -> npt.NDArray[np.bool_]:
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    return np.asarray(np.hypot(columns - x, rows - y) <= radius)


def test_the_middle_of_a_hollow_body_is_filled_also_if_a_fold_crosses_it() -> None:
    whole = disc(60, 60, 40)
    fold = disc(50, 45, 12) | disc(62, 75, 9)

    filled = fill_lumens(whole & ~(disc(60, 60, 34) & ~fold), 0.85)

    assert np.array_equal(filled, whole)


def test_the_middles_of_two_hollow_bodies_that_touch_are_filled() -> None:
    whole = disc(35, 60, 25) | disc(85, 60, 26)

    filled = fill_lumens(whole & ~disc(35, 60, 20) & ~disc(85, 60, 21), 0.85)

    assert np.array_equal(filled, whole)


def test_the_gap_between_bodies_that_touch_stays_open() -> None:
    cluster = disc(31, 31, 20.2) | disc(69, 31, 20.2) | disc(50, 64, 20.2)
    cluster |= disc(80, 80, 17) | disc(103, 103, 16)

    filled = fill_lumens(cluster, 0.85)

    assert not filled[42, 50]


@pytest.mark.parametrize("radius_px", [1.0, 3.0, 4.5, 4.6, 6.0, 7.3, 9.9, 10.1, 11.0])
def test_masks_are_extended_and_reduced_as_without_a_bounding_box(radius_px: float) -> None:
    for mask in (disc(60, 60, 25), disc(5, 110, 20) | disc(70, 40, 2), disc(300, 300, 1)):
        outside = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 3)
        inside = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 3)
        if radius_px > 4.5:
            extended, reduced = (outside <= radius_px) & mask.any(), inside > radius_px
        else:
            size = 2 * round(radius_px) + 1
            element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
            extended, reduced = (
                change(mask.view(np.uint8), element).view(bool)
                for change in (cv2.dilate, cv2.erode)
            )
        assert np.array_equal(dilate_mask(mask, radius_px), extended)
        assert np.array_equal(erode_mask(mask, radius_px), reduced)


def test_narrow_parts_are_removed_as_without_a_bounding_box() -> None:
    ball = np.zeros((17, 17), np.uint8)
    ball[8, 8] = 1
    ball = (cv2.distanceTransform(1 - ball, cv2.DIST_L2, 3) <= 6).view(np.uint8)
    for mask in (disc(60, 60, 25) | disc(20, 100, 4), disc(5, 110, 20), disc(300, 300, 1)):
        expected = cv2.dilate(cv2.erode(mask.view(np.uint8), ball), ball)
        assert np.array_equal(open_mask(mask, 6.0), expected.view(bool))


def test_the_enclosed_pixels_are_those_that_are_filled() -> None:
    generator = np.random.default_rng(10)
    for share in (0.0, 0.3, 0.6, 1.0):
        mask = random_mask(generator, share)
        assert enclosed_px(mask) == np.count_nonzero(binary_fill_holes(mask) & ~mask)


def test_openings_that_touch_at_a_corner_are_two() -> None:
    openings = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    openings[10:20, 10:20] = openings[20:25, 20:25] = True

    labels, areas = label_openings(openings)

    assert areas.tolist() == [0, 100, 25]
    assert labels[12, 12] != labels[22, 22]


def test_the_solidity_of_bodies_is_the_median_without_crumbs() -> None:
    square = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    square[5:35, 5:35] = True
    cross = np.zeros_like(square)
    cross[60:100, 75:85] = cross[75:85, 60:100] = True

    assert median_solidity(square, 0.1) == pytest.approx(1, abs=0.01)
    assert median_solidity(cross, 0.1) == pytest.approx(0.61, abs=0.05)
    assert median_solidity(square | disc(110, 20, 2), 0.1) == pytest.approx(1, abs=0.01)


def random_mask(generator: np.random.Generator, share: float = 0.3) -> npt.NDArray[np.bool_]:
    smooth = cv2.GaussianBlur(generator.normal(size=(61, 83)), (0, 0), 2)
    return np.asarray(smooth > np.quantile(smooth, 1 - share))


def test_parts_inside_a_box_have_the_labels_and_statistics_of_the_whole_image() -> None:
    mask = np.zeros((90, 120), dtype=bool)
    mask[21:82, 30:113] = random_mask(np.random.default_rng(6))
    labels, stats = label_parts(mask)
    _, expected, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(stats[1:], statistics[1:])
    assert stats[0, cv2.CC_STAT_AREA] == np.count_nonzero(~mask)


def test_areas_of_parts_are_their_numbers_of_pixels() -> None:
    mask = random_mask(np.random.default_rng(7))
    labels, area = label_areas(mask)
    assert area.tolist() == [0, *np.bincount(labels.ravel())[1:].tolist()]


def test_an_empty_mask_has_no_parts() -> None:
    nothing = np.zeros((5, 7), dtype=bool)
    assert len(label_parts(nothing)[1]) == 1
    assert label_areas(nothing)[1].tolist() == [0]


@pytest.mark.parametrize("shape", [(40, 50), (120, 150)])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_chosen_parts_do_not_include_the_outside(share: float, shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(8)
    labels, area = label_areas(generator.random(shape) < 0.2)
    chosen = generator.random(len(area)) < share
    chosen[0] = True
    np.testing.assert_array_equal(select_parts(labels, chosen), chosen[labels] & (labels > 0))


def test_the_depth_of_a_mask_at_the_border_is_that_from_the_inner_outline() -> None:
    mask = np.zeros((9, 12), dtype=bool)
    mask[:, :4] = True
    assert depth_of_mask(mask)[4].round().tolist() == [4, 3, 2, 1, *[0] * 8]


def test_the_centre_of_mass_is_the_mean_of_the_pixels() -> None:
    mask = random_mask(np.random.default_rng(9))
    rows, columns = np.nonzero(mask)
    assert centre_of_mass(mask) == (columns.mean(), rows.mean())
