"""Treatment tables of simulated wells whose true effect is known."""

from collections.abc import Iterable, Mapping

import numpy as np

from inference.dose.dose_effects import dose_effects
from schemas.plate_map import Group
from schemas.ranking import Gate, LeftOut, RankingQuality, Scale, TreatmentTable, WellRank


def well(
    name: str,
    treatment: str = "",
    score: float | None = 0.0,
    *,
    group: Group | None = None,
    percent: float | None = None,
    **measures: float,
) -> WellRank:
    """Return the row of one well; by default untreated if it has no treatment, else screening."""
    return WellRank(
        well=name,
        group=group or (Group.SCREENING if treatment else Group.UNTREATED),
        treatment=treatment,
        efficacy_rank=None,
        scale_position=None,
        score=score,
        condition=None,
        measures=measures,
        deterioration_percent=percent,
        deterioration_low=None,
        deterioration_high=None,
        flags=(),
    )


def table(wells: Iterable[WellRank], left_out: Iterable[str] = ()) -> TreatmentTable:
    """Return a table of well rows, without ranked treatments, that passes the quality gate."""
    quality = RankingQuality(
        gate=Gate.PASSED,
        reasons=(),
        z_prime=None,
        ssmd=None,
        edge_effect=None,
        row_effect=None,
        column_effect=None,
        left_out=tuple(LeftOut(well=name, reason="pre-dose outlier") for name in left_out),
        missing_images=(),
    )
    return TreatmentTable(
        treatments=(), wells=tuple(wells), scale=Scale(x=None, n=0), quality=quality, notes=()
    )


def with_doses(table: TreatmentTable, seed: int) -> TreatmentTable:
    """Return the table with its dose-response curves, combination effects and their notes."""
    left_out = {each.well for each in table.quality.left_out}
    effects = dose_effects(table.wells, left_out, seed)
    return table.model_copy(
        update={
            "dose_responses": effects.dose_responses,
            "combinations": effects.combinations,
            "notes": (*table.notes, *effects.notes),
        }
    )


def of_scores(
    effects: Mapping[str, float],
    *,
    replicates: int = 3,
    untreated: int = 18,
    spread: float = 1.0,
    seed: int = 0,
) -> TreatmentTable:
    """Return the table of a plate whose wells have random scores around known means.

    Parameters
    ----------
    effects
        Mean score by treatment; the mean of untreated wells is 0.
    replicates
        Number of wells of each treatment.
    untreated
        Number of untreated wells.
    spread
        Standard deviation of the scores of one treatment.
    seed
        Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    treatments = [""] * untreated + [name for name in effects for _ in range(replicates)]
    return table(
        well(f"w{n}", name, effects.get(name, 0.0) + spread * float(rng.standard_normal()))
        for n, name in enumerate(treatments)
    )


def of_fractions(
    effects: Mapping[str, float],
    *,
    replicates: int = 3,
    untreated: int = 18,
    spread: float = 0.05,
    seed: int = 0,
) -> TreatmentTable:
    """Return the same table with calibrated deterioration; the effects are fractions, 0 to 1."""
    scored = of_scores(
        effects, replicates=replicates, untreated=untreated, spread=spread, seed=seed
    )
    return table(
        well(row.well, row.treatment, row.score, percent=100 * (row.score or 0.0))
        for row in scored.wells
    )
