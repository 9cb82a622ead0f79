"""The contracting path of a U-Net as a backbone.

Source: U-Net, Ronneberger, Fischer and Brox 2015, arXiv 1505.04597, figure 1. Convolutions are
padded, and batch normalisation follows each of them, as is usual since then. The expanding path is
left out, because an embedding needs no map. The mean of the last level over the field is the
embedding.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (32, 64, 128, 256, 512)
"""Channels of the five levels; half of the paper's."""


class UNetEncoder(nn.Module):  # type: ignore[misc] # torch is not typed here
    """Levels of two convolutions with a maximum pooling between levels.

    Input (batch, channels, side, side), output (batch, 512). The attributes are those of a network
    of timm, so that blocks are chosen and weights are loaded in the same way.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.num_features = WIDTHS[-1]
        self.pretrained_cfg = {"first_conv": "levels.0.0"}
        self.levels = nn.ModuleList(
            nn.Sequential(*_convolution(above, below), *_convolution(below, below))
            for above, below in itertools.pairwise((channels, *WIDTHS))
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features, (batch, channels, side, side) → (batch, 512)."""
        for depth, level in enumerate(self.levels):
            pixels = level(functional.max_pool2d(pixels, 2) if depth else pixels)
        return torch.mean(pixels, dim=(2, 3))

    def group_matcher(self, *, coarse: bool = False) -> dict[str, str]:  # noqa: ARG002 - timm's signature
        """Return a pattern for the number of the level of a parameter, as timm's networks do."""
        return {"blocks": r"^levels\.(\d+)"}


def _convolution(inner: int, outer: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
