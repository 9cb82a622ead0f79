"""Tests of the objective ``triplet`` with equations of arXiv 1503.03832 and 1703.07737."""

import numpy as np
import pytest
import torch

from tests.objective_samples import Doubles, objective_of, projected, sample_batch
from training.objectives.triplet import batch_hard_loss

pytestmark = pytest.mark.train


def hardest(z: Doubles, classes: list[str], margin: float) -> float:
    terms = []
    for a in range(len(z)):
        same = [
            np.sum((z[a] - z[p]) ** 2) for p in range(len(z)) if p != a and classes[p] == classes[a]
        ]
        other = [np.sum((z[a] - z[n]) ** 2) for n in range(len(z)) if classes[n] != classes[a]]
        violated = max(same) - min(other)
        terms.append(max(0.0, violated + margin) if margin else np.log(1 + np.exp(violated)))
    return float(np.mean(terms))


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("supervised", "classes"), [(False, "abcdef"), (True, "aabbcu")])
def test_triplet_uses_the_hardest_pairs_of_the_batch(
    margin: float,
    supervised: bool,  # noqa: FBT001 - a case
    classes: str,
) -> None:
    objective, batch = objective_of("triplet", margin=margin, supervised=supervised), sample_batch()
    z = projected(objective, batch.first, batch.second)
    assert objective.loss(batch)["loss"].item() == pytest.approx(
        hardest(z, list(classes) * 2, margin), rel=1e-5
    )


def test_a_batch_of_one_class_has_no_triplet_loss() -> None:
    projections = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = batch_hard_loss(projections, ~torch.eye(4, dtype=torch.bool), 0.2)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(projections.grad, torch.zeros(4, 8))
