"""A backbone whose features are channel statistics of all its stages, at two magnifications.

The last layer of an ImageNet network represents the kind of object. Size, darkness and grain of
tissue are in earlier layers, as mean and standard deviation of each channel. These statistics carry
texture: Gatys, Ecker and Bethge 2015, arXiv:1505.07376.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import ConfigError

MAX_FEATURE_SPREADS = 6.0
"""Limit of a standardised feature, so that one unusual image does not dominate every head."""
_MIN_VARIANCE = 1e-6
_MIN_SPREAD = 0.01  # smallest scale, so that a nearly constant feature is not amplified


class MultiLevelBackbone(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A network (batch, 3, side, side) → (batch, dimension) of standardised channel statistics.

    For every stage, the features are the mean and standard deviation of each channel.

    Parameters
    ----------
    body
        A timm network with the parts ``conv_stem, bn1, blocks, conv_head, bn2`` of an EfficientNet.
        A network of one channel gets the middle plane.

    Raises
    ------
    ConfigError
        If a part is missing.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        parts = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
        if missing := [part for part in parts if not hasattr(body, part)]:
            raise ConfigError(
                "model.pooling",
                f"is 'levels', and the backbone has no {', '.join(missing)}; "
                "expected one of timm's EfficientNets, or 'last'",
            )
        self.body = body.eval()  # BatchNorm must not update its statistics from the zeros below
        with torch.no_grad():
            dimension = self._pool_field_and_middle(
                torch.zeros(1, body.conv_stem.in_channels, 64, 64)
            ).shape[1]
        self.num_features = int(dimension)
        self.register_buffer("centre", torch.zeros(self.num_features))
        self.register_buffer("scale", torch.ones(self.num_features))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the standardised features, (batch, 3, side, side) → (batch, dimension)."""
        return ((self._pool_field_and_middle(pixels) - self.centre) / self.scale).clamp(
            -MAX_FEATURE_SPREADS, MAX_FEATURE_SPREADS
        )

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not typed here
    def fit_standardisation(self, pixels: Tensor, size: int = 32) -> None:
        """Set centre and scale of each feature from normalised images, (n, 3, side, side)."""
        mode = self.training
        self.eval()
        features = torch.cat([self._pool_field_and_middle(part) for part in pixels.split(size)])
        self.centre.copy_(features.mean(dim=0))
        self.scale.copy_(features.std(dim=0).clamp(min=_MIN_SPREAD))
        self.train(mode)

    def _pool_field_and_middle(self, pixels: Tensor) -> Tensor:
        """Return the features of the field and of its middle half, enlarged twice."""
        if self.body.conv_stem.in_channels == 1:
            pixels = middle_channel(pixels)
        quarter = pixels.shape[-1] // 4
        middle = pixels[
            ..., quarter : pixels.shape[-2] - quarter, quarter : pixels.shape[-1] - quarter
        ]
        closer = functional.interpolate(
            middle, scale_factor=2.0, mode="bilinear", align_corners=False
        )
        return torch.cat([self._pool_stages(pixels), self._pool_stages(closer)], dim=1)

    def _pool_stages(self, pixels: Tensor) -> Tensor:
        features = self.body.bn1(self.body.conv_stem(pixels))
        pooled = [_channel_statistics(features)]
        for stage in self.body.blocks:
            features = stage(features)
            pooled.append(_channel_statistics(features))
        pooled.append(_channel_statistics(self.body.bn2(self.body.conv_head(features))))
        return torch.cat(pooled, dim=1)


def middle_channel(pixels: Tensor) -> Tensor:
    """Return the middle channel of images, (batch, channels, h, w) → (batch, 1, h, w).

    It is the sharpest plane in every plane policy except ``three_planes``.
    """
    middle = pixels.shape[1] // 2
    return pixels[:, middle : middle + 1]


def _channel_statistics(features: Tensor) -> Tensor:
    """Return mean and deviation of each channel, (batch, channels, h, w) → (batch, 2 channels)."""
    mean = features.mean(dim=(2, 3), keepdim=True)
    variance = ((features - mean) ** 2).mean(dim=(2, 3))
    return torch.cat([mean.flatten(1), (variance + _MIN_VARIANCE).sqrt()], dim=1)
