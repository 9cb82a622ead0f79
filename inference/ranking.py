"""From the departures of wells to a ranking of treatments, with intervals, p-values and a verdict for each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from inference.departure import Departures, measure_departures
from inference.plate_quality import plate_quality
from inference.significance import adjust_false_discovery, permutation_p, smallest_permutation_p
from schemas.plate_map import Group
from schemas.quality import Flag
from schemas.ranking import Scale, TreatmentRank, TreatmentTable, Verdict, WellRank
from schemas.trajectory import Trajectories

Array = npt.NDArray[np.float64]

FALSE_DISCOVERY_RATE = 0.05
BOOTSTRAPS = 2000
INTERVAL = (0.05, 0.95)
RANKED_GROUPS = (Group.SINGLE_DOSE, Group.SCREENING)
FIRST_FORM = "The sign of a departure is not judged yet: a well that grew more than untreated ones departs as well, and no verdict is `growth`."


@dataclass(frozen=True, eq=False)
class _Treatment:
    """One treatment of the plate with its scored wells."""

    group: Group
    treatment: str
    wells: tuple[int, ...]  # indices into the trajectories


def rank_plate(
    trajectories: Trajectories,
    *,
    dosing_day: int,
    readout_day: int,
    seed: int,
    has_positions: bool,
    flags: Mapping[str, tuple[Flag, ...]] | None = None,
    notes: tuple[str, ...] = (),
) -> TreatmentTable:
    """Rank the treatments of a plate by how far their wells are from what they would have become untreated.

    Parameters
    ----------
    dosing_day
        The last day whose images are from before dosing; only days up to it feed the forecast.
    has_positions
        Whether wells are named by their place on a plate; where not, edge, row and column effects are not looked for.
    flags
        What quality says of each well's images; carried into the ranking, no well is left out for it.
    notes
        What a reader has to know beforehand; more are added.

    Raises
    ------
    ProfileError
        If the plate cannot be ranked, with what is missing.
    """
    departures = measure_departures(trajectories, dosing_day=dosing_day, day=readout_day)
    treatments = _treatments(trajectories, departures)
    rows = _rank_treatments(trajectories, departures.scores, treatments, np.random.default_rng(seed))
    return TreatmentTable(
        treatments=rows,
        wells=_rank_wells(trajectories, departures.scores, flags or {}),
        scale=Scale(x=None, n=sum(len(row.wells) for row in rows)),
        quality=plate_quality(trajectories, departures, readout_day, has_positions=has_positions),
        notes=(*notes, *departures.notes, *_unscored(trajectories, treatments), FIRST_FORM),
    )


def _treatments(trajectories: Trajectories, departures: Departures) -> list[_Treatment]:
    """Gather scored wells by group and treatment, in the order of first appearance."""
    wells: dict[tuple[Group, str], list[int]] = {}
    for well, (group, treatment) in enumerate(zip(trajectories.groups, trajectories.treatments, strict=True)):
        if group in RANKED_GROUPS and np.isfinite(departures.scores[well]):
            wells.setdefault((group, treatment), []).append(well)
    return [_Treatment(group, treatment, tuple(members)) for (group, treatment), members in wells.items()]


def _unscored(trajectories: Trajectories, treatments: list[_Treatment]) -> tuple[str, ...]:
    scored = {(each.group, each.treatment) for each in treatments}
    planned = dict.fromkeys(pair for pair in zip(trajectories.groups, trajectories.treatments, strict=True) if pair[0] in RANKED_GROUPS and pair not in scored)
    return tuple(f"{treatment} ({group}) is not ranked: none of its wells could be scored." for group, treatment in planned)


def _rank_treatments(trajectories: Trajectories, scores: Array, treatments: list[_Treatment], rng: np.random.Generator) -> tuple[TreatmentRank, ...]:
    if not treatments:
        return ()
    by_treatment = [scores[list(each.wells)] for each in treatments]
    untreated = scores[trajectories.untreated() & np.isfinite(scores)]
    means = np.array([own.mean() for own in by_treatment])
    ranks = efficacy_ranks(means)
    drawn = bootstrap_means(by_treatment, rng)
    lows, highs = np.quantile(drawn, INTERVAL, axis=0)
    rank_lows, rank_highs = np.quantile(efficacy_ranks(drawn), INTERVAL, axis=0, method="nearest")
    p_values = np.array([permutation_p(own, untreated, rng) for own in by_treatment])
    q_values = adjust_false_discovery(p_values)
    best_q_values = adjust_false_discovery(np.array([smallest_permutation_p(len(own), len(untreated)) for own in by_treatment]))
    return tuple(
        TreatmentRank(
            efficacy_rank=int(ranks[i]),
            scale_position=len(treatments) + 1 - int(ranks[i]),
            treatment=treatments[i].treatment,
            group=treatments[i].group,
            wells=tuple(trajectories.wells[well] for well in treatments[i].wells),
            score=float(means[i]),
            score_low=float(min(lows[i], means[i])),
            score_high=float(max(highs[i], means[i])),
            rank_low=min(int(rank_lows[i]), int(ranks[i])),
            rank_high=max(int(rank_highs[i]), int(ranks[i])),
            p_value=float(p_values[i]),
            q_value=float(q_values[i]),
            verdict=_verdict(q_values[i], best_q_values[i]),
        )
        for i in np.argsort(ranks, kind="stable")
    )


def _verdict(q_value: float, best_q_value: float) -> Verdict:
    if best_q_value > FALSE_DISCOVERY_RATE:
        return Verdict.TOO_FEW_WELLS
    return Verdict.EFFECTIVE if q_value <= FALSE_DISCOVERY_RATE else Verdict.NO_EVIDENCE


def _rank_wells(trajectories: Trajectories, scores: Array, flags: Mapping[str, tuple[Flag, ...]]) -> tuple[WellRank, ...]:
    ranked = np.isfinite(scores) & np.isin(trajectories.groups, RANKED_GROUPS)
    places = np.zeros(len(scores), dtype=int)
    places[ranked] = efficacy_ranks(scores[ranked])
    return tuple(
        WellRank(
            well=well,
            group=trajectories.groups[i],
            treatment=trajectories.treatments[i],
            efficacy_rank=int(places[i]) if ranked[i] else None,
            scale_position=int(ranked.sum() + 1 - places[i]) if ranked[i] else None,
            score=float(scores[i]) if np.isfinite(scores[i]) else None,
            condition=None,
            deterioration_percent=None,
            deterioration_low=None,
            deterioration_high=None,
            flags=flags.get(well, ()),
        )
        for i, well in enumerate(trajectories.wells)
    )


def efficacy_ranks(scores: Array) -> npt.NDArray[np.int64]:
    """Return places along the last axis, 1 = the largest score; equal scores share the better place."""
    return np.asarray(rankdata(-scores, method="min", axis=-1), dtype=np.int64)


def bootstrap_means(by_treatment: list[Array], rng: np.random.Generator) -> Array:
    """Return (bootstraps, treatments): the mean score of each treatment's wells drawn with replacement.

    Deviations are stretched by √(n / (n − 1)), so that small n keep their variance; a treatment of one well borrows those of all the others.
    """
    deviations = [(own - own.mean()) * np.sqrt(len(own) / (len(own) - 1)) if len(own) > 1 else np.empty(0) for own in by_treatment]
    pooled = np.concatenate(deviations)
    drawn = np.empty((BOOTSTRAPS, len(by_treatment)))
    for column, (own, deviation) in enumerate(zip(by_treatment, deviations, strict=True)):
        pool = deviation if deviation.size else pooled
        shift = rng.choice(pool, (BOOTSTRAPS, len(own))).mean(axis=1) if pool.size else 0.0
        drawn[:, column] = own.mean() + shift
    return drawn
