"""Metrics of the differences that an embedding shows: wells, variants, plates, doses and kills."""

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
    """Return the AUC of matching untreated wells between two days by their embeddings, (N, D) each.

    It is the area under the ROC curve of the cosine similarity. The mean of each day is subtracted,
    so that age does not help.

    Parameters
    ----------
    before, after
        (N, D) of the same wells of one plate on two days.
    """
    similarity = cosine_similarity(before - before.mean(axis=0), after - after.mean(axis=0))
    return float(roc_auc_score(np.eye(len(before), dtype=bool).ravel(), similarity.ravel()))


def relative_displacement(views: Array, originals: Array) -> float:
    """Return the distance of variants from originals, (n, D) each, relative to that between wells.

    Both are root mean square Euclidean distances of (n, D). 0 is invariant, 1 is as far as another
    well. It is NaN if all originals are equal.
    """
    moved = ((views - originals) ** 2).sum(axis=1).mean()
    count = len(originals)
    apart = (
        2 * ((originals - originals.mean(axis=0)) ** 2).sum(axis=1).mean() * count / (count - 1)
    )  # mean squared distance of two different wells
    return float(np.sqrt(moved / apart)) if apart > 0 else float("nan")


def plate_leakage_accuracy(embeddings: Array, plates: Sequence[str], seed: int) -> float:
    """Return the accuracy of a linear classifier of plate names from untreated embeddings, (N, D).

    Chance is one over the number of plates. The accuracy is five-fold cross-validated.

    Parameters
    ----------
    embeddings
        (N, D).
    plates
        Name of the plate of each well.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    folds = StratifiedKFold(LEAK_FOLDS, shuffle=True, random_state=seed)
    return float(cross_val_score(model, embeddings, np.array(plates), cv=folds).mean())


def dose_order_agreement(scores: Array, compounds: Sequence[str], doses: Array) -> float:
    """Return the share of dose pairs of a compound in which the larger dose scores higher, 0…1.

    Equal scores count half. It is NaN without a pair.

    Parameters
    ----------
    scores, compounds, doses
        Of n treatments.
    """
    pairs = [
        (one, other)
        for one in range(len(scores))
        for other in range(len(scores))
        if compounds[one] == compounds[other] and doses[one] < doses[other]
    ]
    agreements = [(1 + np.sign(scores[other] - scores[one])) / 2 for one, other in pairs]
    return float(np.mean(agreements)) if agreements else float("nan")


def small_kill_auc(scores: Array, kill: Array, untreated: Bools) -> float:
    """Return the AUC of scores that separate wells of a small kill from untreated ones, (N,) each.

    It is NaN without such wells. Small kills are from 5 to 30 %.
    """
    small = ~untreated & (kill >= SMALL_KILLS[0]) & (kill < SMALL_KILLS[1])
    if not small.any() or not untreated.any():
        return float("nan")
    chosen = small | untreated
    return float(roc_auc_score(small[chosen], scores[chosen]))


def effective_rank(embeddings: Array) -> float:
    """Return the effective rank of embeddings, (N, D); near 1 it shows collapse.

    It is exp of the entropy of the normalised singular values of the centred embeddings (Roy and
    Vetterli, EUSIPCO 2007).
    """
    values = np.linalg.svd(embeddings - embeddings.mean(axis=0), compute_uv=False)
    if values.sum() == 0:
        return 1.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
