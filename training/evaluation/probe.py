"""Accuracy of simple classifiers of the three groups from embeddings, with few or all examples."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[np.float64]
GroupLabels = npt.NDArray[np.str_]

EXAMPLES = (10, 20, 30)  # training examples of each class; all of them are used as well
DRAWS = 5
NEIGHBOURS = 10


def draw_examples(labels: GroupLabels, examples: int | None, seed: int) -> npt.NDArray[np.intp]:
    """Return the row numbers of ``examples`` random examples of each class; None means all rows.

    A smaller class is returned completely. With None for ``examples``, all rows are returned.
    """
    if examples is None:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, examples])
    return np.concatenate(
        [rng.permutation(np.flatnonzero(labels == label))[:examples] for label in np.unique(labels)]
    )


def linear_probe(
    train: Array,
    labels: GroupLabels,
    test: Array,
    expected: GroupLabels,
    examples: int | None,
    seed: int,
) -> float:
    """Return a logistic regression's balanced accuracy on wells, (m, D), trained on others, (n, D).

    It is the mean of :func:`probe_recalls`, whose parameters it has; chance is one over the number
    of classes.
    """
    recalls = probe_recalls(train, labels, test, expected, examples, seed)
    return float(np.mean(list(recalls.values())))


def probe_recalls(
    train: Array,
    labels: GroupLabels,
    test: Array,
    expected: GroupLabels,
    examples: int | None,
    seed: int,
) -> dict[str, float]:
    """Return by class the share of its wells, (m, D), that a logistic regression recognises.

    The regression is trained on other wells, (n, D), with equal weight of all classes. The share is
    the mean of five draws of examples, unless all examples are used.

    Parameters
    ----------
    train, labels
        Training wells, (n, D), and their groups.
    test, expected
        Wells of other plates, (m, D), and their groups.
    examples
        Number of training wells of each class; None for all.
    """
    classes = np.unique(expected)
    recalls = []
    for number in range(1 if examples is None else DRAWS):
        rows = draw_examples(labels, examples, seed + number)
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced")
        )
        predicted = model.fit(train[rows], labels[rows]).predict(test)
        recalls.append([float(np.mean(predicted[expected == each] == each)) for each in classes])
    return dict(zip(classes.tolist(), np.mean(recalls, axis=0).tolist(), strict=True))


def nearest_neighbours(
    train: Array, labels: GroupLabels, test: Array, expected: GroupLabels, seed: int
) -> float:
    """Return the balanced accuracy of ten cosine neighbours on wells, (m, D), among others, (n, D).

    The neighbours are drawn with the same number of wells of each class; the result is the mean of
    five draws. Parameters are those of :func:`linear_probe`.
    """
    smallest = int(min(np.unique(labels, return_counts=True)[1]))
    accuracies = []
    for number in range(DRAWS):
        rows = draw_examples(labels, smallest, seed + number)
        model = KNeighborsClassifier(min(NEIGHBOURS, len(rows)), metric="cosine").fit(
            train[rows], labels[rows]
        )
        accuracies.append(balanced_accuracy_score(expected, model.predict(test)))
    return float(np.mean(accuracies))


def probe_accuracies(
    train: Array, labels: Sequence[str], test: Array, expected: Sequence[str], seed: int
) -> Mapping[str, float]:
    """Return the accuracies by name of probes with 10, 20, 30 and all examples, and of ``knn``.

    The names are ``probe_10``, ``probe_20``, ``probe_30``, ``probe_all`` and ``knn``.
    """
    known, truth = np.array(labels), np.array(expected)
    origin = train.mean(axis=0)
    counts: dict[str, int | None] = {str(count): count for count in EXAMPLES} | {"all": None}
    linear = {
        f"probe_{name}": linear_probe(train, known, test, truth, count, seed)
        for name, count in counts.items()
    }
    return {**linear, "knn": nearest_neighbours(train - origin, known, test - origin, truth, seed)}
