"""Reasons for the rank of a treatment: measures that changed more than in untreated wells."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from inference.departure.reduced_space import MAX_ABSOLUTE_VALUE
from inference.ranking.placement import TreatmentPlace
from inference.ranking.rows import TreatmentKey
from schemas.ranking import Reason
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]

MAX_REASONS = 4
"""Largest number of reasons for each treatment."""
MIN_MEAN_CHANGE = 1.5
"""Smallest mean change of a reason, in untreated spreads."""
MIN_WELL_CHANGE = 1.0
"""Smallest change of a well that shares a reason, in untreated spreads."""
MIN_UNTREATED = 3
MIN_SPREAD_SHARE = 0.1
"""Smallest untreated spread, as a share of the spread of all wells."""

DESCRIPTIONS: Mapping[str, tuple[str, str]] = {
    "log_area": ("smaller", "larger"),
    "circularity_odds": ("less round", "rounder"),
    "solidity_odds": ("more ragged", "more compact in outline"),
    "log_roughness": ("smoother edge", "rougher edge"),
    "od_mean": ("paler", "darker"),
    "od_spread": ("more even", "more uneven"),
    "log_grain_fine": ("less fine grain", "more fine grain"),
    "log_grain_coarse": ("less coarse grain", "more coarse grain"),
    "core_darkness": ("paler core", "darker core"),
    "edge_darkness": ("paler edge", "darker edge"),
    "log_debris_share": ("less debris", "more debris"),
}
"""Descriptions of a decrease and an increase of each measure."""


def reasons_by_treatment(
    treatments: Iterable[TreatmentPlace],
    measured: Trajectories,
    *,
    dosing_day: int,
    readout_day: int,
) -> dict[TreatmentKey, tuple[Reason, ...]]:
    """Return the Reasons of TreatmentPlaces by (group, treatment), from measured Trajectories.

    The strongest reason is the first. A reason is a measure whose mean change since dosing is at
    least :data:`MIN_MEAN_CHANGE` untreated spreads away from the mean change of the untreated
    wells.

    Parameters
    ----------
    measured
        Trajectories whose features include measures of the tissue; an embedding gives no reasons.
    """
    changes = _changes(measured, dosing_day, readout_day)
    if not changes:
        return {}
    names = measured.feature_names[measured.embedding_dimension :]
    row_of = {well: row for row, well in enumerate(measured.wells)}
    return {
        (each.evidence.group, each.evidence.treatment): _reasons(
            changes, names, [row_of[well] for well in each.wells if well in row_of], measured.wells
        )
        for each in treatments
    }


def _changes(measured: Trajectories, dosing_day: int, readout_day: int) -> dict[int, Array]:
    """Return changes (N, M) of the measures since dosing, by day after dosing.

    They are in untreated spreads from the untreated mean; NaN where missing.
    """
    values = np.where(np.abs(measured.features) < MAX_ABSOLUTE_VALUE, measured.features, np.nan)[
        :, :, measured.embedding_dimension :
    ]
    before = [place for place, day in enumerate(measured.days) if day <= dosing_day]
    untreated = measured.untreated()
    if not before or readout_day not in measured.days or values.shape[2] == 0:
        return {}
    start = values[:, before[0]].copy()
    for place in before[1:]:
        start = np.where(np.isfinite(values[:, place]), values[:, place], start)
    changes = {}
    for place, day in enumerate(measured.days):
        change = values[:, place] - start
        if (
            dosing_day < day <= readout_day
            and (np.isfinite(change[untreated]).sum(axis=0) >= MIN_UNTREATED).all()
        ):
            spread = np.maximum(
                np.nanstd(change[untreated], axis=0, ddof=1),
                MIN_SPREAD_SHARE * np.nanstd(change, axis=0),
            )
            away = change - np.nanmean(change[untreated], axis=0)
            changes[day] = np.divide(away, spread, out=np.zeros_like(away), where=spread > 0)
    return changes if readout_day in changes else {}


def _reasons(
    changes: Mapping[int, Array],
    names: Sequence[str],
    wells: Sequence[int],
    all_wells: Sequence[str],
) -> tuple[Reason, ...]:
    readout = changes[max(changes)][wells]
    seen = np.isfinite(readout)
    means = np.where(seen, readout, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    reasons = []
    for measure in np.argsort(-np.abs(means), kind="stable")[:MAX_REASONS]:
        mean = float(means[measure])
        if abs(mean) < MIN_MEAN_CHANGE:
            break
        strength = _sign(mean) * readout[:, measure]
        sharing = [
            wells[row]
            for row in np.argsort(-strength, kind="stable")
            if strength[row] >= MIN_WELL_CHANGE
        ]
        less, more = DESCRIPTIONS.get(
            names[measure], (f"lower {names[measure]}", f"higher {names[measure]}")
        )
        reasons.append(
            Reason(
                measure=names[measure],
                seen=more if mean > 0 else less,
                spreads=mean,
                from_day=_first_day(changes, wells, int(measure), mean),
                wells=tuple(all_wells[well] for well in sharing),
            )
        )
    return tuple(reasons)


def _first_day(
    changes: Mapping[int, Array], wells: Sequence[int], measure: int, mean: float
) -> int:
    """Return the first day since which the mean change is large and has the readout's sign."""
    first = max(changes)
    for day in sorted(changes, reverse=True):
        values = changes[day][wells, measure]
        values = values[np.isfinite(values)]
        if not values.size or _sign(mean) * values.mean() < MIN_MEAN_CHANGE:
            break
        first = day
    return first


def _sign(value: float) -> float:
    """Return 1 for a positive value, else −1."""
    return 1.0 if value > 0 else -1.0
