"""What a well would have become untreated: learned from untreated wells, from the days up to dosing only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    shares: tuple[float, ...] = (
        0.0,
        0.2,
        1.0,
    )  # of a well of an equally varying plate beside one of this plate

    def fit(self, past: Array, readout: Array, earlier: Sequence[Earlier] = ()) -> Forecast:
        """Learn as the port says."""
        past_mean, readout_mean = past.mean(axis=0), readout.mean(axis=0)
        plates = [Earlier(past - past_mean, readout - readout_mean), *earlier]
        wells = [len(plate.past) for plate in plates]
        inputs, outputs = (
            np.concatenate([plate.past for plate in plates]),
            np.concatenate([plate.readout for plate in plates]),
        )
        likeness, of_mean = (
            np.repeat([plate.likeness for plate in plates], wells),
            np.repeat(np.divide(1, wells), wells),
        )
        is_own = np.arange(len(inputs)) < len(past)
        best, best_error, best_slope = (
            np.zeros_like(readout),
            np.inf,
            np.zeros((past.shape[1], readout.shape[1])),
        )
        for share in self.shares if earlier else (0.0,):
            weights = np.where(is_own, 1.0, share * likeness)
            variance, turn = np.linalg.eigh((inputs.T * weights) @ inputs)
            varies = variance > ROUNDING * max(float(variance[-1]), np.finfo(float).tiny)
            unit = float(variance[varies].sum()) / min(len(past), len(variance))
            turned = inputs @ turn
            leverages = weights[:, None] * turned**2
            for persistence, strength in product(self.persistences, self.strengths):
                beyond = outputs - persistence * inputs[:, : readout.shape[1]]
                shrunk = np.divide(
                    1.0,
                    variance + strength * unit,
                    out=np.zeros_like(variance),
                    where=varies & np.isfinite(strength),
                )
                slope = shrunk[:, None] * ((turned.T * weights) @ beyond)
                # What each well is off by when it is left out of the slope and of its plate's mean.
                errors = (beyond - turned @ slope) / (
                    1 - np.minimum(of_mean + leverages @ shrunk, HIGHEST_LEVERAGE)
                )[:, None]
                error = float(likeness @ (errors**2).sum(axis=1))
                if error < best_error:
                    best, best_error, best_slope = (
                        errors[: len(past)],
                        error,
                        turn @ slope + persistence * np.eye(*slope.shape),
                    )
        return Forecast(
            of=lambda wells: readout_mean + (wells - past_mean) @ best_slope,
            left_out=readout - best,
        )


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
        best: tuple[float, float, Array, Array] | None = (
            None  # squared error, width², dual weights, left-out errors
        )
        for width in self.widths:
            kernel = _centred(np.exp(-distances / (2 * typical * width**2)))
            values, vectors = np.linalg.eigh(kernel)
            values = np.maximum(values, 0.0)
            for strength in self.strengths:
                dual = np.divide(
                    1.0,
                    values + strength * max(values.mean(), ROUNDING),
                    out=np.zeros_like(values),
                    where=np.isfinite(strength),
                )
                smoother = (vectors * (values * dual)) @ vectors.T + 1 / n
                left_out_errors = (readout - smoother @ readout) / (
                    1 - np.minimum(np.diag(smoother), HIGHEST_LEVERAGE)
                )[:, None]
                squared = float((left_out_errors**2).sum())
                if best is None or squared < best[0]:
                    best = (
                        squared,
                        typical * width**2,
                        (vectors * dual) @ vectors.T @ (readout - mean),
                        left_out_errors,
                    )
        assert best is not None  # noqa: S101 - narrows the type: there is at least one width and strength
        _, squared_width, weights, errors = best
        plain = np.exp(-distances / (2 * squared_width))

        def of(wells: Array) -> Array:
            kernel = np.exp(-_squared_distances(wells, past) / (2 * squared_width))
            centred = (
                kernel - kernel.mean(axis=1, keepdims=True) - plain.mean(axis=0) + plain.mean()
            )
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
        return Forecast(
            of=lambda wells: wells[:, : readout.shape[1]] + moved.mean(axis=0),
            left_out=start + others,
        )


@dataclass(frozen=True)
class PersistenceForecaster:
    """A well stays where it was."""

    def fit(self, past: Array, readout: Array, earlier: Sequence[Earlier] = ()) -> Forecast:
        """Learn as the port says."""
        del earlier
        return Forecast(
            of=lambda wells: wells[:, : readout.shape[1]], left_out=past[:, : readout.shape[1]]
        )


FORECASTERS: Mapping[str, Forecaster] = {
    "ridge": RidgeForecaster(),
    "kernel": KernelForecaster(),
    "drift": DriftForecaster(),
    "persistence": PersistenceForecaster(),
    "mean": RidgeForecaster(strengths=(np.inf,), persistences=(0.0,)),
}
"""By the name that a setting gives; ``mean`` forecasts the mean untreated well: the readout alone."""


def residual_of(
    forecaster: Forecaster,
    past: Array,
    readout: Array,
    teachers: npt.NDArray[np.bool_],
    earlier: Sequence[Earlier] = (),
) -> Array:
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
    return np.asarray(
        kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()
    )
