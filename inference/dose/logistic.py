"""Least-squares fits of four-parameter logistic curves to effects and doses, with intervals."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from scipy.special import expit

from schemas.arrays import BoolArray, Float64Array

OptionalLimits = tuple[float | None, float | None]
"""Lower and upper limit; None where the data do not set one."""

CONFIDENCE = 0.90
"""Confidence level of all intervals."""
PARAMETER_COUNT = 4
"""Parameters of the curve: bottom, top, midpoint, hill."""
PSEUDO_WELLS = 3
"""Weight, in wells, of the pooled variance in the variances of untreated and of treated wells."""
HILL_LIMITS = (0.25, 8.0)
"""Smallest and largest hill slope."""
LOWEST_DOSE_OVER_MIDPOINT = 100.0
"""Ratio of the lowest dose to the smallest midpoint; the largest midpoint is the highest dose.

For a midpoint above the highest dose, the curve between the doses keeps its shape and only its top
increases. For a midpoint below the lowest dose, the shape at the lowest dose is still informative.
"""
_GRID_SHAPE = (65, 33)
"""Number of midpoints and hill slopes of the grid."""
_MAX_ZOOMS = 8
"""Largest number of steps in which the grid is adapted to the allowed parameters."""
_REFINEMENT_STEPS = 24
"""Number of steps in which the best parameters are refined."""
_FINE_OFFSETS = np.linspace(-1.0, 1.0, 7)
"""Offsets of the refinement grid, in units of its size."""
_GRID_CONFIDENCE = 0.999
"""Confidence level of the region that the grid covers."""


@dataclass(frozen=True)
class Logistic:
    """The curve bottom + (top − bottom) / (1 + (midpoint / dose)^hill)."""

    bottom: float
    top: float
    midpoint: float
    hill: float

    def effect_at(self, doses: Float64Array) -> Float64Array:
        """Return the effects of doses; dose 0 has the effect ``bottom``."""
        return self.bottom + (self.top - self.bottom) * _risen_fraction(
            _log_doses(doses), np.log(self.midpoint), np.log(self.hill)
        )


@dataclass(frozen=True, eq=False)
class DoseLevels:
    """Wells of one compound, summarised by L dose levels, which is sufficient to fit a curve."""

    doses: Float64Array  # (L,), ascending; 0 = untreated
    means: Float64Array  # (L,) mean effects
    counts: Float64Array  # (L,) number of wells
    weights: Float64Array  # (L,) counts / variance of a well, relative to the pooled variance
    within_squares: float
    """Weighted sum of squares of the wells around the mean of their dose."""

    @classmethod
    def from_wells(cls, doses: Float64Array, effects: Float64Array) -> "DoseLevels":
        """Summarise the doses (n,) and effects (n,) of wells by dose level.

        Effects that are not finite are omitted.
        """
        finite = np.isfinite(effects)
        distinct, inverse, counts = np.unique(
            doses[finite], return_inverse=True, return_counts=True
        )
        means = np.bincount(inverse, weights=effects[finite], minlength=len(distinct)) / np.maximum(
            counts, 1
        )
        squares = np.bincount(
            inverse, weights=(effects[finite] - means[inverse]) ** 2, minlength=len(distinct)
        ).astype(np.float64)
        wells = counts.astype(np.float64)
        precision = _relative_precision(squares, wells - 1, distinct > 0)
        return cls(distinct, means, wells, wells * precision, float(squares @ precision))

    @property
    def wells(self) -> int:
        """Number of wells."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Weighted mean of all wells: the best flat line."""
        return float(self.weights @ self.means / self.weights.sum())

    @property
    def total_squares(self) -> float:
        """Weighted sum of squares of all wells around their mean: the residual of a flat line."""
        return self.within_squares + float(self.weights @ (self.means - self.mean) ** 2)

    @property
    def dose_range(self) -> tuple[float, float]:
        """Lowest and highest dose above 0."""
        above = self.doses[self.doses > 0]
        return float(above[0]), float(above[-1])


@dataclass(frozen=True, eq=False)
class GridCells:
    """Best bottom and top for each of C pairs of midpoint and hill slope.

    Bottom and top are linear parameters (Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973, 413).
    The risen fraction of a curve is 0 at its bottom and 1 at its top.
    """

    log_midpoint: Float64Array  # (C,)
    log_hill: Float64Array  # (C,)
    mean_fraction: Float64Array  # (C,) weighted mean of the risen fraction over the wells
    information: Float64Array  # (C,) weighted sum of squares of the risen fraction around its mean
    rise: Float64Array  # (C,) top − bottom
    residual: Float64Array  # (C,) weighted sum of squares
    mean: float  # weighted mean effect
    weight: float  # total weight of the wells

    @classmethod
    def fit(
        cls, levels: DoseLevels, log_midpoint: Float64Array, log_hill: Float64Array
    ) -> "GridCells":
        """Return cells with bottom and top fitted to DoseLevels, for (C,) midpoints and hills.

        Midpoints and hill slopes are logarithms.
        """
        risen = _risen_fraction(_log_doses(levels.doses), log_midpoint[:, None], log_hill[:, None])
        weight = float(levels.weights.sum())
        mean_fraction = risen @ levels.weights / weight
        deviation = risen - mean_fraction[:, None]
        information = np.maximum(deviation**2 @ levels.weights, 1e-12 * weight)
        covariance = deviation @ (levels.weights * (levels.means - levels.mean))
        rise = covariance / information
        residual = np.maximum(levels.total_squares - rise * covariance, 0.0)
        return cls(
            log_midpoint, log_hill, mean_fraction, information, rise, residual, levels.mean, weight
        )

    def effect_at(self, fraction: Float64Array | float) -> Float64Array:
        """Return (C,) effects at a fraction of the rise from bottom (0) to top (1)."""
        return np.asarray(self.mean + self.rise * (fraction - self.mean_fraction))

    def effect_variance(self, fraction: Float64Array | float) -> Float64Array:
        """Return (C,) variances of the effect at a fraction of the rise from bottom to top.

        They are relative to the variance of a well.
        """
        return np.asarray(1 / self.weight + (fraction - self.mean_fraction) ** 2 / self.information)

    def with_residual_up_to(self, limit: float) -> "GridCells":
        """Return the cells whose residual does not exceed a limit."""
        kept = self.residual <= limit
        return GridCells(
            self.log_midpoint[kept],
            self.log_hill[kept],
            self.mean_fraction[kept],
            self.information[kept],
            self.rise[kept],
            self.residual[kept],
            self.mean,
            self.weight,
        )


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """Best curve of a compound, and all curves that fit nearly as well."""

    curve: Logistic
    levels: DoseLevels
    residual: float
    """Weighted sum of squares of the best curve."""
    p_flat: float
    """p-value of the extra-sum-of-squares F test against a flat line."""

    @property
    def degrees_of_freedom(self) -> int:
        """Degrees of freedom of the residual."""
        return self.levels.wells - PARAMETER_COUNT

    @cached_property
    def cells(self) -> GridCells:
        """GridCells of midpoint and hill slope that cover all allowed parameters."""
        window = _search_limits(self.levels)
        cells = _grid(self.levels, *window)
        for _ in range(_MAX_ZOOMS):
            closer = _shrink_window(cells, self.residual, self.degrees_of_freedom, window)
            if np.all(closer[1] - closer[0] > 0.7 * (window[1] - window[0])):
                break
            window, cells = closer, _grid(self.levels, *closer)
        return cells

    def midpoint_limits(self) -> OptionalLimits:
        """Return (low, high) profile-likelihood limits of the midpoint, None beyond the doses."""
        lowest, highest = self.levels.dose_range
        low, high = self._crossings(self.cells.log_midpoint, 0)
        return (None if low <= np.log(lowest) else float(np.exp(low))), (
            None if high >= np.log(highest) - 1e-9 else float(np.exp(high))
        )

    def hill_limits(self) -> OptionalLimits:
        """Return (low, high) profile-likelihood limits of the hill slope, None if not limited."""
        low, high = np.exp(self._crossings(self.cells.log_hill, 1))
        return (None if low <= HILL_LIMITS[0] * 1.001 else float(low)), (
            None if high >= HILL_LIMITS[1] * 0.999 else float(high)
        )

    def effect_limits(self, fraction: float) -> tuple[float, float]:
        """Return (low, high) profile-likelihood limits of the effect at a fraction of the rise.

        The rise is from the bottom (0) to the top (1).
        """
        cells = self.cells.with_residual_up_to(self._limit)
        if not len(cells.residual):
            at_best = self.curve.bottom + fraction * (self.curve.top - self.curve.bottom)
            return at_best, at_best
        reach = np.sqrt(cells.effect_variance(fraction) * (self._limit - cells.residual))
        effect = cells.effect_at(fraction)
        return float((effect - reach).min()), float((effect + reach).max())

    def doses_reaching(self, effect: float, doses: Float64Array) -> BoolArray:
        """Return a mask of doses (n,) at which an allowed curve may have a given effect."""
        cells = self.cells.with_residual_up_to(self._limit)
        if not len(cells.residual):
            return np.zeros(len(doses), dtype=bool)
        fraction = _risen_fraction(_log_doses(doses)[:, None], cells.log_midpoint, cells.log_hill)
        constrained = cells.residual + (
            effect - cells.effect_at(fraction)
        ) ** 2 / cells.effect_variance(fraction)
        return np.asarray(constrained.min(axis=1) <= self._limit)

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """Draw curves from the posterior; return bottoms, tops, midpoints and hills, each (count,).

        The priors of bottom, top, log midpoint, log hill and log variance are flat. Midpoints and
        hill slopes are drawn from the grid.
        """
        cells = self.cells
        floor = max(self.residual, np.finfo(float).tiny)
        log_weight = -0.5 * (self.levels.wells - 2) * np.log(
            np.maximum(cells.residual, floor) / floor
        ) - 0.5 * np.log(cells.information)
        weight = np.exp(log_weight - log_weight.max())
        drawn = rng.choice(len(weight), size=count, p=weight / weight.sum())
        spread = np.sqrt(cells.residual[drawn] / rng.chisquare(self.levels.wells - 2, count))
        middle = cells.mean + spread * rng.standard_normal(count) / np.sqrt(cells.weight)
        rise = cells.rise[drawn] + spread * rng.standard_normal(count) / np.sqrt(
            cells.information[drawn]
        )
        bottom = middle - rise * cells.mean_fraction[drawn]
        return (
            bottom,
            bottom + rise,
            np.exp(cells.log_midpoint[drawn]),
            np.exp(cells.log_hill[drawn]),
        )

    @property
    def _limit(self) -> float:
        """Largest residual of an allowed curve."""
        return _residual_limit(self.residual, self.degrees_of_freedom, CONFIDENCE)

    def _crossings(self, axis_values: Float64Array, axis: int) -> tuple[float, float]:
        """Return the limits where the profile of one parameter crosses the largest residual.

        Parameters
        ----------
        axis_values
            (C,) values of the parameter in the grid.
        axis
            0 for the midpoint, 1 for the hill slope.
        """
        values = np.unique(axis_values)
        profile = self.cells.residual.reshape(_GRID_SHAPE).min(axis=1 - axis)
        best = float(np.log((self.curve.midpoint, self.curve.hill)[axis]))
        inside = np.flatnonzero(profile <= self._limit)
        if not len(inside):
            return best, best
        return min(_interpolate_crossing(values, profile, inside[0], -1, self._limit), best), max(
            _interpolate_crossing(values, profile, inside[-1], +1, self._limit), best
        )


def fit_logistic(levels: DoseLevels) -> LogisticFit:
    """Return the LogisticFit of a four-parameter curve to DoseLevels by weighted least squares.

    At least four dose levels (0 included) and more wells than parameters are required.
    """
    lower, upper = _search_limits(levels)
    log_midpoint, log_hill, residual = _refine(levels, _grid(levels, lower, upper), lower, upper)
    cell = GridCells.fit(levels, np.array([log_midpoint]), np.array([log_hill]))
    curve = Logistic(
        float(cell.effect_at(0.0)[0]),
        float(cell.effect_at(1.0)[0]),
        float(np.exp(log_midpoint)),
        float(np.exp(log_hill)),
    )
    return LogisticFit(curve, levels, residual, _p_against_flat(levels, residual))


def _p_against_flat(levels: DoseLevels, residual: float) -> float:
    """Return the p-value of the F test against a flat line, which has three parameters less."""
    flat, degrees_of_freedom = levels.total_squares, levels.wells - PARAMETER_COUNT
    # all wells are equal, except for rounding
    if flat <= 1e-12 * (levels.weights @ levels.means**2):
        return 1.0
    ratio = (flat - residual) / (PARAMETER_COUNT - 1) / max(residual / degrees_of_freedom, 1e-300)
    return float(scipy.stats.f.sf(ratio, PARAMETER_COUNT - 1, degrees_of_freedom))


def _relative_precision(
    squares: Float64Array, degrees_of_freedom: Float64Array, treated: BoolArray
) -> Float64Array:
    """Return (L,) precision of a well at each dose, relative to the pooled precision.

    The precision is 1 / variance. Wells with an effect vary more, so untreated and treated wells
    have different variances. Each is moderated by pseudo-wells with the pooled variance.

    Parameters
    ----------
    squares, freedom
        (L,) sums of squares within each dose, and their degrees of freedom.
    treated
        (L,), True for doses above 0.
    """
    pooled = squares.sum() / max(degrees_of_freedom.sum(), 1.0)
    if pooled <= 0:
        return np.ones(len(squares))
    own = np.array([squares[of].sum() + PSEUDO_WELLS * pooled for of in (~treated, treated)])
    own /= np.array([degrees_of_freedom[of].sum() + PSEUDO_WELLS for of in (~treated, treated)])
    return np.asarray(pooled / own[treated.astype(int)])


def _search_limits(levels: DoseLevels) -> tuple[Float64Array, Float64Array]:
    """Return the lower and upper limits of log midpoint and log hill slope, each (2,)."""
    lowest, highest = levels.dose_range
    return np.log([lowest / LOWEST_DOSE_OVER_MIDPOINT, HILL_LIMITS[0]]), np.log(
        [highest, HILL_LIMITS[1]]
    )


def _grid(levels: DoseLevels, lower: Float64Array, upper: Float64Array) -> GridCells:
    """Return the cells of a regular grid between the limits."""
    log_midpoint, log_hill = (
        np.linspace(*ends) for ends in zip(lower, upper, _GRID_SHAPE, strict=True)
    )
    grid = np.meshgrid(log_midpoint, log_hill, indexing="ij")
    return GridCells.fit(levels, grid[0].ravel(), grid[1].ravel())


def _refine(
    levels: DoseLevels, cells: GridCells, lower: Float64Array, upper: Float64Array
) -> tuple[float, float, float]:
    """Return log midpoint, log hill slope and residual of the best curve.

    Small grids around the best cell become finer in each step. Each grid is centred on the best
    cell of the previous one.
    """
    reach = 2 * (upper - lower) / (np.array(_GRID_SHAPE) - 1)
    best = int(np.argmin(cells.residual))
    at = np.array([cells.log_midpoint[best], cells.log_hill[best]])
    for _ in range(_REFINEMENT_STEPS):
        near = np.clip(at[:, None] + reach[:, None] * _FINE_OFFSETS, lower[:, None], upper[:, None])
        cells = GridCells.fit(
            levels, np.repeat(near[0], len(_FINE_OFFSETS)), np.tile(near[1], len(_FINE_OFFSETS))
        )
        best = int(np.argmin(cells.residual))
        before, at = at, np.array([cells.log_midpoint[best], cells.log_hill[best]])
        if np.all(np.abs(at - before) < 0.9 * reach):
            # The best cell is inside; a best cell at the edge is followed before the grid becomes
            # finer.
            reach = reach / 3
    return float(at[0]), float(at[1]), float(cells.residual[best])


def _shrink_window(
    cells: GridCells,
    residual: float,
    degrees_of_freedom: int,
    window: tuple[Float64Array, Float64Array],
) -> tuple[Float64Array, Float64Array]:
    """Return the limits of the smallest box around the allowed cells, with a margin of one cell."""
    near = cells.with_residual_up_to(
        max(
            _residual_limit(residual, degrees_of_freedom, _GRID_CONFIDENCE),
            float(cells.residual.min()),
        )
    )
    step = (window[1] - window[0]) / (np.array(_GRID_SHAPE) - 1)
    at = np.stack([near.log_midpoint, near.log_hill])
    return np.maximum(at.min(axis=1) - step, window[0]), np.minimum(
        at.max(axis=1) + step, window[1]
    )


def _residual_limit(residual: float, degrees_of_freedom: int, confidence: float) -> float:
    """Return the largest residual of an allowed curve with one fixed parameter."""
    return residual * (
        1
        + float(scipy.stats.t.ppf((1 + confidence) / 2, degrees_of_freedom)) ** 2
        / degrees_of_freedom
    )


def _interpolate_crossing(
    values: Float64Array, profile: Float64Array, inside: int, step: int, limit: float
) -> float:
    """Return the parameter value between two grid points at which the profile crosses the limit."""
    outside = inside + step
    if not 0 <= outside < len(values):
        return float(values[inside])
    fraction = (limit - profile[inside]) / (profile[outside] - profile[inside])
    return float(values[inside] + fraction * (values[outside] - values[inside]))


def _risen_fraction(
    log_dose: Float64Array, log_midpoint: Float64Array | float, log_hill: Float64Array | float
) -> Float64Array:
    """Return the risen fraction of a curve at log doses: 0 at the bottom, 1 at the top."""
    return np.asarray(expit(np.exp(log_hill) * (log_dose - log_midpoint)))


def _log_doses(doses: Float64Array) -> Float64Array:
    """Return the logarithms of doses; minus infinity for dose 0."""
    return np.log(doses, out=np.full(doses.shape, -np.inf), where=doses > 0)
