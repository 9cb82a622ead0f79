"""Four-parameter logistic curves of effect against dose, fitted so that everything the wells still allow is known beside the best curve."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

Array = npt.NDArray[np.float64]
Limits = tuple[float | None, float | None]

CONFIDENCE = 0.90
PARAMETERS = 4
PSEUDO_WELLS = 3
HILL = (0.25, 8.0)
BELOW_LOWEST = 100.0
"""A midpoint is looked for from the lowest dose over this number to the highest dose. Beyond the highest, the curve between the doses keeps its shape and only
its top runs away; below the lowest, the shape at the lowest dose still tells."""
_GRID = (65, 33)
_ZOOMS = 8
_STEPS = 24
_NEAR = np.linspace(-1.0, 1.0, 7)
_WINDOW_CONFIDENCE = 0.999


@dataclass(frozen=True)
class Logistic:
    """The curve bottom + (top − bottom) / (1 + (midpoint / dose)^hill)."""

    bottom: float
    top: float
    midpoint: float
    hill: float

    def effect_at(self, doses: Array) -> Array:
        """Return the effect of each dose, 0 or more."""
        return self.bottom + (self.top - self.bottom) * _shape(
            _logarithm(doses), np.log(self.midpoint), np.log(self.hill)
        )


@dataclass(frozen=True, eq=False)
class Levels:
    """The wells of one compound by dose: all that a curve of equally good wells depends on."""

    doses: Array  # (L,), ascending; 0 is untreated
    means: Array  # (L,)
    counts: Array  # (L,) wells
    weights: Array  # (L,) counts over the variance of a well, in units of the mean variance
    within: float  # weighted sum of squares of wells about the mean of their dose

    @classmethod
    def of(cls, doses: Array, effects: Array) -> "Levels":
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
        precision = _precision(squares, wells - 1, distinct > 0)
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
    def about_mean(self) -> float:
        """The sum of squares of all wells about their mean: what a flat line leaves."""
        return self.within + float(self.weights @ (self.means - self.mean) ** 2)

    @property
    def tested(self) -> tuple[float, float]:
        """The lowest and the highest dose above 0."""
        above = self.doses[self.doses > 0]
        return float(above[0]), float(above[-1])


@dataclass(frozen=True, eq=False)
class Cells:
    """For each midpoint and hill (C,), the bottom and top that fit best: those enter linearly (Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973, 413)."""

    log_midpoint: Array
    log_hill: Array
    share: Array  # mean over the wells of how far the curve has risen, 0…1
    information: Array  # sum of squares of that share about its mean
    rise: Array  # top − bottom
    residual: Array  # sum of squares
    mean: float
    weight: float  # of all wells

    @classmethod
    def of(cls, levels: Levels, log_midpoint: Array, log_hill: Array) -> "Cells":
        """Fit bottom and top in each cell."""
        shape = _shape(_logarithm(levels.doses), log_midpoint[:, None], log_hill[:, None])
        weight = float(levels.weights.sum())
        share = shape @ levels.weights / weight
        deviation = shape - share[:, None]
        information = np.maximum(deviation**2 @ levels.weights, 1e-12 * weight)
        covariance = deviation @ (levels.weights * (levels.means - levels.mean))
        rise = covariance / information
        residual = np.maximum(levels.about_mean - rise * covariance, 0.0)
        return cls(log_midpoint, log_hill, share, information, rise, residual, levels.mean, weight)

    def effect(self, share: Array | float) -> Array:
        """Return each cell's effect where its curve has risen by a share: 0 is the bottom, 1 the top."""
        return np.asarray(self.mean + self.rise * (share - self.share))

    def variance(self, share: Array | float) -> Array:
        """Return the variance of that effect over the variance of a well."""
        return np.asarray(1 / self.weight + (share - self.share) ** 2 / self.information)

    def within(self, limit: float) -> "Cells":
        """Return the cells whose residual is not above a limit."""
        kept = self.residual <= limit
        return Cells(
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
    levels: Levels
    residual: float  # sum of squares about the best curve
    p_flat: float  # of the extra-sum-of-squares F test against a flat line

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the residual."""
        return self.levels.wells - PARAMETERS

    @cached_property
    def cells(self) -> Cells:
        """A grid of midpoint by hill, _GRID, as wide as all that the wells allow."""
        window = _search(self.levels)
        cells = _grid(self.levels, *window)
        for _ in range(_ZOOMS):
            closer = _window(cells, self.residual, self.freedom, window)
            if np.all(closer[1] - closer[0] > 0.7 * (window[1] - window[0])):
                break
            window, cells = closer, _grid(self.levels, *closer)
        return cells

    def midpoint_limits(self) -> Limits:
        """Return the profile-likelihood interval of the midpoint; None for an end that lies beyond the doses tested."""
        lowest, highest = self.levels.tested
        low, high = self._crossings(self.cells.log_midpoint, 0)
        return (None if low <= np.log(lowest) else float(np.exp(low))), (
            None if high >= np.log(highest) - 1e-9 else float(np.exp(high))
        )

    def hill_limits(self) -> Limits:
        """Return the profile-likelihood interval of the hill slope; None for an end that the wells do not limit."""
        low, high = np.exp(self._crossings(self.cells.log_hill, 1))
        return (None if low <= HILL[0] * 1.001 else float(low)), (
            None if high >= HILL[1] * 0.999 else float(high)
        )

    def effect_limits(self, share: float) -> tuple[float, float]:
        """Return the profile-likelihood interval of the effect where the curve has risen by a share: 0 is the bottom, 1 the top."""
        cells = self.cells.within(self._limit)
        if not len(cells.residual):
            at_best = self.curve.bottom + share * (self.curve.top - self.curve.bottom)
            return at_best, at_best
        reach = np.sqrt(cells.variance(share) * (self._limit - cells.residual))
        effect = cells.effect(share)
        return float((effect - reach).min()), float((effect + reach).max())

    def doses_reaching(self, effect: float, doses: Array) -> npt.NDArray[np.bool_]:
        """Return which of the doses may be where the curve reaches an effect: where a curve held to it is not much worse than the best."""
        cells = self.cells.within(self._limit)
        if not len(cells.residual):
            return np.zeros(len(doses), dtype=bool)
        share = _shape(_logarithm(doses)[:, None], cells.log_midpoint, cells.log_hill)
        held = cells.residual + (effect - cells.effect(share)) ** 2 / cells.variance(share)
        return np.asarray(held.min(axis=1) <= self._limit)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
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
        return _residual_limit(self.residual, self.freedom, CONFIDENCE)

    def _crossings(self, axis_values: Array, axis: int) -> tuple[float, float]:
        """Return where the residual, least over the other parameter, passes the limit on the way out from the best curve."""
        values = np.unique(axis_values)
        profile = self.cells.residual.reshape(_GRID).min(axis=1 - axis)
        best = float(np.log((self.curve.midpoint, self.curve.hill)[axis]))
        inside = np.flatnonzero(profile <= self._limit)
        if not len(inside):
            return best, best
        return min(_cross(values, profile, inside[0], -1, self._limit), best), max(
            _cross(values, profile, inside[-1], +1, self._limit), best
        )


def fit_logistic(levels: Levels) -> LogisticFit:
    """Fit a four-parameter logistic by least squares to at least 4 dose levels (0 counts) and more wells than parameters."""
    lower, upper = _search(levels)
    log_midpoint, log_hill, residual = _polish(levels, _grid(levels, lower, upper), lower, upper)
    cell = Cells.of(levels, np.array([log_midpoint]), np.array([log_hill]))
    curve = Logistic(
        float(cell.effect(0.0)[0]),
        float(cell.effect(1.0)[0]),
        float(np.exp(log_midpoint)),
        float(np.exp(log_hill)),
    )
    return LogisticFit(curve, levels, residual, _p_against_flat(levels, residual))


def _p_against_flat(levels: Levels, residual: float) -> float:
    """Return the p-value of the F test: 3 more parameters than a flat line."""
    flat, freedom = levels.about_mean, levels.wells - PARAMETERS
    if flat <= 1e-12 * (levels.weights @ levels.means**2):  # all wells are equal but for rounding
        return 1.0
    ratio = (flat - residual) / (PARAMETERS - 1) / max(residual / freedom, 1e-300)
    return float(f_distribution.sf(ratio, PARAMETERS - 1, freedom))


def _precision(squares: Array, freedom: Array, treated: npt.NDArray[np.bool_]) -> Array:
    """Return (L,): the pooled variance of a well over its own, where untreated wells and treated ones may vary differently.

    Wells with an effect vary more. Each of the two variances is moderated by pseudo-wells of the pooled one.
    """
    pooled = squares.sum() / max(freedom.sum(), 1.0)
    if pooled <= 0:
        return np.ones(len(squares))
    own = np.array([squares[of].sum() + PSEUDO_WELLS * pooled for of in (~treated, treated)])
    own /= np.array([freedom[of].sum() + PSEUDO_WELLS for of in (~treated, treated)])
    return np.asarray(pooled / own[treated.astype(int)])


def _search(levels: Levels) -> tuple[Array, Array]:
    """Return the lower and upper end of log midpoint and log hill."""
    lowest, highest = levels.tested
    return np.log([lowest / BELOW_LOWEST, HILL[0]]), np.log([highest, HILL[1]])


def _grid(levels: Levels, lower: Array, upper: Array) -> Cells:
    log_midpoint, log_hill = (np.linspace(*ends) for ends in zip(lower, upper, _GRID, strict=True))
    grid = np.meshgrid(log_midpoint, log_hill, indexing="ij")
    return Cells.of(levels, grid[0].ravel(), grid[1].ravel())


def _polish(levels: Levels, cells: Cells, lower: Array, upper: Array) -> tuple[float, float, float]:
    """Return log midpoint, log hill and residual of the best curve: around the best cell, ever finer small grids, each moved to the best of the one before."""
    reach = 2 * (upper - lower) / (np.array(_GRID) - 1)
    best = int(np.argmin(cells.residual))
    at = np.array([cells.log_midpoint[best], cells.log_hill[best]])
    for _ in range(_STEPS):
        near = np.clip(at[:, None] + reach[:, None] * _NEAR, lower[:, None], upper[:, None])
        cells = Cells.of(levels, np.repeat(near[0], len(_NEAR)), np.tile(near[1], len(_NEAR)))
        best = int(np.argmin(cells.residual))
        before, at = at, np.array([cells.log_midpoint[best], cells.log_hill[best]])
        if np.all(np.abs(at - before) < 0.9 * reach):
            reach = (
                reach / 3
            )  # the best lies inside; at the edge of the small grid, it is followed first
    return float(at[0]), float(at[1]), float(cells.residual[best])


def _window(
    cells: Cells, residual: float, freedom: int, window: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the smallest box around the cells that the wells allow, with a cell of margin."""
    near = cells.within(
        max(_residual_limit(residual, freedom, _WINDOW_CONFIDENCE), float(cells.residual.min()))
    )
    step = (window[1] - window[0]) / (np.array(_GRID) - 1)
    at = np.stack([near.log_midpoint, near.log_hill])
    return np.maximum(at.min(axis=1) - step, window[0]), np.minimum(
        at.max(axis=1) + step, window[1]
    )


def _residual_limit(residual: float, freedom: int, confidence: float) -> float:
    """Return the largest residual of a curve with one parameter held that the wells still allow."""
    return residual * (1 + float(t_distribution.ppf((1 + confidence) / 2, freedom)) ** 2 / freedom)


def _cross(values: Array, profile: Array, inside: int, step: int, limit: float) -> float:
    outside = inside + step
    if not 0 <= outside < len(values):
        return float(values[inside])
    fraction = (limit - profile[inside]) / (profile[outside] - profile[inside])
    return float(values[inside] + fraction * (values[outside] - values[inside]))


def _shape(log_dose: Array, log_midpoint: Array | float, log_hill: Array | float) -> Array:
    return np.asarray(expit(np.exp(log_hill) * (log_dose - log_midpoint)))


def _logarithm(doses: Array) -> Array:
    """Return log doses; of 0, minus infinity."""
    return np.log(doses, out=np.full(doses.shape, -np.inf), where=doses > 0)
