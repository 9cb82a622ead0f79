"""Small square crops of images at random places, as the multi-crop training of DINO uses them.

Source: SwAV, Caron et al. 2020, arXiv 2006.09882, section 3.4; the sizes are those of DINO, Caron
et al. 2021, arXiv 2104.14294.
"""

import torch
from torch import Tensor
from torch.nn import functional

CROP_AREA = (0.05, 0.4)
"""Smallest and largest share of the area of an image that a small crop shows."""
SIDE_SHARE = 96 / 224
"""Side of a small crop as a share of the side of an image, as in the paper."""
SIDE_STEP = 16
"""The side of a small crop is a multiple of this number of pixels, as patches need it."""


def crop_side(side_px: int, patch_px: int | None) -> int:
    """Return the side in pixels of the small crops of images with a side in pixels.

    Parameters
    ----------
    patch_px
        Side of the patches of a vision transformer; None for other networks.
    """
    step = patch_px or SIDE_STEP
    return max(round(SIDE_SHARE * side_px / step), 1) * step


def draw_small_crops(images: Tensor, side_px: int) -> Tensor:
    """Return one random crop of each image, (B, C, H, H) → (B, C, side_px, side_px).

    The random numbers are those of torch, which are seeded for each step of a training.
    """
    smallest, largest = CROP_AREA
    area = smallest + (largest - smallest) * torch.rand(len(images), device=images.device)
    share = area.sqrt()
    centre = (1 - share)[:, None] * (2 * torch.rand(len(images), 2, device=images.device) - 1)
    return cut_crops(images, share, centre, side_px)


def cut_crops(images: Tensor, share: Tensor, centre: Tensor, side_px: int) -> Tensor:
    """Return crops of images, (B, C, H, H), resized to (B, C, side_px, side_px).

    Parameters
    ----------
    share
        (B,) side of a crop as a share of the side of its image.
    centre
        (B, 2) x and y of the centre of a crop; −1 and 1 are the edges of the image.
    """
    turned = torch.diag_embed(share[:, None].expand(-1, 2))
    place = torch.cat([turned, centre[:, :, None]], dim=2)
    shape = [len(images), images.shape[1], side_px, side_px]
    grid = functional.affine_grid(place, shape, align_corners=False)
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
