"""Dose-response curves and combination effects of one plate, from the rows of its wells."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.dose.combination_table import evaluate_combinations
from inference.dose.dose_response import fit_dose_response
from inference.dose.dosed_wells import UNTREATED, DosedWells, Substance
from inference.dose.growth_rate import gr_value, untreated_growth
from schemas.dose_response import Combination, DoseResponse, Effect, Response
from schemas.errors import ProfileError
from schemas.ranking import WellRank

VOLUME_OF_AREA = 1.5
UNREADABLE_NOTE = (
    "No dose could be read from {treatments}; expected compound:amount unit, such as "
    "gemcitabine:1 uM."
)
NO_GROWTH_RATE_NOTE = "No GR curves: {problem}."


@dataclass(frozen=True)
class DoseEffects:
    """The dose-response curves and combination effects of one plate."""

    dose_responses: tuple[DoseResponse, ...]
    combinations: tuple[Combination, ...]
    notes: tuple[str, ...]


def dose_effects(wells: Iterable[WellRank], left_out: Collection[str], seed: int) -> DoseEffects:
    """Return the DoseEffects of a plate from its WellRanks without the left-out wells.

    They are the dose-response of each compound and the excess of each combination.

    The effect is the predicted deterioration as a fraction where every well has one, else the
    score. Compounds with enough doses also get a curve of 1 - GR, where the tissue was measured at
    dosing and at the readout and the untreated wells grew.

    Parameters
    ----------
    wells
        All rows of the ranking; wells without a score take no part.
    left_out
        Names of wells that take no part.
    """
    dosed = DosedWells.of(wells, left_out)
    effect, effects = _effects(dosed)
    fitted = {
        substance: fit_dose_response(
            substance.compound, dosed.units[substance], effect, dosed.by_dose(substance, effects)
        )
        for substance in dosed.single_agents
    }
    fits = {substance: fit for substance, (_, fit) in fitted.items() if fit is not None}
    with_enough_doses = [
        each for each, (known, _) in fitted.items() if known.verdict is not Response.TOO_FEW_DOSES
    ]
    growth_rates, growth_notes = _growth_rates(dosed, with_enough_doses)
    found, share_notes = evaluate_combinations(
        dosed, effect, effects, fits, np.random.default_rng(seed)
    )
    unreadable = (
        (UNREADABLE_NOTE.format(treatments=", ".join(dosed.unreadable)),)
        if dosed.unreadable
        else ()
    )
    return DoseEffects(
        dose_responses=(*(known for known, _ in fitted.values()), *growth_rates),
        combinations=found,
        notes=(*unreadable, *growth_notes, *share_notes),
    )


def _effects(wells: DosedWells) -> tuple[Effect, dict[str, float]]:
    """Return the kind of effect that is fitted, and its value by well."""
    rows = [row for of_given in wells.by_treatment.values() for row in of_given]
    fractions = {
        row.well: row.deterioration_percent / 100
        for row in rows
        if row.deterioration_percent is not None
    }
    if rows and len(fractions) == len(rows):
        return Effect.DETERIORATION, fractions
    return Effect.DEPARTURE, {row.well: row.score for row in rows if row.score is not None}


def _growth_rates(
    wells: DosedWells, substances: Sequence[Substance]
) -> tuple[list[DoseResponse], tuple[str, ...]]:
    """Return the curves of 1 - GR of some substances, and notes if there are none."""
    volumes = {
        row.well: seen
        for rows in wells.by_treatment.values()
        for row in rows
        if (seen := _volumes(row.measures)) is not None
    }
    untreated = [
        volumes[row.well]
        for row in wells.by_treatment.get(UNTREATED, ())
        if row.well in volumes and volumes[row.well][1] > 0
    ]
    if not substances or not untreated:
        return [], ()
    try:
        growth = untreated_growth(*np.array(untreated).T)
    except ProfileError as error:
        return [], (NO_GROWTH_RATE_NOTE.format(problem=error.problem),)
    before, now = np.array(list(volumes.values())).T
    rates = dict(zip(volumes, (1 - gr_value(before, now, growth)).tolist(), strict=True))
    return [
        fit_dose_response(
            each.compound, wells.units[each], Effect.GROWTH_RATE, wells.by_dose(each, rates)
        )[0]
        for each in substances
    ], ()


def _volumes(measures: Mapping[str, float]) -> tuple[float, float] | None:
    """Return the relative tissue volumes at dosing and readout; None if an area is missing.

    The volume of a ball is proportional to area ** 1.5. A change is the natural logarithm of the
    ratio of the areas. An empty well has area 0 and no change.
    """
    for area in ("area_um2", "area_px"):
        now, change = measures.get(area), measures.get(f"{area}_change")
        if now == 0:
            return 1.0, 0.0
        if now is not None and change is not None:
            return (now / math.exp(change)) ** VOLUME_OF_AREA, now**VOLUME_OF_AREA
    return None
