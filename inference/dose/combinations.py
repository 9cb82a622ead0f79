"""Excess of a combination over Bliss, highest-single-agent and Loewe expectations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from inference.dose.logistic import CONFIDENCE, LogisticFit
from schemas.arrays import Float64Array
from schemas.dose_response import Excess

PSEUDO_WELLS = 4.0
"""Weight, in wells, of the pooled variance in the variance of each treatment."""
LOEWE_DRAWS = 400
"""Number of random curves for the error of the Loewe expectation."""
_BISECTION_STEPS = 40
_UNTREATED_ROW, _COMBINATION_ROW, _FIRST_SINGLE_ROW = 0, 1, 2


@dataclass(frozen=True, eq=False)
class MeanEffects:
    """Mean effects of M treatments with the variances of the means."""

    values: Float64Array  # (M,)
    variances: Float64Array  # (M,) of the means
    degrees_of_freedom: Float64Array  # (M,) of the variances

    @classmethod
    def moderated(cls, wells: Sequence[Float64Array], untreated: int | None) -> "MeanEffects":
        """Return the mean effects of treatments from effects (n,) of the wells of each.

        Variances are shrunk towards the pooled variance: Smyth, Stat. Appl. Genet. Mol. Biol. 3,
        2004, 3. Wells with an effect vary more, so untreated wells are not pooled, unless no other
        treatment has replicates. Without replicates the variance is infinite.

        Parameters
        ----------
        wells
            (n,) effects of the wells of each treatment.
        untreated
            Index of the untreated wells among the treatments, or None.
        """
        squares = np.array([float(((effects - effects.mean()) ** 2).sum()) for effects in wells])
        counts = np.array([len(effects) for effects in wells], dtype=np.float64)
        means = np.array([effects.mean() for effects in wells])
        treated = np.arange(len(wells)) != untreated
        pooled = treated if (counts[treated] > 1).any() else ~treated
        pooled_degrees = float((counts[pooled] - 1).sum())
        if pooled_degrees <= 0:
            return cls(means, np.full(len(wells), np.inf), np.ones(len(wells)))
        prior = min(PSEUDO_WELLS, pooled_degrees)
        degrees_of_freedom = counts - 1 + prior
        return cls(
            means,
            (squares + prior * squares[pooled].sum() / pooled_degrees)
            / degrees_of_freedom
            / counts,
            degrees_of_freedom,
        )

    def select(self, rows: Sequence[int]) -> "MeanEffects":
        """Return the mean effects of the treatments with these indices, in this order."""
        at = list(rows)
        return MeanEffects(self.values[at], self.variances[at], self.degrees_of_freedom[at])


@dataclass(frozen=True, eq=False)
class ExcessInputs:
    """Mean effects that determine the excess of one combination.

    The treatments are: untreated, combination, single agents, and the strongest treatment if it is
    none of these.
    """

    means: MeanEffects
    single_count: int
    """Number of single agents."""
    full_row: int | None
    """Index of the treatment whose effect is a fraction of 1; None if the effects are fractions
    already.
    """

    @property
    def scale(self) -> float:
        """Difference of effects that corresponds to a fraction of 1."""
        values = self.means.values
        return float(
            (1.0 if self.full_row is None else values[self.full_row]) - values[_UNTREATED_ROW]
        )

    def fractions(self, values: Float64Array) -> tuple[float, Float64Array]:
        """Return (fraction of the combination, fractions of single agents) for mean effects (M,).

        A fraction is an effect relative to the full effect, both above the untreated wells.

        Untreated wells have the fraction 0: Abbott, J. Econ. Entomol. 18, 1925, 265.

        Parameters
        ----------
        values
            (M,) mean effects.
        """
        full = 1.0 if self.full_row is None else values[self.full_row]
        beyond = (values - values[_UNTREATED_ROW]) / (full - values[_UNTREATED_ROW])
        return float(beyond[_COMBINATION_ROW]), beyond[
            _FIRST_SINGLE_ROW : _FIRST_SINGLE_ROW + self.single_count
        ]


def bliss_excess(inputs: ExcessInputs) -> Excess:
    """Return the Excess of ExcessInputs over independent action, 1 − Π (1 − fraction).

    Bliss, Ann. Appl. Biol. 26, 1939, 585.
    """

    def expected_effect(values: Float64Array) -> float:
        return float(1 - np.prod(1 - inputs.fractions(values)[1]))

    values = inputs.means.values
    excess, variance, degrees_of_freedom = _propagate_errors(
        inputs.means, lambda at: inputs.fractions(at)[0] - expected_effect(at)
    )
    return _excess_with_interval(expected_effect(values), excess, variance, degrees_of_freedom)


def highest_single_agent_excess(inputs: ExcessInputs) -> Excess:
    """Return the Excess of ExcessInputs over the strongest single agent.

    It is the smallest of the differences to the single agents. So synergy requires that all
    differences are significant, and antagonism requires one significant difference, adjusted for
    their number.
    """
    combination, singles = inputs.fractions(inputs.means.values)
    differences = []
    for single in range(inputs.single_count):
        row = _FIRST_SINGLE_ROW + single
        spread = np.sqrt(
            inputs.means.variances[_COMBINATION_ROW] + inputs.means.variances[row]
        ) / abs(inputs.scale)
        degrees_of_freedom = _satterthwaite(
            inputs.means.variances[[_COMBINATION_ROW, row]],
            inputs.means.degrees_of_freedom[[_COMBINATION_ROW, row]],
        )
        differences.append(
            (combination - float(singles[single]), float(spread), degrees_of_freedom)
        )
    excess = min(difference for difference, _, _ in differences)
    synergy = max(
        _two_sided_p(max(difference, 0.0), spread, degrees_of_freedom)
        for difference, spread, degrees_of_freedom in differences
    )
    loss = len(differences) * min(
        _two_sided_p(min(difference, 0.0), spread, degrees_of_freedom)
        for difference, spread, degrees_of_freedom in differences
    )
    tail = (1 - CONFIDENCE) / 2
    return Excess(
        expected=float(singles.max()),
        excess=excess,
        low=min(
            difference - _upper_quantile(tail, degrees_of_freedom) * spread
            for difference, spread, degrees_of_freedom in differences
        ),
        high=min(
            difference + _upper_quantile(tail / len(differences), degrees_of_freedom) * spread
            for difference, spread, degrees_of_freedom in differences
        ),
        p_value=synergy if excess > 0 else min(1.0, loss),
    )


def loewe_excess(
    inputs: ExcessInputs,
    fits: Sequence[LogisticFit],
    doses: Sequence[float],
    rng: np.random.Generator,
) -> Excess:
    """Return the Excess of ExcessInputs over dose additivity, from fits and doses of the agents.

    Loewe, Arzneim.-Forsch. 3, 1953, 285.

    The expected effect E satisfies Σ dose / (dose of the single agent with effect E) = 1. A single
    agent adds nothing above its own top. The error of E is estimated from random curves of the
    single agents.

    Parameters
    ----------
    inputs
        Mean effects of the combination and of untreated wells.
    fits
        Curve of each single agent.
    doses
        Dose of each single agent in the combination, in the unit of its curve.
    rng
        Random generator of the curves.
    """
    additive, curve_variance = _expected_loewe(fits, doses, rng)
    variances = np.array([inputs.means.variances[_COMBINATION_ROW], curve_variance])
    curve_freedom = min(fit.degrees_of_freedom for fit in fits)
    freedoms = np.array([inputs.means.degrees_of_freedom[_COMBINATION_ROW], curve_freedom])
    excess = (inputs.means.values[_COMBINATION_ROW] - additive) / inputs.scale
    return _excess_with_interval(
        (additive - inputs.means.values[_UNTREATED_ROW]) / inputs.scale,
        float(excess),
        float(variances.sum()) / inputs.scale**2,
        _satterthwaite(variances, freedoms),
    )


def _expected_loewe(
    fits: Sequence[LogisticFit], doses: Sequence[float], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the additive effect of doses of single agents, and the variance of its error."""
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
    return additive, float(((high - low) / (2 * scipy.stats.t.isf(tail, np.inf))) ** 2)


def _additive_effect(
    curves: Sequence[tuple[Float64Array, ...]], doses: Sequence[float]
) -> Float64Array:
    """Return (N,) additive effects, found by bisection.

    Parameters
    ----------
    curves
        For each single agent: bottom, top, midpoint and hill slope, each (N,).
    doses
        Dose of each single agent.
    """
    low = np.min([bottom for bottom, *_ in curves], axis=0)
    high = np.max([np.maximum(bottom, top) for bottom, top, *_ in curves], axis=0)
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        index = np.sum(
            [
                dose / _dose_for_effect(middle, *curve)
                for curve, dose in zip(curves, doses, strict=True)
            ],
            axis=0,
        )
        low, high = np.where(index > 1, middle, low), np.where(index > 1, high, middle)
    return np.asarray((low + high) / 2)


def _dose_for_effect(
    effect: Float64Array,
    bottom: Float64Array,
    top: Float64Array,
    midpoint: Float64Array,
    hill: Float64Array,
) -> Float64Array:
    """Return the dose with an effect: tiny at or below the bottom, huge at or above the top."""
    rise = np.where(top > bottom, top - bottom, 1.0)
    share = np.where(top > bottom, np.clip((effect - bottom) / rise, 1e-12, 1 - 1e-12), 1 - 1e-12)
    return np.asarray(midpoint * np.exp((np.log(share) - np.log1p(-share)) / hill))


def _propagate_errors(
    means: MeanEffects, function: Callable[[Float64Array], float]
) -> tuple[float, float, float]:
    """Return a function of the mean effects with its variance and degrees of freedom.

    The variance follows from numerical derivatives by propagation of errors.
    """
    step = 1e-5 * max(float(np.ptp(means.values)), 1e-9)
    gradient = np.array(
        [
            (function(means.values + shift) - function(means.values - shift)) / (2 * step)
            for shift in step * np.eye(len(means.values))
        ]
    )
    shares = np.where(
        gradient != 0, gradient**2 * np.where(gradient != 0, means.variances, 0.0), 0.0
    )
    return (
        function(means.values),
        float(shares.sum()),
        _satterthwaite(shares, means.degrees_of_freedom),
    )


def _satterthwaite(variances: Float64Array, degrees_of_freedom: Float64Array) -> float:
    """Return the degrees of freedom of a sum of variances: Satterthwaite, Biometrics Bull.

    2, 1946, 110.
    """
    total = float(variances.sum())
    if not 0 < total < np.inf:
        return float(degrees_of_freedom.min())
    return float(total**2 / (variances**2 / degrees_of_freedom).sum())


def _excess_with_interval(
    expected: float, excess: float, variance: float, degrees_of_freedom: float
) -> Excess:
    """Return an excess with its 90 % interval and two-sided p-value."""
    spread = float(np.sqrt(variance))
    reach = _upper_quantile((1 - CONFIDENCE) / 2, degrees_of_freedom) * spread
    return Excess(
        expected=expected,
        excess=excess,
        low=excess - reach,
        high=excess + reach,
        p_value=_two_sided_p(excess, spread, degrees_of_freedom),
    )


def _two_sided_p(difference: float, spread: float, degrees_of_freedom: float) -> float:
    """Return the two-sided p-value of a difference with standard error ``spread``."""
    if spread <= 1e-12:  # noqa: PLR2004 - wells are equal, except for rounding
        return 1.0 if abs(difference) <= 1e-9 else 0.0  # noqa: PLR2004 - as above
    return float(2 * scipy.stats.t.sf(abs(difference) / spread, degrees_of_freedom))


def _upper_quantile(tail: float, degrees_of_freedom: float) -> float:
    """Return the quantile of the t distribution with an upper tail probability."""
    return float(scipy.stats.t.isf(tail, degrees_of_freedom))
