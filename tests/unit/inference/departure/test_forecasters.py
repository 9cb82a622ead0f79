import numpy as np
import pytest

from inference.departure.forecasters import (
    DriftForecaster,
    KernelForecaster,
    PersistenceForecaster,
    RidgeForecaster,
    leave_one_out_residuals,
)
from inference.ports import EarlierWells


def wells(
    seed: int = 0, n: int = 20, inputs: int = 4, outputs: int = 3, noise: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(n, inputs))
    return past, past @ rng.normal(size=(inputs, outputs)) + 5 + noise * rng.normal(
        size=(n, outputs)
    )


def test_a_linear_development_is_forecast() -> None:
    past, readout = wells(n=40)
    forecast = RidgeForecaster().fit(past[:20], readout[:20]).predict(past[20:])
    assert np.abs(forecast - readout[20:]).max() < 0.5
    assert np.abs(readout[20:] - readout[:20].mean(axis=0)).max() > 2


def test_without_information_in_the_past_the_mean_untreated_well_is_forecast() -> None:
    rng = np.random.default_rng(1)
    past, readout = rng.normal(size=(15, 10)), rng.normal(size=(15, 3))
    forecast = RidgeForecaster().fit(past, readout).predict(past)
    np.testing.assert_allclose(forecast, np.tile(readout.mean(axis=0), (15, 1)), atol=1e-9)


@pytest.mark.parametrize("strength", [0.1, 3.0, np.inf])
def test_left_out_forecasts_equal_those_of_a_fit_without_the_well(strength: float) -> None:
    past, readout = wells(n=9)
    forecaster = RidgeForecaster(strengths=(strength,), persistences=(0.0,))
    centred = past - past.mean(axis=0)
    penalty = (
        0
        if np.isinf(strength)
        else strength * (np.linalg.svd(centred, compute_uv=False) ** 2).mean()
    )
    for well in range(len(past)):
        others = np.delete(np.arange(len(past)), well)
        x, y = past[others], readout[others]
        slope = (
            np.zeros((4, 3))
            if np.isinf(strength)
            else np.linalg.solve(
                centred_gram(x) + penalty * np.eye(4), (x - x.mean(axis=0)).T @ (y - y.mean(axis=0))
            )
        )
        plain = y.mean(axis=0) + (past[well] - x.mean(axis=0)) @ slope
        np.testing.assert_allclose(forecaster.fit(past, readout).left_out[well], plain, atol=1e-9)


def centred_gram(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=0)
    return np.asarray(centred.T @ centred)


def test_a_past_that_never_varies_gives_the_mean() -> None:
    readout = np.array([[1.0], [2.0], [6.0]])
    assert RidgeForecaster().fit(np.zeros((3, 2)), readout).predict(
        np.zeros((1, 2))
    ) == pytest.approx(3.0)


def test_residuals_of_training_wells_are_as_large_as_those_of_new_wells() -> None:
    far = []
    for seed in range(40):
        past, readout = wells(seed, n=40, inputs=10, noise=1.0)
        training_wells = np.arange(40) < 20
        residual = leave_one_out_residuals(RidgeForecaster(), past, readout, training_wells)
        far.append(
            (
                np.linalg.norm(residual[training_wells], axis=1).mean(),
                np.linalg.norm(residual[~training_wells], axis=1).mean(),
            )
        )
    training, new = np.mean(far, axis=0)
    assert training == pytest.approx(new, rel=0.05)


def earlier_wells(
    slope: np.ndarray, n: int, rng: np.random.Generator, similarity: float = 1.0
) -> EarlierWells:
    past = rng.normal(size=(n, len(slope)))
    past -= past.mean(axis=0)
    readout = past @ slope + 0.3 * rng.normal(size=(n, slope.shape[1]))
    return EarlierWells(past, readout - readout.mean(axis=0), similarity)


@pytest.mark.parametrize("persistence", [0.0, 0.5])
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_left_out_forecasts_with_earlier_plates_equal_a_refit_with_an_intercept_for_each_plate(
    share: float, persistence: float
) -> None:
    rng = np.random.default_rng(3)
    past, readout = wells(n=8, noise=1.0)
    plates = [
        earlier_wells(rng.normal(size=(4, 3)), 7, rng, 0.5),
        earlier_wells(rng.normal(size=(4, 3)), 9, rng),
    ]
    strength = 0.3
    left_out = (
        RidgeForecaster(strengths=(strength,), persistences=(persistence,), shares=(share,))
        .fit(past, readout, plates)
        .left_out
    )
    gram = centred_gram(past) + sum(
        share * each.similarity * centred_gram(each.past) for each in plates
    )
    penalty = np.diag(
        [strength * np.trace(gram) / 4] * 4 + [0.0] * 3
    )  # slopes are shrunk, intercepts are not
    for well in range(len(past)):
        others = np.delete(np.arange(len(past)), well)
        x, y = (
            np.concatenate([past[others], *(each.past for each in plates)]),
            np.concatenate([readout[others], *(each.readout for each in plates)]),
        )
        plate = np.repeat(np.arange(3), [7, 7, 9])
        design = np.hstack([x, np.eye(3)[plate]])
        weights = np.array([1.0, share * 0.5, share])[plate]
        target = y - persistence * x[:, :3]
        fitted = np.linalg.solve(
            design.T @ (weights[:, None] * design) + penalty, design.T @ (weights[:, None] * target)
        )
        np.testing.assert_allclose(
            left_out[well],
            persistence * past[well, :3] + np.concatenate([past[well], [1, 0, 0]]) @ fitted,
            atol=1e-9,
        )


def test_earlier_plates_improve_the_slope_of_few_wells() -> None:
    rng, alone, helped = np.random.default_rng(5), [], []
    for _ in range(20):
        slope = rng.normal(size=(6, 3))
        past = rng.normal(size=(40, 6))
        readout = past @ slope + 7 + rng.normal(size=(40, 3))
        plates = [earlier_wells(slope, 18, rng) for _ in range(4)]
        for errors, earlier in ((alone, ()), (helped, plates)):
            errors.append(
                (
                    (
                        readout[8:]
                        - RidgeForecaster().fit(past[:8], readout[:8], earlier).predict(past[8:])
                    )
                    ** 2
                ).mean()
            )
    assert np.mean(helped) < 0.6 * np.mean(alone)


def test_a_plate_with_similarity_0_does_not_change_the_forecast() -> None:
    rng = np.random.default_rng(6)
    past, readout = wells(n=12)
    different = earlier_wells(rng.normal(size=(4, 3)), 60, rng, similarity=0.0)
    np.testing.assert_allclose(
        RidgeForecaster().fit(past, readout, [different]).predict(past),
        RidgeForecaster().fit(past, readout).predict(past),
        atol=1e-12,
    )
    nearly_different = earlier_wells(rng.normal(size=(4, 3)), 60, rng, similarity=1e-4)
    np.testing.assert_allclose(
        RidgeForecaster().fit(past, readout, [nearly_different]).predict(past),
        RidgeForecaster().fit(past, readout).predict(past),
        atol=0.05,
    )


@pytest.mark.parametrize("strength", [0.1, 3.0])
def test_kernel_forecasts_left_out_equal_those_of_a_fit_without_the_well(strength: float) -> None:
    past, readout = wells(n=9)
    left_out = KernelForecaster(widths=(1.0,), strengths=(strength,)).fit(past, readout).left_out
    distances = ((past[:, None] - past[None]) ** 2).sum(axis=2)
    kernel = np.exp(
        -distances / (2 * np.median([distances[i, j] for i in range(9) for j in range(i)]))
    )
    centring = np.eye(9) - 1 / 9
    penalty = strength * np.trace(centring @ kernel @ centring) / 9
    for well in range(9):
        others = np.delete(np.arange(9), well)
        bordered = np.block(
            [
                [kernel[np.ix_(others, others)] + penalty * np.eye(8), np.ones((8, 1))],
                [np.ones((1, 8)), np.zeros((1, 1))],
            ]
        )
        fitted = np.linalg.solve(bordered, np.vstack([readout[others], np.zeros((1, 3))]))
        np.testing.assert_allclose(
            left_out[well], np.append(kernel[well, others], 1.0) @ fitted, atol=1e-8
        )


def test_a_kernel_forecasts_a_nonlinear_development_better_than_ridge() -> None:
    past = np.random.default_rng(7).normal(size=(80, 2))
    readout = past[:, :1] ** 2
    errors = [
        np.abs(readout[40:] - each.fit(past[:40], readout[:40]).predict(past[40:])).mean()
        for each in (KernelForecaster(), RidgeForecaster())
    ]
    assert errors[0] < 0.5 * errors[1]


def test_a_kernel_forecast_of_equal_wells_is_the_mean() -> None:
    readout = np.array([[1.0], [2.0], [6.0]])
    assert KernelForecaster().fit(np.zeros((3, 2)), readout).predict(
        np.zeros((1, 2))
    ) == pytest.approx(3.0)


def test_the_forecast_from_few_wells_keeps_their_differences() -> None:
    rng = np.random.default_rng(8)
    past = rng.normal(size=(40, 8))
    readout = past + 3 + 0.3 * rng.normal(size=(40, 8))
    errors = [
        ((readout[5:] - each.fit(past[:5], readout[:5]).predict(past[5:])) ** 2).mean()
        for each in (RidgeForecaster(), RidgeForecaster(persistences=(0.0,)))
    ]
    assert errors[0] < 0.3 < errors[1]


def test_the_drift_forecast_adds_the_mean_change_of_the_other_wells() -> None:
    past, readout = wells(n=6, inputs=5)
    forecast = DriftForecaster().fit(past, readout)
    np.testing.assert_allclose(
        forecast.predict(past[:2]), past[:2, :3] + (readout - past[:, :3]).mean(axis=0)
    )
    for well in range(6):
        others = np.delete(np.arange(6), well)
        np.testing.assert_allclose(
            forecast.left_out[well], past[well, :3] + (readout - past[:, :3])[others].mean(axis=0)
        )


def test_the_persistence_forecast_is_the_past() -> None:
    past, readout = wells(n=6, inputs=5)
    forecast = PersistenceForecaster().fit(past, readout)
    np.testing.assert_array_equal(forecast.predict(past), past[:, :3])
    np.testing.assert_array_equal(forecast.left_out, past[:, :3])
