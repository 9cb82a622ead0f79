"""Quality of a plate from its controls: control statistics, position effects, quality gate."""

import numpy as np
from scipy.special import fdtrc

from inference.departure.departures import Departures
from inference.departure.place_effects import PlaceEffects
from inference.departure.residuals import Residuals
from inference.ranking.significance import permutation_p_values
from schemas.arrays import Float64Array, Int64Array
from schemas.plate_map import Group
from schemas.ranking import Gate, LeftOut, RankingQuality
from schemas.trajectory import Trajectories
from schemas.well import is_well, parse_well, row_column

MIN_WELLS_FOR_CORRELATION = 4
"""Smallest number of untreated wells for a correlation with row or column."""
MIN_UNTREATED_SHARE = 0.5
"""Smallest fraction of the planned untreated wells that must have a score; fewer may not represent
them.
"""
MAX_SPREAD_RATIO = 2.0
"""Standard deviation of untreated wells, relative to earlier plates, at which a plate fails."""
SIGNIFICANCE_LEVEL = 0.001
"""Largest p-value at which a difference fails a plate."""
MAX_PRE_DOSE_GAP = 1.0
"""Difference between untreated and other wells before dosing at which a plate fails, in standard
deviations of wells.
"""


def plate_quality(
    trajectories: Trajectories,
    departures: Departures,
    places: PlaceEffects,
    readout_day: int,
    rng: np.random.Generator,
) -> RankingQuality:
    """Return the RankingQuality of Trajectories on a day, from their Departures and PlaceEffects.

    The untreated wells determine it. The single dose is reported but does not fail a plate, because
    a tissue may be resistant to it.
    """
    scored = np.isfinite(departures.scores)
    untreated = trajectories.untreated()
    single_dose = np.array([group is Group.SINGLE_DOSE for group in trajectories.groups])
    controls = departures.scores[untreated & scored]
    positives = departures.scores[single_dose & scored]
    edge, row, column = None, None, None
    if all(map(is_well, trajectories.wells)):
        edge, row, column = position_effects(trajectories, departures.scores)
    problems = (
        _too_few_untreated(int(untreated.sum()), len(controls)),
        _too_variable(departures),
        _confounded(places),
        _different_before_dosing(departures.residuals, rng),
    )
    reasons = tuple(problem for problem in problems if problem)
    blank = np.array([group is Group.BLANK for group in trajectories.groups])
    left_out = np.isin(trajectories.wells, list(departures.left_out))
    missing = np.flatnonzero(~trajectories.has(readout_day) & ~blank & ~left_out)
    return RankingQuality(
        gate=Gate.FAILED if reasons else Gate.PASSED,
        reasons=reasons,
        z_prime=z_prime(positives, controls),
        robust_z_prime=robust_z_prime(positives, controls),
        ssmd=ssmd(positives, controls),
        edge_effect=edge,
        row_effect=row,
        column_effect=column,
        corrected_for=tuple(places.significant),
        untreated_in_one_block=places.in_one_block,
        left_out=tuple(
            LeftOut(well=well, reason=reason) for well, reason in departures.left_out.items()
        ),
        missing_images=tuple(trajectories.wells[well] for well in missing),
    )


def z_prime(positives: Float64Array, controls: Float64Array) -> float | None:
    """Return Z′ = 1 − 3 (σ₊ + σ₋) / |μ₊ − μ₋| of positive and control scores, or None.

    Zhang et al., J. Biomol. Screen. 4 (1999) 67. It is None for fewer than two wells of a
    kind or for equal means.
    """
    gap = _gap(positives, controls)
    return (
        None
        if not gap
        else float(1 - 3 * (positives.std(ddof=1) + controls.std(ddof=1)) / abs(gap))
    )


def robust_z_prime(positives: Float64Array, controls: Float64Array) -> float | None:
    """Return Z′ of positive and control scores from medians and 1.4826 MAD, or None.

    Birmingham et al., Nat. Methods 6 (2009) 569. Single outliers do not change it. It is None if it
    is not defined.
    """
    if min(len(positives), len(controls)) < 2:  # noqa: PLR2004 - needs two wells
        return None
    gap = abs(float(np.median(positives) - np.median(controls)))
    spreads = [
        1.4826 * float(np.median(np.abs(wells - np.median(wells))))
        for wells in (positives, controls)
    ]
    return 1 - 3 * sum(spreads) / gap if gap > 0 else None


def ssmd(positives: Float64Array, controls: Float64Array) -> float | None:
    """Return SSMD = (μ₊ − μ₋) / √(σ₊² + σ₋²) of positive and control scores, or None.

    Zhang, Genomics 89 (2007) 552. It is None if it is not defined.
    """
    gap = _gap(positives, controls)
    spread = np.hypot(positives.std(ddof=1), controls.std(ddof=1)) if gap is not None else 0.0
    return None if gap is None or spread == 0 else float(gap / spread)


def position_effects(
    trajectories: Trajectories, scores: Float64Array
) -> tuple[float | None, float | None, float | None]:
    """Return (edge, row, column) effects, each or None, on Trajectories' untreated scores (N,).

    The edge effect is the mean score of outer minus inner wells; the edge is the outermost rows and
    columns of the plate map. Row and column effect are correlations. An effect is None if it cannot
    be computed.
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


def _gap(positives: Float64Array, controls: Float64Array) -> float | None:
    """Return the difference of means, or None if one of them has fewer than two wells."""
    return (
        float(positives.mean() - controls.mean())
        if min(len(positives), len(controls)) > 1
        else None
    )


def _correlation(places: Int64Array, scores: Float64Array) -> float | None:
    """Return the correlation of scores with row or column numbers, or None if it is not defined."""
    if len(scores) < MIN_WELLS_FOR_CORRELATION or np.ptp(places) == 0 or np.ptp(scores) == 0:
        return None
    return float(np.corrcoef(places, scores)[0, 1])


def _too_few_untreated(planned: int, scored: int) -> str:
    """Return a problem if too few of the planned untreated wells could be scored, else ""."""
    if scored >= MIN_UNTREATED_SHARE * planned:
        return ""
    return (
        f"only {scored} of {planned} untreated wells could be scored; "
        f"expected at least {MIN_UNTREATED_SHARE:.0%}"
    )


def _too_variable(departures: Departures) -> str:
    """Return a problem if untreated wells vary much more than on earlier plates, else ""."""
    own, earlier = departures.untreated_spread, departures.earlier_spread
    if earlier is None or own / earlier < MAX_SPREAD_RATIO:
        return ""
    degrees_of_freedom = (
        int(departures.residuals.untreated.sum()) - 1,
        len(departures.earlier_scores) - 1,
    )
    if fdtrc(*degrees_of_freedom, (own / earlier) ** 2) > SIGNIFICANCE_LEVEL:
        return ""
    return (
        f"the scores of untreated wells vary {own / earlier:.1f} times as much as on other plates; "
        f"expected less than {MAX_SPREAD_RATIO:g} times"
    )


def _confounded(places: PlaceEffects) -> str:
    """Return a problem if position and treatment effects cannot be distinguished, else ""."""
    if not (places.in_one_block and places.significant):
        return ""
    return (
        f"all untreated wells are in one block and differ by {' and '.join(places.significant)}: "
        "treatment effects cannot be distinguished from position effects"
    )


def _different_before_dosing(residuals: Residuals, rng: np.random.Generator) -> str:
    """Return a problem if untreated and other wells differed before dosing, else "".

    Before dosing, only chance should cause differences between them.
    """
    untreated, past = residuals.untreated, residuals.reduced.past
    if untreated.all():
        return ""
    # The columns are principal components and hardly correlated, so scaling them is whitening.
    centred = past - past.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    whitened = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    gap = float(np.abs(whitened[~untreated].mean(axis=0) - whitened[untreated].mean(axis=0)).max())
    if gap < MAX_PRE_DOSE_GAP:
        return ""
    p_value, _ = permutation_p_values(
        whitened[~untreated], whitened[untreated], np.zeros(past.shape[1]), rng
    )
    if p_value > SIGNIFICANCE_LEVEL:
        return ""
    return (
        f"before dosing, untreated wells differed from all others by {gap:.1f} standard "
        f"deviations; expected less than {MAX_PRE_DOSE_GAP:g}, as wells are dosed at random"
    )
