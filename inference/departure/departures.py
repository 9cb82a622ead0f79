"""Departure of every well of a plate from its forecast untreated state, as a score.

The scores of untreated wells have mean 0 and standard deviation 1.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from inference.departure.combined_length import CombinedLength
from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS, DepartureSettings
from inference.departure.metrics import (
    clip_outliers,
    cosine_distance,
    moderated_spread,
    nearest_distance,
)
from inference.departure.reduced_space import reduce_plate
from inference.departure.residuals import Residuals
from inference.departure.scorable_wells import (
    days_before_and_after,
    replicate_sets,
    scorable_wells,
)
from schemas.arrays import BoolArray, Float64Array
from schemas.errors import ProfileError
from schemas.forecast import ForecastFrom, MetricName
from schemas.trajectory import Trajectories

MIN_UNTREATED = 3
"""Smallest number of untreated wells: one is left out, and two have a standard deviation."""
MIN_UNTREATED_ROLLING = 6
"""Smallest number of untreated wells for the rolling view.

With fewer wells the standard deviation has an error of more than a third and would change strongly
with each new image.
"""


@dataclass(frozen=True, eq=False)
class Departures:
    """Departure scores of the N wells of a plate, and reasons why wells were left out."""

    scores: Float64Array  # (N,), NaN where not scored
    by_metric: Mapping[MetricName, Float64Array]
    """(N,) scores by each metric, on the same scale."""
    earlier_scores: Float64Array
    """Centred scores of the untreated wells of earlier plates, on the scale of this plate."""
    untreated_spread: float
    """Standard deviation of the residual lengths of untreated wells."""
    earlier_spread: float | None
    """Standard deviation of the residual lengths of untreated wells on earlier plates."""
    embedding_share: Float64Array
    """(N,) fraction of the squared length that is due to the embedding, NaN where not scored."""
    used: BoolArray  # (N,), True where scored
    residuals: Residuals  # of the scored wells
    left_out: dict[str, str]
    """Reason by well; wells without an image of the day are not included."""
    notes: tuple[str, ...] = field(default=())


def measure_departures(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    day: int,
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
    others: Sequence[Trajectories] = (),
    metrics: Collection[MetricName] = tuple(MetricName),
) -> Departures:
    """Return the Departures of Trajectories' wells on a readout day, given the dosing day.

    Wells with an image of culture day ``day`` and a pre-dose image are scored.

    Parameters
    ----------
    trajectories
        Wells of the plate.
    dosing_day
        Last culture day whose images were taken before dosing.
    day
        Culture day of the readout.
    settings
        Settings of forecast and metric.
    others
        Other plates of the same encoder, line and days. Their untreated wells improve the estimate
        of the variation between untreated wells.
    metrics
        The metrics to compute; that of the settings and Mahalanobis always are.

    Raises
    ------
    ProfileError
        If ``day`` is not after ``dosing_day``, a day has no images, too few untreated wells remain,
        or no feature varies.
    """
    residuals, used, left_out = residuals_of_scorable_wells(
        trajectories, dosing_day=dosing_day, day=day, settings=settings, others=others
    )
    return score_residuals(residuals, used, left_out, metrics)


def residuals_of_scorable_wells(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    day: int,
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
    others: Sequence[Trajectories] = (),
    excluded: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Residuals, BoolArray, dict[str, str]]:
    """Return (Residuals, scored mask (N,), reasons by other well) of Trajectories on a readout day.

    Parameters
    ----------
    trajectories, dosing_day, day, settings, others
        As in :func:`measure_departures`.
    excluded
        Wells to leave out, with the reason of each.

    Returns
    -------
    residuals
        Residuals of the n scorable wells.
    used
        (N,), True for the scorable wells.
    left_out
        Reason by well, for wells with an image of ``day`` that cannot be scored.

    Raises
    ------
    ProfileError
        As in :func:`measure_departures`.
    """
    repeated = [well for well, count in Counter(trajectories.wells).items() if count > 1]
    if repeated:
        raise ProfileError(
            trajectories.plate, f"well {repeated[0]} occurs twice; expected each well once"
        )
    before, after = days_before_and_after(trajectories, dosing_day, day)
    used, left_out = scorable_wells(trajectories, before, dosing_day, day, excluded)
    untreated = trajectories.untreated()[used]
    if untreated.sum() < MIN_UNTREATED:
        raise ProfileError(
            trajectories.plate,
            f"{untreated.sum()} untreated wells have an image of day {day} and one from before "
            f"dosing; expected at least {MIN_UNTREATED}",
        )
    if settings.forecast_from is not ForecastFrom.DOSING:
        others = ()  # a forecast from post-dose days depends on the drugs of this plate
    reduced = reduce_plate(
        trajectories,
        used,
        before,
        after,
        others,
        settings.sequence_model,
        with_latest=settings.forecast_from is ForecastFrom.LAST_DAY,
    )
    return (
        Residuals(reduced, untreated, settings, replicate_sets(trajectories, used)),
        used,
        left_out,
    )


def score_residuals(
    residuals: Residuals,
    used: BoolArray,
    left_out: dict[str, str],
    metrics: Collection[MetricName] = tuple(MetricName),
) -> Departures:
    """Return Departures from Residuals of n wells, their mask (N,), and reasons by left-out well.

    A score is the length of a residual minus the untreated mean, in untreated standard deviations.

    An untreated well is left out of the forecast, the noise and the metric that determine its own
    length, so that it is treated like a treated well.

    Parameters
    ----------
    residuals
        Residuals of n wells.
    used
        (N,), True for these n wells.
    left_out
        Reason by well, for wells that cannot be scored.
    metrics
        As in :func:`measure_departures`.
    """
    untreated = residuals.untreated
    metrics = {MetricName.MAHALANOBIS, residuals.settings.metric, *metrics}
    lengths = _lengths(residuals, untreated, metrics)
    for well in np.flatnonzero(untreated):
        others = untreated.copy()
        others[well] = False
        for name, values in _lengths(residuals, others, metrics).by_metric.items():
            lengths.by_metric[name][well] = values[well]
    scores, spreads = {}, {}
    for name, values in lengths.by_metric.items():
        own = clip_outliers(values[untreated], values[untreated])
        spreads[name] = (
            moderated_spread(own, lengths.metric.metric, lengths.earlier, lengths.similarity)
            if name is MetricName.MAHALANOBIS
            else moderated_spread(own, None)
        )
        scores[name] = np.full(len(used), np.nan)
        scores[name][used] = (values - own.mean()) / spreads[name]
    embedding_share = np.full(len(used), np.nan)
    embedding_share[used] = lengths.embedding_share
    own = lengths.by_metric[MetricName.MAHALANOBIS][untreated]
    earlier = lengths.earlier
    return Departures(
        scores=scores[residuals.settings.metric],
        by_metric=scores,
        earlier_scores=earlier / spreads[MetricName.MAHALANOBIS],
        untreated_spread=float(clip_outliers(own, own).std(ddof=1)),
        earlier_spread=float(np.sqrt(np.average(earlier**2, weights=lengths.similarity)))
        if earlier.size
        else None,
        embedding_share=embedding_share,
        used=used,
        residuals=residuals,
        left_out=left_out,
        notes=residuals.reduced.notes,
    )


def departures_on_day(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    day: int,
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
) -> dict[str, float]:
    """Return the departure by well name of Trajectories on a day after the dosing day.

    Wells that cannot be scored are absent.

    The result is empty while too few untreated wells can be scored.
    """
    imaged = trajectories.has(day) & trajectories.untreated()
    if imaged.sum() < MIN_UNTREATED_ROLLING:
        return {}
    try:
        departures = measure_departures(
            trajectories, dosing_day=dosing_day, day=day, settings=settings, metrics=()
        )
    except ProfileError:  # the ranking of the day reports the problem
        return {}
    return {
        well: float(score)
        for well, score in zip(trajectories.wells, departures.scores, strict=True)
        if np.isfinite(score)
    }


@dataclass(frozen=True, eq=False)
class _Lengths:
    """Lengths of residuals by each metric, with those of earlier plates."""

    by_metric: dict[MetricName, Float64Array]  # each (n,)
    earlier: Float64Array  # (E,) Mahalanobis lengths of earlier wells, centred per plate
    similarity: Float64Array  # (E,) similarity of their plates
    metric: CombinedLength
    embedding_share: Float64Array  # (n,): fraction of the squared length due to the embedding


def _lengths(
    residuals: Residuals, training_wells: BoolArray, metrics: Collection[MetricName]
) -> _Lengths:
    """Return the lengths of all residuals by some metrics.

    Forecast and noise are those of the training wells (n,).
    """
    residual = residuals.fitted_on(training_wells)
    earlier = residuals.of_earlier_wells(training_wells)
    noise = residuals.estimate_noise(residual[training_wells], earlier)
    replicates = residuals.replicates
    if replicates is None:
        replicates = np.arange(len(residual))
    metric = CombinedLength.fit(
        residual,
        lambda matrix: residuals.estimate_noise(
            residual[training_wells] @ matrix,
            [(rows @ matrix, similarity) for rows, similarity in earlier],
        ),
        residuals.reduced.parts,
        replicates,
    )
    readout = residuals.reduced.readout
    earlier_lengths = [metric.lengths(rows) for rows, _ in earlier]
    by_metric: dict[MetricName, Callable[[], Float64Array]] = {
        MetricName.MAHALANOBIS: lambda: metric.lengths(residual),
        MetricName.L2: lambda: np.asarray(np.linalg.norm(residual, axis=1)),
        MetricName.COSINE: lambda: cosine_distance(readout, readout - residual),
        MetricName.NEAREST_CONTROLS: lambda: nearest_distance(
            residual, residual[training_wells], noise
        ),
    }
    return _Lengths(
        by_metric={name: length() for name, length in by_metric.items() if name in metrics},
        earlier=np.concatenate(
            [np.empty(0), *(lengths - lengths.mean() for lengths in earlier_lengths)]
        ),
        similarity=np.concatenate(
            [np.empty(0), *(np.full(len(rows), similarity) for rows, similarity in earlier)]
        ),
        metric=metric,
        embedding_share=metric.embedding_share(residual),
    )
