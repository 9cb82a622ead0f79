"""Forecasters that predict the untreated readout of a well from its days up to dosing.

They are trained on untreated wells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.ports import EarlierWells, Forecast, Forecaster
from schemas.arrays import BoolArray, Float64Array

MAX_LEVERAGE = 1 - 1e-6  # 1 would mean that a well determines its own forecast
ROUNDING_ERROR = 1e-12
"""Relative size of numerical rounding errors."""
PENALTY_STRENGTHS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)
"""Candidate strengths of the penalty; an infinite strength forecasts the mean of the untreated
wells, which is best if the past contains no information.
"""


@dataclass(frozen=True)
class RidgeForecaster:
    """Ridge regression of the readout on the differences between wells before dosing.

    The penalty shrinks the slope towards a multiple of the identity (the persistence), not only
    towards 0: with few untreated wells, wells are expected to keep their differences. Persistence,
    strength and the weight of other plates are selected by the leave-one-out error of all wells
    (closed form, Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*, eq.
    7.64). Wells of other plates, centred per plate, contribute to the slope; the mean readout is
    that of this plate alone.
    """

    strengths: tuple[float, ...] = PENALTY_STRENGTHS
    """Candidate strengths in units of the inputs' mean variance × wells."""
    persistences: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Candidate persistences."""
    shares: tuple[float, ...] = (
        0.0,
        0.2,
        1.0,
    )
    """Candidate weights of a well of an equally varying plate relative to a well of this plate."""

    def fit(
        self, past: Float64Array, readout: Float64Array, earlier: Sequence[EarlierWells] = ()
    ) -> Forecast:
        """Return a Forecast from past (n, P) and readout (n, K) of untreated and earlier wells.

        See :meth:`inference.ports.Forecaster.fit`.
        """
        past_mean, readout_mean = past.mean(axis=0), readout.mean(axis=0)
        plates = [EarlierWells(past - past_mean, readout - readout_mean), *earlier]
        wells = [len(plate.past) for plate in plates]
        inputs = np.concatenate([plate.past for plate in plates])
        outputs = np.concatenate([plate.readout for plate in plates])
        similarity = np.repeat([plate.similarity for plate in plates], wells)
        mean_leverage = np.repeat(np.divide(1, wells), wells)
        is_own = np.arange(len(inputs)) < len(past)
        best_errors, best_error = np.zeros_like(readout), np.inf
        best_slope = np.zeros((past.shape[1], readout.shape[1]))
        for share in self.shares if earlier else (0.0,):
            weights = np.where(is_own, 1.0, share * similarity)
            variance, directions = np.linalg.eigh((inputs.T * weights) @ inputs)
            varies = variance > ROUNDING_ERROR * max(float(variance[-1]), np.finfo(float).tiny)
            unit = float(variance[varies].sum()) / min(len(past), len(variance))
            projected = inputs @ directions
            leverages = weights[:, None] * projected**2
            inverses = [
                np.divide(
                    1.0,
                    variance + strength * unit,
                    out=np.zeros_like(variance),
                    where=varies & np.isfinite(strength),
                )
                for strength in self.strengths
            ]
            # A well that is left out of the slope and of its plate's mean has a larger error.
            left_out = [
                (1 - np.minimum(mean_leverage + leverages @ inverse, MAX_LEVERAGE))[:, None]
                for inverse in inverses
            ]
            for persistence in self.persistences:
                target = outputs - persistence * inputs[:, : readout.shape[1]]
                moment = (projected.T * weights) @ target
                for inverse, share_left in zip(inverses, left_out, strict=True):
                    slope = inverse[:, None] * moment
                    errors = (target - projected @ slope) / share_left
                    error = float(similarity @ (errors**2).sum(axis=1))
                    if error < best_error:
                        best_errors, best_error = errors[: len(past)], error
                        best_slope = directions @ slope + persistence * np.eye(*slope.shape)
        return Forecast(
            predict=lambda wells: readout_mean + (wells - past_mean) @ best_slope,
            left_out=readout - best_errors,
        )


@dataclass(frozen=True)
class KernelForecaster:
    """Kernel ridge regression with a Gaussian kernel, for readouts that are not linear in the past.

    This is the mean of a Gaussian process. Width and strength are selected by the leave-one-out
    error (closed form; Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 5.4.2).
    Other plates are not used.
    """

    widths: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Candidate kernel widths in units of the median distance between wells."""
    strengths: tuple[float, ...] = PENALTY_STRENGTHS
    """Candidate strengths in units of the kernel's mean eigenvalue."""

    def fit(
        self, past: Float64Array, readout: Float64Array, earlier: Sequence[EarlierWells] = ()
    ) -> Forecast:
        """Return a Forecast from past (n, P) and readout (n, K) of untreated wells.

        See :meth:`inference.ports.Forecaster.fit`.
        """
        del earlier
        n, mean = len(past), readout.mean(axis=0)
        distances = _squared_distances(past, past)
        median_distance = float(np.median(distances[np.triu_indices(n, 1)])) or 1.0
        best: tuple[float, float, Float64Array, Float64Array] | None = (
            None  # squared error, width², dual weights, left-out errors
        )
        for width in self.widths:
            kernel = _centre_kernel(np.exp(-distances / (2 * median_distance * width**2)))
            values, vectors = np.linalg.eigh(kernel)
            values = np.maximum(values, 0.0)
            for strength in self.strengths:
                inverse = np.divide(
                    1.0,
                    values + strength * max(values.mean(), ROUNDING_ERROR),
                    out=np.zeros_like(values),
                    where=np.isfinite(strength),
                )
                smoother = (vectors * (values * inverse)) @ vectors.T + 1 / n
                left_out_errors = (readout - smoother @ readout) / (
                    1 - np.minimum(np.diag(smoother), MAX_LEVERAGE)
                )[:, None]
                squared = float((left_out_errors**2).sum())
                if best is None or squared < best[0]:
                    best = (
                        squared,
                        median_distance * width**2,
                        (vectors * inverse) @ vectors.T @ (readout - mean),
                        left_out_errors,
                    )
        assert best is not None  # noqa: S101 - narrows the type: there is at least one width and strength
        _, squared_width, weights, errors = best
        training_kernel = np.exp(-distances / (2 * squared_width))

        def predict(wells: Float64Array) -> Float64Array:
            kernel = np.exp(-_squared_distances(wells, past) / (2 * squared_width))
            centred = (
                kernel
                - kernel.mean(axis=1, keepdims=True)
                - training_kernel.mean(axis=0)
                + training_kernel.mean()
            )
            return np.asarray(mean + centred @ weights)

        return Forecast(predict=predict, left_out=readout - errors)


@dataclass(frozen=True)
class DriftForecaster:
    """Forecast that a well keeps its difference from the others and changes like the mean well."""

    def fit(
        self, past: Float64Array, readout: Float64Array, earlier: Sequence[EarlierWells] = ()
    ) -> Forecast:
        """Return a Forecast from past (n, P) and readout (n, K) of untreated wells.

        See :meth:`inference.ports.Forecaster.fit`.
        """
        del earlier
        start = past[:, : readout.shape[1]]
        change = readout - start
        left_out_change = (change.sum(axis=0) - change) / (len(change) - 1)
        return Forecast(
            predict=lambda wells: wells[:, : readout.shape[1]] + change.mean(axis=0),
            left_out=start + left_out_change,
        )


@dataclass(frozen=True)
class PersistenceForecaster:
    """Forecast that a well does not change."""

    def fit(
        self, past: Float64Array, readout: Float64Array, earlier: Sequence[EarlierWells] = ()
    ) -> Forecast:
        """Return a Forecast from past (n, P) and readout (n, K) of untreated wells.

        See :meth:`inference.ports.Forecaster.fit`.
        """
        del earlier
        return Forecast(
            predict=lambda wells: wells[:, : readout.shape[1]], left_out=past[:, : readout.shape[1]]
        )


FORECASTERS: Mapping[str, Forecaster] = {
    "ridge": RidgeForecaster(),
    "kernel": KernelForecaster(),
    "drift": DriftForecaster(),
    "persistence": PersistenceForecaster(),
    "mean": RidgeForecaster(strengths=(np.inf,), persistences=(0.0,)),
}
"""Forecasters by the name in the settings; ``mean`` forecasts the mean untreated readout."""


def leave_one_out_residuals(
    forecaster: Forecaster,
    past: Float64Array,
    readout: Float64Array,
    training_wells: BoolArray,
    earlier: Sequence[EarlierWells] = (),
) -> Float64Array:
    """Return (N, K) residuals of a Forecaster on past (N, P) and readout (N, K), by training wells.

    Residuals are readouts minus forecasts.

    The forecast of a training well is trained on the other training wells. Otherwise untreated
    wells would be closer to their forecasts than new wells, and every treated well would appear to
    depart.

    Parameters
    ----------
    forecaster
        Untrained forecaster.
    past, readout
        (N, P) inputs and (N, K) readouts of all wells.
    training_wells
        (N,), True for the untreated wells that train the forecaster.
    earlier
        Untreated wells of earlier plates.
    """
    forecast = forecaster.fit(past[training_wells], readout[training_wells], earlier)
    residual = readout - forecast.predict(past)
    residual[training_wells] = readout[training_wells] - forecast.left_out
    return residual


def _squared_distances(one: Float64Array, other: Float64Array) -> Float64Array:
    """Return (n, m) squared distances between rows (n, K) and rows (m, K)."""
    return np.asarray(((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2))


def _centre_kernel(kernel: Float64Array) -> Float64Array:
    """Return a kernel matrix that is centred in feature space."""
    return np.asarray(
        kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()
    )
