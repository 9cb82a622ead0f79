"""Tests of the objective ``supcon`` with equation 2 of arXiv 2004.11362."""

import numpy as np
import pytest

from tests.objective_samples import Doubles, objective_of, projected, sample_batch

pytestmark = pytest.mark.train


def l_out(z: Doubles, classes: list[str], temperature: float) -> float:
    """Compute equation 2 term by term."""
    terms = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if classes[p] == classes[i]]
        below = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
        terms.append(
            -sum(np.log(np.exp(z[i] @ z[p] / temperature) / below) for p in positives)
            / len(positives)
        )
    return float(np.mean(terms))


def test_supcon_is_the_paper_s_loss() -> None:
    objective, batch = objective_of("supcon", temperature=0.1), sample_batch()
    z = projected(objective, batch.first, batch.second)
    assert objective.loss(batch)["loss"].item() == pytest.approx(
        l_out(z, list("aabbcu") * 2, 0.1), rel=1e-5
    )


def test_unlabelled_images_are_not_of_one_class() -> None:
    objective, batch = objective_of("supcon", temperature=0.1), sample_batch((0, 0, 1, 1, -1, -1))
    z = projected(objective, batch.first, batch.second)
    assert objective.loss(batch)["loss"].item() == pytest.approx(
        l_out(z, list("aabbuv") * 2, 0.1), rel=1e-5
    )


def test_supcon_without_labels_is_simclr() -> None:
    batch = sample_batch((-1,) * 6)
    supervised, plain = objective_of("supcon"), objective_of("simclr")
    plain.load_state_dict(supervised.state_dict())
    assert supervised.loss(batch)["loss"].item() == pytest.approx(
        plain.loss(batch)["loss"].item(), rel=1e-5
    )
