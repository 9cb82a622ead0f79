import numpy as np
import pytest
import scipy

from inference.departure.metrics import (
    ISOTROPIC_SHARE,
    MAX_EARLIER_WELLS,
    MIN_VARIANCE,
    NEAREST_COUNT,
    Mahalanobis,
    Noise,
    block_diagonal,
    cosine_distance,
    nearest_distance,
    pre_dose_shape,
)


def rows(n: int, k: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, k))


def test_the_shape_is_half_the_covariance_before_dosing_and_half_a_sphere() -> None:
    past = rows(40) * np.arange(1.0, 6.0)
    covariance = sum(np.outer(row, row) for row in past - past.mean(axis=0)) / 40
    expected = (1 - ISOTROPIC_SHARE) * covariance / (
        np.trace(covariance) / 5
    ) + ISOTROPIC_SHARE * np.eye(5)
    np.testing.assert_allclose(pre_dose_shape(past), expected)
    np.testing.assert_array_equal(pre_dose_shape(np.ones((4, 3))), np.eye(3))


def test_noise_is_shrunk_towards_the_shape_with_one_pseudo_well_per_direction() -> None:
    residual, shape = rows(7), pre_dose_shape(rows(30, seed=1))
    moment = sum(np.outer(row, row) for row in residual)
    expected = (moment + 5 * (np.trace(moment) / 35) * shape) / 12
    np.testing.assert_allclose(Noise.estimate(residual, shape).covariance, expected)
    assert np.trace(Noise.estimate(residual, shape).covariance) == pytest.approx(
        np.trace(moment) / 7
    )  # shrinkage does not change the total variance


def test_wells_of_earlier_plates_have_limited_weight_by_their_similarity() -> None:
    residual, few, many = rows(7), rows(11, seed=2), 3 * rows(2001, seed=3)
    moment = residual.T @ residual + 0.5 * few.T @ few
    expected = (moment + 5 * (np.trace(moment) / (5 * 12)) * np.eye(5)) / 17
    np.testing.assert_allclose(
        Noise.estimate(residual, np.eye(5), [(few, 0.5)]).covariance, expected
    )
    assert Noise.estimate(residual, np.eye(5), [(many, 1.0)]).effective_wells == pytest.approx(
        7 + MAX_EARLIER_WELLS
    )
    np.testing.assert_allclose(
        Noise.estimate(residual, np.eye(5), [(many, 0.0)]).covariance,
        Noise.estimate(residual, np.eye(5)).covariance,
    )


def test_untreated_wells_that_are_all_equal_still_have_a_noise() -> None:
    np.testing.assert_allclose(
        Noise.estimate(np.zeros((4, 3)), np.eye(3)).covariance, MIN_VARIANCE * 3 / 7 * np.eye(3)
    )


def single(residual: np.ndarray) -> np.ndarray:
    """Return one set per well: no well has replicates."""
    return np.arange(len(residual))


def test_whitened_rows_vary_by_one_in_every_direction() -> None:
    noise = Noise.estimate(rows(9) * np.arange(1.0, 6.0), np.eye(5))
    np.testing.assert_allclose(
        noise.whitening @ noise.covariance @ noise.whitening.T, np.eye(5), atol=1e-12
    )


def test_with_no_direction_above_the_noise_the_length_is_the_mahalanobis_distance() -> None:
    noise = Noise.estimate(rows(30), np.eye(5))
    residual = 0.5 * rows(40, seed=4)
    metric = Mahalanobis.fit(residual, noise, single(residual))
    assert not metric.is_reproducible
    np.testing.assert_array_equal(metric.weights, 1.0)
    np.testing.assert_allclose(
        metric.lengths(residual),
        [np.sqrt(row @ np.linalg.inv(noise.covariance) @ row) for row in residual],
    )


def test_the_weight_of_a_direction_is_its_variance_fraction_above_the_noise_edge() -> None:
    noise = Noise.estimate(rows(30), np.eye(5))
    residual = rows(40, seed=5) + np.where(np.arange(40) < 12, 20.0, 0.0)[:, None] * np.eye(5)[2]
    whitened = [noise.whitening @ row for row in residual]
    variances, directions = np.linalg.eigh(sum(np.outer(row, row) for row in whitened) / 40)
    c, y = (
        5 / 40,
        5 / 35,
    )  # Wachter's ratios: directions per well, for residuals and for the noise
    edge = ((1 + np.sqrt(c + y - c * y)) / (1 - y)) ** 2
    weights = [max(0.0, 1 - edge / variance) for variance in variances]
    plain = [
        np.sqrt(
            sum(
                weight * (way @ row) ** 2 for weight, way in zip(weights, directions.T, strict=True)
            )
        )
        for row in whitened
    ]
    metric = Mahalanobis.fit(residual, noise, single(residual))
    np.testing.assert_allclose(metric.lengths(residual), plain)
    assert sum(weight > 0 for weight in weights) == 1


def test_pure_noise_seldom_exceeds_the_edge() -> None:
    passed = [
        (
            Mahalanobis.fit(
                rows(60, 8, 2 * seed), Noise.estimate(rows(20, 8, 2 * seed + 1), np.eye(8)), sets
            ).is_reproducible
        )
        for seed in range(100)
        for sets in (single(rows(60)), np.repeat(np.arange(20), 3))
    ]
    assert np.mean(passed) <= 0.1


def test_replicates_show_directions_that_single_wells_do_not_show() -> None:
    noise, found = Noise.estimate(rows(30, 8), np.eye(8)), []
    for seed in range(20):
        shared = np.repeat(1.2 * rows(20, 1, seed=100 + seed), 3, axis=0) * np.eye(8)[2]
        residual = rows(60, 8, seed=seed) + shared
        found.append(
            [
                Mahalanobis.fit(residual, noise, sets).is_reproducible
                for sets in (np.repeat(np.arange(20), 3), single(residual))
            ]
        )
    by_replicates, alone = np.mean(found, axis=0)
    assert by_replicates > alone + 0.3


def test_the_length_variance_is_that_of_noise_lengths() -> None:
    lengths = np.linalg.norm(rows(20000, 8), axis=1)
    assert Mahalanobis(np.eye(8), np.ones(8)).length_variance == pytest.approx(
        lengths.var(), rel=0.1
    )


def test_the_cosine_distance_is_one_minus_the_cosine_and_0_at_the_origin() -> None:
    readout, forecast = rows(6), rows(6, seed=1)
    plain = [
        1 - one @ other / np.sqrt((one @ one) * (other @ other))
        for one, other in zip(readout, forecast, strict=True)
    ]
    np.testing.assert_allclose(cosine_distance(readout, forecast), plain)
    np.testing.assert_array_equal(cosine_distance(np.zeros((2, 5)), forecast[:2]), 0.0)


@pytest.mark.parametrize("count", [3, 12])
def test_the_nearest_distance_uses_five_controls_or_all(count: int) -> None:
    controls, residual = rows(count, seed=1), rows(6)
    noise = Noise.estimate(controls, np.eye(5))
    plain = [
        np.mean(
            sorted(np.linalg.norm(noise.whitening @ (row - control)) for control in controls)[
                : min(NEAREST_COUNT, count)
            ]
        )
        for row in residual
    ]
    np.testing.assert_allclose(nearest_distance(residual, controls, noise), plain)


@pytest.mark.parametrize("sizes", [[(2, 3)], [(2, 2), (3, 3)], [(4, 1), (2, 0), (1, 5)]])
def test_the_block_diagonal_matrix_is_that_of_scipy(sizes: list[tuple[int, int]]) -> None:
    blocks = [rows(*size, seed=number) for number, size in enumerate(sizes)]
    np.testing.assert_array_equal(block_diagonal(*blocks), scipy.linalg.block_diag(*blocks))
