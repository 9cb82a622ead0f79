import cv2
import numpy as np
import pytest

from inference.tissue.crowding import correct_flags, is_crowded
from inference.tissue.measures import Measures, measure_tissue
from schemas.quality import Flag
from schemas.tissue import Segmentation, Unsure
from tests.samples import quality

LIGHT = np.full((8, 8), 40_000, np.float32)


def measures_of(radii_px: list[int], *doubts: Unsure) -> Measures:
    """Return the measures of discs of these radii that lie apart on a grid of 5 × 5."""
    body = np.zeros((1000, 1000), np.uint8)
    for number, radius in enumerate(radii_px):
        row, column = divmod(number, 5)
        cv2.circle(body, (100 + 200 * column, 100 + 200 * row), radius, 1, -1)
    plane = np.where(body > 0, 15_000, 40_000).astype(np.uint16)
    mask = body.astype(bool)
    return measure_tissue(plane, Segmentation(mask, np.zeros_like(mask), LIGHT, doubts), 2.0)


@pytest.mark.parametrize(
    ("radii_px", "crowded"),
    [
        ([], False),
        ([60], False),
        ([30] * 7, False),
        ([30] * 8, True),
        ([20] * 25, True),
        ([40, 30, 20, 30, 40, 20, 10, 15, 25], True),
        ([90] + [15] * 20, False),  # a spheroid with fragments
    ],
)
def test_many_bodies_are_crowded_if_none_stands_out(radii_px: list[int], *, crowded: bool) -> None:
    assert is_crowded(measures_of(radii_px)) == crowded


def test_a_refused_image_is_not_crowded() -> None:
    assert not is_crowded(measures_of([], Unsure.NO_BACKGROUND))
    assert not is_crowded({})


def test_the_flag_crowded_replaces_the_flag_empty_and_no_other_flag() -> None:
    assessed = quality(flags=(Flag.DAY_DISAGREES, Flag.EMPTY, Flag.CUT))
    many = correct_flags(assessed, measures_of([20] * 12))
    assert many.flags == (Flag.DAY_DISAGREES, Flag.CUT, Flag.CROWDED)
    assert many.model_copy(update={"flags": assessed.flags}) == assessed
    assert correct_flags(many, measures_of([20] * 12)) == many
    assert correct_flags(assessed, measures_of([60])) == assessed


def test_a_refused_image_is_flagged_neither_as_blurred_nor_as_empty() -> None:
    for flag in (Flag.BLURRED, Flag.EMPTY):
        assessed = quality(flags=(Flag.SATURATED, flag, Flag.CUT))
        refused = correct_flags(assessed, measures_of([], Unsure.NO_BACKGROUND))
        assert refused.flags == (Flag.SATURATED, Flag.CUT)
        assert correct_flags(assessed, measures_of([])) == assessed
