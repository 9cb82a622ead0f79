"""What a well would have become untreated: learned from untreated wells, from the days up to dosing only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.ports import Forecast, Forecaster

Array = npt.NDArray[np.float64]
HIGHEST_LEVERAGE = 1 - 1e-6  # a well that is forecast from itself alone tells nothing


@dataclass(frozen=True)
class RidgeForecaster:
    """Ridge regression of the readout on how a well differed from its fellows before dosing.

    The strength is chosen by leave-one-out error among the wells it learns from (closed form, Hastie et al., *Elements*, eq. 7.64).
    An infinite strength is among the choices: it forecasts the mean of the untreated wells, which is right where the past says nothing.
    """

    strengths: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)  # in units of the inputs' mean variance × wells

    def fit(self, past: Array, readout: Array) -> Forecast:
        """Learn from the (n, P) past and (n, K) readout of untreated wells."""
        n = len(past)
        past_mean, readout_mean = past.mean(axis=0), readout.mean(axis=0)
        left, singular, right = np.linalg.svd(past - past_mean, full_matrices=False)
        variance = singular**2
        deviation = readout - readout_mean
        response = left.T @ deviation  # (rank, K)

        def left_out_errors(shrunk: Array) -> Array:
            leverage = np.minimum(1 / n + (left**2) @ shrunk, HIGHEST_LEVERAGE)
            return np.asarray((deviation - left @ (shrunk[:, None] * response)) / (1 - leverage)[:, None])

        choices = [np.zeros_like(variance) if np.isinf(strength) else _shrinkage(variance, strength) for strength in self.strengths]
        errors = [left_out_errors(shrunk) for shrunk in choices]
        best = int(np.argmin([(error**2).sum() for error in errors]))
        inverse = np.divide(choices[best], singular, out=np.zeros_like(singular), where=singular > 0)
        coefficients = right.T @ (inverse[:, None] * response)  # (P, K)
        return Forecast(of=lambda wells: readout_mean + (wells - past_mean) @ coefficients, left_out=readout - errors[best])


def _shrinkage(variance: Array, strength: float) -> Array:
    return np.asarray(np.divide(variance, variance + strength * variance.mean(), out=np.zeros_like(variance), where=variance > 0))


def residual_of(forecaster: Forecaster, past: Array, readout: Array, teachers: npt.NDArray[np.bool_]) -> Array:
    """Return (N, K): the readout of every well less its forecast, learned from ``teachers``; that of a teacher is learned from the others.

    In-sample, untreated wells would lie closer to their forecast than any new well, and every treated well would look active.
    """
    forecast = forecaster.fit(past[teachers], readout[teachers])
    residual = readout - forecast.of(past)
    residual[teachers] = readout[teachers] - forecast.left_out
    return residual
