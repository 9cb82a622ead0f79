"""Condition and measures of the tissue of each well on the readout day."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inference.tissue.condition import ConditionSettings, classify_condition
from inference.tissue.crowding import is_crowded, no_body_stands_out
from inference.tissue.measures import changes_since_dosing
from schemas.observation import Observation
from schemas.ranking import Condition


@dataclass(frozen=True)
class WellTissue:
    """The tissue of one well on the readout day."""

    measures: Mapping[str, float]  # of the readout image, and the changes since dosing
    condition: Condition | None
    explosion_degree: float | None


def tissue_by_well(
    observations: Iterable[Observation],
    *,
    dosing_day: int,
    readout_day: int,
    settings: ConditionSettings,
) -> dict[str, WellTissue]:
    """Return WellTissue by well on the readout day, from Observations and ConditionSettings.

    Wells whose image of that day was not measured are absent.

    Changes are computed from the last measured image of the well up to the dosing day. If that
    image is crowded, the well is a culture of many bodies, as organoids are. Such a well is intact,
    with degree 0, as long as none of its bodies stands out: its pieces are no fragments.

    Parameters
    ----------
    observations
        The selected observation of each well and day.
    """
    by_day: dict[str, dict[int, Mapping[str, float]]] = {}
    for seen in observations:
        if seen.measures:
            by_day.setdefault(seen.key.well, {})[seen.day] = seen.measures
    return {
        well: _tissue_of(days, dosing_day, readout_day, settings)
        for well, days in by_day.items()
        if readout_day in days
    }


def mean_measures(tissue: Mapping[str, WellTissue], wells: Iterable[str]) -> dict[str, float]:
    """Return the mean of each measure over the measured wells among ``wells``, by measure name."""
    measured = [tissue[well].measures for well in wells if well in tissue]
    names = sorted({name for measures in measured for name in measures})
    return {
        name: sum(values) / len(values)
        for name in names
        if (values := [measures[name] for measures in measured if name in measures])
    }


def _tissue_of(
    days: Mapping[int, Mapping[str, float]],
    dosing_day: int,
    readout_day: int,
    settings: ConditionSettings,
) -> WellTissue:
    """Return the tissue of one well on the readout day from its measures by day.

    Without an image up to the dosing day there are no changes, and the condition is that of the
    readout image alone.
    """
    now = days[readout_day]
    before = [day for day in days if day <= dosing_day]
    at_dosing = days[max(before)] if before else {}
    condition, degree = classify_condition(now, settings) or (None, None)
    if condition is Condition.EXPLODED and is_crowded(at_dosing) and no_body_stands_out(now):
        condition, degree = Condition.INTACT, 0.0
    return WellTissue(dict(now) | changes_since_dosing(now, at_dosing), condition, degree)
