"""How far each well is from what it would have become untreated, on a scale where an untreated well has mean 0 and spread 1."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.forecast import Array, RidgeForecaster, residual_of
from inference.ports import Forecaster
from inference.reduced_space import ReducedSpace, reduce, usable
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.trajectory import Trajectories

FEWEST_UNTREATED = 3
"""With one well left out, two remain: the fewest that have a spread."""
FEWEST_UNTREATED_ROLLING = 6
"""While images of a day still come in, a spread from fewer wells is more than a third wrong, and would jump with each image."""

RIDGE = RidgeForecaster()
SPREAD_PSEUDO_WELLS = 5
ISOTROPIC_SHARE = 0.5
"""A direction in which wells did not differ before dosing may still vary untreated later: half the shape says so."""
LEAST_VARIANCE = 1e-4
"""Of an untreated residual, in squared spreads of all wells: below this, untreated wells are as good as equal."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Departures:
    """The wells that could be scored, in the order of the trajectories, and why others could not."""

    scores: Array  # (N,), NaN where not scored
    left_out: dict[str, str]  # well: reason; wells without an image of the day are not among them
    notes: tuple[str, ...]


def measure_departures(trajectories: Trajectories, *, dosing_day: int, day: int, forecaster: Forecaster = RIDGE) -> Departures:
    """Score every well that has an image of ``day`` and one from before dosing.

    Raises
    ------
    ProfileError
        If the days are the wrong way round or missing, too few untreated wells remain, or no feature varies.
    """
    before = _days_before(trajectories, dosing_day, day)
    with_tissue = np.array([group is not Group.BLANK for group in trajectories.groups])
    at_readout = trajectories.has(day) & with_tissue
    readable = usable(trajectories.on(day))
    had_past = np.any([usable(trajectories.on(earlier)) for earlier in before], axis=0)
    used = at_readout & readable & had_past
    reasons = np.where(readable, f"no image from before dosing (day {dosing_day} or earlier)", f"most features of day {day} are missing")
    left_out = {trajectories.wells[well]: str(reasons[well]) for well in np.flatnonzero(at_readout & ~used)}
    untreated = trajectories.untreated()[used]
    if untreated.sum() < FEWEST_UNTREATED:
        raise ProfileError(
            trajectories.plate,
            f"{untreated.sum()} untreated wells have an image of day {day} and one from before dosing; expected at least {FEWEST_UNTREATED}",
        )
    space = reduce(trajectories, used, before, day)
    scores = np.full(len(used), np.nan)
    scores[used] = departure_scores(space, untreated, forecaster)
    return Departures(scores, left_out, space.notes)


def departures_on(trajectories: Trajectories, *, dosing_day: int, day: int) -> dict[str, float]:
    """Return the departure of each well that can be scored on a day after dosing, for the rolling view; empty while too few untreated wells can."""
    seen = trajectories.has(day) & trajectories.untreated()
    if seen.sum() < FEWEST_UNTREATED_ROLLING:
        return {}
    try:
        scores = measure_departures(trajectories, dosing_day=dosing_day, day=day).scores
    except ProfileError:  # the ranking of the day says what is missing; the rolling view has nothing to show
        return {}
    return {well: float(score) for well, score in zip(trajectories.wells, scores, strict=True) if np.isfinite(score)}


def _days_before(trajectories: Trajectories, dosing_day: int, day: int) -> tuple[int, ...]:
    if day <= dosing_day:
        raise ProfileError(trajectories.plate, f"the readout day is {day}; expected a day after day {dosing_day}")
    days = ", ".join(map(str, trajectories.days)) or "none"
    if not trajectories.has(day).any():
        raise ProfileError(trajectories.plate, f"no image of the readout day {day}; days with images: {days}")
    before = tuple(earlier for earlier in trajectories.days if earlier <= dosing_day)
    if not before:
        raise ProfileError(trajectories.plate, f"no image of day {dosing_day} or earlier, from before dosing; days with images: {days}")
    return before


@dataclass(frozen=True, eq=False)
class Metric:
    """A weighted, shrunk Mahalanobis metric."""

    matrix: Array  # (K, K)
    weights: Array  # (K,), 0…1, of the directions in which the residuals vary

    @classmethod
    def of(cls, residual: Array, noise: Array, noise_wells: int) -> "Metric":
        """Weigh each direction by the share of its variance that is more than noise.

        Of residuals (n, K) whitened by a noise that so many wells tell, a direction of variance λ has the weight max(0, 1 − edge / λ): below the edge,
        n wells without any effect would vary as much, seen against that noise (the ratio of two covariances of few wells: Wachter, Ann. Stat. 8, 1980).
        Where no direction passes, all count alike.
        """
        n, k = residual.shape
        whitening = np.linalg.inv(np.linalg.cholesky(noise))
        whitened = residual @ whitening.T
        variance, directions = np.linalg.eigh(whitened.T @ whitened / n)
        of_wells, of_noise = k / n, k / (noise_wells + k)  # the noise has K pseudo-wells beside its own
        edge = ((1 + np.sqrt(of_wells + of_noise - of_wells * of_noise)) / (1 - of_noise)) ** 2
        weights = np.where(variance > edge, 1 - edge / np.maximum(variance, edge), 0.0)
        weights = weights if weights.any() else np.ones(k)
        turned = directions.T @ whitening
        return cls(turned.T @ (weights[:, None] * turned), weights)

    def lengths(self, residual: Array) -> Array:
        """Return (n,): the length of each residual."""
        return np.asarray(np.sqrt(np.einsum("nk,kl,nl->n", residual, self.matrix, residual)))

    @property
    def length_variance(self) -> float:
        """Variance of the length of a residual that is noise: Σw² / 2Σw, that of a chi variable where the weights are equal."""
        return float((self.weights**2).sum() / (2 * self.weights.sum()))


def departure_scores(space: ReducedSpace, untreated: Mask, forecaster: Forecaster) -> Array:
    """Return (n,): how far each well is from its forecast, in untreated spreads from the untreated mean.

    Each untreated well is left out of all that its own length rests on (forecast, noise and metric), as if it were a treated one.
    """
    shape = _shape_before_dosing(space.past)

    def measured_by(teachers: Mask) -> tuple[Array, Metric]:
        residual = residual_of(forecaster, space.past, space.readout, teachers)
        metric = Metric.of(residual, _noise(residual[teachers], shape), int(teachers.sum()))
        return metric.lengths(residual), metric

    lengths, metric = measured_by(untreated)
    for well in np.flatnonzero(untreated):
        others = untreated.copy()
        others[well] = False
        lengths[well] = measured_by(others)[0][well]
    return untreated_scale(lengths, untreated, metric)


def untreated_scale(lengths: Array, untreated: Mask, metric: Metric) -> Array:
    """Return lengths in untreated spreads from the untreated mean.

    A few wells do not know their own spread: it is moderated as by :data:`SPREAD_PSEUDO_WELLS` more of the spread that pure noise of this mean
    square has. That is also its floor, where untreated wells are all equal.
    """
    own = lengths[untreated]
    expected = metric.length_variance * max(1.0, (own**2).mean() / metric.weights.sum())
    freedom = len(own) - 1
    variance = (freedom * own.var(ddof=1) + SPREAD_PSEUDO_WELLS * expected) / (freedom + SPREAD_PSEUDO_WELLS)
    return np.asarray((lengths - own.mean()) / np.sqrt(variance))


def _shape_before_dosing(past: Array) -> Array:
    """Return (K, K): the covariance of all wells before dosing, of mean variance 1, mixed with the identity."""
    k = past.shape[1]
    covariance = np.cov(past, rowvar=False, ddof=0).reshape(k, k)
    variance = float(np.trace(covariance)) / k
    shape = covariance / variance if variance > 0 else np.eye(k)
    return np.asarray((1 - ISOTROPIC_SHARE) * shape + ISOTROPIC_SHARE * np.eye(k))


def _noise(residual: Array, shape: Array) -> Array:
    """Shrink the covariance of n untreated residuals towards the shape before dosing, with a weight of K pseudo-wells.

    Untreated wells are few. Before dosing every well was one: how they differed then tells which directions vary together.
    """
    n, k = residual.shape
    moment = residual.T @ residual / n
    variance = max(float(np.trace(moment)) / k, LEAST_VARIANCE)
    return np.asarray((n * moment + k * variance * shape) / (n + k))
