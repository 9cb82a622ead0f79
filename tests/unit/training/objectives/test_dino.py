"""Tests of the objective ``dino`` with equations 1 to 4 and algorithm 1 of arXiv 2104.14294."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import timm
import torch
from torch import nn

from tests.objective_samples import Doubles, doubles, objective_of, sample_batch
from training.objectives.dino import DINO
from training.objectives.settings import ObjectiveSettings

pytestmark = pytest.mark.train

TEACHER, STUDENT, KEPT = 0.04, 0.1, 0.9


def softmax(values: Doubles) -> Doubles:
    exponentials = np.exp(values - values.max())
    return exponentials / exponentials.sum()


def h(teacher: Doubles, student: Doubles, centre: Doubles) -> float:
    """Compute H of algorithm 1 image by image."""
    return float(
        np.mean(
            [
                -np.sum(softmax((t - centre) / TEACHER) * np.log(softmax(s / STUDENT)))
                for t, s in zip(teacher, student, strict=True)
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
    with torch.no_grad():  # a teacher with other weights
        objective.teacher.parts[0][1].weight.add_(0.1)
    teacher = [doubles(objective.teacher(view)) for view in (batch.first, batch.second)]
    student = [
        doubles(objective.prototypes(objective.head(objective.backbone(view))))
        for view in (batch.first, batch.second)
    ]
    centre = np.zeros(32)
    for _ in range(2):
        expected = h(teacher[0], student[1], centre) / 2 + h(teacher[1], student[0], centre) / 2
        assert objective.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-4)
        centre = KEPT * centre + (1 - KEPT) * np.concatenate(teacher).mean(axis=0)


def test_the_output_of_the_prototypes_is_a_cosine() -> None:
    objective = objective_of("dino", prototypes=32)
    cosines = objective.prototypes(
        1000 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    )
    assert cosines.shape == (4, 32)
    assert cosines.abs().max() <= 1 + 1e-6


def test_a_few_steps_with_a_fixed_centre_lower_the_loss() -> None:
    objective, batch = objective_of("dino", prototypes=32, momentum=0.9), sample_batch()
    objective.cross_entropy.center_momentum = 1.0  # keeps the centre
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


class PooledNetwork(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A network for images of any size, (batch, 3, h, w) → (batch, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 16, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the mean of the filtered image."""
        return torch.tanh(self.layer(pixels)).mean(dim=(2, 3))


def with_small_crops(backbone: nn.Module, dimension: int) -> DINO:
    values = {"hidden": 24, "projection": 8, "prototypes": 32, "local_crops": 3}
    return DINO(backbone, dimension, ObjectiveSettings.model_validate(values))


def test_with_small_crops_the_student_predicts_both_views_from_every_other_image() -> None:
    torch.manual_seed(0)
    objective, batch = with_small_crops(PooledNetwork(), 16), sample_batch()
    torch.manual_seed(1)
    crops = objective.small_crops(batch)
    assert [tuple(crop.shape) for crop in crops] == [(6, 3, 16, 16)] * 3
    teacher = [doubles(objective.teacher(view)) for view in (batch.first, batch.second)]
    student = [
        doubles(objective.prototypes(objective.head(objective.backbone(image))))
        for image in (batch.first, batch.second, *crops)
    ]
    expected = np.mean(
        [h(teacher[t], student[s], np.zeros(32)) for t, s in product(range(2), range(5)) if t != s]
    )
    torch.manual_seed(1)  # the same crops again
    assert objective.loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_a_vision_transformer_gets_small_crops_of_whole_patches() -> None:
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=64, depth=1, dynamic_img_size=True
    )
    objective, batch = with_small_crops(vit, vit.num_features), sample_batch()
    images = torch.randn(2, 3, 64, 64)
    crops = objective.small_crops(replace(batch, first=images, second=images))
    assert {tuple(crop.shape) for crop in crops} == {(2, 3, 32, 32)}
    assert vit(crops[0]).shape == (2, vit.num_features)
