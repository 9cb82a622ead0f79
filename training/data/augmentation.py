"""Random augmentation of images by the presets of :mod:`training.data.presets`.

Images have values of 0…1, before normalisation. All lengths are shares of the field.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from training.data.presets import Augmentation


@dataclass(frozen=True, eq=False)
class DrawnAugmentations:
    """Random changes drawn for B images; all tensors have B rows.

    A process that has a part of a batch takes the rows of its part.
    """

    angle: Tensor  # (B,) radians
    mirror: Tensor  # (B,) −1: mirrored; 1: not
    shift: Tensor  # (B, 2) share of the field, x and y
    scale: Tensor  # (B,) side of the part that is shown, share of the field
    gain: Tensor  # (B,) factor of the light
    tilt: Tensor  # (B, 2) relative change of the light across the field, x and y
    focus: Tensor  # (B,) −1…1: towards the previous or the next plane
    reverse: Tensor  # (B,) bool: whether the planes are reversed
    blur: Tensor  # (B,) standard deviation, share of the field
    noise: Tensor  # (B,) standard deviation, share of white
    noise_seed: Tensor  # (B,) int64
    grey: Tensor  # (B,) bool: whether the planes are averaged

    def rows(self, part: slice) -> "DrawnAugmentations":
        """Return the changes of the images in a slice."""
        return DrawnAugmentations(*(getattr(self, field.name)[part] for field in fields(self)))


def draw_augmentations(
    how: Augmentation, count: int, generator: torch.Generator
) -> DrawnAugmentations:
    """Draw random changes for ``count`` images within an Augmentation's limits and return them.

    Every preset uses the same number of random numbers.
    """
    u = torch.rand(count, 16, generator=generator)
    seeds = torch.randint(2**62, (count,), generator=generator)
    signed = 2 * u - 1
    low, high = how.crop
    scale = (low + (high - low) * u[:, 2]).sqrt()
    room = (1 - scale)[:, None] / 2
    direction = 2 * math.pi * u[:, 6]
    return DrawnAugmentations(
        angle=2 * math.pi * u[:, 0] * how.turn,
        mirror=torch.where((u[:, 1] < 0.5) & torch.tensor(how.flip), -1.0, 1.0),  # noqa: PLR2004 - half
        shift=signed[:, 3:5] * (how.shift + room),
        scale=scale,
        gain=torch.exp(how.gain * torch.special.ndtri(0.001 + 0.998 * u[:, 5])),
        tilt=how.tilt * u[:, 7:8] * torch.stack([direction.cos(), direction.sin()], dim=1),
        focus=how.focus * signed[:, 8],
        reverse=(u[:, 9] < 0.5) & torch.tensor(how.reverse_planes),  # noqa: PLR2004 - half
        blur=how.blur * u[:, 10],
        noise=how.noise * u[:, 11],
        noise_seed=seeds,
        grey=u[:, 12] < how.grey,
    )


def augment(images: Tensor, drawn: DrawnAugmentations, background: float) -> Tensor:
    """Apply drawn changes to images, (B, 3, s, s) of 0…1, and return the changed images.

    Pixels from outside the image get the value ``background``.
    """
    images = _refocused(images, drawn)
    images = _placed(images, drawn, background)
    images = _blurred(images, drawn.blur)
    images = _lit(images, drawn)
    images = _noisy(images, drawn)
    grey = images.mean(dim=1, keepdim=True).expand_as(images)
    return torch.where(drawn.grey[:, None, None, None], grey, images).clamp(0, 1)


def _refocused(images: Tensor, drawn: DrawnAugmentations) -> Tensor:
    """Mix each plane with a neighbour, as focus drift does, and reverse some stacks of planes."""
    turned = torch.where(drawn.reverse[:, None, None, None], images.flip(1), images)
    if not bool(drawn.focus.any()):
        return turned
    up, down = turned[:, [1, 2, 2]], turned[:, [0, 0, 1]]
    towards = torch.where((drawn.focus > 0)[:, None, None, None], up, down)
    # At most half: a larger share would make the neighbour the main plane.
    share = 0.5 * drawn.focus.abs()[:, None, None, None]
    return turned + share * (towards - turned)


def _placed(images: Tensor, drawn: DrawnAugmentations, background: float) -> Tensor:
    """Turn, mirror, shift and enlarge images in one step, so that pixels are interpolated once."""
    still = (
        not bool(drawn.angle.any())
        and not bool(drawn.shift.any())
        and bool((drawn.scale == 1).all())
    )
    if still:
        return torch.where((drawn.mirror < 0)[:, None, None, None], images.flip(3), images)
    cos, sin = drawn.angle.cos() * drawn.scale, drawn.angle.sin() * drawn.scale
    across = torch.stack([cos * drawn.mirror, -sin, 2 * drawn.shift[:, 0]], dim=1)
    along = torch.stack([sin * drawn.mirror, cos, 2 * drawn.shift[:, 1]], dim=1)
    grid = functional.affine_grid(
        torch.stack([across, along], dim=1), list(images.shape), align_corners=False
    )
    # Bicubic, because linear interpolation removes grain that the images of the service have.
    moved = functional.grid_sample(
        images - background, grid, mode="bicubic", padding_mode="zeros", align_corners=False
    )
    return moved + background


def _blurred(images: Tensor, blur: Tensor) -> Tensor:
    """Blur each image with its own Gaussian; a batch with less than 0.2 pixels is unchanged."""
    sigma_px = (blur * images.shape[-1]).clamp(min=1e-3)
    reach = math.ceil(3 * float(sigma_px.max()))
    if float(sigma_px.max()) < 0.2:  # noqa: PLR2004 - pixels; a smaller blur has no effect
        return images
    steps = torch.arange(-reach, reach + 1, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma_px[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(
        images.shape[1], dim=0
    )  # (B · 3, taps)
    stack = functional.pad(images, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[
        None
    ]
    for shape in ((-1, 1, 1, len(steps)), (-1, 1, len(steps), 1)):
        stack = functional.conv2d(stack, kernel.reshape(shape), groups=len(kernel))
    return stack[0].reshape(images.shape)


def _lit(images: Tensor, drawn: DrawnAugmentations) -> Tensor:
    """Change the light by one gain for all planes and a gradient across the field."""
    axis = torch.linspace(-0.5, 0.5, images.shape[-1])
    light = 1 + drawn.tilt[:, 0, None, None] * axis + drawn.tilt[:, 1, None, None] * axis[:, None]
    return images * (drawn.gain[:, None, None] * light)[:, None]


def _noisy(images: Tensor, drawn: DrawnAugmentations) -> Tensor:
    """Add noise from a seed of each image, so that it does not depend on the process."""
    if not bool(drawn.noise.any()):
        return images
    grains = [
        torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(int(seed)))
        for seed in drawn.noise_seed
    ]
    return images + drawn.noise[:, None, None, None] * torch.stack(grains)
