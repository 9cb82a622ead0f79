import numpy as np
import pytest

from inference.tissue.quantiles import label_quantiles, quantiles, sort_by_label

NUMBERS = np.random.default_rng(3)


@pytest.mark.parametrize("shape", [(1,), (2,), (7, 5), (96, 96)])
def test_quantiles_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    values = NUMBERS.normal(size=shape).astype(np.float32)
    shares = (0.0, 0.05, 0.3, 0.5, 0.97, 1.0)
    expected = np.quantile(values.astype(np.float64), shares)
    assert quantiles(values, *shares) == pytest.approx(expected, rel=1e-6)


def test_quantiles_of_grey_levels_do_not_overflow() -> None:
    assert quantiles(np.array([65535, 0, 65533], np.uint16), 0.5, 0.75) == [65533, 65534]


def test_values_are_sorted_within_their_labels() -> None:
    labels = NUMBERS.integers(0, 40, 3000)
    values = NUMBERS.normal(size=3000).astype(np.float32)
    expected = np.concatenate([np.sort(values[labels == label]) for label in range(40)])
    np.testing.assert_array_equal(sort_by_label(labels, values), expected)


def test_a_label_has_its_own_quantile_and_one_without_values_has_zero() -> None:
    labels, values = np.array([2, 0, 2, 2, 0]), np.array([5, 1, 7, 6, 2], np.float32)
    assert label_quantiles(labels, values, 0.5, 4).tolist() == [1, 0, 6, 0]
