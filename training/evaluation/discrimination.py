"""What an embedding tells apart and what it does not: wells, views of one well, plates, doses, small kills."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.evaluation.retrieval import cosine_similarity

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SMALL_KILLS = (0.05, 0.30)
LEAK_FOLDS = 5


def same_well_auc(before: Array, after: Array) -> float:
    """Return how often a well is more like itself on another day than like another well: the area under the ROC curve over all pairs.

    ``before`` and ``after`` are (N, D) of the same untreated wells of one plate; each day's mean is its origin, so that age is not told from.
    """
    similarity = cosine_similarity(before - before.mean(axis=0), after - after.mean(axis=0))
    return float(roc_auc_score(np.eye(len(before), dtype=bool).ravel(), similarity.ravel()))


def relative_displacement(views: Array, originals: Array) -> float:
    """Return how far a view of a well lies from its original, (n, D), relative to how far two wells lie apart: 0 = invariant, 1 = like another well.

    Both as root mean square Euclidean distances.
    """
    moved = ((views - originals) ** 2).sum(axis=1).mean()
    count = len(originals)
    apart = (
        2 * ((originals - originals.mean(axis=0)) ** 2).sum(axis=1).mean() * count / (count - 1)
    )  # of two different wells
    return float(np.sqrt(moved / apart)) if apart > 0 else float("nan")


def plate_leakage_accuracy(embeddings: Array, plates: Sequence[str], seed: int) -> float:
    """Return the share of untreated wells, (N, D), whose plate a linear classifier guesses in five-fold cross-validation; chance is one over the plates."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    folds = StratifiedKFold(LEAK_FOLDS, shuffle=True, random_state=seed)
    return float(cross_val_score(model, embeddings, np.array(plates), cv=folds).mean())


def dose_order_agreement(scores: Array, compounds: Sequence[str], doses: Array) -> float:
    """Return how often the larger of two doses of a compound scores higher: over treatments (n,), an equal score counts half; NaN without such a pair."""
    pairs = [
        (one, other)
        for one in range(len(scores))
        for other in range(len(scores))
        if compounds[one] == compounds[other] and doses[one] < doses[other]
    ]
    told = [(1 + np.sign(scores[other] - scores[one])) / 2 for one, other in pairs]
    return float(np.mean(told)) if told else float("nan")


def small_kill_auc(scores: Array, kill: Array, untreated: Bools) -> float:
    """Return how well wells with a small kill are told from untreated ones by their score: the area under the ROC curve; NaN without such wells."""
    small = ~untreated & (kill >= SMALL_KILLS[0]) & (kill < SMALL_KILLS[1])
    if not small.any() or not untreated.any():
        return float("nan")
    chosen = small | untreated
    return float(roc_auc_score(small[chosen], scores[chosen]))


def effective_rank(embeddings: Array) -> float:
    """Return exp of the entropy of the normalised singular values of centred (N, D) (Roy and Vetterli, EUSIPCO 2007): near 1 means collapse."""
    values = np.linalg.svd(embeddings - embeddings.mean(axis=0), compute_uv=False)
    if values.sum() == 0:
        return 1.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
