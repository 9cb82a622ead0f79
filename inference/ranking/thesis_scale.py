"""The two scales of B. Babu's thesis: of all wells by score, and of treated wells by condition.

Scale of all wells (method 1): positions 1…u belong to the u untreated wells if the scores separate
them from the treated wells. Scale by condition (method 2): positions 1…x are the treated intact
wells by score, and x + 1…n the treated exploded wells by degree of explosion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.ranking.placement import Placement, ScoredPlate
from inference.ranking.treatment_scores import efficacy_ranks
from inference.ranking.well_tissue import WellTissue
from schemas.plate_map import Group
from schemas.ranking import Condition, Scale
from schemas.tissue import Unsure


@dataclass(frozen=True)
class ExplosionDegrees:
    """The values by which the exploded wells of a plate are ordered."""

    by_well: Mapping[str, float]  # exploded wells only
    are_spreads: bool  # True if some well has no degree, so that all are ordered by their spread


def thesis_scale(
    scored: ScoredPlate, placement: Placement, tissue: Mapping[str, WellTissue]
) -> Scale:
    """Return the Scale of a ScoredPlate with a Placement, from the tissue by well."""
    treated = _treated_wells(scored, placement, tissue)
    exploded = sum(is_exploded(tissue.get(well)) for well in treated)
    positions = {
        well: place.scale_position
        for well, place in placement.wells.items()
        if place.scale_position is not None
    }
    untreated = {each.well for each in scored.wells if each.group is Group.UNTREATED}
    return Scale(
        x=len(treated) - exploded if is_condition_known(tissue) else None,
        n=len(treated),
        wells=len(positions),
        untreated_first=_untreated_first(positions, untreated & positions.keys()),
    )


def condition_positions(
    scored: ScoredPlate, placement: Placement, tissue: Mapping[str, WellTissue]
) -> dict[str, int]:
    """Return the position 1…n on the scale by condition of each treated well with a score.

    Equal wells share the larger position. Without a known condition no well has a position.
    """
    if not is_condition_known(tissue):
        return {}
    treated = _treated_wells(scored, placement, tissue)
    degrees = explosion_degrees({well: tissue[well] for well in treated if well in tissue})
    ranks = rank_by_condition(
        {well: placement.wells[well].score or 0.0 for well in treated}, degrees
    )
    return {well: len(treated) + 1 - rank for well, rank in ranks.items()}


def rank_by_condition(scores: Mapping[str, float], degrees: ExplosionDegrees) -> dict[str, int]:
    """Return ranks by well: 1 = the most exploded well; intact wells follow by their scores.

    Equal wells share the better rank.
    """
    keys = [
        (1.0, degrees.by_well[well]) if well in degrees.by_well else (0.0, score)
        for well, score in scores.items()
    ]
    order = sorted(keys, reverse=True)
    return {well: order.index(key) + 1 for well, key in zip(scores, keys, strict=True)}


def refused_wells(
    scored: ScoredPlate, placement: Placement, tissue: Mapping[str, WellTissue]
) -> list[str]:
    """Return the wells with a score whose readout image was refused, so that none is intact."""
    return [
        each.well
        for each in scored.wells
        if Unsure.NO_BACKGROUND in each.unsure
        and each.well not in tissue
        and placement.wells[each.well].score is not None
    ]


def is_condition_known(tissue: Mapping[str, WellTissue]) -> bool:
    """Return whether the condition (intact or exploded) of some well is known."""
    return any(each.condition is not None for each in tissue.values())


def is_exploded(tissue: WellTissue | None) -> bool:
    """Return whether the tissue of a well is exploded; False if it was not measured."""
    return tissue is not None and tissue.condition is Condition.EXPLODED


def explosion_degrees(tissue: Mapping[str, WellTissue]) -> ExplosionDegrees:
    """Return the values that order the exploded wells of a plate, from the tissue by well.

    All wells are ordered by the same kind of value, because a degree and a spread cannot be
    compared. The images of a plate have all a scale in µm, or all none.
    """
    exploded = {well: each for well, each in tissue.items() if is_exploded(each)}
    degrees = {
        well: each.explosion_degree
        for well, each in exploded.items()
        if each.explosion_degree is not None
    }
    if len(degrees) == len(exploded):
        return ExplosionDegrees(degrees, are_spreads=False)
    return ExplosionDegrees(
        {well: _spread(each.measures) for well, each in exploded.items()}, are_spreads=True
    )


def positions_by_score(scores: Mapping[str, float]) -> dict[str, int]:
    """Return positions by well on the scale of all wells: 1 = the smallest score.

    Equal scores share the larger position.
    """
    ranks = efficacy_ranks(np.array(list(scores.values())))
    return dict(zip(scores, (len(scores) + 1 - ranks).tolist(), strict=True))


def _treated_wells(
    scored: ScoredPlate, placement: Placement, tissue: Mapping[str, WellTissue]
) -> Sequence[str]:
    """Return the ranked wells that are placed by condition, in the order of the plate map."""
    refused = refused_wells(scored, placement, tissue) if is_condition_known(tissue) else []
    return [
        each.well
        for each in scored.wells
        if placement.wells[each.well].efficacy_rank is not None and each.well not in refused
    ]


def _untreated_first(positions: Mapping[str, int], untreated: set[str]) -> float | None:
    """Return the share of u untreated wells among the first u positions of all wells.

    Wells that share a position beyond place u count with the probability of being among the first u
    in a random order of these wells. None without untreated wells.
    """
    if not untreated:
        return None
    of_all = np.array(list(positions.values()))
    chances = []
    for well in untreated:
        before = int((of_all < positions[well]).sum())
        tied = int((of_all == positions[well]).sum())
        chances.append(min(max((len(untreated) - before) / tied, 0.0), 1.0))
    return float(np.mean(chances))


def _spread(measures: Mapping[str, float]) -> float:
    """Return the spread of the tissue in µm, or in pixels if its image has no scale."""
    return measures.get("spread_um", measures.get("spread_px", 0.0))
