import itertools

import numpy as np
import pandas as pd
import pytest

from training.evaluation.retrieval import (
    average_precision,
    cosine_similarity,
    expected_average_precision,
    reciprocal_rank,
    replicate_retrieval,
)


def slow_average_precision(similarity: list[float], positive: list[bool]) -> float:
    """Compute the average precision by its definition, position by position."""
    ranked = sorted(zip(similarity, positive, strict=True), key=lambda pair: -pair[0])
    precisions = []
    for place, (_, hit) in enumerate(ranked, start=1):
        if hit:
            precisions.append(sum(other for _, other in ranked[:place]) / place)
    return sum(precisions) / len(precisions)


def test_average_precision_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        similarity, positive = rng.normal(size=12), rng.random(12) < 0.3
        positive[int(rng.integers(12))] = True
        assert average_precision(similarity, positive) == pytest.approx(
            slow_average_precision(similarity.tolist(), positive.tolist())
        )


def test_a_known_ranking_has_its_known_precision() -> None:
    assert average_precision(
        np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    ) == pytest.approx((1 + 2 / 3) / 2)


def test_positives_equal_to_negatives_are_ranked_last() -> None:
    assert average_precision(np.ones(4), np.array([True, False, False, False])) == pytest.approx(
        1 / 4
    )


def test_chance_is_the_mean_over_all_orders() -> None:
    positions = list(itertools.combinations(range(6), 2))
    mean = np.mean(
        [average_precision(-np.arange(6.0), np.isin(np.arange(6), places)) for places in positions]
    )
    assert expected_average_precision(2, 4) == pytest.approx(mean)


def test_separate_replicates_are_retrieved_and_noise_is_at_chance() -> None:
    rng = np.random.default_rng(1)
    treatments = [""] * 20 + ["a"] * 4 + ["b"] * 4 + ["c"] * 2
    untreated = np.array([name == "" for name in treatments])
    apart = rng.normal(size=(30, 8)) * 0.1
    apart[20:24, 0] += 5
    apart[24:28, 1] += 5
    found = replicate_retrieval(apart, treatments, untreated)
    assert found.mean_average_precision == pytest.approx(1.0)
    assert found.treatments == 2  # a treatment of two replicates is left out
    noise = [
        replicate_retrieval(rng.normal(size=(30, 8)), treatments, untreated) for _ in range(60)
    ]
    assert np.mean([each.mean_average_precision for each in noise]) == pytest.approx(
        noise[0].chance, abs=0.04
    )


def test_a_collapsed_encoder_retrieves_no_replicates() -> None:
    untreated = np.array([True] * 20 + [False] * 4)
    assert (
        replicate_retrieval(
            np.zeros((24, 3)), [""] * 20 + ["a"] * 4, untreated
        ).mean_average_precision
        < 0.15
    )


def test_fewer_than_three_replicates_give_no_metric() -> None:
    found = replicate_retrieval(np.eye(4), ["", "", "a", "a"], np.array([True, True, False, False]))
    assert found.treatments == 0
    assert np.isnan(found.mean_average_precision)


@pytest.mark.copairs
def test_precision_is_that_of_copairs() -> None:
    import copairs.map  # noqa: PLC0415 - no extra installs it

    rng = np.random.default_rng(2)
    treatments = np.array(["DMSO"] * 12 + ["a"] * 3 + ["b"] * 4)
    embeddings = rng.normal(size=(19, 6))
    embeddings[12:15] += 1
    untreated = treatments == "DMSO"
    meta = pd.DataFrame(
        {
            "treatment": treatments,
            "control": untreated.astype(int),
            "row": np.where(untreated, np.arange(19), -1),
        }
    )
    centred = embeddings - embeddings[untreated].mean(axis=0)
    found = copairs.map.average_precision(
        meta,
        centred,
        pos_sameby=["treatment", "row"],
        pos_diffby=[],
        neg_sameby=[],
        neg_diffby=["control"],
        progress_bar=False,
    )
    treated = found[found["control"] == 0]
    expected = treated.groupby("treatment")["average_precision"].mean().mean()
    assert replicate_retrieval(
        embeddings, treatments.tolist(), untreated
    ).mean_average_precision == pytest.approx(expected)


def test_a_variant_equal_to_its_original_has_rank_one() -> None:
    originals = np.random.default_rng(3).normal(size=(10, 5))
    assert reciprocal_rank(originals * 1.01, originals) == pytest.approx(1.0)


def test_equal_similarities_rank_the_original_last() -> None:
    originals = np.random.default_rng(4).normal(size=(10, 5))
    nothing = np.tile(originals.mean(axis=0), (10, 1))
    assert reciprocal_rank(nothing, originals) == pytest.approx(1 / 10)


def test_the_similarity_of_zero_rows_is_zero() -> None:
    assert cosine_similarity(np.zeros((1, 3)), np.ones((2, 3))).tolist() == [[0.0, 0.0]]
