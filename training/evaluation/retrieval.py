"""ReplicateRetrieval: whether an embedding brings replicates, or views of one spheroid, to the top of the list."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FEWEST_REPLICATES = 3
"""With two, precision takes so few values that chance alone looks like success (copairs' p-values are too small there)."""


@dataclass(frozen=True)
class ReplicateRetrieval:
    """Mean average precision over treatments, and what a random order would have on average."""

    mean_average_precision: float
    chance: float
    treatments: int


def cosine_similarity(one: Array, other: Array) -> Array:
    """Return (n, m) cosine similarities of (n, D) and (m, D); that of a row of zeros is 0."""
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other)]
    unit = [
        rows / np.where(length > 0, length, 1.0)
        for rows, length in zip((one, other), lengths, strict=True)
    ]
    return np.asarray(unit[0] @ unit[1].T)


def average_precision(similarity: Array, positive: Bools) -> float:
    """Return the mean, over the positives, of the precision down to them: (n,) similarities, most alike first; among equals the positives come last."""
    order = np.lexsort((positive, -similarity))
    hits = positive[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def expected_average_precision(positives: int, negatives: int) -> float:
    """Return the expected average precision of a random order (Bestgen, J. Quant. Linguist. 22, 2015, 302)."""
    total = positives + negatives
    harmonic = float((1 / np.arange(1, total + 1)).sum())
    if total == 1:
        return 1.0
    return ((positives - 1) / (total - 1) * (total - harmonic) + harmonic) / total


def replicate_retrieval(
    embeddings: Array, treatments: Sequence[str], untreated: Bools
) -> ReplicateRetrieval:
    """Return how well the wells of one plate, (N, D), find their replicates among untreated wells, as copairs does.

    Each treated well asks; its treatment's other wells are the positives, all untreated wells the negatives, by cosine similarity to the plate's
    mean untreated well as origin (Kalinin et al., Nat. Commun. 16, 2025, 5181). Treatments of fewer than three wells are left out.
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
    """Return the mean reciprocal rank of each spheroid's own image, (n, D), when another view of it, (n, D), is searched for; the mean image is the origin."""
    origin = originals.mean(axis=0)
    similarity = cosine_similarity(views - origin, originals - origin)
    own = np.diag(similarity)[:, None]
    ranks = (similarity >= own).sum(axis=1)  # among equals the own one comes last
    return float((1 / ranks).mean())
