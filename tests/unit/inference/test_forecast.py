import numpy as np
import pytest

from inference.forecast import RidgeForecaster, residual_of


def wells(seed: int = 0, n: int = 20, inputs: int = 4, outputs: int = 3, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(n, inputs))
    return past, past @ rng.normal(size=(inputs, outputs)) + 5 + noise * rng.normal(size=(n, outputs))


def test_a_linear_fate_is_forecast() -> None:
    past, readout = wells(n=40)
    forecast = RidgeForecaster().fit(past[:20], readout[:20]).of(past[20:])
    assert np.abs(forecast - readout[20:]).max() < 0.5
    assert np.abs(readout[20:] - readout[:20].mean(axis=0)).max() > 2


def test_where_the_past_says_nothing_the_mean_untreated_well_is_forecast() -> None:
    rng = np.random.default_rng(1)
    past, readout = rng.normal(size=(15, 10)), rng.normal(size=(15, 3))
    forecast = RidgeForecaster().fit(past, readout).of(past)
    np.testing.assert_allclose(forecast, np.tile(readout.mean(axis=0), (15, 1)), atol=1e-9)


@pytest.mark.parametrize("strength", [0.1, 3.0, np.inf])
def test_left_out_forecasts_equal_those_of_a_fit_without_the_well(strength: float) -> None:
    past, readout = wells(n=9)
    forecaster = RidgeForecaster(strengths=(strength,))
    centred = past - past.mean(axis=0)
    penalty = 0 if np.isinf(strength) else strength * (np.linalg.svd(centred, compute_uv=False) ** 2).mean()
    for well in range(len(past)):
        others = np.delete(np.arange(len(past)), well)
        x, y = past[others], readout[others]
        slope = (
            np.zeros((4, 3)) if np.isinf(strength) else np.linalg.solve(centred_gram(x) + penalty * np.eye(4), (x - x.mean(axis=0)).T @ (y - y.mean(axis=0)))
        )
        plain = y.mean(axis=0) + (past[well] - x.mean(axis=0)) @ slope
        np.testing.assert_allclose(forecaster.fit(past, readout).left_out[well], plain, atol=1e-9)


def centred_gram(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=0)
    return np.asarray(centred.T @ centred)


def test_a_past_that_never_varies_gives_the_mean() -> None:
    readout = np.array([[1.0], [2.0], [6.0]])
    assert RidgeForecaster().fit(np.zeros((3, 2)), readout).of(np.zeros((1, 2))) == pytest.approx(3.0)


def test_teachers_lie_as_far_from_their_forecast_as_new_wells_do() -> None:
    far = []
    for seed in range(40):
        past, readout = wells(seed, n=40, inputs=10, noise=1.0)
        teachers = np.arange(40) < 20
        residual = residual_of(RidgeForecaster(), past, readout, teachers)
        far.append((np.linalg.norm(residual[teachers], axis=1).mean(), np.linalg.norm(residual[~teachers], axis=1).mean()))
    taught, new = np.mean(far, axis=0)
    assert taught == pytest.approx(new, rel=0.05)
