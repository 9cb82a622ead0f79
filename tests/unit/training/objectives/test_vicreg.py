"""Tests of the objective ``vicreg`` with equations 1 to 6 of arXiv 2105.04906."""

import numpy as np
import pytest

from tests.objective_samples import Doubles, doubles, objective_of, sample_batch

pytestmark = pytest.mark.train

EPSILON = 1e-4


def vicreg(a: Doubles, b: Doubles, weights: tuple[float, float, float]) -> float:
    n, d = a.shape

    def variance(z: Doubles) -> float:
        return float(
            np.mean([max(0.0, 1 - np.sqrt(np.var(z[:, j], ddof=1) + EPSILON)) for j in range(d)])
        )

    def covariance(z: Doubles) -> float:
        c = sum(np.outer(row - z.mean(axis=0), row - z.mean(axis=0)) for row in z) / (n - 1)
        return float(sum(c[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d)

    # Equation 5 of the paper sums squares over dimensions; the code of the paper, and lightly,
    # compute their mean.
    invariance = np.mean([np.mean((a[i] - b[i]) ** 2) for i in range(n)])
    # Equation 6 adds the variances of both views; the code of the paper computes their mean.
    return float(
        weights[0] * invariance
        + weights[1] * (variance(a) + variance(b)) / 2
        + weights[2] * (covariance(a) + covariance(b))
    )


@pytest.mark.parametrize("weights", [(1.0, 1.0, 0.04), (25.0, 25.0, 1.0), (0.0, 0.0, 1.0)])
def test_vicreg_is_the_paper_s_loss(weights: tuple[float, float, float]) -> None:
    objective, batch = objective_of("vicreg", vicreg_weights=weights), sample_batch()
    views = [
        doubles(objective.head(objective.backbone(view))) for view in (batch.first, batch.second)
    ]
    assert objective.loss(batch)["loss"].item() == pytest.approx(vicreg(*views, weights), rel=1e-5)
