"""Tests of the objective ``time_aware``: two days as positives, and the days between as target."""

from dataclasses import replace

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.objective_samples import doubles, objective_of, projected, sample_batch

pytestmark = pytest.mark.train

T, WEIGHT, DAYS = 0.2, 0.7, 2.0


def test_time_aware_is_nt_xent_over_days_and_a_prediction_of_the_days_between() -> None:
    objective, batch = (
        objective_of("time_aware", temperature=T, gap_weight=WEIGHT, gap_days=DAYS),
        sample_batch(),
    )
    z = projected(objective, batch.first, batch.later.first)
    pair = []
    for i in range(12):
        below = sum(np.exp(z[i] @ z[k] / T) for k in range(12) if k != i)
        pair.append(-np.log(np.exp(z[i] @ z[(i + 6) % 12] / T) / below))
    change = doubles(objective.backbone(batch.later.first) - objective.backbone(batch.first))
    read = change @ doubles(objective.gap.weight)[0]
    errors = [abs(r - days / DAYS) for r, days in zip(read, batch.days_apart.tolist(), strict=True)]
    gap = np.mean([e**2 / 2 if e < 1 else e - 0.5 for e in errors])
    found = objective.loss(batch)
    assert found["pair"].item() == pytest.approx(np.mean(pair), rel=1e-5)
    assert found["gap"].item() == pytest.approx(gap, rel=1e-5)
    assert found["loss"].item() == pytest.approx(np.mean(pair) + WEIGHT * gap, rel=1e-5)


def test_time_aware_needs_pairs_of_days_of_untreated_wells() -> None:
    needs = objective_of("time_aware").needs
    assert needs.day_pairs
    assert needs.untreated_pairs


def test_a_batch_of_one_day_is_refused() -> None:
    with pytest.raises(ConfigError, match="no well has images of two days"):
        objective_of("time_aware").loss(replace(sample_batch(), later=None))
