import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.kernel_ridge import KernelRidge

from training.evaluation.kernel_regression import (
    RegressionSettings,
    differences_from_untreated,
    fit_regression,
    gram_matrix,
    kernel_matrix,
    predict_percent,
)

WELLS, PLATES = 30, 6


def plates_with(
    effect: float, dimension: int, seed: int, noise: float = 1.0
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return (N, 2, D) a plate, percent (P, N) and which are untreated: an effect along one direction, and an offset a plate."""
    rng = np.random.default_rng(seed)
    untreated = np.arange(WELLS) < 10
    percent = np.where(untreated, 0, rng.uniform(0, 100, (PLATES, WELLS)))
    plates = []
    for of_plate in percent:
        values = rng.normal(size=(WELLS, 2, dimension)) * noise + rng.normal(size=dimension) * 20
        values[:, 1, 0] += effect * of_plate
        plates.append(values)
    return plates, percent, untreated


def grams(plates: list[np.ndarray], untreated: np.ndarray, *, one_scale: bool) -> np.ndarray:
    return gram_matrix(
        [differences_from_untreated(plate, untreated) for plate in plates],
        [untreated] * PLATES,
        (0, 1, 2, 3),
        one_scale=one_scale,
    )


def test_an_effect_is_read_on_plates_that_did_not_teach_whatever_their_offset() -> None:
    plates, percent, untreated = plates_with(0.2, 12, seed=0)
    numbers = np.repeat(np.arange(PLATES), WELLS)
    found, _ = fit_regression(
        grams(plates, untreated, one_scale=True),
        None,
        percent.ravel(),
        numbers,
        numbers < 4,
        (1.0,),
    )
    assert spearmanr(found[numbers >= 4], percent.ravel()[numbers >= 4]).statistic > 0.9


def test_plates_that_do_not_teach_are_not_looked_at_for_their_percent() -> None:
    plates, percent, untreated = plates_with(0.2, 5, seed=1)
    numbers = np.repeat(np.arange(PLATES), WELLS)
    products = grams(plates, untreated, one_scale=True)
    hidden = np.where(numbers < 4, percent.ravel(), np.nan)
    found, _ = fit_regression(products, None, hidden, numbers, numbers < 4, (1.0,))
    assert np.isfinite(found).all()


def test_a_useless_embedding_is_given_no_weight_beside_good_measures() -> None:
    good, percent, untreated = plates_with(0.3, 3, seed=2)
    noise, _, _ = plates_with(0.0, 40, seed=3)
    numbers = np.repeat(np.arange(PLATES), WELLS)
    blocks = grams(noise, untreated, one_scale=True), grams(good, untreated, one_scale=False)
    _, choice = fit_regression(*blocks, percent.ravel(), numbers, numbers < 4, (0.0, 1.0))
    assert choice.weight == 0.0


def test_a_measure_in_another_unit_says_the_same() -> None:
    plates, _, untreated = plates_with(0.2, 3, seed=4)
    in_mm = [plate * np.array([1000.0, 1.0, 1e-3]) for plate in plates]
    assert np.allclose(
        grams(plates, untreated, one_scale=False), grams(in_mm, untreated, one_scale=False)
    )
    assert not np.allclose(
        grams(plates, untreated, one_scale=True), grams(in_mm, untreated, one_scale=True)
    )


def test_what_does_not_vary_among_untreated_wells_has_no_unit_and_says_nothing() -> None:
    plates, _, untreated = plates_with(0.2, 3, seed=5)
    with_constant = [np.concatenate([plate, np.ones((WELLS, 2, 1))], axis=2) for plate in plates]
    assert np.allclose(
        grams(plates, untreated, one_scale=False), grams(with_constant, untreated, one_scale=False)
    )


def test_it_is_the_kernel_ridge_of_scikit_learn() -> None:
    rng = np.random.default_rng(6)
    rows, percent = rng.normal(size=(40, 4)), rng.uniform(0, 100, 40)
    taught = np.arange(40) < 30
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    similarity = kernel_matrix(rows @ rows.T, taught, RegressionSettings(1.0, "rbf", 0.1, 2.0))
    gamma = 1 / (2 * 2.0 * np.median(squares[:30, :30]))
    expected = (
        KernelRidge(alpha=0.1, kernel="rbf", gamma=gamma)
        .fit(rows[:30], percent[:30] - percent[:30].mean())
        .predict(rows[30:])
        + percent[:30].mean()
    )
    assert predict_percent(similarity, percent, taught, ~taught, 0.1) == pytest.approx(expected)
