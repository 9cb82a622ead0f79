"""Sets what people can see, size, shape, darkness, intact or exploded, beside the scores of a ranking."""

from collections.abc import Iterable, Mapping

from inference.tissue.condition import ConditionSettings, condition_of
from inference.tissue.measures import changes
from schemas.observation import Observation
from schemas.ranking import TreatmentTable


def with_tissue(
    table: TreatmentTable,
    observations: Iterable[Observation],
    *,
    dosing_day: int,
    readout_day: int,
    settings: ConditionSettings,
) -> TreatmentTable:
    """Return the table with condition and measures of each well that was measured on the readout day, and their means over each treatment.

    Changes are taken since the well's last image up to dosing. The observations are those that count, one a well and day.
    """
    by_day: dict[str, dict[int, Mapping[str, float]]] = {}
    for seen in observations:
        if seen.measures:
            by_day.setdefault(seen.key.well, {})[seen.day] = seen.measures
    measured = {
        well: _measures(days, dosing_day, readout_day)
        for well, days in by_day.items()
        if readout_day in days
    }
    wells = []
    for row in table.wells:
        if row.well in measured:
            condition, degree = condition_of(measured[row.well], settings) or (None, None)
            wells.append(
                row.model_copy(
                    update={
                        "condition": condition,
                        "explosion_degree": degree,
                        "measures": measured[row.well],
                    }
                )
            )
        else:
            wells.append(row)
    treatments = [
        row.model_copy(
            update={"measures": _mean([measured[well] for well in row.wells if well in measured])}
        )
        for row in table.treatments
    ]
    return table.model_copy(update={"wells": tuple(wells), "treatments": tuple(treatments)})


def _measures(
    days: Mapping[int, Mapping[str, float]], dosing_day: int, readout_day: int
) -> dict[str, float]:
    before = [day for day in days if day <= dosing_day]
    return dict(days[readout_day]) | (
        changes(days[readout_day], days[max(before)]) if before else {}
    )


def _mean(wells: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over the wells that have it."""
    names = sorted({name for well in wells for name in well})
    return {
        name: sum(values) / len(values)
        for name in names
        if (values := [well[name] for well in wells if name in well])
    }
