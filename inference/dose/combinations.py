"""What a combination does beyond its parts: Bliss, highest single agent and Loewe, each with an interval and a test of no excess."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as t_distribution

from inference.dose.logistic import CONFIDENCE, LogisticFit
from schemas.dose_response import Excess

Array = npt.NDArray[np.float64]

PSEUDO_WELLS = 4.0
"""Few replicates do not know their own variance: it is shrunk towards that of all treatments as by so many wells more."""
LOEWE_DRAWS = 400
_BISECTIONS = 40
_UNTREATED, _COMBINATION, _SINGLES = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Means:
    """Mean effects of equally treated wells, and how well each is known."""

    values: Array  # (M,)
    variances: Array  # (M,) of the means
    freedoms: Array  # (M,) degrees of freedom of those variances

    @classmethod
    def moderated(cls, wells: Sequence[Array], untreated: int | None) -> "Means":
        """Return the means of treatments of (n,) wells, each variance shrunk towards the pooled one (Smyth, Stat. Appl. Genet. Mol. Biol. 3, 2004, 3).

        Wells with an effect vary more, so ``untreated``, the row of untreated wells, is not pooled unless nothing else has replicates.
        Without any replicate nothing is known of the variance: it is infinite.
        """
        squares = np.array([float(((of - of.mean()) ** 2).sum()) for of in wells])
        counts = np.array([len(of) for of in wells], dtype=np.float64)
        means = np.array([of.mean() for of in wells])
        treated = np.arange(len(wells)) != untreated
        lends = treated if (counts[treated] > 1).any() else ~treated
        known = float((counts[lends] - 1).sum())
        if known <= 0:
            return cls(means, np.full(len(wells), np.inf), np.ones(len(wells)))
        prior = min(PSEUDO_WELLS, known)
        freedoms = counts - 1 + prior
        return cls(
            means, (squares + prior * squares[lends].sum() / known) / freedoms / counts, freedoms
        )

    def take(self, rows: Sequence[int]) -> "Means":
        """Return some of the means, in this order."""
        at = list(rows)
        return Means(self.values[at], self.variances[at], self.freedoms[at])


@dataclass(frozen=True, eq=False)
class Parts:
    """All that the excess of one combination rests on: untreated, combination, its single agents, and the strongest treatment where that is none of these."""

    means: Means
    singles: int
    full: (
        int | None
    )  # which of the means counts as an effect of 1; None: an effect of 1 is a whole as it is

    @property
    def scale(self) -> float:
        """The difference of effects that is a fraction of 1."""
        values = self.means.values
        return float((1.0 if self.full is None else values[self.full]) - values[_UNTREATED])

    def fractions(self, values: Array) -> tuple[float, Array]:
        """Return the combination's and its single agents' effects beyond untreated wells (Abbott, J. Econ. Entomol. 18, 1925, 265)."""
        whole = 1.0 if self.full is None else values[self.full]
        beyond = (values - values[_UNTREATED]) / (whole - values[_UNTREATED])
        return float(beyond[_COMBINATION]), beyond[_SINGLES : _SINGLES + self.singles]


def bliss(parts: Parts) -> Excess:
    """Return the effect beyond independent action, 1 - Π (1 - f) (Bliss, Ann. Appl. Biol. 26, 1939, 585)."""

    def expected(values: Array) -> float:
        return float(1 - np.prod(1 - parts.fractions(values)[1]))

    values = parts.means.values
    excess, variance, freedom = _propagated(
        parts.means, lambda at: parts.fractions(at)[0] - expected(at)
    )
    return _excess(expected(values), excess, variance, freedom)


def highest_single_agent(parts: Parts) -> Excess:
    """Return the effect beyond the strongest of the single agents.

    That is the least of the differences to each of them, so synergy needs all of them to be told from 0, and a loss any one, adjusted for their number.
    """
    combination, singles = parts.fractions(parts.means.values)
    differences = []
    for single in range(parts.singles):
        row = _SINGLES + single
        spread = np.sqrt(parts.means.variances[_COMBINATION] + parts.means.variances[row]) / abs(
            parts.scale
        )
        freedom = _satterthwaite(
            parts.means.variances[[_COMBINATION, row]], parts.means.freedoms[[_COMBINATION, row]]
        )
        differences.append((combination - float(singles[single]), float(spread), freedom))
    excess = min(difference for difference, _, _ in differences)
    synergy = max(
        _two_sided(max(difference, 0.0), spread, freedom)
        for difference, spread, freedom in differences
    )
    loss = len(differences) * min(
        _two_sided(min(difference, 0.0), spread, freedom)
        for difference, spread, freedom in differences
    )
    tail = (1 - CONFIDENCE) / 2
    return Excess(
        expected=float(singles.max()),
        excess=excess,
        low=min(
            difference - _quantile(tail, freedom) * spread
            for difference, spread, freedom in differences
        ),
        high=min(
            difference + _quantile(tail / len(differences), freedom) * spread
            for difference, spread, freedom in differences
        ),
        p_value=synergy if excess > 0 else min(1.0, loss),
    )


def loewe(
    parts: Parts, fits: Sequence[LogisticFit], doses: Sequence[float], rng: np.random.Generator
) -> Excess:
    """Return the effect beyond dose additivity: the effect E with Σ dose / (dose of the single agent with effect E) = 1 (Loewe, Arzneim.-Forsch. 3, 1953, 285).

    A single agent adds nothing above its own top. The error of E is that of curves drawn from what the wells of the single agents leave open.
    """
    curves = [
        tuple(
            np.array([value])
            for value in (fit.curve.bottom, fit.curve.top, fit.curve.midpoint, fit.curve.hill)
        )
        for fit in fits
    ]
    additive = float(_additive_effect(curves, doses)[0])
    drawn = _additive_effect([fit.draw(LOEWE_DRAWS, rng) for fit in fits], doses)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    of_curves = ((high - low) / (2 * t_distribution.isf(tail, np.inf))) ** 2
    variances = np.array([parts.means.variances[_COMBINATION], of_curves])
    freedom = _satterthwaite(
        variances, np.array([parts.means.freedoms[_COMBINATION], min(fit.freedom for fit in fits)])
    )
    excess = (parts.means.values[_COMBINATION] - additive) / parts.scale
    return _excess(
        (additive - parts.means.values[_UNTREATED]) / parts.scale,
        float(excess),
        float(variances.sum()) / parts.scale**2,
        freedom,
    )


def _additive_effect(curves: Sequence[tuple[Array, ...]], doses: Sequence[float]) -> Array:
    """Return (N,): for each draw of (bottom, top, midpoint, hill) the effect at which the doses add up to one, by bisection."""
    low = np.min([bottom for bottom, *_ in curves], axis=0)
    high = np.max([np.maximum(bottom, top) for bottom, top, *_ in curves], axis=0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        index = np.sum(
            [dose / _dose_with(middle, *curve) for curve, dose in zip(curves, doses, strict=True)],
            axis=0,
        )
        low, high = np.where(index > 1, middle, low), np.where(index > 1, high, middle)
    return np.asarray((low + high) / 2)


def _dose_with(effect: Array, bottom: Array, top: Array, midpoint: Array, hill: Array) -> Array:
    """Return the dose with an effect: tiny at or below the bottom, huge at or above the top."""
    rise = np.where(top > bottom, top - bottom, 1.0)
    share = np.where(top > bottom, np.clip((effect - bottom) / rise, 1e-12, 1 - 1e-12), 1 - 1e-12)
    return np.asarray(midpoint * np.exp((np.log(share) - np.log1p(-share)) / hill))


def _propagated(means: Means, of: Callable[[Array], float]) -> tuple[float, float, float]:
    """Return a function of the means with its variance and degrees of freedom, by propagation of errors."""
    step = 1e-5 * max(float(np.ptp(means.values)), 1e-9)
    gradient = np.array(
        [
            (of(means.values + shift) - of(means.values - shift)) / (2 * step)
            for shift in step * np.eye(len(means.values))
        ]
    )
    parts = np.where(
        gradient != 0, gradient**2 * np.where(gradient != 0, means.variances, 0.0), 0.0
    )
    return of(means.values), float(parts.sum()), _satterthwaite(parts, means.freedoms)


def _satterthwaite(variances: Array, freedoms: Array) -> float:
    """Return the degrees of freedom of a sum of variances (Satterthwaite, Biometrics Bull. 2, 1946, 110)."""
    total = float(variances.sum())
    if not 0 < total < np.inf:
        return float(freedoms.min())
    return float(total**2 / (variances**2 / freedoms).sum())


def _excess(expected: float, excess: float, variance: float, freedom: float) -> Excess:
    spread = float(np.sqrt(variance))
    reach = _quantile((1 - CONFIDENCE) / 2, freedom) * spread
    return Excess(
        expected=expected,
        excess=excess,
        low=excess - reach,
        high=excess + reach,
        p_value=_two_sided(excess, spread, freedom),
    )


def _two_sided(difference: float, spread: float, freedom: float) -> float:
    if spread <= 1e-12:  # noqa: PLR2004 - wells that agree to rounding
        return 1.0 if abs(difference) <= 1e-9 else 0.0  # noqa: PLR2004 - as above
    return float(2 * t_distribution.sf(abs(difference) / spread, freedom))


def _quantile(tail: float, freedom: float) -> float:
    return float(t_distribution.isf(tail, freedom))
