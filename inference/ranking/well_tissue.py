"""Condition and measures of the tissue of each well on the readout day."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inference.tissue.condition import ConditionSettings, classify_condition
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

    Changes are computed from the last image of the well up to the dosing day.

    Parameters
    ----------
    observations
        The selected observation of each well and day.
    """
    by_day: dict[str, dict[int, Mapping[str, float]]] = {}
    for seen in observations:
        if seen.measures:
            by_day.setdefault(seen.key.well, {})[seen.day] = seen.measures
    found = {}
    for well, days in by_day.items():
        if readout_day in days:
            measures = _with_changes(days, dosing_day, readout_day)
            condition, degree = classify_condition(measures, settings) or (None, None)
            found[well] = WellTissue(measures, condition, degree)
    return found


def mean_measures(tissue: Mapping[str, WellTissue], wells: Iterable[str]) -> dict[str, float]:
    """Return the mean of each measure over the measured wells among ``wells``, by measure name."""
    measured = [tissue[well].measures for well in wells if well in tissue]
    names = sorted({name for measures in measured for name in measures})
    return {
        name: sum(values) / len(values)
        for name in names
        if (values := [measures[name] for measures in measured if name in measures])
    }


def _with_changes(
    days: Mapping[int, Mapping[str, float]], dosing_day: int, readout_day: int
) -> dict[str, float]:
    """Return the measures of the readout day, and their changes where an earlier image exists."""
    before = [day for day in days if day <= dosing_day]
    since = changes_since_dosing(days[readout_day], days[max(before)]) if before else {}
    return dict(days[readout_day]) | since
