"""Tests of the objective ``simclr`` with equation 1 and algorithm 1 of arXiv 2002.05709."""

import numpy as np
import pytest

from tests.objective_samples import Doubles, objective_of, projected, sample_batch

pytestmark = pytest.mark.train


def nt_xent(z: Doubles, partner: list[int], temperature: float) -> float:
    """Compute equation 1 term by term."""
    terms = []
    for i, j in enumerate(partner):
        above = np.exp(z[i] @ z[j] / temperature)
        below = sum(np.exp(z[i] @ z[k] / temperature) for k in range(len(z)) if k != i)
        terms.append(-np.log(above / below))
    return float(np.mean(terms))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_is_the_paper_s_loss(temperature: float) -> None:
    objective, batch = objective_of("simclr", temperature=temperature), sample_batch()
    z = projected(objective, batch.first, batch.second)
    expected = nt_xent(z, [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5], temperature)
    assert objective.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_views_that_agree_cost_less_than_views_of_other_images() -> None:
    objective, batch = objective_of("simclr"), sample_batch()
    views = [
        objective.head(objective.backbone(view))
        for view in (batch.first, batch.first.roll(1, dims=0))
    ]
    agreeing, exchanged = objective.nt_xent(views[0], views[0]), objective.nt_xent(*views)
    assert agreeing < exchanged
