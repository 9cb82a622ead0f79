"""Method 2: the order of wells and treatments by predicted percent of deterioration.

Intact wells are ordered by their predicted percent. Exploded wells follow, by degree of explosion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import numpy.typing as npt

from inference.deterioration.calibration import (
    MAX_RELATIVE_DISTANCE,
    Calibration,
)
from inference.deterioration.calibration_limits import (
    MIN_PLATES_FOR_RANGE,
    calibration_limits,
)
from inference.deterioration.intervals import treatment_variances
from inference.ranking.placement import Placement, ScoredPlate, TreatmentPlace, WellPlace
from inference.ranking.thesis_scale import (
    ExplosionDegrees,
    explosion_degrees,
    is_condition_known,
    is_exploded,
    rank_by_condition,
    refused_wells,
)
from inference.ranking.treatment_scores import TreatmentScores, rank_treatments
from inference.ranking.well_tissue import WellTissue
from schemas.calibration import CalibrationCard, Drift, ErrorModel, PercentBasis
from schemas.ranking import Verdict
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]

EXPLODED_PERCENT = 100.0
"""Deterioration of exploded tissue, which is assumed without an assay."""

EXPLODED_NOTE = (
    "{count} exploded wells are assumed to be {percent:g} % deteriorated; they rank above all "
    "intact wells, by degree of explosion."
)
UNPREDICTED_NOTE = (
    "{treatment} ({group}) is not ranked: deterioration could be predicted of none of its wells."
)
NO_DEGREE_NOTE = (
    "The pieces of exploded tissue were not counted in some images, which an earlier version of "
    "the software measured: exploded wells are ordered by their spread."
)
REFUSED_NOTE = (
    "{wells}: not placed by deterioration. No background is in view in the readout image, so it is "
    "not known whether the tissue is intact or exploded."
)
EXTRAPOLATED_NOTE = (
    "{wells}: the predicted deterioration is extrapolated. It is outside the range of the measured "
    "wells of the assay plates, {low:.0f} to {high:.0f} %."
)
NO_CONDITION_NOTE = (
    "The condition of the tissue (intact or exploded) is not known: all wells are placed by "
    "predicted deterioration."
)


def drift_sentence(drift: Drift) -> str:
    """Return a sentence that describes a Drift: the distance of a plate from its calibration."""
    where = "outside the range seen" if drift.outside else "within the range seen"
    return (
        f"Its untreated and single-dose wells are {drift.distance:.1f} spreads from those of the "
        f"calibration plates; {drift.percentile:.0f} % of these are nearer to one another: {where}."
    )


def drift_of(
    trajectories: Trajectories, calibration: Calibration, *, dosing_day: int, readout_day: int
) -> Drift | None:
    """Return the Drift of Trajectories from a Calibration, given the dosing and readout day.

    It is None if the calibration has too few plates to know the differences between plates.

    Raises
    ------
    ProfileError
        If the plate has no untreated wells that can be compared.
    """
    if len(calibration.plates) < MIN_PLATES_FOR_RANGE:
        return None
    distance, usual = (
        calibration.distance(trajectories, dosing_day=dosing_day, readout_day=readout_day),
        calibration.usual_distances,
    )
    return Drift(
        distance=distance,
        percentile=float(100 * (usual < distance).mean()),
        outside=distance > MAX_RELATIVE_DISTANCE * float(usual.max()),
    )


def by_deterioration(
    scored: ScoredPlate,
    tissue: Mapping[str, WellTissue],
    trajectories: Trajectories,
    calibration: Calibration,
    *,
    dosing_day: int,
    readout_day: int,
    seed: int,
) -> tuple[Placement, Drift | None]:
    """Return (Placement, Drift) of a ScoredPlate by a Calibration, from tissue and Trajectories.

    The order is by predicted deterioration: intact wells by predicted percent, and above them the
    exploded wells by degree. A treatment is ordered by the mean percent of its wells, then by its
    share of exploded wells, then by their
    degree. A treatment with the verdict growth did not deteriorate and is ordered below all others.
    The tests of the treatments are unchanged: they answer whether a treatment departs at all.

    Raises
    ------
    ProfileError
        If the plate has no untreated wells that can be compared, or other features than the
        calibration.
    """
    drift = drift_of(trajectories, calibration, dosing_day=dosing_day, readout_day=readout_day)
    predicted = calibration.predict(trajectories, dosing_day=dosing_day, readout_day=readout_day)
    by_embedding = calibration.embedding_share(
        trajectories, dosing_day=dosing_day, readout_day=readout_day
    )
    departed = scored.placement
    grown = {
        well
        for each in departed.treatments
        if each.evidence.verdict is Verdict.GROWTH
        for well in each.wells
    }
    row_of = {well: row for row, well in enumerate(trajectories.wells)}
    refused = refused_wells(scored, departed, tissue)
    percents = {
        well: _percent_of(
            tissue.get(well),
            row_of[well],
            predicted.percent,
            predicted.low,
            predicted.high,
            basis=calibration.errors.basis,
            has_grown=well in grown,
        )
        for well, place in departed.wells.items()
        if place.score is not None and well not in refused
    }
    percents = {well: place for well, place in percents.items() if place.score is not None}
    degrees = explosion_degrees({well: tissue[well] for well in percents if well in tissue})
    treated = [well for well in percents if departed.wells[well].efficacy_rank is not None]
    wells = {well: WellPlace() for well in departed.wells} | _placed(percents, treated, degrees)
    predictable = [
        replace(
            each,
            wells=own,
            embedding_share=None
            if by_embedding is None
            else float(np.nanmean([by_embedding[row_of[well]] for well in own])),
        )
        for each in departed.treatments
        if (own := tuple(well for well in each.wells if well in percents))
    ]
    exploded = sum(is_exploded(tissue.get(well)) for well in treated)
    return (
        Placement(
            method="deterioration",
            treatments=_place_treatments(
                predictable,
                percents,
                degrees.by_well,
                calibration.errors,
                np.random.default_rng(seed),
            ),
            wells=wells,
            notes=(
                *departed.notes,
                *calibration_limits(calibration.card),
                *_unpredicted(departed.treatments, predictable),
                *((REFUSED_NOTE.format(wells=", ".join(refused)),) if refused else ()),
                *(
                    (EXPLODED_NOTE.format(count=exploded, percent=EXPLODED_PERCENT),)
                    if exploded
                    else ()
                ),
                *_extrapolated(percents, treated, calibration.card),
                *((NO_DEGREE_NOTE,) if degrees.are_spreads else ()),
                *(() if is_condition_known(tissue) else (NO_CONDITION_NOTE,)),
            ),
        ),
        drift,
    )


def _percent_of(
    tissue: WellTissue | None,
    row: int,
    percent: Array,
    low: Array,
    high: Array,
    *,
    basis: PercentBasis,
    has_grown: bool,
) -> WellPlace:
    """Return the percent of deterioration of one well; no score where it cannot be predicted."""
    if not np.isfinite(percent[row]):
        return WellPlace()
    if is_exploded(tissue):
        return WellPlace(
            score=EXPLODED_PERCENT,
            deterioration_percent=EXPLODED_PERCENT,
            deterioration_assumed=True,
        )
    own = 0.0 if has_grown else float(percent[row])
    return WellPlace(
        score=own,
        deterioration_percent=own,
        deterioration_low=min(own, float(low[row])),
        deterioration_high=max(own, float(high[row])),
        percent_basis=basis,
    )


def _placed(
    percents: Mapping[str, WellPlace], treated: Sequence[str], degrees: ExplosionDegrees
) -> dict[str, WellPlace]:
    """Return wells with their positions, and treated wells with their ranks.

    Exploded wells are above intact wells, which are placed by percent. Ties share the better rank.
    """
    scores = {well: place.deterioration_percent or 0.0 for well, place in percents.items()}
    among_all = rank_by_condition(scores, degrees)
    ranks = rank_by_condition({well: scores[well] for well in treated}, degrees)
    return {
        well: replace(
            place,
            efficacy_rank=ranks.get(well),
            scale_position=len(scores) + 1 - among_all[well],
        )
        for well, place in percents.items()
    }


def _ranks(keys: Mapping[str, tuple[float, ...]]) -> dict[str, int]:
    """Return the rank of each name, 1 = the largest key; equal keys share the better rank."""
    order = sorted(keys.values(), reverse=True)
    return {name: order.index(key) + 1 for name, key in keys.items()}


def _unpredicted(
    treatments: Sequence[TreatmentPlace], predictable: Sequence[TreatmentPlace]
) -> list[str]:
    """Return one note for each treatment none of whose wells has a prediction."""
    kept = {(each.evidence.group, each.evidence.treatment) for each in predictable}
    return [
        UNPREDICTED_NOTE.format(treatment=each.evidence.treatment, group=each.evidence.group)
        for each in treatments
        if (each.evidence.group, each.evidence.treatment) not in kept
    ]


def _extrapolated(
    percents: Mapping[str, WellPlace], treated: Sequence[str], card: CalibrationCard
) -> list[str]:
    """Return a note about the treated wells that are predicted outside the measured range."""
    if card.percent_low is None or card.percent_high is None:
        return []
    outside = [
        well
        for well in treated
        if not percents[well].deterioration_assumed
        and not card.percent_low <= (percents[well].score or 0.0) <= card.percent_high
    ]
    named = EXTRAPOLATED_NOTE.format(
        wells=", ".join(outside), low=card.percent_low, high=card.percent_high
    )
    return [named] if outside else []


def _place_treatments(
    treatments: Sequence[TreatmentPlace],
    wells: Mapping[str, WellPlace],
    degrees: Mapping[str, float],
    errors: ErrorModel,
    rng: np.random.Generator,
) -> tuple[TreatmentPlace, ...]:
    """Return the treatments by efficacy rank, with intervals from the errors of the calibration."""
    if not treatments:
        return ()
    means = np.array(
        [
            fmean(wells[name].deterioration_percent or 0.0 for name in each.wells)
            for each in treatments
        ]
    )
    keys = {
        str(number): (
            each.evidence.verdict is not Verdict.GROWTH,
            mean,
            *_explosion_summary([degrees.get(name) for name in each.wells]),
        )
        for number, (each, mean) in enumerate(zip(treatments, means, strict=True))
    }
    ranks = _ranks(keys)
    own, shared = treatment_variances(
        errors, means, np.array([float(len(each.wells)) for each in treatments])
    )
    freedom = np.full(len(treatments), errors.degrees_of_freedom)
    drawn: TreatmentScores = rank_treatments(means, own, freedom, shared_variance=shared, rng=rng)
    placed = [
        replace(
            each,
            efficacy_rank=ranks[str(number)],
            scale_position=len(treatments) + 1 - ranks[str(number)],
            score=float(means[number]),
            score_low=float(max(min(errors.lowest_percent, means[number]), drawn.low[number])),
            score_high=float(min(EXPLODED_PERCENT, drawn.high[number])),
            rank_low=min(int(drawn.rank_low[number]), ranks[str(number)]),
            rank_high=max(int(drawn.rank_high[number]), ranks[str(number)]),
            chance_best=float(drawn.chance_best[number]),
            percent_basis=errors.basis,
        )
        for number, each in enumerate(treatments)
    ]
    return tuple(sorted(placed, key=lambda each: each.efficacy_rank))


def _explosion_summary(degrees: Sequence[float | None]) -> tuple[float, float]:
    """Return the share of exploded wells, and their mean degree; None is an intact well."""
    exploded = [degree for degree in degrees if degree is not None]
    return len(exploded) / len(degrees), fmean(exploded) if exploded else 0.0
