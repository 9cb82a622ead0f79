"""Tests of the gain by an embedding beside the measures, and of the weight that follows from it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from training.evaluation.encoder_metrics import PROPOSED_WEIGHT, embedding_gain
from training.evaluation.plates import EvaluationPlate
from training.evaluation.ranking_quality import kill_correlation

pytestmark = pytest.mark.train


def scores(
    plates: Sequence[EvaluationPlate], noise: float, seed: int
) -> list["np.typing.NDArray[np.float64]"]:
    rng = np.random.default_rng(seed)
    return [plate.kill + noise * rng.normal(size=len(plate.kill)) for plate in plates]


def test_a_better_embedding_is_used_and_a_worse_one_is_not(plates: list[EvaluationPlate]) -> None:
    several = plates * 5
    good, bad = scores(several, 0.05, 1), scores(several, 1.0, 2)
    better, worse = embedding_gain(good, bad, several), embedding_gain(bad, good, several)
    gains = [
        kill_correlation(one, plate.kill, plate.untreated)
        - kill_correlation(other, plate.kill, plate.untreated)
        for one, other, plate in zip(good, bad, several, strict=True)
    ]
    assert better["embedding_gain"] == pytest.approx(np.mean(gains))
    assert better["embedding_gain_low"] == pytest.approx(
        ttest_1samp(gains, 0).confidence_interval(0.95).low
    )
    assert better["proposed_ranking_weight"] == PROPOSED_WEIGHT
    assert worse["proposed_ranking_weight"] == 0
    assert worse["embedding_gain"] == pytest.approx(-better["embedding_gain"])


def test_equal_scores_and_plates_of_one_mechanism_give_no_reason_to_use_it(
    plates: list[EvaluationPlate],
) -> None:
    same = scores(plates, 0.3, 1)
    assert embedding_gain(same, same, plates)["proposed_ranking_weight"] == 0
    others = [replace(plate, kind="bursting") for plate in plates]
    assert embedding_gain(same, same, others) == {}
