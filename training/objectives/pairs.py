"""Which images are positives of which, over the images of all processes."""

import torch
from lightly.utils import dist
from torch import Tensor

from training.data.batches import UNKNOWN_LABEL
from training.objectives.base import gathered


def image_numbers(count: int, views: int, device: torch.device) -> Tensor:
    """Return (views × count · processes,): which image each row of ``gathered(torch.cat(views))`` shows."""
    return gathered((torch.arange(count, device=device) + dist.rank() * count).repeat(views))


def positive_pairs(images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return (n, n) bool: other rows of the same image, and where labels are given, other rows of the same known label."""
    alike = images[:, None] == images
    if labels is not None:
        alike = alike | ((labels[:, None] == labels) & (labels != UNKNOWN_LABEL))
    return alike & ~torch.eye(len(images), dtype=torch.bool, device=images.device)
