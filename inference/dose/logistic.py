"""Four-parameter logistic curves of effect against dose, fitted so that everything the wells still allow is known beside the best curve."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from schemas.arrays import BoolArray, Float64Array

OptionalLimits = tuple[float | None, float | None]

CONFIDENCE = 0.90
PARAMETER_COUNT = 4
PSEUDO_WELLS = 3
HILL_LIMITS = (0.25, 8.0)
LOWEST_DOSE_OVER_MIDPOINT = 100.0
"""A midpoint is looked for from the lowest dose over this number to the highest dose. Beyond the highest, the curve between the doses keeps its shape and only
its top runs away; below the lowest, the shape at the lowest dose still tells."""
_GRID_SHAPE = (65, 33)
_MAX_ZOOMS = 8
_REFINEMENT_STEPS = 24
_FINE_OFFSETS = np.linspace(-1.0, 1.0, 7)
_GRID_CONFIDENCE = 0.999


@dataclass(frozen=True)
class Logistic:
    """The curve bottom + (top − bottom) / (1 + (midpoint / dose)^hill)."""

    bottom: float
    top: float
    midpoint: float
    hill: float

    def effect_at(self, doses: Float64Array) -> Float64Array:
        """Return the effect of each dose, 0 or more."""
        return self.bottom + (self.top - self.bottom) * _risen_fraction(
            _log_doses(doses), np.log(self.midpoint), np.log(self.hill)
        )


@dataclass(frozen=True, eq=False)
class DoseLevels:
    """The wells of one compound by dose: all that a curve of equally good wells depends on."""

    doses: Float64Array  # (L,), ascending; 0 is untreated
    means: Float64Array  # (L,)
    counts: Float64Array  # (L,) wells
    weights: Float64Array  # (L,) counts over the variance of a well, in units of the mean variance
    within_squares: float  # weighted sum of squares of wells about the mean of their dose

    @classmethod
    def from_wells(cls, doses: Float64Array, effects: Float64Array) -> "DoseLevels":
        """Gather wells by dose; those without a finite effect are left out."""
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
        """How many wells there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean of all wells: the best flat line."""
        return float(self.weights @ self.means / self.weights.sum())

    @property
    def total_squares(self) -> float:
        """The sum of squares of all wells about their mean: what a flat line leaves."""
        return self.within_squares + float(self.weights @ (self.means - self.mean) ** 2)

    @property
    def dose_range(self) -> tuple[float, float]:
        """The lowest and the highest dose above 0."""
        above = self.doses[self.doses > 0]
        return float(above[0]), float(above[-1])


@dataclass(frozen=True, eq=False)
class GridCells:
    """For each midpoint and hill (C,), the bottom and top that fit best: those enter linearly (Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973, 413)."""

    log_midpoint: Float64Array
    log_hill: Float64Array
    share: Float64Array  # mean over the wells of how far the curve has risen, 0…1
    information: Float64Array  # sum of squares of that share about its mean
    rise: Float64Array  # top − bottom
    residual: Float64Array  # sum of squares
    mean: float
    weight: float  # of all wells

    @classmethod
    def fit(
        cls, levels: DoseLevels, log_midpoint: Float64Array, log_hill: Float64Array
    ) -> "GridCells":
        """Fit bottom and top in each cell."""
        shape = _risen_fraction(_log_doses(levels.doses), log_midpoint[:, None], log_hill[:, None])
        weight = float(levels.weights.sum())
        share = shape @ levels.weights / weight
        deviation = shape - share[:, None]
        information = np.maximum(deviation**2 @ levels.weights, 1e-12 * weight)
        covariance = deviation @ (levels.weights * (levels.means - levels.mean))
        rise = covariance / information
        residual = np.maximum(levels.total_squares - rise * covariance, 0.0)
        return cls(log_midpoint, log_hill, share, information, rise, residual, levels.mean, weight)

    def effect_at_fraction(self, share: Float64Array | float) -> Float64Array:
        """Return each cell's effect where its curve has risen by a share: 0 is the bottom, 1 the top."""
        return np.asarray(self.mean + self.rise * (share - self.share))

    def effect_variance(self, share: Float64Array | float) -> Float64Array:
        """Return the variance of that effect over the variance of a well."""
        return np.asarray(1 / self.weight + (share - self.share) ** 2 / self.information)

    def with_residual_up_to(self, limit: float) -> "GridCells":
        """Return the cells whose residual is not above a limit."""
        kept = self.residual <= limit
        return GridCells(
            self.log_midpoint[kept],
            self.log_hill[kept],
            self.share[kept],
            self.information[kept],
            self.rise[kept],
            self.residual[kept],
            self.mean,
            self.weight,
        )


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """The best curve, and every curve that is not much worse."""

    curve: Logistic
    levels: DoseLevels
    residual: float  # sum of squares about the best curve
    p_flat: float  # of the extra-sum-of-squares F test against a flat line

    @property
    def degrees_of_freedom(self) -> int:
        """Degrees of freedom of the residual."""
        return self.levels.wells - PARAMETER_COUNT

    @cached_property
    def cells(self) -> GridCells:
        """A grid of midpoint by hill, _GRID, as wide as all that the wells allow."""
        window = _search_limits(self.levels)
        cells = _grid(self.levels, *window)
        for _ in range(_MAX_ZOOMS):
            closer = _shrink_window(cells, self.residual, self.degrees_of_freedom, window)
            if np.all(closer[1] - closer[0] > 0.7 * (window[1] - window[0])):
                break
            window, cells = closer, _grid(self.levels, *closer)
        return cells

    def midpoint_limits(self) -> OptionalLimits:
        """Return the profile-likelihood interval of the midpoint; None for an end that lies beyond the doses tested."""
        lowest, highest = self.levels.dose_range
        low, high = self._crossings(self.cells.log_midpoint, 0)
        return (None if low <= np.log(lowest) else float(np.exp(low))), (
            None if high >= np.log(highest) - 1e-9 else float(np.exp(high))
        )

    def hill_limits(self) -> OptionalLimits:
        """Return the profile-likelihood interval of the hill slope; None for an end that the wells do not limit."""
        low, high = np.exp(self._crossings(self.cells.log_hill, 1))
        return (None if low <= HILL_LIMITS[0] * 1.001 else float(low)), (
            None if high >= HILL_LIMITS[1] * 0.999 else float(high)
        )

    def effect_limits(self, share: float) -> tuple[float, float]:
        """Return the profile-likelihood interval of the effect where the curve has risen by a share: 0 is the bottom, 1 the top."""
        cells = self.cells.with_residual_up_to(self._limit)
        if not len(cells.residual):
            at_best = self.curve.bottom + share * (self.curve.top - self.curve.bottom)
            return at_best, at_best
        reach = np.sqrt(cells.effect_variance(share) * (self._limit - cells.residual))
        effect = cells.effect_at_fraction(share)
        return float((effect - reach).min()), float((effect + reach).max())

    def doses_reaching(self, effect: float, doses: Float64Array) -> BoolArray:
        """Return which of the doses may be where the curve reaches an effect: where a curve held to it is not much worse than the best."""
        cells = self.cells.with_residual_up_to(self._limit)
        if not len(cells.residual):
            return np.zeros(len(doses), dtype=bool)
        share = _risen_fraction(_log_doses(doses)[:, None], cells.log_midpoint, cells.log_hill)
        constrained = cells.residual + (
            effect - cells.effect_at_fraction(share)
        ) ** 2 / cells.effect_variance(share)
        return np.asarray(constrained.min(axis=1) <= self._limit)

    def draw(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """Return bottoms, tops, midpoints and hills, each (count,), drawn from what the wells leave open.

        The posterior under flat priors on bottom, top, log midpoint, log hill and log variance, on the grid.
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
        bottom = middle - rise * cells.share[drawn]
        return (
            bottom,
            bottom + rise,
            np.exp(cells.log_midpoint[drawn]),
            np.exp(cells.log_hill[drawn]),
        )

    @property
    def _limit(self) -> float:
        return _residual_limit(self.residual, self.degrees_of_freedom, CONFIDENCE)

    def _crossings(self, axis_values: Float64Array, axis: int) -> tuple[float, float]:
        """Return where the residual, least over the other parameter, passes the limit on the way out from the best curve."""
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
    """Fit a four-parameter logistic by least squares to at least 4 dose levels (0 counts) and more wells than parameters."""
    lower, upper = _search_limits(levels)
    log_midpoint, log_hill, residual = _refine(levels, _grid(levels, lower, upper), lower, upper)
    cell = GridCells.fit(levels, np.array([log_midpoint]), np.array([log_hill]))
    curve = Logistic(
        float(cell.effect_at_fraction(0.0)[0]),
        float(cell.effect_at_fraction(1.0)[0]),
        float(np.exp(log_midpoint)),
        float(np.exp(log_hill)),
    )
    return LogisticFit(curve, levels, residual, _p_against_flat(levels, residual))


def _p_against_flat(levels: DoseLevels, residual: float) -> float:
    """Return the p-value of the F test: 3 more parameters than a flat line."""
    flat, degrees_of_freedom = levels.total_squares, levels.wells - PARAMETER_COUNT
    if flat <= 1e-12 * (levels.weights @ levels.means**2):  # all wells are equal but for rounding
        return 1.0
    ratio = (flat - residual) / (PARAMETER_COUNT - 1) / max(residual / degrees_of_freedom, 1e-300)
    return float(f_distribution.sf(ratio, PARAMETER_COUNT - 1, degrees_of_freedom))


def _relative_precision(
    squares: Float64Array, degrees_of_freedom: Float64Array, treated: BoolArray
) -> Float64Array:
    """Return (L,): the pooled variance of a well over its own, where untreated wells and treated ones may vary differently.

    Wells with an effect vary more. Each of the two variances is moderated by pseudo-wells of the pooled one.
    """
    pooled = squares.sum() / max(degrees_of_freedom.sum(), 1.0)
    if pooled <= 0:
        return np.ones(len(squares))
    own = np.array([squares[of].sum() + PSEUDO_WELLS * pooled for of in (~treated, treated)])
    own /= np.array([degrees_of_freedom[of].sum() + PSEUDO_WELLS for of in (~treated, treated)])
    return np.asarray(pooled / own[treated.astype(int)])


def _search_limits(levels: DoseLevels) -> tuple[Float64Array, Float64Array]:
    """Return the lower and upper end of log midpoint and log hill."""
    lowest, highest = levels.dose_range
    return np.log([lowest / LOWEST_DOSE_OVER_MIDPOINT, HILL_LIMITS[0]]), np.log(
        [highest, HILL_LIMITS[1]]
    )


def _grid(levels: DoseLevels, lower: Float64Array, upper: Float64Array) -> GridCells:
    log_midpoint, log_hill = (
        np.linspace(*ends) for ends in zip(lower, upper, _GRID_SHAPE, strict=True)
    )
    grid = np.meshgrid(log_midpoint, log_hill, indexing="ij")
    return GridCells.fit(levels, grid[0].ravel(), grid[1].ravel())


def _refine(
    levels: DoseLevels, cells: GridCells, lower: Float64Array, upper: Float64Array
) -> tuple[float, float, float]:
    """Return log midpoint, log hill and residual of the best curve: around the best cell, ever finer small grids, each moved to the best of the one before."""
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
            reach = (
                reach / 3
            )  # the best lies inside; at the edge of the small grid, it is followed first
    return float(at[0]), float(at[1]), float(cells.residual[best])


def _shrink_window(
    cells: GridCells,
    residual: float,
    degrees_of_freedom: int,
    window: tuple[Float64Array, Float64Array],
) -> tuple[Float64Array, Float64Array]:
    """Return the smallest box around the cells that the wells allow, with a cell of margin."""
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
    """Return the largest residual of a curve with one parameter held that the wells still allow."""
    return residual * (
        1
        + float(t_distribution.ppf((1 + confidence) / 2, degrees_of_freedom)) ** 2
        / degrees_of_freedom
    )


def _interpolate_crossing(
    values: Float64Array, profile: Float64Array, inside: int, step: int, limit: float
) -> float:
    outside = inside + step
    if not 0 <= outside < len(values):
        return float(values[inside])
    fraction = (limit - profile[inside]) / (profile[outside] - profile[inside])
    return float(values[inside] + fraction * (values[outside] - values[inside]))


def _risen_fraction(
    log_dose: Float64Array, log_midpoint: Float64Array | float, log_hill: Float64Array | float
) -> Float64Array:
    return np.asarray(expit(np.exp(log_hill) * (log_dose - log_midpoint)))


def _log_doses(doses: Float64Array) -> Float64Array:
    """Return log doses; of 0, minus infinity."""
    return np.log(doses, out=np.full(doses.shape, -np.inf), where=doses > 0)
