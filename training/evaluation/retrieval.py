"""Retrieval metrics: ranks of replicate wells, or of the original of a variant, by similarity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FEWEST_REPLICATES = 3
"""Fewest wells of a treatment. With two, precision has few values, so a random order often looks
good, and the p-values of copairs are too small."""


@dataclass(frozen=True)
class ReplicateRetrieval:
    """Mean average precision over treatments, and its expected value for a random order."""

    mean_average_precision: float
    chance: float
    treatments: int


def cosine_similarity(one: Array, other: Array) -> Array:
    """Return the cosine similarities of rows, (n, D) and (m, D) → (n, m).

    A row of zeros has the similarity 0.
    """
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other)]
    unit = [
        rows / np.where(length > 0, length, 1.0)
        for rows, length in zip((one, other), lengths, strict=True)
    ]
    return np.asarray(unit[0] @ unit[1].T)


def average_precision(similarity: Array, positive: Bools) -> float:
    """Return the average precision of positives, (n,) bool, in the order of similarity, (n,).

    It is the mean of the precision at each positive.

    Among equal similarities, the positives are last.

    Parameters
    ----------
    similarity, positive
        (n,) each; the largest similarity is first.
    """
    order = np.lexsort((positive, -similarity))
    hits = positive[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def expected_average_precision(positives: int, negatives: int) -> float:
    """Return the expected average precision of a random order, from the two counts.

    Source: Bestgen, J. Quant. Linguist. 22, 2015, 302.
    """
    total = positives + negatives
    harmonic = float((1 / np.arange(1, total + 1)).sum())
    if total == 1:
        return 1.0
    return ((positives - 1) / (total - 1) * (total - harmonic) + harmonic) / total


def replicate_retrieval(
    embeddings: Array, treatments: Sequence[str], untreated: Bools
) -> ReplicateRetrieval:
    """Return the ReplicateRetrieval of embeddings, (N, D), by treatment names and untreated mask.

    Each treated well is a query. The other wells of its treatment are the positives, and all
    untreated wells are the negatives. The similarity is the cosine, relative to the mean untreated
    well, as in copairs (Kalinin et al., Nat. Commun. 16, 2025, 5181). Treatments of fewer than
    three wells are left out.
    """
    centred = embeddings - embeddings[untreated].mean(axis=0)
    names = np.array(treatments)
    means, chances = [], []
    for name in dict.fromkeys(names[~untreated].tolist()):
        wells = np.flatnonzero((names == name) & ~untreated)
        if len(wells) < FEWEST_REPLICATES:
            continue
        precisions = []
        for well in wells:
            others = np.concatenate([wells[wells != well], np.flatnonzero(untreated)])
            precisions.append(
                average_precision(
                    cosine_similarity(centred[[well]], centred[others])[0],
                    np.arange(len(others)) < len(wells) - 1,
                )
            )
        means.append(np.mean(precisions))
        chances.append(expected_average_precision(len(wells) - 1, int(untreated.sum())))
    if not means:
        return ReplicateRetrieval(float("nan"), float("nan"), 0)
    return ReplicateRetrieval(float(np.mean(means)), float(np.mean(chances)), len(means))


def reciprocal_rank(views: Array, originals: Array) -> float:
    """Return the mean reciprocal rank of originals for their variants as queries, (n, D) each.

    The mean original is subtracted. Among equal similarities, the right one is last.
    """
    origin = originals.mean(axis=0)
    similarity = cosine_similarity(views - origin, originals - origin)
    own = np.diag(similarity)[:, None]
    ranks = (similarity >= own).sum(axis=1)
    return float((1 / ranks).mean())
