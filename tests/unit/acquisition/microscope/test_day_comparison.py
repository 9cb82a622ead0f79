"""A well that is unlike itself on the day before is reported if the other wells are not."""

import cv2
import numpy as np
import pytest

from acquisition.microscope.day_comparison import DayComparison, Likeness, limit_of
from acquisition.microscope.pictures import WellPictures, make_picture

WELLS = [f"B{column:02d}" for column in range(2, 10)]


def texture(seed: int) -> np.ndarray:
    """Return random detail of 256 × 256 pixels in the band of pictures."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (256, 256)), (0, 0), 2.5)
    return np.asarray(noise / noise.std())


def pictures_of(detail: np.ndarray) -> WellPictures:
    return (make_picture([2000 + 200 * detail]),)


def day_after(seed: int, share_kept: float) -> WellPictures:
    """Return the pictures of a well a day later, of whose detail a share is the same."""
    changed = np.sqrt(1 - share_kept**2)
    return pictures_of(share_kept * texture(seed) + changed * texture(seed + 100))


def comparison() -> DayComparison:
    before = {well: pictures_of(texture(number)) for number, well in enumerate(WELLS)}
    return DayComparison(before, day_before=6)


def test_only_a_well_that_is_unlike_itself_is_reported() -> None:
    compared = comparison()
    today = {well: day_after(number, 0.7) for number, well in enumerate(WELLS)}
    assert [compared.problem(well, each, today) for well, each in today.items()] == [None] * 8
    problem = compared.problem("B05", day_after(50, 0.7), today)
    assert problem is not None
    assert "B05 is unlike itself on day 6 (likeness" in problem


@pytest.mark.parametrize(("wells", "share_kept"), [(5, 0.7), (8, 0.1)])
def test_nothing_is_reported_from_few_wells_or_if_no_well_resembles_itself(
    wells: int, share_kept: float
) -> None:
    today = {well: day_after(number, share_kept) for number, well in enumerate(WELLS[:wells])}
    assert comparison().problem(WELLS[0], day_after(50, share_kept), today) is None


def test_a_well_without_a_picture_of_the_day_before_is_not_compared() -> None:
    today = {well: day_after(number, 0.7) for number, well in enumerate(WELLS)}
    assert comparison().problem("C02", day_after(50, 0.7), today) is None


def test_the_limit_lies_between_strangers_and_the_wells_themselves() -> None:
    assert limit_of([Likeness(0.6, 0.1)] * 5) == pytest.approx(0.3)
    assert limit_of([Likeness(0.25, 0.1)] * 5) is None
