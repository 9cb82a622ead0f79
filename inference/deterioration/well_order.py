"""Method 2: wells that held together in the order of their predicted deterioration, burst wells after them by how far they burst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from inference.deterioration.calibration import MAX_RELATIVE_DISTANCE, Calibration
from inference.ranking.treatment_scores import TreatmentScores, rank_treatments
from schemas.ranking import Condition, Scale, TreatmentRank, TreatmentTable, Verdict, WellRank
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]

ASSUMED_PERCENT = 100.0
"""Of exploded tissue: no assay is asked."""
NORMAL_90 = 1.645
MANY = 1000.0
"""Degrees of freedom of an error that many left-out treatments tell."""

ASSUMED = "{count} exploded wells are taken for {percent:g} % deteriorated; they stand above all intact wells, by how far they burst."
UNPREDICTED = (
    "{treatment} ({group}) is not ranked: deterioration could be predicted of none of its wells."
)
NO_CONDITION = (
    "Whether tissue burst is not known here: all wells are placed by predicted deterioration."
)


@dataclass(frozen=True)
class Drift:
    """How unlike the calibration plates a plate is."""

    distance: float  # in the spread from plate to plate
    percentile: float  # 0…100 of the calibration plates that are nearer to their fellows
    outside: bool

    @property
    def sentence(self) -> str:
        """What a reader has to know."""
        where = "outside the range seen" if self.outside else "within the range seen"
        return (
            f"Its untreated and single-dose wells are {self.distance:.1f} spreads from those of the calibration plates; "
            f"{self.percentile:.0f} % of these are nearer to one another: {where}."
        )


def drift_of(
    trajectories: Trajectories, calibration: Calibration, *, dosing_day: int, readout_day: int
) -> Drift:
    """Return how far a plate's controls are from those that the model was learned from.

    Raises
    ------
    ProfileError
        If the plate has no untreated wells that can be compared.
    """
    distance, usual = (
        calibration.distance(trajectories, dosing_day=dosing_day, readout_day=readout_day),
        calibration.usual_distances,
    )
    return Drift(
        distance,
        float(100 * (usual < distance).mean()),
        outside=distance > MAX_RELATIVE_DISTANCE * float(usual.max()),
    )


def by_deterioration(
    table: TreatmentTable,
    trajectories: Trajectories,
    calibration: Calibration,
    *,
    dosing_day: int,
    readout_day: int,
    seed: int,
) -> tuple[TreatmentTable, Drift]:
    """Return the table with wells and treatments placed by deterioration, and how far the plate is from the calibration's.

    On the scale of the thesis, 1…x are the intact wells by predicted percent and x + 1…n the exploded ones by degree. A treatment is placed by the mean
    percent of its wells, then its share of exploded wells, then their degree. p, q, effect size and verdict stay: they ask whether it departs at all.
    A treatment whose verdict is growth did not deteriorate and stands below all others.

    Raises
    ------
    ProfileError
        If the plate has no untreated wells that can be compared, or other features than the calibration.
    """
    drift = drift_of(trajectories, calibration, dosing_day=dosing_day, readout_day=readout_day)
    predicted = calibration.predict(trajectories, dosing_day=dosing_day, readout_day=readout_day)
    grown = {
        well for row in table.treatments if row.verdict is Verdict.GROWTH for well in row.wells
    }
    place = {well: row for row, well in enumerate(trajectories.wells)}
    wells = [
        _percent_of(well, place[well.well], predicted.percent, predicted.low, predicted.high, grown)
        for well in table.wells
    ]
    wells = _on_the_scale(wells)
    scored = {well.well: well for well in wells if well.score is not None}
    rows = [
        row.model_copy(update={"wells": own})
        for row in table.treatments
        if (own := tuple(name for name in row.wells if name in scored))
    ]
    treatments = _treatments(rows, scored, calibration.treatment_error, np.random.default_rng(seed))
    kept = {(row.group, row.treatment) for row in rows}
    unpredicted = [
        UNPREDICTED.format(treatment=row.treatment, group=row.group)
        for row in table.treatments
        if (row.group, row.treatment) not in kept
    ]
    ranked = [well for well in wells if well.efficacy_rank is not None]
    exploded = sum(well.condition is Condition.EXPLODED for well in ranked)
    knows = any(well.condition is not None for well in table.wells)
    said = ASSUMED.format(count=exploded, percent=ASSUMED_PERCENT) if exploded else ""
    return (
        table.model_copy(
            update={
                "wells": tuple(wells),
                "treatments": treatments,
                "scale": Scale(x=len(ranked) - exploded if knows else None, n=len(ranked)),
                "notes": (
                    *table.notes,
                    *unpredicted,
                    *filter(None, (said, "" if knows else NO_CONDITION)),
                ),
            }
        ),
        drift,
    )


def _percent_of(
    well: WellRank, row: int, percent: Array, low: Array, high: Array, grown: set[str]
) -> WellRank:
    if well.score is None or not np.isfinite(percent[row]):
        return well.model_copy(
            update={"score": None, "efficacy_rank": None, "scale_position": None}
        )
    if well.condition is Condition.EXPLODED:
        assumed = {
            "deterioration_percent": ASSUMED_PERCENT,
            "deterioration_assumed": True,
            "score": ASSUMED_PERCENT,
        }
        return well.model_copy(update=assumed)
    own = 0.0 if well.well in grown else float(percent[row])
    interval = {
        "deterioration_low": min(own, float(low[row])),
        "deterioration_high": max(own, float(high[row])),
    }
    return well.model_copy(update={"deterioration_percent": own, "score": own} | interval)


def _on_the_scale(wells: Sequence[WellRank]) -> list[WellRank]:
    """Place the treated wells; equal ones share the better place."""
    ranked = [well for well in wells if well.efficacy_rank is not None]
    keys = {well.well: _well_key(well) for well in ranked}
    places = _places(keys)
    return [
        well.model_copy(
            update={
                "efficacy_rank": places[well.well],
                "scale_position": len(ranked) + 1 - places[well.well],
            }
        )
        if well.well in places
        else well
        for well in wells
    ]


def _well_key(well: WellRank) -> tuple[float, ...]:
    exploded = well.condition is Condition.EXPLODED
    return (
        float(exploded),
        (well.explosion_degree or 0.0) if exploded else (well.deterioration_percent or 0.0),
    )


def _places(keys: Mapping[str, tuple[float, ...]]) -> dict[str, int]:
    """Return the place of each name, 1 = the largest key; equal keys share the better place."""
    order = sorted(keys.values(), reverse=True)
    return {name: order.index(key) + 1 for name, key in keys.items()}


def _treatments(
    rows: Sequence[TreatmentRank],
    wells: Mapping[str, WellRank],
    error: float,
    rng: np.random.Generator,
) -> tuple[TreatmentRank, ...]:
    """Place treatments; the error of their means is that of treatments on plates that were left out."""
    if not rows:
        return ()
    means = np.array(
        [fmean(wells[name].deterioration_percent or 0.0 for name in row.wells) for row in rows]
    )
    keys = {
        str(number): (
            row.verdict is not Verdict.GROWTH,
            mean,
            *_burst([wells[name] for name in row.wells]),
        )
        for number, (row, mean) in enumerate(zip(rows, means, strict=True))
    }
    places = _places(keys)
    variance = np.full(len(rows), (error / NORMAL_90) ** 2)
    placed: TreatmentScores = rank_treatments(
        means, variance, np.full(len(rows), MANY), shared_variance=0.0, rng=rng
    )
    ranked = [
        row.model_copy(
            update={
                "efficacy_rank": places[str(number)],
                "scale_position": len(rows) + 1 - places[str(number)],
                "score": float(means[number]),
                "score_low": float(max(0.0, placed.low[number])),
                "score_high": float(min(100.0, placed.high[number])),
                "rank_low": min(int(placed.rank_low[number]), places[str(number)]),
                "rank_high": max(int(placed.rank_high[number]), places[str(number)]),
                "chance_best": float(placed.chance_best[number]),
            }
        )
        for number, row in enumerate(rows)
    ]
    return tuple(sorted(ranked, key=lambda row: row.efficacy_rank))


def _burst(wells: Sequence[WellRank]) -> tuple[float, float]:
    """Return the share of wells that exploded, and their mean degree."""
    exploded = [well for well in wells if well.condition is Condition.EXPLODED]
    return len(exploded) / len(wells), fmean(
        well.explosion_degree or 0.0 for well in exploded
    ) if exploded else 0.0
