"""Tests of the views by dynamic time warping, against an enumeration of all paths."""

from collections.abc import Iterator

import numpy as np
import pytest

from training.forecaster.warping import matched_days, random_view, warp

Path = list[tuple[int, int]]


def all_paths(rows: int, columns: int) -> Iterator[Path]:
    """Yield every path from the first to the last pair of days, in steps of one day."""
    if (rows, columns) == (1, 1):
        yield [(0, 0)]
    for row, column in ((rows - 1, columns - 1), (rows - 1, columns), (rows, columns - 1)):
        if row and column:
            for path in all_paths(row, column):
                yield [*path, (rows - 1, columns - 1)]


def cheapest_path(distances: np.ndarray) -> Path:
    """Return the path with the smallest sum of distances, by trying all of them."""
    return min(all_paths(*distances.shape), key=lambda path: sum(distances[pair] for pair in path))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 4), (2, 5), (5, 3)])
def test_the_matched_days_are_those_of_the_cheapest_of_all_paths(rows: int, columns: int) -> None:
    distances = np.random.default_rng(rows).uniform(size=(6, rows, columns))
    matched = matched_days(distances)
    for found, table in zip(matched, distances, strict=True):
        assert list(zip(*np.nonzero(found), strict=True)) == cheapest_path(table)


def test_a_view_has_the_values_of_the_well_on_the_matched_days_of_its_guide() -> None:
    rng = np.random.default_rng(3)
    series, shares = rng.normal(size=(5, 4, 3)), rng.uniform(size=5)
    guides = np.array([1, 2, 3, 4, 0])
    views, has_image = warp(series, np.ones((5, 4), dtype=bool), guides, shares)
    assert has_image.all()
    for well, guide in enumerate(guides):
        distances = np.square(series[well][:, None] - series[guide][None]).sum(axis=2)
        path = cheapest_path(distances)
        for day in range(4):
            own = np.mean([series[well, mine] for mine, its in path if its == day], axis=0)
            expected = (1 - shares[well]) * own + shares[well] * series[guide, day]
            np.testing.assert_allclose(views[well, day], expected)


def test_a_delayed_well_is_shifted_onto_its_guide() -> None:
    rise = np.array([0.0, 0.0, 1.0, 2.0, 3.0, 3.0])
    delayed = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0])
    series = np.stack([delayed, rise])[..., None]
    views, _ = warp(series, np.ones((2, 6), dtype=bool), np.array([1, 0]), np.zeros(2))
    np.testing.assert_array_equal(views[0, :, 0], rise)


def test_days_without_image_have_no_value_in_a_view() -> None:
    rng = np.random.default_rng(5)
    series, has_image = rng.normal(size=(8, 6, 2)), rng.uniform(size=(8, 6)) < 0.7
    has_image[:, 0] = True
    views, imaged = random_view(
        np.where(has_image[..., None], series, 0.0), has_image, 0.3, np.random.default_rng(1)
    )
    changed, _ = random_view(
        np.where(has_image[..., None], series, 1e6), has_image, 0.3, np.random.default_rng(1)
    )
    np.testing.assert_allclose(views, changed)
    assert not imaged.all()
    assert not views[~imaged].any()


def test_no_well_is_its_own_guide() -> None:
    series = np.arange(4.0).reshape(4, 1, 1)
    for seed in range(20):
        views, _ = random_view(
            series, np.ones((4, 1), dtype=bool), 1.0, np.random.default_rng(seed)
        )
        assert (views != series).all()
