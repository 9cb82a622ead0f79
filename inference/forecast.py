"""What a well would have become untreated: learned from untreated wells, from the days up to dosing only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from inference.ports import Earlier, Forecast, Forecaster

Array = npt.NDArray[np.float64]
HIGHEST_LEVERAGE = 1 - 1e-6  # a well that is forecast from itself alone tells nothing
ROUNDING = 1e-12
STRENGTHS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)
"""Of the penalty; an infinite one forecasts the mean of the untreated wells, which is right where the past says nothing."""


@dataclass(frozen=True)
class RidgeForecaster:
    """Ridge regression of the readout on how a well differed from its fellows before dosing.

    Its penalty draws the slope not only to 0, where wells forget how they differed, but to a persistence: where nothing else can be learned from a few
    untreated wells, they stay as different as they were. Persistence, strength and the share of other plates are chosen by leave-one-out error of all
    wells (closed form, Hastie et al., *Elements*, eq. 7.64). Wells of other plates teach the slope, each plate about its own mean; what untreated wells of
    this plate became on average it tells itself.
    """

    strengths: tuple[float, ...] = STRENGTHS  # in units of the inputs' mean variance × wells
    persistences: tuple[float, ...] = (0.0, 0.5, 1.0)
    shares: tuple[float, ...] = (0.0, 0.2, 1.0)  # of a well of an equally varying plate beside one of this plate

    def fit(self, past: Array, readout: Array, earlier: Sequence[Earlier] = ()) -> Forecast:
        """Learn as the port says."""
        past_mean, readout_mean = past.mean(axis=0), readout.mean(axis=0)
        own = Earlier(past - past_mean, readout - readout_mean)
        best, best_error, best_slope = np.zeros_like(readout), np.inf, np.zeros((past.shape[1], readout.shape[1]))
        for share, persistence in product(self.shares if earlier else (0.0,), self.persistences):
            plates, weights = [_departed(plate, persistence) for plate in (own, *earlier)], [1.0, *(share * plate.likeness for plate in earlier)]
            variance, turn, response = _normal_equations(plates, weights)
            varies = variance > ROUNDING * max(float(variance[-1]), np.finfo(float).tiny)
            unit = float(variance[varies].sum()) / min(len(past), len(variance))
            for strength in self.strengths:
                shrunk = np.divide(1.0, variance + strength * unit, out=np.zeros_like(variance), where=varies & np.isfinite(strength))
                slope = turn @ (shrunk[:, None] * response)
                off = [_left_out_errors(plate, slope, turn, weight * shrunk) for plate, weight in zip(plates, weights, strict=True)]
                error = sum(plate.likeness * float((errors**2).sum()) for plate, errors in zip(plates, off, strict=True))
                if error < best_error:
                    best, best_error, best_slope = off[0], error, slope + persistence * np.eye(*slope.shape)
        return Forecast(of=lambda wells: readout_mean + (wells - past_mean) @ best_slope, left_out=readout - best)


def _departed(plate: Earlier, persistence: float) -> Earlier:
    """Return a plate with what of its readout lies beyond a share of how its wells differed."""
    return replace(plate, readout=plate.readout - persistence * plate.past[:, : plate.readout.shape[1]])


def _normal_equations(plates: Sequence[Earlier], weights: Sequence[float]) -> tuple[Array, Array, Array]:
    """Return the eigenvalues (P,) and eigenvectors (P, P) of the wells' Gram matrix, and their products with the readout, (P, K), in these."""
    gram = sum((weight * plate.past.T @ plate.past for plate, weight in zip(plates, weights, strict=True)), np.zeros(()))
    products = sum((weight * plate.past.T @ plate.readout for plate, weight in zip(plates, weights, strict=True)), np.zeros(()))
    variance, turn = np.linalg.eigh(gram)
    return variance, turn, turn.T @ products


def _left_out_errors(plate: Earlier, slope: Array, turn: Array, shrunk: Array) -> Array:
    """Return (n, K): what each well of a plate is off by when it is left out of the slope and of its plate's mean."""
    leverage = np.minimum(1 / len(plate.past) + ((plate.past @ turn) ** 2) @ shrunk, HIGHEST_LEVERAGE)
    return np.asarray((plate.readout - plate.past @ slope) / (1 - leverage)[:, None])


@dataclass(frozen=True)
class KernelForecaster:
    """Kernel ridge regression with a Gaussian kernel: the mean of a Gaussian process, for fates that are no straight line of the past.

    Width and strength are chosen by leave-one-out error (closed form; Rasmussen and Williams, *Gaussian Processes*, 5.4.2). It learns from the plate alone.
    """

    widths: tuple[float, ...] = (1.0, 2.0, 4.0)  # in units of the median distance between wells
    strengths: tuple[float, ...] = STRENGTHS  # in units of the kernel's mean eigenvalue

    def fit(self, past: Array, readout: Array, earlier: Sequence[Earlier] = ()) -> Forecast:
        """Learn as the port says."""
        del earlier
        n, mean = len(past), readout.mean(axis=0)
        distances = _squared_distances(past, past)
        typical = float(np.median(distances[np.triu_indices(n, 1)])) or 1.0
        best: tuple[float, float, Array, Array] | None = None  # squared error, width², dual weights, left-out errors
        for width in self.widths:
            kernel = _centred(np.exp(-distances / (2 * typical * width**2)))
            values, vectors = np.linalg.eigh(kernel)
            values = np.maximum(values, 0.0)
            for strength in self.strengths:
                dual = np.divide(1.0, values + strength * max(values.mean(), ROUNDING), out=np.zeros_like(values), where=np.isfinite(strength))
                smoother = (vectors * (values * dual)) @ vectors.T + 1 / n
                left_out_errors = (readout - smoother @ readout) / (1 - np.minimum(np.diag(smoother), HIGHEST_LEVERAGE))[:, None]
                squared = float((left_out_errors**2).sum())
                if best is None or squared < best[0]:
                    best = squared, typical * width**2, (vectors * dual) @ vectors.T @ (readout - mean), left_out_errors
        assert best is not None  # noqa: S101 - narrows the type: there is at least one width and strength
        _, squared_width, weights, errors = best
        plain = np.exp(-distances / (2 * squared_width))

        def of(wells: Array) -> Array:
            kernel = np.exp(-_squared_distances(wells, past) / (2 * squared_width))
            centred = kernel - kernel.mean(axis=1, keepdims=True) - plain.mean(axis=0) + plain.mean()
            return np.asarray(mean + centred @ weights)

        return Forecast(of=of, left_out=readout - errors)


@dataclass(frozen=True)
class DriftForecaster:
    """A well stays as different from its fellows as it was, and moves as untreated wells move on average."""

    def fit(self, past: Array, readout: Array, earlier: Sequence[Earlier] = ()) -> Forecast:
        """Learn as the port says."""
        del earlier
        start = past[:, : readout.shape[1]]
        moved = readout - start
        others = (moved.sum(axis=0) - moved) / (len(moved) - 1)
        return Forecast(of=lambda wells: wells[:, : readout.shape[1]] + moved.mean(axis=0), left_out=start + others)


@dataclass(frozen=True)
class PersistenceForecaster:
    """A well stays where it was."""

    def fit(self, past: Array, readout: Array, earlier: Sequence[Earlier] = ()) -> Forecast:
        """Learn as the port says."""
        del earlier
        return Forecast(of=lambda wells: wells[:, : readout.shape[1]], left_out=past[:, : readout.shape[1]])


FORECASTERS: Mapping[str, Forecaster] = {
    "ridge": RidgeForecaster(),
    "kernel": KernelForecaster(),
    "drift": DriftForecaster(),
    "persistence": PersistenceForecaster(),
    "mean": RidgeForecaster(strengths=(np.inf,), persistences=(0.0,)),
}
"""By the name that a setting gives; ``mean`` forecasts the mean untreated well: the readout alone."""


def residual_of(forecaster: Forecaster, past: Array, readout: Array, teachers: npt.NDArray[np.bool_], earlier: Sequence[Earlier] = ()) -> Array:
    """Return (N, K): the readout of every well less its forecast, learned from ``teachers``; that of a teacher is learned from the others.

    In-sample, untreated wells would lie closer to their forecast than any new well, and every treated well would look active.
    """
    forecast = forecaster.fit(past[teachers], readout[teachers], earlier)
    residual = readout - forecast.of(past)
    residual[teachers] = readout[teachers] - forecast.left_out
    return residual


def _squared_distances(one: Array, other: Array) -> Array:
    return np.asarray(((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2))


def _centred(kernel: Array) -> Array:
    return np.asarray(kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean())
