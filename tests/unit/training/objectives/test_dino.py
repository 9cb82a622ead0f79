"""DINO, arXiv 2104.14294, equations 1 to 4 and algorithm 1."""

import numpy as np
import pytest
import torch

from tests.objective_samples import Doubles, doubles, objective_of, sample_batch

pytestmark = pytest.mark.train

TEACHER, STUDENT, KEPT = 0.04, 0.1, 0.9


def softmax(values: Doubles) -> Doubles:
    exponentials = np.exp(values - values.max())
    return exponentials / exponentials.sum()


def h(taught: Doubles, said: Doubles, centre: Doubles) -> float:
    """Algorithm 1's H, image by image."""
    return float(
        np.mean(
            [
                -np.sum(softmax((t - centre) / TEACHER) * np.log(softmax(s / STUDENT)))
                for t, s in zip(taught, said, strict=True)
            ]
        )
    )


def test_dino_is_the_paper_s_loss_and_its_centre_moves() -> None:
    objective, batch = (
        objective_of(
            "dino", prototypes=32, teacher_temperature=TEACHER, student_temperature=STUDENT
        ),
        sample_batch(),
    )
    with torch.no_grad():  # a teacher that is another network
        objective.teacher.parts[0][1].weight.add_(0.1)
    taught = [doubles(objective.teacher(view)) for view in (batch.first, batch.second)]
    said = [
        doubles(objective.prototypes(objective.head(objective.backbone(view))))
        for view in (batch.first, batch.second)
    ]
    centre = np.zeros(32)
    for _ in range(2):
        expected = h(taught[0], said[1], centre) / 2 + h(taught[1], said[0], centre) / 2
        assert objective.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-4)
        centre = KEPT * centre + (1 - KEPT) * np.concatenate(taught).mean(axis=0)


def test_what_the_prototypes_say_is_a_cosine() -> None:
    objective = objective_of("dino", prototypes=32)
    said = objective.prototypes(
        1000 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    )
    assert said.shape == (4, 32)
    assert said.abs().max() <= 1 + 1e-6


def test_a_few_steps_about_one_centre_bring_the_student_to_the_teacher() -> None:
    objective, batch = objective_of("dino", prototypes=32, momentum=0.9), sample_batch()
    objective.cross_entropy.center_momentum = 1.0  # stays
    optimiser = torch.optim.Adam(
        [weight for weight in objective.parameters() if weight.requires_grad], lr=3e-3
    )
    losses = []
    for step in range(15):
        loss = objective.loss(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(step / 15)
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(weight.grad is None for weight in objective.teacher.parameters())
