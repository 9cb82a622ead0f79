import numpy as np
from scipy.stats import spearmanr

from inference.deterioration.kernel_model import KernelModel
from schemas.arrays import Float64Array, Int64Array

REPLICATES = 3
EMBEDDED = 12


def plate_of_signatures(seed: int) -> tuple[Float64Array, Float64Array]:
    """Return features and percent of a plate whose embedding only recognises the treatment.

    One measure shows the percent with much noise. The embedding is another random vector for each
    treatment, and nearly the same for its replicates.
    """
    rng = np.random.default_rng(seed)
    percent = np.repeat(rng.uniform(0, 100, 12), REPLICATES)
    measures = percent[:, None] + rng.normal(0, 25, (len(percent), 1))
    signatures = np.repeat(rng.normal(size=(12, EMBEDDED)), REPLICATES, axis=0)
    embedding = signatures + rng.normal(0, 0.05, signatures.shape)
    return np.concatenate([measures, embedding], axis=1), percent


def correlation_on_other_plates(replicates: Int64Array | None) -> float:
    """Return the mean correlation on other plates of models that are fitted to single plates."""
    found = []
    for seed in range(8):
        features, percent = plate_of_signatures(seed)
        plates: Int64Array = np.zeros(len(percent), dtype=np.int64)
        predict = KernelModel(EMBEDDED, replicates).fit(features, percent, plates, seed=1)
        of_other, true = plate_of_signatures(seed + 100)
        found.append(float(spearmanr(predict(of_other), true).statistic))
    return float(np.mean(found))


def test_an_embedding_that_only_recognises_replicates_does_not_lead_a_single_plate() -> None:
    together = correlation_on_other_plates(np.repeat(np.arange(12), REPLICATES))
    one_by_one = correlation_on_other_plates(None)
    assert together > 0.6
    assert together > one_by_one + 0.1


def test_of_two_parts_that_show_the_same_both_are_used() -> None:
    rng = np.random.default_rng(0)
    percent = rng.uniform(0, 100, 60)
    plates = np.repeat(np.arange(3), 20)

    def features(true: Float64Array) -> Float64Array:
        noise = rng.normal(0, 20, (len(true), 2))
        return np.asarray(true[:, None] + noise)

    predict = KernelModel(1).fit(features(percent), percent, plates, seed=1)
    rows = features(percent)
    for part in (0, 1):
        without = rows.copy()
        without[:, part] = 0.0
        assert np.abs(predict(rows) - predict(without)).mean() > 5


def test_a_change_that_no_well_of_the_fit_shows_is_ordered_by_its_size() -> None:
    rng = np.random.default_rng(2)
    percent = np.concatenate([np.zeros(10), rng.uniform(0, 100, 20)])
    plates: Int64Array = np.zeros(len(percent), dtype=np.int64)

    def features(true: Float64Array, direction: int) -> Float64Array:
        embedding = rng.normal(size=(len(true), EMBEDDED))
        embedding[:, direction] += true / 10
        return np.concatenate([rng.normal(size=(len(true), 1)), embedding], axis=1)

    predict = KernelModel(EMBEDDED).fit(features(percent, 0), percent, plates, seed=1)
    large = np.linspace(0, 100, 40)
    assert spearmanr(predict(features(large, 5)), large).statistic > 0.8
