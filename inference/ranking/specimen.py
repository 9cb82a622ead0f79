"""Plates of one specimen ranked together: what each treatment does to this tissue, plate effects taken out, disagreement kept."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from inference.ranking.plate_effects import INTERVAL, PlateEffects, Results, take_out_plates
from inference.ranking.significance import adjust_false_discovery, smallest_permutation_p
from inference.ranking.treatment_scores import efficacy_ranks
from schemas.errors import ProfileError
from schemas.plate_map import Group
from schemas.ranking import Gate, Ranking, TreatmentRank, Verdict
from schemas.specimen import Agreement, OnPlate, PlateOfSpecimen, SpecimenTable, SpecimenTreatment

Array = npt.NDArray[np.float64]

FALSE_DISCOVERY_RATE = 0.05
DRAWS = 4000
_NEAR_ONE = 0.999  # a p-value of 1, which few permutations can give, is no infinite evidence
_SMALLEST_P = 1e-12

ONE_PLATE = "Only plate {plate} could be used: its own ranking stands here, with nothing to compare it with."
NO_PLATE = "No plate could be used: there is no ranking of this specimen."
NOT_LINKED = "No treatment stands on two plates: the plates are linked by their untreated wells alone, and offsets between plates cannot be told from effects."
ON_ONE_PLATE = "{count} of {all} treatments stand on one plate only: no other plate confirms them."
DAYS_DIFFER = "The plates were read out on different culture days: {days}."
NOT_COMPARED = "its {what} is {this}; expected {expected} as on the other plates: scores of the two are never compared"


def rank_specimen(rankings: Sequence[Ranking], *, seed: int) -> SpecimenTable:
    """Rank the treatments of a specimen from the final rankings of its plates, one a plate.

    Plates whose gate failed, without treatments, or made by another method, representation or encoder than most are left out, and named with the reason.

    Raises
    ------
    ProfileError
        If there is no ranking, or two of one plate.
    """
    if not rankings:
        raise ProfileError(
            "specimen", "no plate has a ranking; expected the final ranking of at least one"
        )
    twice = [
        plate
        for plate, count in Counter(ranking.plate for ranking in rankings).items()
        if count > 1
    ]
    if twice:
        raise ProfileError(
            f"plate {twice[0]}",
            "comes with more than one ranking; expected the newest final one of each plate",
        )
    ordered = sorted(rankings, key=lambda ranking: ranking.plate)
    like = _like_most(ordered)
    reasons = {ranking.plate: _why_left_out(ranking, like) for ranking in ordered}
    used = [ranking for ranking in ordered if reasons[ranking.plate] is None]
    rows = [(number, row) for number, ranking in enumerate(used) for row in ranking.treatments]
    keys = list(dict.fromkeys((row.group, row.treatment) for _, row in rows))
    of_key = {
        key: [(number, row) for number, row in rows if (row.group, row.treatment) == key]
        for key in keys
    }
    effects = take_out_plates(_results(rows, keys, used)) if used else None
    return SpecimenTable(
        method=like.method,
        representation=like.representation,
        encoder_id=like.encoder_id,
        between_plates=effects.between_plates if effects else 0.0,
        plates=_plates(ordered, reasons, effects),
        treatments=_treatments(of_key, used, effects, np.random.default_rng(seed))
        if effects
        else (),
        notes=_notes(used, of_key),
    )


def _like_most(rankings: Sequence[Ranking]) -> Ranking:
    """Return a ranking made as most are, of those that can be used; where as many were made otherwise, the newest."""
    usable = [
        ranking
        for ranking in rankings
        if ranking.quality.gate is Gate.PASSED and ranking.treatments
    ] or rankings
    count = Counter(map(_how, usable))
    return max(
        usable, key=lambda ranking: (count[_how(ranking)], ranking.created_at, ranking.plate)
    )


def _how(ranking: Ranking) -> tuple[str, str, str]:
    return ranking.method, ranking.representation, ranking.encoder_id


def _why_left_out(ranking: Ranking, like: Ranking) -> str | None:
    if ranking.quality.gate is Gate.FAILED:
        return "; ".join(["its quality gate failed", *ranking.quality.reasons])
    if not ranking.treatments:
        return "none of its treatments could be ranked"
    differ = [
        (what, *pair)
        for what, *pair in zip(
            ("method", "representation", "encoder"), _how(ranking), _how(like), strict=True
        )
        if pair[0] != pair[1]
    ]
    return (
        "; ".join(
            NOT_COMPARED.format(what=what, this=this, expected=expected)
            for what, this, expected in differ
        )
        or None
    )


def _untreated(ranking: Ranking) -> int:
    return sum(well.group is Group.UNTREATED and well.score is not None for well in ranking.wells)


def _results(
    rows: list[tuple[int, TreatmentRank]], keys: list[tuple[Group, str]], used: Sequence[Ranking]
) -> Results:
    place = {key: number for number, key in enumerate(keys)}
    return Results(
        score=np.array([row.score for _, row in rows]),
        error=np.array(
            [(row.score_high - row.score_low) / 2 / norm.ppf(INTERVAL[1]) for _, row in rows]
        ),
        wells=np.array([len(row.wells) for _, row in rows]),
        treatment=np.array([place[row.group, row.treatment] for _, row in rows]),
        plate=np.array([number for number, _ in rows]),
        untreated=np.array([_untreated(ranking) for ranking in used]),
    )


def _plates(
    rankings: Sequence[Ranking], reasons: dict[str, str | None], effects: PlateEffects | None
) -> tuple[PlateOfSpecimen, ...]:
    of_used = iter(
        zip(effects.gain.tolist(), effects.offset.tolist(), strict=True) if effects else ()
    )
    taken = {
        ranking.plate: next(of_used) if reasons[ranking.plate] is None else (None, None)
        for ranking in rankings
    }
    return tuple(
        PlateOfSpecimen(
            plate=ranking.plate,
            day=ranking.day,
            revision=ranking.revision,
            inputs_digest=ranking.inputs_digest,
            left_out=reasons[ranking.plate],
            gain=taken[ranking.plate][0],
            offset=taken[ranking.plate][1],
            untreated_wells=_untreated(ranking),
        )
        for ranking in rankings
    )


def _treatments(
    of_key: dict[tuple[Group, str], list[tuple[int, TreatmentRank]]],
    used: Sequence[Ranking],
    effects: PlateEffects,
    rng: np.random.Generator,
) -> tuple[SpecimenTreatment, ...]:
    ranks = efficacy_ranks(effects.score)
    draws = rng.multivariate_normal(effects.score, effects.covariance, DRAWS, method="eigh")
    rank_lows, rank_highs = np.quantile(
        efficacy_ranks(draws), INTERVAL, axis=0, method="nearest"
    ).astype(int)
    wells = [np.array([len(row.wells) for _, row in rows]) for rows in of_key.values()]
    alone = [np.array([row.p_value for _, row in rows]) for rows in of_key.values()]
    floors = [
        np.array(
            [
                smallest_permutation_p(len(row.wells), _untreated(used[number]))
                for number, row in rows
            ]
        )
        for rows in of_key.values()
    ]
    p_values, best_p_values = (
        np.array([combined_p(*pair) for pair in zip(each, wells, strict=True)])
        for each in (alone, floors)
    )
    q_values, best_q_values = (
        adjust_false_discovery(p_values),
        adjust_false_discovery(best_p_values),
    )
    made = []
    for i, ((group, treatment), rows) in enumerate(of_key.items()):
        verdicts = {row.verdict for _, row in rows}
        agreement = _agreement(verdicts, effects.heterogeneity_p[i])
        low, high = effects.interval[:, i]
        made.append(
            SpecimenTreatment(
                efficacy_rank=int(ranks[i]),
                scale_position=len(of_key) + 1 - int(ranks[i]),
                treatment=treatment,
                group=group,
                wells=int(wells[i].sum()),
                score=float(effects.score[i]),
                score_low=float(low),
                score_high=float(high),
                rank_low=min(int(rank_lows[i]), int(ranks[i])),
                rank_high=max(int(rank_highs[i]), int(ranks[i])),
                p_value=float(p_values[i]),
                q_value=float(q_values[i]),
                verdict=_verdict(
                    verdicts,
                    agreement,
                    q_values[i],
                    best_q_values[i],
                    low=low,
                    score=effects.score[i],
                ),
                agreement=agreement,
                heterogeneity_p=_or_none(effects.heterogeneity_p[i]),
                i_squared=_or_none(effects.i_squared[i]),
                plates=tuple(_alone(used[number].plate, row) for number, row in rows),
            )
        )
    return tuple(sorted(made, key=lambda row: row.efficacy_rank))


def combined_p(p_values: Array, wells: npt.NDArray[np.int64]) -> float:
    """Return one p-value of several plates: Stouffer's z weighted by √wells (Lipták, Magyar Tud. Akad. Mat. Kut. Int. Közl. 3, 1958).

    A plate with more wells counts for more, and a p-value near 1 on one plate counts against a small one on another, which Fisher's product does not
    do (Whitlock, J. Evol. Biol. 18, 2005). A p-value of one plate stays as it is.
    """
    if len(p_values) == 1:
        return float(p_values[0])
    weights = np.sqrt(wells)
    z = norm.isf(np.clip(p_values, _SMALLEST_P, _NEAR_ONE))
    return float(norm.sf(weights @ z / np.sqrt(wells.sum())))


def _agreement(verdicts: set[Verdict], heterogeneity_p: float) -> Agreement:
    if {Verdict.EFFECTIVE, Verdict.GROWTH} <= verdicts:
        return Agreement.CONTRADICT
    if np.isnan(heterogeneity_p):
        return Agreement.ONE_PLATE
    return Agreement.DISAGREE if heterogeneity_p <= FALSE_DISCOVERY_RATE else Agreement.AGREE


def _verdict(
    verdicts: set[Verdict],
    agreement: Agreement,
    q_value: float,
    best_q_value: float,
    *,
    low: float,
    score: float,
) -> Verdict:
    """Return what the plates together say; where they contradict one another, or disagree so far that the score may be nought, nothing is claimed."""
    if q_value > FALSE_DISCOVERY_RATE:
        return Verdict.TOO_FEW_WELLS if best_q_value > FALSE_DISCOVERY_RATE else Verdict.NO_EVIDENCE
    if agreement is Agreement.CONTRADICT:
        return Verdict.NO_EVIDENCE
    if Verdict.GROWTH in verdicts:
        return Verdict.GROWTH
    claimed = low > 0 if agreement is Agreement.DISAGREE else score > 0
    return Verdict.EFFECTIVE if claimed or verdicts == {Verdict.EFFECTIVE} else Verdict.NO_EVIDENCE


def _alone(plate: str, row: TreatmentRank) -> OnPlate:
    return OnPlate(plate=plate, **row.model_dump(include=set(OnPlate.model_fields) - {"plate"}))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _notes(
    used: Sequence[Ranking], of_key: dict[tuple[Group, str], list[tuple[int, TreatmentRank]]]
) -> tuple[str, ...]:
    notes = []
    if not used:
        notes.append(NO_PLATE)
    if len(used) == 1:
        notes.append(ONE_PLATE.format(plate=used[0].plate))
    days = sorted({ranking.day for ranking in used})
    if len(days) > 1:
        notes.append(DAYS_DIFFER.format(days=", ".join(map(str, days))))
    alone = sum(len(rows) == 1 for rows in of_key.values())
    if len(used) > 1 and alone == len(of_key):
        notes.append(NOT_LINKED)
    elif len(used) > 1 and alone:
        notes.append(ON_ONE_PLATE.format(count=alone, all=len(of_key)))
    return tuple(notes)
