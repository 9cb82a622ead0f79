"""Parts of the trainings of networks that map an image to log odds of its pixels.

They are the expanding path of a U-Net (Ronneberger et al. 2015,
doi:10.1007/978-3-319-24574-4_28), a step of the optimiser, and the canary of the bundle.
"""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference.onnx_session import canary_values
from schemas.encoder_bundle import Canary
from training.encoder.export import CANARY_SEED

OUTPUT_NAME = "log_odds"
CANARY_TOLERANCE = 0.01  # in log odds; machines differ by about 1e-5


def conv_block(inner: int, outer: int) -> nn.Module:
    """Return a 3 × 3 convolution from ``inner`` to ``outer`` channels, normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
    )


def expanding_path(widths: tuple[int, ...]) -> nn.ModuleList:
    """Return the blocks for :func:`expand`, coarsest first, of levels with numbers of channels."""
    return nn.ModuleList(
        conv_block(below + above, above)
        for above, below in reversed(tuple(itertools.pairwise(widths)))
    )


def expand(
    path: Iterable[nn.Module], features: torch.Tensor, finer: list[torch.Tensor]
) -> torch.Tensor:
    """Return the features of the finest level, (batch, channels, h, w).

    Parameters
    ----------
    path
        Blocks of :func:`expanding_path`.
    features
        Features of the coarsest level.
    finer
        Features of the contracting path at the finer levels, finest first.
    """
    for block, skipped in zip(path, reversed(finer), strict=True):
        larger = functional.interpolate(features, scale_factor=2.0, mode="nearest")
        features = block(torch.cat([larger, skipped], dim=1))
    return features


def rate_at(step: int, steps: int, peak_rate: float, warm_up_steps: int) -> float:
    """Return the learning rate of a step of a training: a linear warm-up, then a half cosine."""
    return peak_rate * min((step + 1) / warm_up_steps, 0.5 + 0.5 * math.cos(math.pi * step / steps))


def descend(
    model: nn.Module, optimiser: torch.optim.Optimizer, loss: torch.Tensor, rate: float
) -> None:
    """Change a model by one step of an optimiser at a learning rate.

    The norm of the gradient is limited to 1.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def canary_of(model: nn.Module, canary_input: np.ndarray) -> Canary:
    """Return the Canary of a model for its card, from its input (1, channels, side, side)."""
    with torch.inference_mode():
        expected = canary_values(model(torch.from_numpy(canary_input)).numpy())
    return Canary(
        seed=CANARY_SEED,
        expected=tuple(round(float(value), 6) for value in expected),
        tolerance=CANARY_TOLERANCE,
    )
