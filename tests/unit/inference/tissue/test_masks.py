"""Tests of the operations on masks that decide which holes of a mask are tissue."""

import numpy as np
import numpy.typing as npt

from inference.tissue.masks import fill_lumens

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
