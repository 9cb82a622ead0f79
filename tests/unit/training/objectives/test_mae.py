"""Tests of the objective ``mae`` with section 3 of arXiv 2111.06377."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from schemas.errors import ConfigError
from tests.objective_samples import doubles, objective_of, sample_batch
from training.objectives.mae import MAE
from training.objectives.settings import ObjectiveSettings

pytestmark = pytest.mark.train

SIDE, PATCH = 32, 8


def small_mae(**options: object) -> MAE:
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=SIDE, patch_size=PATCH, depth=2
    )
    return MAE(
        vit,
        vit.num_features,
        ObjectiveSettings.model_validate({"decoder_width": 32, "decoder_depth": 1, **options}),
    )


def images(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


SHOWN = torch.tensor([[0, 5, 9, 15], [1, 2, 3, 4]])
HIDDEN = torch.tensor(
    [[number for number in range(16) if number not in shown] for shown in SHOWN.tolist()]
)


@pytest.mark.parametrize("normalised", [True, False])
def test_mae_is_the_squared_error_of_the_masked_patches(normalised: bool) -> None:  # noqa: FBT001 - a case
    objective, pixels = small_mae(normalised_patches=normalised), images(1)
    outputs: list[torch.Tensor] = []
    objective.head.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    loss = objective.masked_loss(pixels, SHOWN, HIDDEN).item()
    errors = []
    for image, predicted, numbers in zip(
        doubles(pixels), doubles(outputs[0]), HIDDEN.tolist(), strict=True
    ):
        for values, number in zip(predicted, numbers, strict=True):
            top, left = number // 4 * PATCH, number % 4 * PATCH
            patch = image[:, top : top + PATCH, left : left + PATCH].transpose(1, 2, 0).ravel()
            target = (
                (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6) if normalised else patch
            )
            errors.append(np.mean((values - target) ** 2))
    assert loss == pytest.approx(np.mean(errors), rel=1e-5)


def test_masked_patches_do_not_affect_the_prediction() -> None:
    objective, pixels = small_mae().eval(), images(1)
    outputs: list[torch.Tensor] = []
    objective.head.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    changed = pixels.clone()
    changed[0, :, 0:PATCH, PATCH : 2 * PATCH] += (
        5  # patch 1, hidden in the first image, shown in the second
    )
    changed[1, :, 0:PATCH, PATCH : 2 * PATCH] += 5
    for each in (pixels, changed):
        objective.masked_loss(each, SHOWN, HIDDEN)
    assert torch.equal(outputs[0][0], outputs[1][0])
    assert not torch.allclose(outputs[0][1], outputs[1][1])


def test_without_masks_the_encoder_is_timm_s_own() -> None:
    objective, pixels = small_mae().eval(), images(1)
    tokens = objective._encoder().encode(pixels)
    assert torch.allclose(tokens, objective.backbone.forward_features(pixels), atol=1e-6)


def test_three_quarters_of_the_patches_are_masked_at_random() -> None:
    objective = small_mae()
    outputs: list[torch.Tensor] = []
    objective.head.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    batch = replace(sample_batch((0, 1)), first=images(1))
    losses = {objective.loss(batch)["loss"].item() for _ in range(3)}
    assert {tuple(each.shape) for each in outputs} == {(2, 12, 3 * PATCH**2)}
    assert len(losses) == 3


def test_mae_refuses_a_network_without_patches() -> None:
    with pytest.raises(
        ConfigError, match=r"'mae', which needs a vision transformer .* not Sequential"
    ):
        objective_of("mae")


def test_the_head_of_mae_is_refused_as_embedding() -> None:
    with pytest.raises(ConfigError, match=r"objective\.layer: is 'head'"):
        small_mae(layer="head")


def test_a_few_steps_on_the_same_patches_lower_the_loss() -> None:
    objective, pixels = small_mae(), images(1)
    optimiser = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = objective.masked_loss(pixels, SHOWN, HIDDEN)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
