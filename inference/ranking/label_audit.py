"""Detection of wells whose trajectories contradict their labels in the plate map.

The audit finds single mislabelled wells, exchanged pairs of wells, and plates that were turned.

Wells of one label are modelled as normally distributed around their own mean. This mean is normally
distributed around that of untreated wells. The size of treatment effects and the additional scatter
of wells with large effects are unknown and averaged over. The evidence of a set of labels then has
a closed form. The probability of a wrong label follows from the gain in evidence and from the prior
probability of such an error. A well that is like no other well of the plate, such as debris, is an
alternative explanation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtri, logsumexp

from inference.departure.residuals import Residuals
from inference.ranking.turned_plate import find_turned_plate
from schemas.arrays import BoolArray, Float64Array, IndexArray
from schemas.plate_map import Group
from schemas.ranking import LabelDoubt

REPORTED_PROBABILITY = 0.1
"""Smallest probability of a doubt that is reported."""
ACCEPTED_PROBABILITY = 0.5
"""Probability from which a label is treated as wrong while the other labels are checked."""
EXCHANGED_FRACTION = 1 / 100
"""Prior fraction of wells that have exchanged labels with another well."""
SLIPPED_FRACTION = 1 / 400
"""Prior fraction of wells that have a wrong label without an exchange."""
ODD_FRACTION = 1 / 400
"""Prior fraction of wells that are like no other well of the plate."""
EVIDENCE_WEIGHT = 0.6
"""Weight of the evidence below 1, because wells have longer tails than normal distributions and
directions are correlated.
"""
EFFECT_SPREADS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Candidate standard deviations of treatment means per direction, in units of the standard
deviation within a label.
"""
RELATIVE_SCATTERS = (0.0, 0.1, 0.3)
"""Candidate additional scatters of treated wells per direction, as fractions of their effect."""
TYPICAL_SCATTER = 0.1
"""Typical additional scatter of treated wells, as a fraction of their effect."""
MIN_TREATMENT_DISTANCE = 6.0
"""Smallest distance between the median wells of two treatments that can be distinguished well by
well, in standard deviations within a label.
"""
CLIP_MEDIANS = 2.0
"""Distances from the label mean are clipped to this multiple of their median when the scatter is
estimated.
"""
MIN_SCATTER_VARIANCE = 1e-4
"""Smallest variance within a label, in units of the noise."""
MIN_UNTREATED = 6
"""Smallest number of untreated wells for an audit; with fewer, their variation without the doubtful
well is unknown.
"""
MIN_REPLICATES = 2
"""Smallest number of wells of a label that can be doubted."""
MAX_DISTRUSTED_SHARE = 0.25
"""Largest fraction of untreated wells that are excluded from the estimate of the noise."""
DISTRUST_LEVEL = 0.01
"""Probability that an untreated well is excluded on a plate without wrong labels."""
MAX_ROUNDS = 8
"""Largest number of rounds in which labels are corrected."""

UNTREATED = "untreated"
EXCHANGED = "exchanged"


@dataclass(frozen=True, eq=False)
class _LabelStatistics:
    """Sums and products of the wells' residuals z, in units of the noise, for G labels."""

    products: Float64Array  # (n, n): z · z of each pair of wells
    directions: int  # K
    labels: IndexArray  # (n,): 0 = untreated, 1…G − 1 = treatments, -1 = no label
    count: Float64Array  # (G,) wells
    squares: Float64Array  # (G,): Σ|z|²
    sum_products: Float64Array  # (G, n): Σz · z of each well
    squared_sums: Float64Array  # (G,): |Σz|²
    median_distances: Float64Array
    """(G, G) distances between median wells, which one wrong label does not change."""

    @classmethod
    def from_residuals(
        cls, whitened: Float64Array, labels: IndexArray, names: int
    ) -> "_LabelStatistics":
        """Compute the statistics of residuals (n, K) with labels (n,) for ``names`` labels."""
        member = (labels[None] == np.arange(names)[:, None]).astype(np.float64)
        products = whitened @ whitened.T
        sum_products, count = member @ products, member.sum(axis=1)
        medians = np.array(
            [
                np.median(whitened[labels == label], axis=0)
                if count[label]
                else np.zeros(whitened.shape[1])
                for label in range(names)
            ]
        )
        distances = np.linalg.norm(medians[:, None] - medians[None], axis=2)
        return cls(
            products,
            whitened.shape[1],
            labels,
            count,
            member @ np.diag(products),
            sum_products,
            (sum_products * member).sum(axis=1),
            distances,
        )

    def evidence(
        self, count: Float64Array, squares: Float64Array, squared_sum: Float64Array
    ) -> Float64Array:
        """Return the log evidence of groups of wells that share a label, up to a constant.

        Parameters
        ----------
        count
            (…) number of wells of each group.
        squares
            (…) sum of |z|² of its wells.
        squared_sum
            (…) |Σz|² of its wells.
        """
        mean_part = np.divide(
            squared_sum,
            count,
            out=np.zeros(np.broadcast_shapes(squared_sum.shape, count.shape)),
            where=count > 0,
        )[..., None]
        scatter_part, count = squares[..., None] - mean_part, count[..., None]
        effect = np.repeat(EFFECT_SPREADS, len(RELATIVE_SCATTERS)) ** 2
        scatter = (
            1 + np.tile(RELATIVE_SCATTERS, len(EFFECT_SPREADS)) ** 2 * self.directions * effect
        )
        mean = scatter + count * effect
        density = EVIDENCE_WEIGHT * (
            self.directions * ((count - 1) * np.log(scatter) + np.log(mean))
            + scatter_part / scatter
            + mean_part / mean
        )
        return np.asarray(logsumexp(-density / 2, axis=-1) - np.log(len(effect)))


@dataclass(frozen=True, eq=False)
class _LogOdds:
    """Logarithms of the odds of wrong labels against correct labels."""

    slipped: Float64Array  # (n, G): the well has this other label
    odd: Float64Array  # (n,): the well has no label of the plate
    exchanged: Float64Array  # (n, n), symmetric: the two wells have each other's label


def audit_labels(
    residuals: Residuals, wells: Sequence[str], groups: Sequence[Group], treatments: Sequence[str]
) -> tuple[LabelDoubt, ...]:
    """Return LabelDoubts from Residuals and names, groups and treatments of wells.

    The most probable doubt is the first. No label is changed. Where embedding and measures are
    compared, only the measures are used, because the model of the scatter of replicates does not
    hold for both together. A well that is alone in its treatment cannot be doubted. With fewer than
    :data:`MIN_UNTREATED` untreated wells, there are no doubts.

    Parameters
    ----------
    residuals
        Residuals of n wells.
    wells, groups, treatments
        Names, groups and treatments of these n wells.
    """
    residuals = replace(residuals, reduced=residuals.reduced.last_part())
    keys = [
        (Group.UNTREATED, "") if group is Group.UNTREATED else (group, text)
        for group, text in zip(groups, treatments, strict=True)
    ]
    names = list(dict.fromkeys([(Group.UNTREATED, ""), *keys]))
    labels = np.array([names.index(key) for key in keys])
    if (labels == 0).sum() < MIN_UNTREATED:
        return ()
    if (doubt := find_turned_plate(residuals, wells, labels)) is not None:
        return (doubt,)
    texts = [UNTREATED, *(text for _, text in names[1:])]
    settled = np.zeros(len(labels), dtype=bool)
    found: list[LabelDoubt] = []
    for _ in range(MAX_ROUNDS):
        rows = _in_units_of_scatter(_in_units_of_noise(residuals, labels == 0), labels)
        statistics = _LabelStatistics.from_residuals(rows, labels, len(names))
        doubts, changed = _find_doubts(_log_odds(statistics, settled), labels, wells, texts)
        found += [doubt for doubt in doubts if doubt.probability >= ACCEPTED_PROBABILITY]
        settled |= changed != labels
        if (changed == labels).all() or (changed == 0).sum() < MIN_UNTREATED:
            break
        labels = changed
    found += [doubt for doubt in doubts if doubt.probability < ACCEPTED_PROBABILITY]
    return tuple(sorted(found, key=lambda doubt: -doubt.probability))


def _in_units_of_noise(residuals: Residuals, untreated: BoolArray) -> Float64Array:
    """Return (n, K) residuals in units of the noise, estimated without doubtful untreated wells.

    The untreated well farthest from the others is excluded repeatedly, while its distance is larger
    than expected by chance.
    """
    trusted = untreated.copy()
    min_trusted = max(MIN_UNTREATED, int(np.ceil((1 - MAX_DISTRUSTED_SHARE) * untreated.sum())))
    residual, earlier = residuals.fitted_on(trusted), residuals.of_earlier_wells(trusted)
    while trusted.sum() > min_trusted:
        rows = residual[trusted]
        squared = np.empty(len(rows))
        for well in range(len(rows)):
            others = np.delete(rows, well, axis=0)
            noise = residuals.estimate_noise(others, earlier)
            difference = rows[well] - others.mean(axis=0)
            squared[well] = float(difference @ np.linalg.solve(noise.covariance, difference))
        k = rows.shape[1]
        if squared.max() <= k * fdtri(k, noise.effective_wells, 1 - DISTRUST_LEVEL / len(rows)):
            break
        trusted[np.flatnonzero(trusted)[squared.argmax()]] = False
        residual, earlier = residuals.fitted_on(trusted), residuals.of_earlier_wells(trusted)
    noise = residuals.estimate_noise(residual[trusted], earlier)
    return np.asarray(residual @ noise.whitening.T)


def _in_units_of_scatter(whitened: Float64Array, labels: IndexArray) -> Float64Array:
    """Return residuals (n, K) in units of the scatter of wells around the mean of their label.

    The scatter differs between directions and increases with the effect. Distant wells are clipped,
    so that wrong labels do not increase the scatter.
    """
    k = whitened.shape[1]
    rows = []
    for label in np.unique(labels[labels >= 0]):
        own = whitened[labels == label]
        if len(own) < MIN_REPLICATES:
            continue
        mean = own.mean(axis=0)
        rows.append(
            (own - mean)
            * np.sqrt(len(own) / (len(own) - 1) / (1 + TYPICAL_SCATTER**2 * float(mean @ mean)))
        )
    centred = np.concatenate(rows)
    lengths = np.linalg.norm(centred, axis=1)
    limit = CLIP_MEDIANS * float(np.median(lengths))
    centred *= np.minimum(1.0, limit / np.maximum(lengths, limit))[:, None] if limit > 0 else 1.0
    moment = centred.T @ centred
    variance = max(float(np.trace(moment)) / (k * len(centred)), MIN_SCATTER_VARIANCE)
    covariance = (moment + k * variance * np.eye(k)) / (len(centred) + k)
    return np.asarray(whitened @ np.linalg.inv(np.linalg.cholesky(covariance)).T)


@dataclass(frozen=True, eq=False)
class _EvidenceGains:
    """Gains in log evidence when a single well changes its label."""

    leaving: Float64Array  # (n,): the well leaves its label
    joining: Float64Array  # (n, G): the well joins another label
    alone: Float64Array  # (n,): evidence of the well as a label of its own
    replacing: Float64Array  # (n, n): the second well replaces the first in its label


def _evidence_gains(statistics: _LabelStatistics) -> _EvidenceGains:
    """Return the gains in log evidence for all changes of the label of one well."""
    count, wells = statistics.count, len(statistics.labels)
    of = np.maximum(statistics.labels, 0)
    own = np.diag(statistics.products)
    among = statistics.sum_products[of, np.arange(wells)]
    current = statistics.evidence(count, statistics.squares, statistics.squared_sums)
    squares_without = statistics.squares[of] - own
    sums_without = statistics.squared_sums[of] - 2 * among + own
    return _EvidenceGains(
        leaving=statistics.evidence(count[of] - 1, squares_without, sums_without) - current[of],
        joining=statistics.evidence(
            count[None] + 1,
            statistics.squares[None] + own[:, None],
            statistics.squared_sums[None] + 2 * statistics.sum_products.T + own[:, None],
        )
        - current,
        alone=statistics.evidence(np.ones(wells), own, own),
        replacing=statistics.evidence(
            count[of][:, None],
            squares_without[:, None] + own[None],
            sums_without[:, None]
            + own[None]
            + 2 * statistics.sum_products[of]
            - 2 * statistics.products,
        )
        - current[of][:, None],
    )


def _log_odds(statistics: _LabelStatistics, settled: BoolArray) -> _LogOdds:
    """Return the log odds of every other label of a well and of every exchange of two wells.

    Parameters
    ----------
    statistics
        Statistics of the current labels.
    settled
        (n,), True for wells whose label was already changed; they are not doubted again.
    """
    gains = _evidence_gains(statistics)
    labels, count = statistics.labels, statistics.count
    n = len(labels)
    of = np.maximum(labels, 0)
    doubtful = (labels >= 0) & (count[of] >= MIN_REPLICATES) & ~settled
    distinguishable = statistics.median_distances >= MIN_TREATMENT_DISTANCE
    distinguishable[0] = distinguishable[:, 0] = True
    shares = (
        np.where((labels[:, None] != np.arange(len(count))) & distinguishable[of], count[None], 0.0)
        / np.maximum(n - count[of], 1)[:, None]
    )
    with np.errstate(divide="ignore"):
        slipped = np.where(
            doubtful[:, None],
            np.log(SLIPPED_FRACTION * shares) + gains.leaving[:, None] + gains.joining,
            -np.inf,
        )
    odd = np.where(doubtful, np.log(ODD_FRACTION) + gains.leaving + gains.alone, -np.inf)
    possible = (
        doubtful[:, None]
        & doubtful[None]
        & (labels[:, None] != labels[None])
        & distinguishable[of[:, None], of[None]]
    )
    exchanged = np.where(
        possible,
        np.log(EXCHANGED_FRACTION / max(n - 1, 1)) + gains.replacing + gains.replacing.T,
        -np.inf,
    )
    return _LogOdds(slipped, odd, exchanged)


def _find_doubts(
    odds: _LogOdds, labels: IndexArray, wells: Sequence[str], names: Sequence[str]
) -> tuple[list[LabelDoubt], IndexArray]:
    """Return the reported doubts, and the labels (n,) in which accepted errors are corrected.

    Each error is compared with all other errors of the same wells only, so that an error elsewhere
    on the plate does not hide it.
    """
    slip_odds = logsumexp(odds.slipped, axis=1)
    alone = np.logaddexp(0.0, np.logaddexp(slip_odds, odds.odd))
    pairs = np.exp(np.minimum(odds.exchanged - alone[:, None] - alone[None], 500.0))
    pair_sums = pairs.sum(axis=1)
    slips = np.exp(slip_odds - alone) / (1 + pair_sums)
    odd = np.exp(odds.odd - alone) / (1 + pair_sums)
    exchanges = pairs / (1 + pair_sums[:, None] + pair_sums[None] - pairs)
    changed = labels.copy()
    changed[odd >= ACCEPTED_PROBABILITY] = -1
    doubts = []
    for well in np.flatnonzero(slips >= REPORTED_PROBABILITY).tolist():
        likely = int(odds.slipped[well].argmax())
        doubts.append(
            LabelDoubt(
                wells=(wells[well],),
                said=names[labels[well]],
                seems=names[likely],
                probability=float(slips[well]),
            )
        )
        if slips[well] >= ACCEPTED_PROBABILITY:
            changed[well] = likely
    for one, other in np.argwhere(np.triu(exchanges) >= REPORTED_PROBABILITY).tolist():
        said = f"{names[labels[one]]} and {names[labels[other]]}"
        doubts.append(
            LabelDoubt(
                wells=(wells[one], wells[other]),
                said=said,
                seems=EXCHANGED,
                probability=float(exchanges[one, other]),
            )
        )
        if exchanges[one, other] >= ACCEPTED_PROBABILITY:
            changed[[one, other]] = labels[[other, one]]
    return doubts, changed
