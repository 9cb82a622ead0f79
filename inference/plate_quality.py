"""Whether a plate's ranking is to be believed: what its controls say, what is missing and what was left out."""

import numpy as np
import numpy.typing as npt

from inference.departure import Departures
from schemas.plate_map import Group
from schemas.ranking import Gate, LeftOut, RankingQuality
from schemas.trajectory import Trajectories
from schemas.well import row_column

Array = npt.NDArray[np.float64]

FEWEST_FOR_CORRELATION = 4
LEAST_UNTREATED_SHARE = 0.5
"""Of the map's untreated wells: with fewer left, those that remain are not a fair sample of them."""


def plate_quality(trajectories: Trajectories, departures: Departures, readout_day: int, *, has_positions: bool) -> RankingQuality:
    """Judge a plate by its untreated wells; the single dose is reported and fails no plate, for tissue may resist it."""
    scored = np.isfinite(departures.scores)
    untreated = trajectories.untreated()
    single_dose = np.array([group is Group.SINGLE_DOSE for group in trajectories.groups])
    controls, positives = departures.scores[untreated & scored], departures.scores[single_dose & scored]
    edge, row, column = position_effects(trajectories, departures.scores) if has_positions else (None, None, None)
    reasons = _gate_reasons(int(untreated.sum()), len(controls))
    blank = np.array([group is Group.BLANK for group in trajectories.groups])
    missing = np.flatnonzero(~trajectories.has(readout_day) & ~blank)
    return RankingQuality(
        gate=Gate.FAILED if reasons else Gate.PASSED,
        reasons=reasons,
        z_prime=z_prime(positives, controls),
        ssmd=ssmd(positives, controls),
        edge_effect=edge,
        row_effect=row,
        column_effect=column,
        left_out=tuple(LeftOut(well=well, reason=reason) for well, reason in departures.left_out.items()),
        missing_images=tuple(trajectories.wells[well] for well in missing),
    )


def z_prime(positives: Array, controls: Array) -> float | None:
    """Return Z′ = 1 − 3 (σ₊ + σ₋) / |μ₊ − μ₋|: Zhang et al., J. Biomol. Screen. 4 (1999) 67; None where a spread or the gap is not there."""
    gap = _gap(positives, controls)
    return None if not gap else float(1 - 3 * (positives.std(ddof=1) + controls.std(ddof=1)) / abs(gap))


def ssmd(positives: Array, controls: Array) -> float | None:
    """Return SSMD = (μ₊ − μ₋) / √(σ₊² + σ₋²): Zhang, Genomics 89 (2007) 552; None where a spread is not there."""
    gap = _gap(positives, controls)
    spread = np.hypot(positives.std(ddof=1), controls.std(ddof=1)) if gap is not None else 0.0
    return None if gap is None or spread == 0 else float(gap / spread)


def position_effects(trajectories: Trajectories, scores: Array) -> tuple[float | None, float | None, float | None]:
    """Return the untreated wells' edge effect, and the correlation of their scores with row and with column.

    The edge is the outermost rows and columns that the map uses.
    """
    positions = np.array([row_column(well) for well in trajectories.wells])
    edge = ((positions == positions.min(axis=0)) | (positions == positions.max(axis=0))).any(axis=1)
    controls = trajectories.untreated() & np.isfinite(scores)
    outer, inner = scores[controls & edge], scores[controls & ~edge]
    effect = float(outer.mean() - inner.mean()) if outer.size and inner.size else None
    return effect, _correlation(positions[controls, 0], scores[controls]), _correlation(positions[controls, 1], scores[controls])


def _gap(positives: Array, controls: Array) -> float | None:
    """Return the difference of means where both have at least the two wells that a spread needs."""
    return float(positives.mean() - controls.mean()) if min(len(positives), len(controls)) > 1 else None


def _correlation(places: npt.NDArray[np.int64], scores: Array) -> float | None:
    if len(scores) < FEWEST_FOR_CORRELATION or np.ptp(places) == 0 or np.ptp(scores) == 0:
        return None
    return float(np.corrcoef(places, scores)[0, 1])


def _gate_reasons(planned: int, scored: int) -> tuple[str, ...]:
    if scored < LEAST_UNTREATED_SHARE * planned:
        return (f"only {scored} of {planned} untreated wells could be scored; expected at least {LEAST_UNTREATED_SHARE:.0%}",)
    return ()
