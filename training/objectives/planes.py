"""Single focal planes as grey images of three equal channels.

A network of one channel accepts such an image as well as a network of three.
"""

import torch
from torch import Tensor
from torch.nn import functional

LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def sharpness(images: Tensor) -> Tensor:
    """Return the variance of the Laplacian of each plane, (B, planes, H, W) → (B, planes).

    Source: Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548.
    """
    count, planes, height, width = images.shape
    kernel = images.new_tensor(LAPLACIAN)[None, None]
    edges = functional.conv2d(images.reshape(count * planes, 1, height, width), kernel)
    return edges.var(dim=(1, 2, 3)).reshape(count, planes)


def sharpest_first(images: Tensor) -> Tensor:
    """Return images, (B, planes, side, side), with the sharpest plane of each moved to the front.

    The other planes keep their order.
    """
    sharpest = sharpness(images).argmax(dim=1, keepdim=True)
    numbers = torch.arange(images.shape[1], device=images.device).expand(len(images), -1)
    order = torch.where(numbers == sharpest, -1, numbers).argsort(dim=1)
    return images.gather(1, order[:, :, None, None].expand_as(images))


def planes_as_grey(images: Tensor) -> tuple[Tensor, ...]:
    """Return each plane of (B, planes, side, side) as a grey image, (B, 3, side, side)."""
    return tuple(
        images[:, plane : plane + 1].expand(-1, 3, -1, -1) for plane in range(images.shape[1])
    )


def middle_plane_as_grey(images: Tensor) -> Tensor:
    """Return the middle plane as a grey image, (B, planes, side, side) → (B, 3, side, side).

    It is the sharpest plane in every plane policy except ``three_planes``.
    """
    return planes_as_grey(images)[images.shape[1] // 2]
