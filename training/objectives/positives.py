"""Positive pairs of a contrastive loss, over the images of all processes."""

import torch
from lightly.utils import dist
from torch import Tensor

from training.data.batch_plan import UNKNOWN_LABEL
from training.objectives.base import gather_from_processes


def number_images(count: int, views: int, device: torch.device) -> Tensor:
    """Return the image number of each gathered row, for ``count`` images in ``views`` views each.

    Parameters
    ----------
    count
        Images of this process.
    views
        Views of each image, stacked one after the other.

    Returns
    -------
    Tensor
        (views × count × processes,) int64.
    """
    return gather_from_processes(
        (torch.arange(count, device=device) + dist.rank() * count).repeat(views)
    )


def positive_mask(images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return (n, n) bool: whether two different rows have one image number or, if given, one label.

    Rows of one image number are positives. If labels are given, rows of one known label are too.
    """
    is_positive = images[:, None] == images
    if labels is not None:
        is_positive = is_positive | ((labels[:, None] == labels) & (labels != UNKNOWN_LABEL))
    return is_positive & ~torch.eye(len(images), dtype=torch.bool, device=images.device)
