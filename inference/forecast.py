"""What a well would have become untreated: learned from untreated wells, from the days up to dosing only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.ports import Forecast, Forecaster

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RidgeForecaster:
    """Ridge regression of the readout on how a well differed from its fellows before dosing.

    The strength is chosen by leave-one-out error among the wells it learns from (closed form, Hastie et al., *Elements*, eq. 7.64).
    An infinite strength is among the choices: it forecasts the mean of the untreated wells, which is right where the past says nothing.
    """

    strengths: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)  # in units of the inputs' mean variance × wells

    def fit(self, past: Array, readout: Array) -> Forecast:
        """Learn from the (n, P) past and (n, K) readout of untreated wells."""
        n = len(past)
        past_mean, readout_mean = past.mean(axis=0), readout.mean(axis=0)
        left, singular, right = np.linalg.svd(past - past_mean, full_matrices=False)
        variance = singular**2
        response = left.T @ (readout - readout_mean)  # (rank, K)

        def shrinkage(strength: float) -> Array:
            if np.isinf(strength) or variance.sum() == 0:
                return np.zeros_like(variance)
            return np.asarray(variance / (variance + strength * variance.mean()))

        def left_out_error(strength: float) -> float:
            shrunk = shrinkage(strength)
            leverage = 1 / n + (left**2) @ shrunk
            if leverage.max() > 1 - 1e-9:  # a well that is forecast from itself alone tells nothing
                return np.inf
            error = (readout - readout_mean - left @ (shrunk[:, None] * response)) / (1 - leverage)[:, None]
            return float((error**2).sum())

        kept = shrinkage(min(self.strengths, key=left_out_error))
        inverse = np.divide(kept, singular, out=np.zeros_like(kept), where=singular > 0)
        coefficients = right.T @ (inverse[:, None] * response)  # (P, K)
        return lambda wells: readout_mean + (wells - past_mean) @ coefficients


def forecast_untreated(forecaster: Forecaster, past: Array, readout: Array, untreated: npt.NDArray[np.bool_]) -> Array:
    """Return the (N, K) forecast of every well; that of an untreated well is learned without it.

    Without that, untreated wells would lie closer to their forecast than any new well, and every treated well would look active.
    """
    forecast = forecaster.fit(past[untreated], readout[untreated])(past)
    for well in np.flatnonzero(untreated):
        others = untreated.copy()
        others[well] = False
        forecast[well] = forecaster.fit(past[others], readout[others])(past[[well]])[0]
    return forecast
