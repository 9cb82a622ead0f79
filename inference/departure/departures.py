"""How far each well is from what it would have become untreated, on a scale where an untreated well has mean 0 and spread 1."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from inference.departure.forecasters import FORECASTERS, Array, residual_of
from inference.departure.metrics import (
    Mahalanobis,
    Noise,
    cosine_distance,
    held,
    nearest_distance,
    shape_of,
)
from inference.departure.reduced_space import ReducedSpace, reduce, usable
from inference.ports import Earlier, SequenceModel
from schemas.errors import ProfileError
from schemas.forecast import ForecastFrom, MetricName
from schemas.plate_map import Group
from schemas.trajectory import Trajectories

FEWEST_UNTREATED = 3
"""With one well left out, two remain: the fewest that have a spread."""
FEWEST_UNTREATED_ROLLING = 6
"""While images of a day still come in, a spread from fewer wells is more than a third wrong, and would jump with each image."""
SPREAD_PSEUDO_WELLS = 5
"""What pure noise says of the spread counts for so many wells,"""
EARLIER_PSEUDO_WELLS = 20
"""and what earlier plates say for so many: 8 to 18 wells do not know their own spread."""
NOTHING: Array = np.empty(0)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DepartureSettings:
    """How a departure is measured."""

    forecaster: str = "ridge"  # a key of FORECASTERS
    forecast_from: ForecastFrom = ForecastFrom.DOSING
    metric: MetricName = MetricName.MAHALANOBIS
    foresight: SequenceModel | None = (
        None  # what it foresees takes the place of the last image up to dosing
    )

    def rests_on(self, seen: int, *, dosing_day: int, day: int) -> bool:
        """Return whether images of a day bear on the departures of ``day``."""
        return (
            seen <= dosing_day
            or seen == day
            or (seen < day and self.forecast_from is not ForecastFrom.DOSING)
        )


DEFAULT = DepartureSettings()


@dataclass(frozen=True, eq=False)
class Residuals:
    """The wells of a plate that can be scored, in K directions, and how their residuals are made."""

    space: ReducedSpace
    untreated: Mask  # (n,)
    settings: DepartureSettings = DEFAULT
    known: Array | None = (
        None  # (n, Q): what else is known of a well beforehand, such as its place on the plate
    )

    @cached_property
    def shape(self) -> Array:
        """(K, K): which directions vary together."""
        return shape_of(self.space.past)

    def learned_from(self, teachers: Mask) -> Array:
        """Return (n, K): each well's readout less its forecast, learned from these wells; that of each of them is learned from the others."""
        forecaster, space = FORECASTERS[self.settings.forecaster], self.space
        match self.settings.forecast_from:
            case ForecastFrom.DOSING:
                return residual_of(
                    forecaster, self._with_known(space.past), space.readout, teachers, self._earlier
                )
            case ForecastFrom.LAST_DAY:
                newest_first = [*np.moveaxis(space.after[:, :-1], 1, 0)[::-1], space.past]
                return residual_of(
                    forecaster,
                    self._with_known(np.concatenate(newest_first, axis=1)),
                    space.readout,
                    teachers,
                )
            case ForecastFrom.ONE_STEP:
                ways = np.concatenate([space.past[:, None], space.after], axis=1)
                steps = [
                    residual_of(
                        forecaster, self._with_known(ways[:, day]), ways[:, day + 1], teachers
                    )
                    for day in range(ways.shape[1] - 1)
                ]
                return np.asarray(np.sum(steps, axis=0))

    @cached_property
    def of_wells(self) -> Array:
        """(n, K): learned from the untreated wells."""
        return self.learned_from(self.untreated)

    @cached_property
    def noise(self) -> Noise:
        """How the untreated ones among them vary."""
        return Noise.of(self.of_wells[self.untreated], self.shape, self.of_earlier(self.untreated))

    @cached_property
    def development(self) -> Array:
        """(K,): the way of the mean untreated well from dosing to the readout."""
        return np.asarray((self.space.readout - self.space.past)[self.untreated].mean(axis=0))

    def of_earlier(self, teachers: Mask) -> list[tuple[Array, float]]:
        """Return the residuals of earlier plates' untreated wells, (m, K), about their own mean as of wells left out, with the likeness of each plate."""
        if not self.space.earlier:
            return []
        past = self._with_known(self.space.past)[teachers]
        forecast = (
            FORECASTERS[self.settings.forecaster]
            .fit(past, self.space.readout[teachers], self._earlier)
            .of
        )
        centre = past.mean(axis=0)
        mean = forecast(centre[None])
        return [
            (
                np.sqrt(len(one.past) / (len(one.past) - 1))
                * (one.readout - forecast(centre + one.past) + mean),
                one.likeness,
            )
            for one in self._earlier
        ]

    def _with_known(self, inputs: Array) -> Array:
        return inputs if self.known is None else np.concatenate([inputs, self.known], axis=1)

    @property
    def _earlier(self) -> Sequence[Earlier]:
        if self.known is None:
            return self.space.earlier
        return [
            replace(
                one,
                past=np.concatenate(
                    [one.past, np.zeros((len(one.past), self.known.shape[1]))], axis=1
                ),
            )
            for one in self.space.earlier
        ]


@dataclass(frozen=True, eq=False)
class Departures:
    """The wells that could be scored, in the order of the trajectories, and why others could not."""

    scores: Array  # (N,), NaN where not scored
    by_metric: Mapping[MetricName, Array]  # each (N,), on the same scale
    earlier_scores: (
        Array  # untreated wells of other plates about their own mean, on this plate's scale
    )
    untreated_spread: float  # of the untreated wells' lengths
    earlier_spread: float | None  # of those on other plates
    used: Mask  # (N,)
    residuals: Residuals  # of the used wells
    left_out: dict[str, str]  # well: reason; wells without an image of the day are not among them
    notes: tuple[str, ...] = field(default=())


def measure_departures(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    day: int,
    settings: DepartureSettings = DEFAULT,
    others: Sequence[Trajectories] = (),
) -> Departures:
    """Score every well that has an image of ``day`` and one from before dosing.

    Parameters
    ----------
    others
        Other plates of the same encoder, line and days, whose untreated wells tell how untreated wells vary.

    Raises
    ------
    ProfileError
        If the days are the wrong way round or missing, too few untreated wells remain, or no feature varies.
    """
    residuals, used, left_out = scorable(
        trajectories, dosing_day=dosing_day, day=day, settings=settings, others=others
    )
    return departures_of(residuals, used, left_out)


def scorable(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    day: int,
    settings: DepartureSettings = DEFAULT,
    others: Sequence[Trajectories] = (),
    excluded: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Residuals, Mask, dict[str, str]]:
    """Return the wells that can be scored, which of the trajectories (N,) they are, and why others with an image of the day cannot.

    ``excluded`` wells are left out, each for its reason.

    Raises
    ------
    ProfileError
        As :func:`measure_departures`.
    """
    if twice := [well for well, count in Counter(trajectories.wells).items() if count > 1]:
        raise ProfileError(
            trajectories.plate, f"well {twice[0]} stands in it twice; expected each well once"
        )
    before, after = _days(trajectories, dosing_day, day)
    with_tissue = np.array([group is not Group.BLANK for group in trajectories.groups])
    at_readout = trajectories.has(day) & with_tissue
    readable = usable(trajectories.on(day))
    had_past = np.any([usable(trajectories.on(earlier)) for earlier in before], axis=0)
    used = at_readout & readable & had_past & ~np.isin(trajectories.wells, list(excluded))
    reasons = np.where(
        readable,
        f"no image from before dosing (day {dosing_day} or earlier)",
        f"most features of day {day} are missing",
    )
    left_out = {
        well: excluded.get(well, str(reasons[place]))
        for place, well in enumerate(trajectories.wells)
        if (at_readout & ~used)[place]
    }
    untreated = trajectories.untreated()[used]
    if untreated.sum() < FEWEST_UNTREATED:
        raise ProfileError(
            trajectories.plate,
            f"{untreated.sum()} untreated wells have an image of day {day} and one from before dosing; expected at least {FEWEST_UNTREATED}",
        )
    others = (
        others if settings.forecast_from is ForecastFrom.DOSING else ()
    )  # what follows the drug on this plate is not to be learned on another
    return (
        Residuals(
            reduce(trajectories, used, before, after, others, settings.foresight),
            untreated,
            settings,
        ),
        used,
        left_out,
    )


def departures_of(residuals: Residuals, used: Mask, left_out: dict[str, str]) -> Departures:
    """Score wells by the length of their residuals.

    Each untreated well is left out of all that its own length rests on (forecast, noise and metric), as if it were a treated one.
    """
    untreated = residuals.untreated
    lengths, earlier, likeness, metric = _lengths(residuals, untreated)
    for well in np.flatnonzero(untreated):
        others = untreated.copy()
        others[well] = False
        without, *_ = _lengths(residuals, others)
        for name, of_wells in without.items():
            lengths[name][well] = of_wells[well]
    by_metric = {}
    for name, of_wells in lengths.items():
        by_noise = name is MetricName.MAHALANOBIS
        own = held(of_wells[untreated], of_wells[untreated])
        spread = untreated_spread(
            own, metric if by_noise else None, *((earlier, likeness) if by_noise else ())
        )
        by_metric[name] = np.full(len(used), np.nan)
        by_metric[name][used] = (of_wells - own.mean()) / spread
    own = held(
        lengths[MetricName.MAHALANOBIS][untreated], lengths[MetricName.MAHALANOBIS][untreated]
    )
    return Departures(
        scores=by_metric[residuals.settings.metric],
        by_metric=by_metric,
        earlier_scores=earlier / untreated_spread(own, metric, earlier, likeness),
        untreated_spread=float(own.std(ddof=1)),
        earlier_spread=float(np.sqrt(np.average(earlier**2, weights=likeness)))
        if earlier.size
        else None,
        used=used,
        residuals=residuals,
        left_out=left_out,
        notes=residuals.space.notes,
    )


def departures_on(
    trajectories: Trajectories, *, dosing_day: int, day: int, settings: DepartureSettings = DEFAULT
) -> dict[str, float]:
    """Return the departure of each well that can be scored on a day after dosing, for the rolling view; empty while too few untreated wells can."""
    seen = trajectories.has(day) & trajectories.untreated()
    if seen.sum() < FEWEST_UNTREATED_ROLLING:
        return {}
    try:
        scores = measure_departures(
            trajectories, dosing_day=dosing_day, day=day, settings=settings
        ).scores
    except (
        ProfileError
    ):  # the ranking of the day says what is missing; the rolling view has nothing to show
        return {}
    return {
        well: float(score)
        for well, score in zip(trajectories.wells, scores, strict=True)
        if np.isfinite(score)
    }


def _days(
    trajectories: Trajectories, dosing_day: int, day: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the days up to dosing, and those after it up to the readout."""
    if day <= dosing_day:
        raise ProfileError(
            trajectories.plate, f"the readout day is {day}; expected a day after day {dosing_day}"
        )
    days = ", ".join(map(str, trajectories.days)) or "none"
    if not trajectories.has(day).any():
        raise ProfileError(
            trajectories.plate, f"no image of the readout day {day}; days with images: {days}"
        )
    before = tuple(earlier for earlier in sorted(trajectories.days) if earlier <= dosing_day)
    if not before:
        raise ProfileError(
            trajectories.plate,
            f"no image of day {dosing_day} or earlier, from before dosing; days with images: {days}",
        )
    return before, tuple(later for later in sorted(trajectories.days) if dosing_day < later <= day)


def _lengths(
    residuals: Residuals, teachers: Mask
) -> tuple[dict[MetricName, Array], Array, Array, Mahalanobis]:
    """Return the length of every well's residual by every metric, the Mahalanobis lengths of earlier wells about their plate's mean, and that metric.

    With the lengths of earlier wells comes the likeness of their plates.
    """
    residual, earlier = residuals.learned_from(teachers), residuals.of_earlier(teachers)
    noise = Noise.of(residual[teachers], residuals.shape, earlier)
    metric = Mahalanobis.of(residual, noise)
    seen = residuals.space.readout
    of_earlier = [metric.lengths(rows) for rows, _ in earlier]
    return (
        {
            MetricName.MAHALANOBIS: metric.lengths(residual),
            MetricName.L2: np.linalg.norm(residual, axis=1),
            MetricName.COSINE: cosine_distance(seen, seen - residual),
            MetricName.NEAREST_CONTROLS: nearest_distance(residual, residual[teachers], noise),
        },
        np.concatenate([np.empty(0), *(lengths - lengths.mean() for lengths in of_earlier)]),
        np.concatenate(
            [np.empty(0), *(np.full(len(rows), likeness) for rows, likeness in earlier)]
        ),
        metric,
    )


def untreated_spread(
    own: Array, metric: Mahalanobis | None, earlier: Array = NOTHING, likeness: Array = NOTHING
) -> float:
    """Return the spread of the lengths of untreated wells.

    A few wells do not know their own spread. It is moderated by what the wells of earlier plates vary by, for :data:`EARLIER_PSEUDO_WELLS` wells (or as many
    as they are, each counted by the likeness of its plate), and by the spread that pure noise of this mean square has, for :data:`SPREAD_PSEUDO_WELLS`. The
    last is also its floor, where untreated wells are all equal.
    """
    freedom = len(own) - 1
    squares, wells = freedom * float(own.var(ddof=1)), float(freedom)
    if metric is not None:
        squares += (
            SPREAD_PSEUDO_WELLS
            * metric.length_variance
            * max(1.0, float((own**2).mean() / metric.weights.sum()))
        )
        wells += SPREAD_PSEUDO_WELLS
    if earlier.size:
        counted = min(EARLIER_PSEUDO_WELLS, float(likeness.sum()))
        squares += counted * float(np.average(earlier**2, weights=likeness))
        wells += counted
    return float(np.sqrt(squares / wells)) or 1.0
