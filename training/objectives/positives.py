"""Which images are positives of which, over the images of all processes."""

import torch
from lightly.utils import dist
from torch import Tensor

from training.data.batch_plan import UNKNOWN_LABEL
from training.objectives.base import gather_from_processes


def number_images(count: int, views: int, device: torch.device) -> Tensor:
    """Return (views × count · processes,): which image each row of ``gather_from_processes(torch.cat(views))`` shows."""
    return gather_from_processes(
        (torch.arange(count, device=device) + dist.rank() * count).repeat(views)
    )


def positive_mask(images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return (n, n) bool: other rows of the same image, and where labels are given, other rows of the same known label."""
    is_positive = images[:, None] == images
    if labels is not None:
        is_positive = is_positive | ((labels[:, None] == labels) & (labels != UNKNOWN_LABEL))
    return is_positive & ~torch.eye(len(images), dtype=torch.bool, device=images.device)
