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
    """Return features (N, 2, D) of each plate, percent (P, N), and untreated wells (N,).

    The percent changes one feature; each plate has a random offset.
    """
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


def test_an_effect_is_predicted_on_other_plates_with_any_offset() -> None:
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


def test_the_percent_of_other_plates_is_not_used() -> None:
    plates, percent, untreated = plates_with(0.2, 5, seed=1)
    numbers = np.repeat(np.arange(PLATES), WELLS)
    products = grams(plates, untreated, one_scale=True)
    hidden = np.where(numbers < 4, percent.ravel(), np.nan)
    found, _ = fit_regression(products, None, hidden, numbers, numbers < 4, (1.0,))
    assert np.isfinite(found).all()


def test_a_useless_embedding_gets_no_weight_next_to_good_measures() -> None:
    good, percent, untreated = plates_with(0.3, 3, seed=2)
    noise, _, _ = plates_with(0.0, 40, seed=3)
    numbers = np.repeat(np.arange(PLATES), WELLS)
    blocks = grams(noise, untreated, one_scale=True), grams(good, untreated, one_scale=False)
    _, best = fit_regression(*blocks, percent.ravel(), numbers, numbers < 4, (0.0, 1.0))
    assert best.weight == 0.0


def test_the_unit_of_a_measure_does_not_matter() -> None:
    plates, _, untreated = plates_with(0.2, 3, seed=4)
    in_mm = [plate * np.array([1000.0, 1.0, 1e-3]) for plate in plates]
    assert np.allclose(
        grams(plates, untreated, one_scale=False), grams(in_mm, untreated, one_scale=False)
    )
    assert not np.allclose(
        grams(plates, untreated, one_scale=True), grams(in_mm, untreated, one_scale=True)
    )


def test_a_value_that_is_constant_in_untreated_wells_is_ignored() -> None:
    plates, _, untreated = plates_with(0.2, 3, seed=5)
    with_constant = [np.concatenate([plate, np.ones((WELLS, 2, 1))], axis=2) for plate in plates]
    assert np.allclose(
        grams(plates, untreated, one_scale=False), grams(with_constant, untreated, one_scale=False)
    )


def test_the_prediction_is_that_of_scikit_learn_s_kernel_ridge() -> None:
    rng = np.random.default_rng(6)
    rows, percent = rng.normal(size=(40, 4)), rng.uniform(0, 100, 40)
    training = np.arange(40) < 30
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    similarity = kernel_matrix(rows @ rows.T, training, RegressionSettings(1.0, "rbf", 0.1, 2.0))
    gamma = 1 / (2 * 2.0 * np.median(squares[:30, :30]))
    expected = (
        KernelRidge(alpha=0.1, kernel="rbf", gamma=gamma)
        .fit(rows[:30], percent[:30] - percent[:30].mean())
        .predict(rows[30:])
        + percent[:30].mean()
    )
    assert predict_percent(similarity, percent, training, ~training, 0.1) == pytest.approx(expected)
