"""Tests of the backbones from timm, their weights, and the blocks that are trained."""

from pathlib import Path

import pytest
import torch

from schemas.errors import ConfigError
from training.encoder.backbones import (
    fix_batch_norm,
    freeze_early_blocks,
    make_backbone,
    pretrained_normalisation,
)

pytestmark = pytest.mark.train


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("tf_efficientnet_lite0", 3),
        ("resnet18", 1),
        ("vit_tiny_patch16_224", 3),
        ("unet_encoder", 3),
        ("unet_encoder", 1),
    ],
)
def test_a_backbone_maps_three_planes_to_its_dimension(name: str, channels: int) -> None:
    network, dimension = make_backbone(name, "none", channels, 64)
    assert network.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, dimension)


def test_a_grey_backbone_uses_only_the_middle_plane() -> None:
    network, _ = make_backbone("resnet18", "none", 1, 64)
    pixels = torch.rand(2, 3, 64, 64)
    others = pixels.clone()
    others[:, [0, 2]] = 0
    with torch.inference_mode():
        assert torch.equal(network.eval()(pixels), network(others))
        assert torch.equal(network(pixels), network(pixels[:, 1:2]))
        assert not torch.equal(network(pixels), network(pixels.flip(2)[:, [2, 0, 1]]))


def test_imagenet_weights_come_from_the_package_and_fit_a_grey_input_too() -> None:
    colour, _ = make_backbone("tf_efficientnet_lite0", "imagenet", 3, 64)
    grey, _ = make_backbone("tf_efficientnet_lite0", "imagenet", 1, 64)
    pixel = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(
            colour.eval()(pixel.expand(-1, 3, -1, -1)), grey.eval()(pixel), atol=1e-4
        )


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_grey_images_fit_one_plane_and_three(tmp_path: Path, prefix: str) -> None:
    grey, _ = make_backbone("resnet18", "none", 1, 64)
    made_up = {prefix + name: tensor for name, tensor in grey.body.state_dict().items()}
    torch.save({"state_dict": made_up | {prefix + "fc.bias": torch.zeros(14)}}, tmp_path / "x.pth")
    one, three = (
        make_backbone("resnet18", str(tmp_path / "x.pth"), channels, 64)[0].eval()
        for channels in (1, 3)
    )
    pixel = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = grey.eval()(pixel)
        assert torch.equal(one(pixel), expected)
        assert torch.allclose(three(pixel.expand(-1, 3, -1, -1)), expected, atol=1e-4)


def test_the_unet_encoder_is_the_contracting_path_with_a_mean_at_its_end() -> None:
    network, _ = make_backbone("unet_encoder", "none", 3, 64)
    pixels, levels = torch.rand(2, 3, 64, 64), network.eval().levels
    with torch.inference_mode():
        features = pixels
        for level in levels:
            features = level(features if level is levels[0] else halve(features))
        assert features.shape == (2, 512, 4, 4)
        assert torch.allclose(network(pixels), features.flatten(2).mean(dim=2), atol=1e-5)


def halve(features: torch.Tensor) -> torch.Tensor:
    """Return the maximum of each square of two by two pixels."""
    blocks = features.unfold(2, 2, 2).unfold(3, 2, 2)
    return blocks.flatten(4).amax(dim=4)


@pytest.mark.parametrize("inside", ["", "objective.backbone."])
def test_weights_are_read_from_a_file_or_a_training_checkpoint(tmp_path: Path, inside: str) -> None:
    network, _ = make_backbone("resnet18", "none", 3, 64)
    tensors = {inside + name: tensor for name, tensor in network.state_dict().items()} | {
        "fc.weight" if not inside else "objective.head.weight": torch.zeros(3)
    }
    torch.save({"state_dict": tensors}, tmp_path / "weights.pth")
    again, _ = make_backbone("resnet18", str(tmp_path / "weights.pth"), 3, 64)
    assert torch.equal(
        again.state_dict()["layer4.1.conv2.weight"], network.state_dict()["layer4.1.conv2.weight"]
    )


@pytest.mark.parametrize(
    ("name", "weights", "channels", "words"),
    [
        ("resnet-18", "none", 3, ["model.backbone", "'resnet-18'", "does not know", "resnet18"]),
        ("resnet18", "imagenet", 3, ["model.weights", "tf_efficientnet_lite0 only"]),
        ("resnet18", "nowhere.pth", 3, ["model.weights", "nowhere.pth", "not a file"]),
        ("resnet18", "text.pth", 3, ["model.weights", "text.pth", "contains no weights"]),
        ("resnet18", "other.pth", 3, ["other.pth", "have another shape", "conv1.weight"]),
        ("unet_encoder", "hub", 3, ["model.weights", "'hub'", "unet_encoder"]),
        ("resnet18", "none", 2, ["model.channels", "is 2", "expected 3"]),
    ],
)
def test_unavailable_networks_and_weights_are_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    weights: str,
    channels: int,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.pth").write_text("weights")
    torch.save({"conv1.weight": torch.zeros(4, 3, 7, 7)}, "other.pth")
    with pytest.raises(ConfigError) as raised:
        make_backbone(name, weights, channels, 64)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "vit_tiny_patch16_224", "unet_encoder"]
)
def test_only_the_last_blocks_are_trainable(name: str) -> None:
    network, _ = make_backbone(name, "none", 3, 64)
    shares = []
    for blocks in (0, 1, 2, None):
        learning = freeze_early_blocks(network, blocks)
        assert len(learning) == sum(parameter.requires_grad for parameter in network.parameters())
        shares.append(len(learning))
    assert shares[0] == 0
    assert shares == sorted(set(shares))
    freeze_early_blocks(network, 1)
    assert not next(network.parameters()).requires_grad
    assert list(network.parameters())[-1].requires_grad


def test_fixed_batch_norm_keeps_its_statistics_while_the_rest_trains() -> None:
    network, _ = make_backbone("resnet18", "none", 3, 64)
    network.train()
    fix_batch_norm(network)
    before = network.bn1.running_mean.clone()
    network(torch.rand(4, 3, 64, 64))
    assert torch.equal(network.bn1.running_mean, before)
    assert network.training


def test_the_normalisation_is_that_of_the_pretrained_weights() -> None:
    assert pretrained_normalisation("tf_efficientnet_lite0") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert pretrained_normalisation("resnet18")[0] == (0.485, 0.456, 0.406)
