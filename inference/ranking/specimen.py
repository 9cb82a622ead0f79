"""Ranking of the treatments of a specimen from the final rankings of its plates.

Scores are corrected for plate effects; disagreement between plates is reported.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, ndtri

from inference.ranking.plate_effects import INTERVAL, PlateEffects, PlateResults, fit_plate_effects
from inference.ranking.significance import false_discovery_q_values, smallest_permutation_p
from inference.ranking.treatment_scores import efficacy_ranks
from schemas.arrays import Float64Array, Int64Array
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.ranking import Gate, Ranking, TreatmentRank, Verdict
from schemas.specimen import Agreement, OnPlate, PlateOfSpecimen, SpecimenTable, SpecimenTreatment
from schemas.treatment import treatment_names

FALSE_DISCOVERY_RATE = 0.05
"""Largest q-value of a significant treatment, and largest p-value of disagreement
between plates.
"""
DRAWS = 4000
"""Number of random draws for rank intervals."""
_LARGEST_P = 0.999
"""Limit of p-values near 1, so that a p-value of 1 is not infinite evidence."""
_SMALLEST_P = 1e-12
"""Limit of p-values near 0."""

ONE_PLATE = "Only plate {plate} could be used, so this is the ranking of that plate."
NO_PLATE = "No plate could be used: there is no ranking of this specimen."
NOT_LINKED = (
    "No treatment is on two plates. The plates are compared by their untreated wells alone, so "
    "offsets between plates cannot be distinguished from effects."
)
ON_ONE_PLATE = "{count} of {all} treatments are on one plate only; no other plate confirms them."
DAYS_DIFFER = "The plates were read out on different culture days: {days}."
NOT_COMPARED = (
    "its {what} is {this}; expected {expected} as on the other plates, because their scores cannot "
    "be compared"
)


def rank_specimen(rankings: Sequence[Ranking], *, seed: int) -> SpecimenTable:
    """Rank treatments from the final Rankings of a specimen's plates into a SpecimenTable.

    Each plate has one ranking. Plates are excluded, with a reason, if their gate failed, they have
    no treatments, or their method, representation or encoder differs from that of most plates.

    Parameters
    ----------
    rankings
        Newest final ranking of each plate.
    seed
        Seed of the random draws.

    Raises
    ------
    ProfileError
        If there is no ranking, or two rankings of one run of a plate.
    """
    _check_one_per_run(rankings)
    ordered = sorted(rankings, key=_run_of)
    typical = _typical_ranking(ordered)
    reasons = {_run_of(ranking): _exclusion_reason(ranking, typical) for ranking in ordered}
    used = [ranking for ranking in ordered if reasons[_run_of(ranking)] is None]
    rows = _rows_with_common_names(used)
    keys = list(dict.fromkeys((row.group, row.treatment) for _, row in rows))
    rows_by_key = {
        key: [(number, row) for number, row in rows if (row.group, row.treatment) == key]
        for key in keys
    }
    effects = fit_plate_effects(_results(rows, keys, used)) if used else None
    return SpecimenTable(
        method=typical.method,
        representation=typical.representation,
        encoder_id=typical.encoder_id,
        measured_by=_method_of(typical),
        between_plates=effects.between_plates if effects else 0.0,
        plates=_plate_entries(ordered, reasons, effects),
        treatments=_rank_treatments(rows_by_key, used, effects, np.random.default_rng(seed))
        if effects
        else (),
        notes=_notes(used, rows_by_key),
    )


def _run_of(ranking: Ranking) -> tuple[str, int]:
    """Return the plate and the run of a ranking: each run of a plate id is a plate of its own."""
    return ranking.plate, ranking.run


def _rows_with_common_names(rankings: Sequence[Ranking]) -> list[tuple[int, TreatmentRank]]:
    """Return (number of the ranking, row) of all rows; a treatment has one name on all plates."""
    rows = [(number, row) for number, ranking in enumerate(rankings) for row in ranking.treatments]
    names = treatment_names(row.treatment for _, row in rows)
    return [
        (number, row.model_copy(update={"treatment": names[row.treatment]})) for number, row in rows
    ]


def _check_one_per_run(rankings: Sequence[Ranking]) -> None:
    """Raise ProfileError if there is no ranking, or two rankings of one run of a plate."""
    if not rankings:
        raise ProfileError(
            "specimen", "no plate has a ranking; expected the final ranking of at least one"
        )
    counts = Counter(_run_of(ranking) for ranking in rankings)
    if repeated := [plate for (plate, _), count in counts.items() if count > 1]:
        raise ProfileError(
            f"plate {repeated[0]}", "has more than one ranking; expected only the newest final one"
        )


def _typical_ranking(rankings: Sequence[Ranking]) -> Ranking:
    """Return a ranking with the most frequent method, representation and encoder.

    Rankings that cannot be used do not count. If two kinds are equally frequent, the newest ranking
    decides.
    """
    candidates = [
        ranking
        for ranking in rankings
        if ranking.quality.gate is Gate.PASSED and ranking.treatments
    ] or rankings
    count = Counter(map(_comparison_key, candidates))
    return max(
        candidates,
        key=lambda ranking: (count[_comparison_key(ranking)], ranking.created_at, ranking.plate),
    )


def _comparison_key(ranking: Ranking) -> tuple[str, str, str, str | None]:
    """Return method, representation, encoder and method of the measures: alike if comparable."""
    return ranking.method, ranking.representation, ranking.encoder_id, _method_of(ranking)


def _method_of(ranking: Ranking) -> str | None:
    """Return the segmenter and version of the measures that a ranking compares, if it does."""
    return None if ranking.representation == "embedding" else ranking.measured_by


def _exclusion_reason(ranking: Ranking, typical: Ranking) -> str | None:
    """Return the reason why a plate is excluded, or None if it is used."""
    if ranking.quality.gate is Gate.FAILED:
        return "; ".join(["its quality gate failed", *ranking.quality.reasons])
    if not ranking.treatments:
        return "none of its treatments could be ranked"
    compared = ["method", "representation", "encoder"]
    if ranking.representation == typical.representation:
        compared.append("method of the measures")
    differ = [
        (what, *pair)
        for what, *pair in zip(
            compared,
            _comparison_key(ranking),
            _comparison_key(typical),
            strict=False,
        )
        if pair[0] != pair[1]
    ]
    return (
        "; ".join(
            NOT_COMPARED.format(
                what=what, this=this or "not recorded", expected=expected or "one not recorded"
            )
            for what, this, expected in differ
        )
        or None
    )


def _untreated_count(ranking: Ranking) -> int:
    """Return the number of untreated wells with a score."""
    return sum(well.group is Group.UNTREATED and well.score is not None for well in ranking.wells)


def _results(
    rows: list[tuple[int, TreatmentRank]], keys: list[tuple[Group, str]], used: Sequence[Ranking]
) -> PlateResults:
    """Return the scores of all treatments on all plates as arrays.

    Parameters
    ----------
    rows
        Index of the plate and row of each result.
    keys
        Group and treatment of each treatment.
    used
        Rankings of the plates.
    """
    index = {key: number for number, key in enumerate(keys)}
    return PlateResults(
        score=np.array([row.score for _, row in rows]),
        error=np.array(
            [(row.score_high - row.score_low) / 2 / ndtri(INTERVAL[1]) for _, row in rows]
        ),
        wells=np.array([len(row.wells) for _, row in rows]),
        treatment=np.array([index[row.group, row.treatment] for _, row in rows]),
        plate=np.array([number for number, _ in rows]),
        untreated=np.array([_untreated_count(ranking) for ranking in used]),
    )


def _plate_entries(
    rankings: Sequence[Ranking],
    reasons: dict[tuple[str, int], str | None],
    effects: PlateEffects | None,
) -> tuple[PlateOfSpecimen, ...]:
    """Return the entry of each plate, with gain and offset for the plates that were used."""
    used_effects = iter(
        zip(effects.gain.tolist(), effects.offset.tolist(), strict=True) if effects else ()
    )
    gain_and_offset = {
        _run_of(ranking): next(used_effects) if reasons[_run_of(ranking)] is None else (None, None)
        for ranking in rankings
    }
    return tuple(
        PlateOfSpecimen(
            plate=ranking.plate,
            run=ranking.run,
            day=ranking.day,
            revision=ranking.revision,
            inputs_digest=ranking.inputs_digest,
            left_out=reasons[_run_of(ranking)],
            gain=gain_and_offset[_run_of(ranking)][0],
            offset=gain_and_offset[_run_of(ranking)][1],
            untreated_wells=_untreated_count(ranking),
        )
        for ranking in rankings
    )


def _rank_treatments(
    rows_by_key: dict[tuple[Group, str], list[tuple[int, TreatmentRank]]],
    used: Sequence[Ranking],
    effects: PlateEffects,
    rng: np.random.Generator,
) -> tuple[SpecimenTreatment, ...]:
    """Return the ranked treatments with combined p-values, verdicts and agreement.

    ``rows_by_key`` contains, by group and treatment, the index of the plate and the row of each
    result. ``effects`` has the same order.
    """
    ranks = efficacy_ranks(effects.score)
    draws = rng.multivariate_normal(effects.score, effects.covariance, DRAWS, method="eigh")
    rank_lows, rank_highs = np.quantile(
        efficacy_ranks(draws), INTERVAL, axis=0, method="nearest"
    ).astype(int)
    p_values, smallest_p_values = _combined_p_values(list(rows_by_key.values()), used)
    q_values = false_discovery_q_values(p_values)
    smallest_q_values = false_discovery_q_values(smallest_p_values)
    treatments = []
    for i, ((group, treatment), rows) in enumerate(rows_by_key.items()):
        verdicts = {row.verdict for _, row in rows}
        agreement = _agreement(verdicts, effects.heterogeneity_p[i])
        low, high = effects.interval[:, i].tolist()
        score, rank = float(effects.score[i]), int(ranks[i])
        verdict = _verdict(
            verdicts, agreement, q_values[i], smallest_q_values[i], low=low, score=score
        )
        treatments.append(
            SpecimenTreatment(
                efficacy_rank=rank,
                scale_position=len(rows_by_key) + 1 - rank,
                treatment=treatment,
                group=group,
                wells=sum(len(row.wells) for _, row in rows),
                score=score,
                score_low=low,
                score_high=high,
                rank_low=min(int(rank_lows[i]), rank),
                rank_high=max(int(rank_highs[i]), rank),
                p_value=float(p_values[i]),
                q_value=float(q_values[i]),
                verdict=verdict,
                agreement=agreement,
                heterogeneity_p=_or_none(effects.heterogeneity_p[i]),
                i_squared=_or_none(effects.i_squared[i]),
                plates=tuple(_on_plate(used[number], row) for number, row in rows),
            )
        )
    return tuple(sorted(treatments, key=lambda row: row.efficacy_rank))


def _combined_p_values(
    rows_of_treatments: Sequence[list[tuple[int, TreatmentRank]]], used: Sequence[Ranking]
) -> tuple[Float64Array, Float64Array]:
    """Return (T,) combined p-values of treatments, and the smallest values that they could have."""
    p_values, smallest_p_values = [], []
    for rows in rows_of_treatments:
        wells = np.array([len(row.wells) for _, row in rows])
        smallest = [
            smallest_permutation_p(len(row.wells), _untreated_count(used[number]))
            for number, row in rows
        ]
        p_values.append(combine_p_values(np.array([row.p_value for _, row in rows]), wells))
        smallest_p_values.append(combine_p_values(np.array(smallest), wells))
    return np.array(p_values), np.array(smallest_p_values)


def combine_p_values(p_values: Float64Array, wells: Int64Array) -> float:
    """Return one p-value from those of several plates: Stouffer's method, weighted by √wells.

    Lipták, Magyar Tud. Akad. Mat. Kut. Int. Közl. 3, 1958. A plate with more wells has more weight,
    and a p-value near 1 on one plate is evidence against a small one on another plate. Fisher's
    method does not have this property (Whitlock, J. Evol. Biol. 18, 2005). A single p-value is
    unchanged.

    Parameters
    ----------
    p_values
        (P,) p-value of each plate.
    wells
        (P,) number of wells on each plate.
    """
    if len(p_values) == 1:
        return float(p_values[0])
    weights = np.sqrt(wells)
    z = -ndtri(np.clip(p_values, _SMALLEST_P, _LARGEST_P))
    return float(ndtr(-weights @ z / np.sqrt(wells.sum())))


def _agreement(verdicts: set[Verdict], heterogeneity_p: float) -> Agreement:
    """Return the agreement between plates from their verdicts and the p-value of heterogeneity."""
    if {Verdict.EFFECTIVE, Verdict.GROWTH} <= verdicts:
        return Agreement.CONTRADICT
    if np.isnan(heterogeneity_p):
        return Agreement.ONE_PLATE
    return Agreement.DISAGREE if heterogeneity_p <= FALSE_DISCOVERY_RATE else Agreement.AGREE


def _verdict(
    verdicts: set[Verdict],
    agreement: Agreement,
    q_value: float,
    smallest_q_value: float,
    *,
    low: float,
    score: float,
) -> Verdict:
    """Return the verdict over all plates.

    If the plates contradict each other, or disagree so much that the score may be 0, there is no
    evidence of an effect.
    """
    if q_value > FALSE_DISCOVERY_RATE:
        return (
            Verdict.TOO_FEW_WELLS
            if smallest_q_value > FALSE_DISCOVERY_RATE
            else Verdict.NO_EVIDENCE
        )
    if agreement is Agreement.CONTRADICT:
        return Verdict.NO_EVIDENCE
    if Verdict.GROWTH in verdicts:
        return Verdict.GROWTH
    has_effect = low > 0 if agreement is Agreement.DISAGREE else score > 0
    return (
        Verdict.EFFECTIVE if has_effect or verdicts == {Verdict.EFFECTIVE} else Verdict.NO_EVIDENCE
    )


def _on_plate(ranking: Ranking, row: TreatmentRank) -> OnPlate:
    """Return the result of one plate from its ranking and the row of the treatment."""
    shared = set(OnPlate.model_fields) - {"plate", "run"}
    return OnPlate(plate=ranking.plate, run=ranking.run, **row.model_dump(include=shared))


def _or_none(value: float) -> float | None:
    """Return None for NaN, else the value."""
    return None if np.isnan(value) else float(value)


def _notes(
    used: Sequence[Ranking], rows_by_key: dict[tuple[Group, str], list[tuple[int, TreatmentRank]]]
) -> tuple[str, ...]:
    """Return notes for the reader about the plates and treatments."""
    notes = []
    if not used:
        notes.append(NO_PLATE)
    if len(used) == 1:
        notes.append(ONE_PLATE.format(plate=used[0].plate))
    days = sorted({ranking.day for ranking in used})
    if len(days) > 1:
        notes.append(DAYS_DIFFER.format(days=", ".join(map(str, days))))
    alone = sum(len(rows) == 1 for rows in rows_by_key.values())
    if len(used) > 1 and alone == len(rows_by_key):
        notes.append(NOT_LINKED)
    elif len(used) > 1 and alone:
        notes.append(ON_ONE_PLATE.format(count=alone, all=len(rows_by_key)))
    return tuple(notes)
