"""Tests of the objective ``byol`` with equations 1 to 3 and section 3.3 of arXiv 2006.07733."""

import numpy as np
import pytest
import torch

from tests.objective_samples import doubles, objective_of, sample_batch
from training.objectives.teacher import cosine_momentum

pytestmark = pytest.mark.train


def test_byol_is_the_paper_s_loss_in_both_directions() -> None:
    objective, batch = objective_of("byol"), sample_batch()
    with torch.no_grad():  # a teacher with other weights
        for weight in objective.teacher.parameters():
            weight.add_(
                0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
            )
    objective.eval()  # in training, batch normalisation mixes the two views
    student = [
        doubles(objective.predictor(objective.head(objective.backbone(view))))
        for view in (batch.first, batch.second)
    ]
    teacher = [doubles(objective.teacher(view)) for view in (batch.first, batch.second)]
    expected = 0.0
    for predicted, target in ((student[0], teacher[1]), (student[1], teacher[0])):
        distances = [
            np.sum((q / np.linalg.norm(q) - z / np.linalg.norm(z)) ** 2)
            for q, z in zip(predicted, target, strict=True)
        ]
        expected += float(np.mean(distances))
    assert objective.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_teacher_changes_only_by_its_moving_average() -> None:
    objective = objective_of("byol", momentum=0.9)
    before = doubles(objective.teacher.parts[0][1].weight)
    objective.loss(sample_batch())["loss"].backward()
    assert all(weight.grad is None for weight in objective.teacher.parameters())
    with torch.no_grad():
        objective.backbone[1].weight.add_(1)
    objective.after_step(0.0)
    assert doubles(objective.teacher.parts[0][1].weight) == pytest.approx(before + 0.1, abs=1e-6)


def test_momentum_grows_to_one_along_a_cosine() -> None:
    assert [cosine_momentum(0.99, share) for share in (0.0, 0.5, 1.0)] == pytest.approx(
        [0.99, 0.995, 1.0]
    )
