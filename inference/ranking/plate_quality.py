"""Whether a plate's ranking is to be believed: what its controls say, what is missing and what was left out."""

import numpy as np
import numpy.typing as npt
from scipy.stats import f as f_distribution

from inference.departure.departures import Departures, Residuals
from inference.departure.place_effects import PlaceEffects
from inference.ranking.significance import permute
from schemas.plate_map import Group
from schemas.ranking import Gate, LeftOut, RankingQuality
from schemas.trajectory import Trajectories
from schemas.well import is_well, parse_well, row_column

Array = npt.NDArray[np.float64]

FEWEST_FOR_CORRELATION = 4
LEAST_UNTREATED_SHARE = 0.5
"""Of the map's untreated wells: with fewer left, those that remain are not a fair sample of them."""
FARTHEST_SPREAD = 2.0
"""Times that of earlier plates: then this plate's untreated wells are not what they usually are,"""
SURELY = 0.001
"""if chance does that so seldom."""
LARGEST_GAP_BEFORE = 1.0
"""Between untreated wells and others before dosing, in spreads of wells."""


def plate_quality(
    trajectories: Trajectories,
    departures: Departures,
    places: PlaceEffects,
    readout_day: int,
    rng: np.random.Generator,
) -> RankingQuality:
    """Judge a plate by its untreated wells; the single dose is reported and fails no plate, for tissue may resist it."""
    scored = np.isfinite(departures.scores)
    untreated = trajectories.untreated()
    single_dose = np.array([group is Group.SINGLE_DOSE for group in trajectories.groups])
    controls, positives = (
        departures.scores[untreated & scored],
        departures.scores[single_dose & scored],
    )
    edge, row, column = (
        position_effects(trajectories, departures.scores)
        if all(map(is_well, trajectories.wells))
        else (None, None, None)
    )
    reasons = (
        *_lost(int(untreated.sum()), len(controls)),
        *_too_spread(departures),
        *_confounded(places),
        *_unlike_before_dosing(departures.residuals, rng),
    )
    blank = np.array([group is Group.BLANK for group in trajectories.groups])
    missing = np.flatnonzero(~trajectories.has(readout_day) & ~blank)
    return RankingQuality(
        gate=Gate.FAILED if reasons else Gate.PASSED,
        reasons=reasons,
        z_prime=z_prime(positives, controls),
        robust_z_prime=robust_z_prime(positives, controls),
        ssmd=ssmd(positives, controls),
        edge_effect=edge,
        row_effect=row,
        column_effect=column,
        corrected_for=tuple(places.real),
        untreated_in_one_block=places.in_one_block,
        left_out=tuple(
            LeftOut(well=well, reason=reason) for well, reason in departures.left_out.items()
        ),
        missing_images=tuple(trajectories.wells[well] for well in missing),
    )


def z_prime(positives: Array, controls: Array) -> float | None:
    """Return Z′ = 1 − 3 (σ₊ + σ₋) / |μ₊ − μ₋|: Zhang et al., J. Biomol. Screen. 4 (1999) 67; None where a spread or the gap is not there."""
    gap = _gap(positives, controls)
    return (
        None
        if not gap
        else float(1 - 3 * (positives.std(ddof=1) + controls.std(ddof=1)) / abs(gap))
    )


def robust_z_prime(positives: Array, controls: Array) -> float | None:
    """Return Z′ from medians and 1.4826 MAD, which single odd wells do not move (Birmingham et al., Nat. Methods 6 (2009) 569)."""
    if min(len(positives), len(controls)) < 2:  # noqa: PLR2004 - the fewest with a spread
        return None
    gap = abs(float(np.median(positives) - np.median(controls)))
    spreads = [
        1.4826 * float(np.median(np.abs(wells - np.median(wells))))
        for wells in (positives, controls)
    ]
    return 1 - 3 * sum(spreads) / gap if gap > 0 else None


def ssmd(positives: Array, controls: Array) -> float | None:
    """Return SSMD = (μ₊ − μ₋) / √(σ₊² + σ₋²): Zhang, Genomics 89 (2007) 552; None where a spread is not there."""
    gap = _gap(positives, controls)
    spread = np.hypot(positives.std(ddof=1), controls.std(ddof=1)) if gap is not None else 0.0
    return None if gap is None or spread == 0 else float(gap / spread)


def position_effects(
    trajectories: Trajectories, scores: Array
) -> tuple[float | None, float | None, float | None]:
    """Return the untreated wells' edge effect, and the correlation of their scores with row and with column.

    The edge is the outermost rows and columns that the map uses.
    """
    positions = np.array([row_column(parse_well(well)) for well in trajectories.wells])
    edge = ((positions == positions.min(axis=0)) | (positions == positions.max(axis=0))).any(axis=1)
    controls = trajectories.untreated() & np.isfinite(scores)
    outer, inner = scores[controls & edge], scores[controls & ~edge]
    effect = float(outer.mean() - inner.mean()) if outer.size and inner.size else None
    return (
        effect,
        _correlation(positions[controls, 0], scores[controls]),
        _correlation(positions[controls, 1], scores[controls]),
    )


def _gap(positives: Array, controls: Array) -> float | None:
    """Return the difference of means where both have at least the two wells that a spread needs."""
    return (
        float(positives.mean() - controls.mean())
        if min(len(positives), len(controls)) > 1
        else None
    )


def _correlation(places: npt.NDArray[np.int64], scores: Array) -> float | None:
    if len(scores) < FEWEST_FOR_CORRELATION or np.ptp(places) == 0 or np.ptp(scores) == 0:
        return None
    return float(np.corrcoef(places, scores)[0, 1])


def _lost(planned: int, scored: int) -> tuple[str, ...]:
    if scored < LEAST_UNTREATED_SHARE * planned:
        return (
            f"only {scored} of {planned} untreated wells could be scored; expected at least {LEAST_UNTREATED_SHARE:.0%}",
        )
    return ()


def _too_spread(departures: Departures) -> tuple[str, ...]:
    """Compare the untreated wells' spread with that on earlier plates."""
    own, earlier = departures.untreated_spread, departures.earlier_spread
    if earlier is None or own / earlier < FARTHEST_SPREAD:
        return ()
    freedom = (int(departures.residuals.untreated.sum()) - 1, len(departures.earlier_scores) - 1)
    if f_distribution.sf((own / earlier) ** 2, *freedom) > SURELY:
        return ()
    return (
        f"untreated wells scatter {own / earlier:.1f} times as widely as on other plates; expected less than {FARTHEST_SPREAD:g} times",
    )


def _confounded(places: PlaceEffects) -> tuple[str, ...]:
    if places.in_one_block and places.real:
        return (
            f"all untreated wells stand in one block and differ by {' and '.join(places.real)}: what treatments do cannot be told from where they stand",
        )
    return ()


def _unlike_before_dosing(residuals: Residuals, rng: np.random.Generator) -> tuple[str, ...]:
    """Compare untreated with other wells before dosing, when nothing but chance told them apart."""
    untreated, past = residuals.untreated, residuals.space.past
    if untreated.all():
        return ()
    centred = past - past.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    whitened = np.divide(
        centred, spread, out=np.zeros_like(centred), where=spread > 0
    )  # principal components: hardly correlated
    gap = float(np.abs(whitened[~untreated].mean(axis=0) - whitened[untreated].mean(axis=0)).max())
    if gap < LARGEST_GAP_BEFORE:
        return ()
    p_value, _ = permute(whitened[~untreated], whitened[untreated], np.zeros(past.shape[1]), rng)
    if p_value > SURELY:
        return ()
    return (
        f"before dosing untreated wells differed from all others by {gap:.1f} spreads; expected less than {LARGEST_GAP_BEFORE:g}, as wells are dosed at random",
    )
