"""Whether a treatment's wells lie elsewhere than they would have untreated, how far, and which way."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import chdtri, chndtr

from inference.departure.departures import Residuals
from inference.departure.metrics import Noise
from inference.ranking.significance import permute
from schemas.ranking import Direction

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

FORWARD = 0.05
"""Growth is a departure forward along the untreated wells' own way, this surely,"""
ACROSS_GROWTH = 0.5
"""and hardly anything across it: half as far at most, for the way bends. Virtual wells that grew a day or two more lie below 0.9,"""
ACROSS_UNDECIDED = 1.5
"""and dying ones that went forward at all above 4."""
INTERVAL = (0.95, 0.05)
QUANTILES = 20


@dataclass(frozen=True)
class TreatmentTest:
    """What the mean residual of replicates says against the untreated wells."""

    p_value: float
    effect_size: (
        float  # distance of the mean residuals in untreated spreads, less what noise adds to it
    )
    effect_low: float
    effect_high: float
    direction: Direction  # where the p-value convinces


def compare(residuals: Residuals, treated: Indices, rng: np.random.Generator) -> TreatmentTest:
    """Compare the wells ``treated``, indices into the residuals' n wells, with the untreated ones.

    Nothing that the p-value rests on knows which of these wells were treated: forecast and noise are learned from all of them, each well left out of
    its own forecast. Without effect every assignment of labels is then equally likely, and the p-value is exact.
    """
    pool = residuals.untreated.copy()
    pool[treated] = True
    residual, earlier = residuals.learned_from(pool), residuals.of_earlier(pool)
    whitening = Noise.of(
        residual[pool] - residual[pool].mean(axis=0), residuals.shape, earlier
    ).whitening
    p_value, p_forward = permute(
        residual[treated] @ whitening.T,
        residual[residuals.untreated] @ whitening.T,
        _unit(whitening @ residuals.development),
        rng,
    )
    gap, unit = _gap(residuals, treated), 1 / len(treated) + 1 / int(residuals.untreated.sum())
    way = _unit(residuals.noise.whitening @ residuals.development)
    forward = float(gap @ way)
    across = _less_noise(gap - forward * way, unit, len(gap) - 1)
    told = np.sqrt(
        _freedom(residuals.noise.wells) / (residuals.noise.wells + len(gap))
    )  # noise told by few wells is taken for too small
    return TreatmentTest(
        p_value,
        _less_noise(gap * told, unit, len(gap)),
        *_effect_interval(gap, unit, residuals.noise.wells),
        _direction(p_forward, forward, across),
    )


def likeness(residuals: Residuals, ones: Indices, others: Indices) -> float | None:
    """Return the cosine of two mean residuals in units of the untreated noise; None where one of them is nothing."""
    one, other = _unit(_gap(residuals, ones)), _unit(_gap(residuals, others))
    return float(one @ other) if one.any() and other.any() else None


def _gap(residuals: Residuals, treated: Indices) -> Array:
    """Return (K,): the mean residual of wells less that of the untreated, in units of the untreated noise."""
    residual = residuals.of_wells
    return np.asarray(
        residuals.noise.whitening
        @ (residual[treated].mean(axis=0) - residual[residuals.untreated].mean(axis=0))
    )


def _unit(vector: Array) -> Array:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else np.zeros_like(vector)


def _less_noise(gap: Array, unit: float, directions: int) -> float:
    """Return the length of a gap less what noise of variance ``unit`` in each of its directions adds to its square."""
    return float(np.sqrt(max(0.0, float(gap @ gap) - unit * directions)))


def _direction(p_forward: float, forward: float, across: float) -> Direction:
    if p_forward > FORWARD or across > ACROSS_UNDECIDED * forward:
        return Direction.DETERIORATION
    return Direction.GROWTH if across <= ACROSS_GROWTH * forward else Direction.UNDECIDED


def _freedom(noise_wells: float) -> float:
    """Return the degrees of freedom of the squared distance in a noise that so many wells and K pseudo-wells tell."""
    return noise_wells + 1


def _effect_interval(gap: Array, unit: float, noise_wells: float) -> tuple[float, float]:
    """Return the 90 % interval of the distance: the squared one as noncentral χ² (Reiser, Stat. Med. 20, 2001), over how far the noise may be off.

    A covariance that so many wells and K pseudo-wells tell may be larger or smaller than it is by a χ² over its degrees of freedom.
    """
    k, freedom = len(gap), _freedom(noise_wells)
    off = (
        chdtri(freedom, 1 - (np.arange(QUANTILES) + 0.5) / QUANTILES) / freedom
    )  # the quantiles of what the noise is off by
    observed = float(gap @ gap) / unit * freedom / (noise_wells + k) * off

    def noncentrality(probability: float) -> float:
        def excess(centre: float) -> float:
            return float(chndtr(observed, k, centre).mean()) - probability

        return (
            0.0
            if excess(1e-9) <= 0
            else float(brentq(excess, 1e-9, 4 * float(observed.max()) + 100 * k))
        )

    low, high = (float(np.sqrt(noncentrality(probability) * unit)) for probability in INTERVAL)
    return low, high
