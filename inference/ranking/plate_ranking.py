"""Ranking of the treatments of one plate by departure, with intervals, p-values and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from inference.departure.departure_settings import DEFAULT_DEPARTURE_SETTINGS, DepartureSettings
from inference.departure.departures import Departures, residuals_of_scorable_wells, score_residuals
from inference.departure.place_effects import NO_PLACE_EFFECTS, PlaceEffects, find_place_effects
from inference.departure.pre_dose_outliers import find_pre_dose_outliers
from inference.departure.residuals import Residuals
from inference.ranking.label_audit import ACCEPTED_PROBABILITY, audit_labels
from inference.ranking.placement import (
    Placement,
    ScoredPlate,
    ScoredWell,
    TreatmentEvidence,
    TreatmentPlace,
    WellPlace,
)
from inference.ranking.plate_quality import plate_quality
from inference.ranking.reasons import reasons_by_treatment
from inference.ranking.rows import treatment_ranks, well_ranks
from inference.ranking.significance import (
    conformal_p_values,
    false_discovery_q_values,
    smallest_permutation_p,
)
from inference.ranking.thesis_scale import positions_by_score, thesis_scale
from inference.ranking.treatment_comparison import (
    TreatmentTest,
    compare_with_untreated,
    residual_cosine,
)
from inference.ranking.treatment_scores import efficacy_ranks, score_treatments
from schemas.arrays import BoolArray
from schemas.forecast import ForecastFrom
from schemas.plate_map import Group
from schemas.quality import Flag
from schemas.ranking import (
    Direction,
    LabelDoubt,
    TreatmentTable,
    Verdict,
)
from schemas.tissue import Unsure
from schemas.trajectory import Trajectories
from schemas.well import is_well

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

FALSE_DISCOVERY_RATE = 0.05
RANKED_GROUPS = (Group.SINGLE_DOSE, Group.SCREENING)

PRE_DOSE_OUTLIER = (
    "pre-dose outlier: its tissue differed from the other wells by {far:.1f} times the limit"
)
EARLIER_PLATES_NOTE = (
    "Untreated wells of {plates} other plates were used to estimate variation and growth of "
    "untreated wells."
)
SEQUENCE_MODEL_NOTE = (
    "The sequence model {name} predicted the untreated state of the wells; the prediction was "
    "fitted to the untreated wells of this plate."
)
FORECAST_AFTER_DOSING_NOTE = (
    "The forecast uses days after dosing too (forecast_from = {forecast_from}): it follows "
    "the drug, and departures are underestimated."
)
POSITION_EFFECT_NOTE = (
    "The position on the plate has an effect ({places}), which was estimated from the "
    "untreated wells and corrected."
)
ONE_BLOCK = (
    "All untreated wells are in one block: effects of position and treatment cannot be separated."
)
UNDECIDED_NOTE = (
    "{treatment} changed partly like untreated tissue: growth and deterioration cannot be "
    "distinguished, and it counts as deterioration."
)


@dataclass(frozen=True, eq=False)
class _Treatment:
    """One treatment of the plate with its scored wells."""

    group: Group
    treatment: str
    wells: Indices  # into the trajectories
    used: Indices  # the same wells, into those that are scored


def rank_plate(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    readout_day: int,
    seed: int,
    flags: Mapping[str, tuple[Flag, ...]] | None = None,
    unsure: Mapping[str, tuple[Unsure, ...]] | None = None,
    left_out: Mapping[str, str] = MappingProxyType({}),
    notes: tuple[str, ...] = (),
    others: Sequence[Trajectories] = (),
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
) -> TreatmentTable:
    """Return a TreatmentTable of Trajectories by departure, given dosing and readout day and seed.

    The table has no condition and no measures of the tissue, and no dose-response curves.
    Parameters and errors are those of :func:`score_plate`.
    """
    scored = score_plate(
        trajectories,
        dosing_day=dosing_day,
        readout_day=readout_day,
        seed=seed,
        flags=flags,
        unsure=unsure,
        left_out=left_out,
        notes=notes,
        others=others,
        settings=settings,
    )
    return ranking_table(
        scored, scored.placement, trajectories, dosing_day=dosing_day, readout_day=readout_day
    )


def ranking_table(
    scored: ScoredPlate,
    placement: Placement,
    trajectories: Trajectories,
    *,
    dosing_day: int,
    readout_day: int,
) -> TreatmentTable:
    """Return the TreatmentTable of a ScoredPlate and its Placement, from Trajectories alone."""
    reasons = reasons_by_treatment(
        placement.treatments, trajectories, dosing_day=dosing_day, readout_day=readout_day
    )
    return TreatmentTable(
        treatments=treatment_ranks(placement, {}, reasons),
        wells=well_ranks(scored, placement, {}),
        scale=thesis_scale(scored, placement, {}),
        quality=scored.quality,
        notes=placement.notes,
        label_doubts=scored.label_doubts,
    )


def score_plate(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    readout_day: int,
    seed: int,
    flags: Mapping[str, tuple[Flag, ...]] | None = None,
    unsure: Mapping[str, tuple[Unsure, ...]] | None = None,
    left_out: Mapping[str, str] = MappingProxyType({}),
    notes: tuple[str, ...] = (),
    others: Sequence[Trajectories] = (),
    settings: DepartureSettings = DEFAULT_DEPARTURE_SETTINGS,
) -> ScoredPlate:
    """Return the ScoredPlate of Trajectories by departure, given dosing day, readout day and seed.

    Parameters
    ----------
    trajectories
        All wells of the plate map, (N wells, T days, D features).
    dosing_day
        The last culture day whose images were taken before dosing; the forecast uses days up to it.
    readout_day
        The culture day that is ranked.
    seed
        Seed of all random draws: equal inputs and seeds give equal results.
    flags
        Quality flags of the images of each well. A flag excludes no well.
    unsure
        Doubts about the outline of the tissue in the readout image of each well. A doubt excludes
        no well.
    left_out
        Reason by well, for wells that have images but lack values in ``trajectories``.
    notes
        Sentences for the reader of the ranking, placed before those that are added here.
    others
        Trajectories of other plates of the same encoder and line, for their untreated wells.

    Raises
    ------
    ProfileError
        If the plate cannot be ranked; the message names the missing data.
    """
    rng = np.random.default_rng(seed)
    departures, places = _departures(trajectories, dosing_day, readout_day, others, settings, rng)
    departures = replace(departures, left_out={**departures.left_out, **left_out})
    treatments = _treatments(trajectories, departures)
    tests = [compare_with_untreated(departures.residuals, each.used, rng) for each in treatments]
    verdicts = _verdicts(treatments, tests, int(departures.residuals.untreated.sum()))
    grown = [
        each.wells
        for each, (_, verdict) in zip(treatments, verdicts, strict=True)
        if verdict is Verdict.GROWTH
    ]
    towards = _towards_deterioration(departures, grown)
    evidence = _evidence(trajectories, departures, treatments, tests, verdicts)
    ordered = _place_treatments(departures, towards, treatments, evidence, rng)
    doubts = _label_doubts(trajectories, departures)
    placement = Placement(
        method="departure",
        treatments=ordered,
        wells=_place_wells(trajectories, departures, towards),
        notes=(
            *notes,
            *departures.notes,
            *_notes(departures, places, [each.evidence for each in ordered]),
            *_unscored(trajectories, treatments),
            *(each.sentence for each in doubts if each.probability >= ACCEPTED_PROBABILITY),
        ),
    )
    return ScoredPlate(
        wells=_scored_wells(trajectories, departures, towards, flags or {}, unsure or {}),
        placement=placement,
        quality=plate_quality(trajectories, departures, places, readout_day, rng),
        label_doubts=doubts,
    )


def _departures(
    trajectories: Trajectories,
    dosing_day: int,
    day: int,
    others: Sequence[Trajectories],
    settings: DepartureSettings,
    rng: np.random.Generator,
) -> tuple[Departures, PlaceEffects]:
    """Return the departures of the wells, without pre-dose outliers, and the position effects."""

    def score(excluded: Mapping[str, str]) -> tuple[Residuals, BoolArray, dict[str, str]]:
        return residuals_of_scorable_wells(
            trajectories,
            dosing_day=dosing_day,
            day=day,
            settings=settings,
            others=others,
            excluded=excluded,
        )

    residuals, used, left_out = score({})
    if settings.leave_out_outliers:
        past, parts = residuals.reduced.past, residuals.reduced.parts
        found = [find_pre_dose_outliers(past[:, part]) for part in parts]
        out, far = np.any([each for each, _ in found], 0), np.max([each for _, each in found], 0)
        names = np.array(trajectories.wells)[used]
        if excluded := {
            str(names[well]): PRE_DOSE_OUTLIER.format(far=far[well]) for well in np.flatnonzero(out)
        }:
            residuals, used, left_out = score(excluded)
    wells = tuple(well for well, is_used in zip(trajectories.wells, used, strict=True) if is_used)
    places = (
        find_place_effects(residuals, wells, rng)
        if all(map(is_well, trajectories.wells))
        else NO_PLACE_EFFECTS
    )
    return score_residuals(replace(residuals, covariates=places.covariates), used, left_out), places


def _label_doubts(trajectories: Trajectories, departures: Departures) -> tuple[LabelDoubt, ...]:
    scored = np.flatnonzero(departures.used).tolist()
    return audit_labels(
        departures.residuals,
        wells=[trajectories.wells[well] for well in scored],
        groups=[trajectories.groups[well] for well in scored],
        treatments=[trajectories.treatments[well] for well in scored],
    )


def _treatments(trajectories: Trajectories, departures: Departures) -> list[_Treatment]:
    """Gather scored wells by group and treatment, in the order of first appearance."""
    wells: dict[tuple[Group, str], list[int]] = {}
    for well in np.flatnonzero(departures.used):
        if trajectories.groups[well] in RANKED_GROUPS:
            wells.setdefault((trajectories.groups[well], trajectories.treatments[well]), []).append(
                int(well)
            )
    place = np.cumsum(departures.used) - 1
    return [
        _Treatment(group, treatment, np.array(members), place[members])
        for (group, treatment), members in wells.items()
    ]


def _towards_deterioration(departures: Departures, grown: Sequence[Indices]) -> dict[str, Array]:
    """Return departures by metric and as ``score``; negative for wells whose treatment grew."""
    sign = np.ones(len(departures.used))
    for wells in grown:
        sign[wells] = -1.0
    return {"score": sign * departures.scores} | {
        name.value: sign * scores for name, scores in departures.by_metric.items()
    }


def _unscored(trajectories: Trajectories, treatments: list[_Treatment]) -> tuple[str, ...]:
    scored = {(each.group, each.treatment) for each in treatments}
    planned = dict.fromkeys(
        pair
        for pair in zip(trajectories.groups, trajectories.treatments, strict=True)
        if pair[0] in RANKED_GROUPS and pair not in scored
    )
    return tuple(
        f"{treatment} ({group}) is not ranked: none of its wells could be scored."
        for group, treatment in planned
    )


def _notes(
    departures: Departures, places: PlaceEffects, evidence: Sequence[TreatmentEvidence]
) -> tuple[str, ...]:
    earlier, settings = len(departures.residuals.reduced.earlier), departures.residuals.settings
    return (
        *(
            (SEQUENCE_MODEL_NOTE.format(name=settings.sequence_model.name),)
            if settings.sequence_model
            else ()
        ),
        *(
            (FORECAST_AFTER_DOSING_NOTE.format(forecast_from=settings.forecast_from),)
            if settings.forecast_from is not ForecastFrom.DOSING
            else ()
        ),
        *((EARLIER_PLATES_NOTE.format(plates=earlier),) if earlier else ()),
        *(
            (POSITION_EFFECT_NOTE.format(places=", ".join(places.significant)),)
            if places.significant
            else ()
        ),
        *((ONE_BLOCK,) if places.in_one_block else ()),
        *(
            UNDECIDED_NOTE.format(treatment=row.treatment)
            for row in evidence
            if row.direction is Direction.UNDECIDED
        ),
    )


def _verdicts(
    treatments: Sequence[_Treatment], tests: Sequence[TreatmentTest], untreated: int
) -> list[tuple[float, Verdict]]:
    """Return the q-value and verdict of each treatment."""
    if not treatments:
        return []
    q_values = false_discovery_q_values(np.array([test.p_value for test in tests]))
    best = false_discovery_q_values(
        np.array([smallest_permutation_p(len(each.wells), untreated) for each in treatments])
    )
    verdicts = []
    for test, q_value, best_q_value in zip(tests, q_values, best, strict=True):
        if best_q_value > FALSE_DISCOVERY_RATE:
            verdict = Verdict.TOO_FEW_WELLS
        elif q_value > FALSE_DISCOVERY_RATE:
            verdict = Verdict.NO_EVIDENCE
        else:
            verdict = Verdict.GROWTH if test.direction is Direction.GROWTH else Verdict.EFFECTIVE
        verdicts.append((float(q_value), verdict))
    return verdicts


def _evidence(
    trajectories: Trajectories,
    departures: Departures,
    treatments: Sequence[_Treatment],
    tests: Sequence[TreatmentTest],
    verdicts: Sequence[tuple[float, Verdict]],
) -> list[TreatmentEvidence]:
    """Return the test result of each treatment, in the order of ``treatments``."""
    untreated = int(departures.residuals.untreated.sum())
    single_dose = np.concatenate(
        [
            np.empty(0, np.intp),
            *(each.used for each in treatments if each.group is Group.SINGLE_DOSE),
        ]
    )
    return [
        TreatmentEvidence(
            group=each.group,
            treatment=each.treatment,
            wells=tuple(trajectories.wells[well] for well in each.wells),
            p_value=test.p_value,
            p_floor=smallest_permutation_p(len(each.wells), untreated),
            q_value=q_value,
            effect_size=test.effect_size,
            effect_low=test.effect_low,
            effect_high=test.effect_high,
            direction=(test.direction if verdict in (Verdict.EFFECTIVE, Verdict.GROWTH) else None),
            likeness_to_single_dose=(
                residual_cosine(departures.residuals, each.used, single_dose)
                if single_dose.size and each.group is not Group.SINGLE_DOSE
                else None
            ),
            verdict=verdict,
        )
        for each, test, (q_value, verdict) in zip(treatments, tests, verdicts, strict=True)
    ]


def _place_treatments(
    departures: Departures,
    towards: Mapping[str, Array],
    treatments: Sequence[_Treatment],
    evidence: Sequence[TreatmentEvidence],
    rng: np.random.Generator,
) -> tuple[TreatmentPlace, ...]:
    """Return the score and place of each treatment, strongest effect first."""
    if not treatments:
        return ()
    untreated = int(departures.residuals.untreated.sum())
    scores = score_treatments([towards["score"][each.wells] for each in treatments], untreated, rng)
    return tuple(
        TreatmentPlace(
            evidence=evidence[i],
            wells=evidence[i].wells,
            efficacy_rank=int(scores.rank[i]),
            scale_position=len(treatments) + 1 - int(scores.rank[i]),
            score=float(scores.score[i]),
            score_low=float(scores.low[i]),
            score_high=float(scores.high[i]),
            rank_low=int(scores.rank_low[i]),
            rank_high=int(scores.rank_high[i]),
            chance_best=float(scores.chance_best[i]),
            embedding_share=_embedding_share(departures, treatments[i]),
        )
        for i in np.argsort(scores.rank, kind="stable")
    )


def _embedding_share(departures: Departures, treatment: _Treatment) -> float | None:
    """Return the contribution of the embedding to a treatment's score; None for one part alone."""
    if len(departures.residuals.reduced.parts) == 1:
        return None
    return float(departures.embedding_share[treatment.wells].mean())


def _place_wells(
    trajectories: Trajectories, departures: Departures, towards: Mapping[str, Array]
) -> dict[str, WellPlace]:
    """Return the score and place of each well of the plate map; only treated wells have a rank."""
    scores, scored = towards["score"], departures.used
    ranked = scored & np.isin(trajectories.groups, RANKED_GROUPS)
    ranks = np.zeros(len(scores), dtype=int)
    ranks[ranked] = efficacy_ranks(scores[ranked])
    positions = positions_by_score(
        {trajectories.wells[i]: float(scores[i]) for i in np.flatnonzero(scored)}
    )
    return {
        well: WellPlace(
            score=float(scores[i]) if scored[i] else None,
            efficacy_rank=int(ranks[i]) if ranked[i] else None,
            scale_position=positions.get(well),
        )
        for i, well in enumerate(trajectories.wells)
    }


def _scored_wells(
    trajectories: Trajectories,
    departures: Departures,
    towards: Mapping[str, Array],
    flags: Mapping[str, tuple[Flag, ...]],
    unsure: Mapping[str, tuple[Unsure, ...]],
) -> tuple[ScoredWell, ...]:
    """Return the departures of each well of the plate map by every metric, with its own p-value."""
    by_metric = {name: values for name, values in towards.items() if name != "score"}
    scored = departures.used
    ranked = scored & np.isin(trajectories.groups, RANKED_GROUPS)
    controls = np.concatenate(
        [departures.scores[scored & trajectories.untreated()], departures.earlier_scores]
    )
    p_values = conformal_p_values(departures.scores, controls)
    return tuple(
        ScoredWell(
            well=well,
            group=trajectories.groups[i],
            treatment=trajectories.treatments[i],
            departures=(
                {name: float(values[i]) for name, values in by_metric.items()} if scored[i] else {}
            ),
            p_value=float(p_values[i]) if ranked[i] else None,
            flags=flags.get(well, ()),
            unsure=unsure.get(well, ()),
        )
        for i, well in enumerate(trajectories.wells)
    )
