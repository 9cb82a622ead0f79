"""Wells whose trajectory contradicts their label: one that slipped, two that were exchanged, a whole plate that was turned.

A label that is right gathers wells of one kind. The wells of a label are taken as normal about a mean of their own, which is drawn from a normal
distribution about the untreated ones; how far treatments reach and how much more the wells of a far one scatter is not known and averaged over. All that a
label says of its wells is then one number, their evidence, in closed form, and a suspicion is the evidence that is won by changing labels, against how
seldom that is the truth. What looks wrong is held against what a well would be that is like nothing else on the plate, for debris is no wrong label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import f as f_distribution

from inference.departure.departures import Mask, Residuals
from inference.departure.metrics import Noise
from inference.ranking.turned_plate import turned
from schemas.plate_map import Group
from schemas.ranking import LabelDoubt

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
"""(n,): 0 = untreated, 1…G − 1 = treatments, -1 = like no label of the plate."""

SHOWN = 0.1
"""Doubts below are not told."""
BELIEVED = 0.5
"""With this probability a label is taken for wrong while the others are looked at."""
EXCHANGED_WELLS = 1 / 100
"""Of all wells, before anything is seen: those that have another well's label, which has theirs,"""
SLIPPED_WELLS = 1 / 400
"""those that have another label alone,"""
ODD_WELLS = 1 / 400
"""and those that are like nothing else on the plate."""
WORTH = 0.6
"""Of the evidence: wells have longer tails than normal ones and directions vary together, so that it says less than it seems to."""
REACHES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""What the mean of a treatment's wells may vary by in each direction, in units of what wells of one label vary by."""
SCATTERS = (0.0, 0.1, 0.3)
"""What its wells may scatter by besides, in each direction, in units of how far they are;"""
TYPICAL_SCATTER = 0.1
"""and what they do as a rule."""
LEAST_GAP = 6.0
"""Two treatments whose median wells are nearer, in units of what wells of one label vary by, cannot be told apart well by well."""
FARTHEST = 2.0
"""Times the median distance of a well from its fellows: one farther counts as that far when scatter is learned."""
LEAST_VARIANCE = 1e-4
"""Of scatter, in units of the noise: below, wells of one label are as good as equal."""
FEWEST_UNTREATED = 6
"""Fewer do not know what untreated wells vary by without the one in doubt."""
FEWEST_REPLICATES = 2
"""A treatment of one well has nothing that the well could contradict."""
MOST_DISTRUSTED = 0.25
"""Of the untreated wells: not more are left out of what untreated wells are,"""
DISTRUSTED_BY_CHANCE = 0.01
"""and of a plate without a wrong label, one on so many plates."""
MOST_ROUNDS = 8

UNTREATED = "untreated"
EXCHANGED = "exchanged"


@dataclass(frozen=True, eq=False)
class _Gathered:
    """What the evidence of labels rests on: the wells' residuals in units of the noise, as products."""

    products: Array  # (n, n)
    directions: int
    labels: Labels
    count: Array  # (G,)
    squares: Array  # (G,): Σ|z|²
    along: Array  # (G, n): Σz · z of each well
    total: Array  # (G,): |Σz|²
    apart: Array  # (G, G): distances of the median wells, which one wrong label does not move

    @classmethod
    def of(cls, whitened: Array, labels: Labels, names: int) -> "_Gathered":
        member = (labels[None] == np.arange(names)[:, None]).astype(np.float64)
        products = whitened @ whitened.T
        along, count = member @ products, member.sum(axis=1)
        middle = np.array(
            [
                np.median(whitened[labels == label], axis=0)
                if count[label]
                else np.zeros(whitened.shape[1])
                for label in range(names)
            ]
        )
        apart = np.linalg.norm(middle[:, None] - middle[None], axis=2)
        return cls(
            products,
            whitened.shape[1],
            labels,
            count,
            member @ np.diag(products),
            along,
            (along * member).sum(axis=1),
            apart,
        )

    def evidence(self, count: Array, squares: Array, total: Array) -> Array:
        """Return the log density of so many wells (…) of one label, but for what is the same under all labels."""
        of_mean = np.divide(
            total,
            count,
            out=np.zeros(np.broadcast_shapes(total.shape, count.shape)),
            where=count > 0,
        )[..., None]
        within, count = squares[..., None] - of_mean, count[..., None]
        reach = np.repeat(REACHES, len(SCATTERS)) ** 2
        scatter = 1 + np.tile(SCATTERS, len(REACHES)) ** 2 * self.directions * reach
        mean = scatter + count * reach
        density = WORTH * (
            self.directions * ((count - 1) * np.log(scatter) + np.log(mean))
            + within / scatter
            + of_mean / mean
        )
        return np.asarray(logsumexp(-density / 2, axis=-1) - np.log(len(reach)))


@dataclass(frozen=True, eq=False)
class _Weights:
    """How probable wrong labels are, each against all labels being right; logarithms."""

    slipped: Array  # (n, G): the well is one of these
    odd: Array  # (n,): it is like none
    exchanged: Array  # (n, n), symmetric


def audit_labels(
    residuals: Residuals, wells: Sequence[str], groups: Sequence[Group], treatments: Sequence[str]
) -> tuple[LabelDoubt, ...]:
    """Return what contradicts the labels of the residuals' n wells, the most probable first; nothing is changed by it.

    Wells that are alone in their treatment cannot be doubted, nor can any well beside fewer than :data:`FEWEST_UNTREATED` untreated ones.
    """
    keys = [
        (Group.UNTREATED, "") if group is Group.UNTREATED else (group, text)
        for group, text in zip(groups, treatments, strict=True)
    ]
    names = list(dict.fromkeys([(Group.UNTREATED, ""), *keys]))
    labels = np.array([names.index(key) for key in keys])
    if (labels == 0).sum() < FEWEST_UNTREATED:
        return ()
    if (doubt := turned(residuals, wells, labels)) is not None:
        return (doubt,)
    texts = [UNTREATED, *(text for _, text in names[1:])]
    settled = np.zeros(len(labels), dtype=bool)
    found: list[LabelDoubt] = []
    for _ in range(MOST_ROUNDS):
        rows = _in_units_of_scatter(_in_units_of_noise(residuals, labels == 0), labels)
        gathered = _Gathered.of(rows, labels, len(names))
        doubts, changed = _doubts(_weigh(gathered, settled), labels, wells, texts)
        found += [doubt for doubt in doubts if doubt.probability >= BELIEVED]
        settled |= changed != labels
        if (changed == labels).all() or (changed == 0).sum() < FEWEST_UNTREATED:
            break
        labels = changed
    found += [doubt for doubt in doubts if doubt.probability < BELIEVED]
    return tuple(sorted(found, key=lambda doubt: -doubt.probability))


def _in_units_of_noise(residuals: Residuals, untreated: Mask) -> Array:
    """Return (n, K): residuals that no untreated well in doubt has taught, in units of the noise.

    The untreated well farthest from the others is left out, again and again, while it is farther than chance makes the farthest.
    """
    trusted, fewest = (
        untreated.copy(),
        max(FEWEST_UNTREATED, int(np.ceil((1 - MOST_DISTRUSTED) * untreated.sum()))),
    )
    residual, earlier = residuals.learned_from(trusted), residuals.of_earlier(trusted)
    while trusted.sum() > fewest:
        rows = residual[trusted]
        squared = np.empty(len(rows))
        for well in range(len(rows)):
            others = np.delete(rows, well, axis=0)
            noise = Noise.of(others, residuals.shape, earlier)
            away = rows[well] - others.mean(axis=0)
            squared[well] = float(away @ np.linalg.solve(noise.covariance, away))
        k = rows.shape[1]
        if squared.max() <= k * f_distribution.isf(
            DISTRUSTED_BY_CHANCE / len(rows), k, noise.wells
        ):
            break
        trusted[np.flatnonzero(trusted)[squared.argmax()]] = False
        residual, earlier = residuals.learned_from(trusted), residuals.of_earlier(trusted)
    return np.asarray(residual @ Noise.of(residual[trusted], residuals.shape, earlier).whitening.T)


def _in_units_of_scatter(whitened: Array, labels: Labels) -> Array:
    """Return rows (n, K) in units of what the wells of one label vary by about their mean: not alike in all directions, and more where they are far.

    Rows that are far from their fellows are drawn in, so that wrong labels do not make themselves likely.
    """
    k = whitened.shape[1]
    rows = []
    for label in np.unique(labels[labels >= 0]):
        own = whitened[labels == label]
        if len(own) < FEWEST_REPLICATES:
            continue
        mean = own.mean(axis=0)
        rows.append(
            (own - mean)
            * np.sqrt(len(own) / (len(own) - 1) / (1 + TYPICAL_SCATTER**2 * float(mean @ mean)))
        )
    about = np.concatenate(rows)
    lengths = np.linalg.norm(about, axis=1)
    reach = FARTHEST * float(np.median(lengths))
    about *= np.minimum(1.0, reach / np.maximum(lengths, reach))[:, None] if reach > 0 else 1.0
    moment = about.T @ about
    variance = max(float(np.trace(moment)) / (k * len(about)), LEAST_VARIANCE)
    covariance = (moment + k * variance * np.eye(k)) / (len(about) + k)
    return np.asarray(whitened @ np.linalg.inv(np.linalg.cholesky(covariance)).T)


def _weigh(gathered: _Gathered, settled: Mask) -> _Weights:
    """Weigh every label that one well could have instead, and every exchange of two, by what was known before and the evidence won."""
    labels, count = gathered.labels, gathered.count
    n = len(labels)
    of = np.maximum(labels, 0)
    own = np.diag(gathered.products)
    among = gathered.along[of, np.arange(n)]
    now = gathered.evidence(count, gathered.squares, gathered.total)
    left = (
        gathered.evidence(
            count[of] - 1, gathered.squares[of] - own, gathered.total[of] - 2 * among + own
        )
        - now[of]
    )
    joined = (
        gathered.evidence(
            count[None] + 1,
            gathered.squares[None] + own[:, None],
            gathered.total[None] + 2 * gathered.along.T + own[:, None],
        )
        - now
    )
    alone = gathered.evidence(np.ones(n), own, own)
    taken = gathered.evidence(  # (n, n): the label of the first well with the second in its place
        count[of][:, None],
        (gathered.squares[of] - own)[:, None] + own[None],
        (gathered.total[of] - 2 * among + own)[:, None]
        + own[None]
        + 2 * gathered.along[of]
        - 2 * gathered.products,
    )
    gain = taken - now[of][:, None]
    doubtful = (labels >= 0) & (count[of] >= FEWEST_REPLICATES) & ~settled
    different = gathered.apart >= LEAST_GAP
    different[0] = different[:, 0] = True
    shares = (
        np.where((labels[:, None] != np.arange(len(count))) & different[of], count[None], 0.0)
        / np.maximum(n - count[of], 1)[:, None]
    )
    with np.errstate(divide="ignore"):
        slipped = np.where(
            doubtful[:, None], np.log(SLIPPED_WELLS * shares) + left[:, None] + joined, -np.inf
        )
    odd = np.where(doubtful, np.log(ODD_WELLS) + left + alone, -np.inf)
    possible = (
        doubtful[:, None]
        & doubtful[None]
        & (labels[:, None] != labels[None])
        & different[of[:, None], of[None]]
    )
    exchanged = np.where(possible, np.log(EXCHANGED_WELLS / max(n - 1, 1)) + gain + gain.T, -np.inf)
    return _Weights(slipped, odd, exchanged)


def _doubts(
    weights: _Weights, labels: Labels, wells: Sequence[str], names: Sequence[str]
) -> tuple[list[LabelDoubt], Labels]:
    """Return the doubts that are worth telling, and the labels with those changed that are believed to be wrong.

    A wrong label elsewhere on the plate must not hide one here: each is weighed against what else could be true of its own wells.
    """
    of_slips = logsumexp(weights.slipped, axis=1)
    alone = np.logaddexp(0.0, np.logaddexp(of_slips, weights.odd))
    pairs = np.exp(np.minimum(weights.exchanged - alone[:, None] - alone[None], 500.0))
    of_pairs = pairs.sum(axis=1)
    slips = np.exp(of_slips - alone) / (1 + of_pairs)
    odd = np.exp(weights.odd - alone) / (1 + of_pairs)
    exchanges = pairs / (1 + of_pairs[:, None] + of_pairs[None] - pairs)
    changed = labels.copy()
    changed[odd >= BELIEVED] = -1
    doubts = []
    for well in np.flatnonzero(slips >= SHOWN).tolist():
        seems = int(weights.slipped[well].argmax())
        doubts.append(
            LabelDoubt(
                wells=(wells[well],),
                said=names[labels[well]],
                seems=names[seems],
                probability=float(slips[well]),
            )
        )
        if slips[well] >= BELIEVED:
            changed[well] = seems
    for one, other in np.argwhere(np.triu(exchanges) >= SHOWN).tolist():
        said = f"{names[labels[one]]} and {names[labels[other]]}"
        doubts.append(
            LabelDoubt(
                wells=(wells[one], wells[other]),
                said=said,
                seems=EXCHANGED,
                probability=float(exchanges[one, other]),
            )
        )
        if exchanges[one, other] >= BELIEVED:
            changed[[one, other]] = labels[[other, one]]
    return doubts, changed
