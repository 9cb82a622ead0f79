"""Rows of a ranking table, each built once from all of its parts."""

from collections.abc import Mapping, Sequence

from inference.ranking.placement import Placement, ScoredPlate
from inference.ranking.thesis_scale import condition_positions
from inference.ranking.well_tissue import WellTissue, mean_measures
from schemas.plate_map import Group
from schemas.ranking import Reason, TreatmentRank, WellRank

TreatmentKey = tuple[Group, str]
"""Group and canonical text of a treatment: the key of a treatment within a plate."""


def well_ranks(
    scored: ScoredPlate, placement: Placement, tissue: Mapping[str, WellTissue]
) -> tuple[WellRank, ...]:
    """Return a WellRank per well of a ScoredPlate, from its Placement and the tissue by well.

    They are in the order of the plate map.
    """
    rows = []
    by_condition = condition_positions(scored, placement, tissue)
    for well in scored.wells:
        place, seen = placement.wells[well.well], tissue.get(well.well)
        rows.append(
            WellRank(
                well=well.well,
                group=well.group,
                treatment=well.treatment,
                efficacy_rank=place.efficacy_rank,
                scale_position=place.scale_position,
                condition_position=by_condition.get(well.well),
                score=place.score,
                departures=dict(well.departures),
                p_value=well.p_value,
                condition=seen.condition if seen else None,
                explosion_degree=seen.explosion_degree if seen else None,
                measures=dict(seen.measures) if seen else {},
                deterioration_percent=place.deterioration_percent,
                deterioration_low=place.deterioration_low,
                deterioration_high=place.deterioration_high,
                deterioration_assumed=place.deterioration_assumed,
                percent_basis=place.percent_basis,
                flags=well.flags,
                unsure=well.unsure,
            )
        )
    return tuple(rows)


def treatment_ranks(
    placement: Placement,
    tissue: Mapping[str, WellTissue],
    reasons: Mapping[TreatmentKey, Sequence[Reason]],
) -> tuple[TreatmentRank, ...]:
    """Return a TreatmentRank per treatment of a Placement, with tissue by well, and reasons.

    They are ordered by efficacy rank.
    """
    return tuple(
        TreatmentRank(
            efficacy_rank=place.efficacy_rank,
            scale_position=place.scale_position,
            treatment=place.evidence.treatment,
            group=place.evidence.group,
            wells=place.wells,
            score=place.score,
            score_low=place.score_low,
            score_high=place.score_high,
            rank_low=place.rank_low,
            rank_high=place.rank_high,
            chance_best=place.chance_best,
            embedding_share=place.embedding_share,
            percent_basis=place.percent_basis,
            p_value=place.evidence.p_value,
            p_floor=place.evidence.p_floor,
            q_value=place.evidence.q_value,
            effect_size=place.evidence.effect_size,
            effect_low=place.evidence.effect_low,
            effect_high=place.evidence.effect_high,
            direction=place.evidence.direction,
            likeness_to_single_dose=place.evidence.likeness_to_single_dose,
            verdict=place.evidence.verdict,
            measures=mean_measures(tissue, place.evidence.wells),
            reasons=tuple(reasons.get((place.evidence.group, place.evidence.treatment), ())),
        )
        for place in placement.treatments
    )
