"""Probes: what simple classifiers read out of embeddings about the three groups, with few and with all examples."""

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

EXAMPLES = (10, 20, 30)  # a class; and all
DRAWS = 5
NEIGHBOURS = 10


def draw_examples(labels: GroupLabels, examples: int | None, seed: int) -> npt.NDArray[np.intp]:
    """Return the rows of ``examples`` of each class (all of a class that has fewer; None: all), drawn at random."""
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
    """Return the balanced accuracy on wells of other plates, (m, D), of logistic regression on ``examples`` wells a class out of (n, D).

    Mean of five draws where not all are taken. Classes count alike, in training and in the accuracy, so chance is one over their number.
    """
    accuracies = []
    for number in range(1 if examples is None else DRAWS):
        rows = draw_examples(labels, examples, seed + number)
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, max_iter=500, class_weight="balanced")
        )
        accuracies.append(
            balanced_accuracy_score(expected, model.fit(train[rows], labels[rows]).predict(test))
        )
    return float(np.mean(accuracies))


def nearest_neighbours(
    train: Array, labels: GroupLabels, test: Array, expected: GroupLabels, seed: int
) -> float:
    """Return the balanced accuracy on other plates of the ten nearest neighbours by cosine distance, from as many wells of each class; mean of five draws."""
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
    """Return the linear probe with 10, 20, 30 and all examples a class, and the nearest neighbours."""
    known, truth = np.array(labels), np.array(expected)
    origin = train.mean(axis=0)
    counts: dict[str, int | None] = {str(count): count for count in EXAMPLES} | {"all": None}
    linear = {
        f"probe_{name}": linear_probe(train, known, test, truth, count, seed)
        for name, count in counts.items()
    }
    return {**linear, "knn": nearest_neighbours(train - origin, known, test - origin, truth, seed)}
