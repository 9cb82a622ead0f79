"""What may change in a view without the well being another: named presets, on value images of 0…1, after the reduction and before normalisation.

Light, focus and place differ between images of the same tissue; size, outline, grain and debris are what drugs change. Cautions: ``docs/explanation/training-data.md``.
All lengths are shares of the field.
"""

import math
from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from schemas.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """How far each change may go; 0 or False: not at all."""

    turn: bool = False  # by any angle; what comes in from outside is empty background
    flip: bool = False
    shift: float = 0.0  # of the field, each way
    gain: float = 0.0  # spread of the logarithm of the light
    tilt: float = 0.0  # relative change of the light from one side to the other
    focus: float = 0.0  # how far each plane may move towards its neighbour, 0…1
    reverse_planes: bool = (
        False  # the stack seen from the other side: the sharpest stays in the middle
    )
    blur: float = 0.0  # largest standard deviation, of the field; grain is at 0.01 of it
    noise: float = 0.0  # largest standard deviation, of white
    crop: tuple[float, float] = (
        1.0,
        1.0,
    )  # share of the area that is kept and enlarged: takes size away, and debris with it
    grey: float = 0.0  # share of views whose planes are averaged into one


PRESETS: Final[dict[str, Augmentation]] = {
    "none": Augmentation(),
    "weak": Augmentation(turn=True, flip=True, shift=0.02, gain=0.02),
    "light": Augmentation(
        turn=True, flip=True, shift=0.04, gain=0.04, tilt=0.05, focus=0.2, blur=0.002, noise=0.005
    ),
    "spheroid": Augmentation(
        turn=True,
        flip=True,
        shift=0.08,
        gain=0.08,
        tilt=0.15,
        focus=0.5,
        reverse_planes=True,
        blur=0.0035,
        noise=0.01,
    ),
    "strong": Augmentation(
        turn=True,
        flip=True,
        shift=0.08,
        gain=0.1,
        tilt=0.25,
        focus=0.8,
        reverse_planes=True,
        blur=0.005,
        noise=0.02,
        grey=0.1,
    ),
    "thesis": Augmentation(flip=True, crop=(0.5, 1.0), grey=0.2, blur=0.008),
}


def get_preset(name: str) -> Augmentation:
    """Return a preset by its name.

    Raises
    ------
    ConfigError
        If there is none of this name.
    """
    if name not in PRESETS:
        raise ConfigError("augment", f"is {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass(frozen=True, eq=False)
class DrawnAugmentations:
    """What was drawn for B images; all tensors have B rows, so a process that holds part of a batch takes its rows."""

    angle: Tensor  # (B,) radians
    mirror: Tensor  # (B,) ±1
    shift: Tensor  # (B, 2) of the field, x and y
    scale: Tensor  # (B,) side of the part that is shown
    gain: Tensor  # (B,)
    tilt: Tensor  # (B, 2) relative change across the field, x and y
    focus: Tensor  # (B,) −1…1: towards the plane above or below
    reverse: Tensor  # (B,) bool
    blur: Tensor  # (B,) of the field
    noise: Tensor  # (B,) of white
    noise_seed: Tensor  # (B,) long
    grey: Tensor  # (B,) bool

    def rows(self, part: slice) -> "DrawnAugmentations":
        """Return the draw of some of the images."""
        return DrawnAugmentations(*(getattr(self, field.name)[part] for field in fields(self)))


def draw_augmentations(
    how: Augmentation, count: int, generator: torch.Generator
) -> DrawnAugmentations:
    """DrawnAugmentations what happens to ``count`` images; every preset uses up the same random numbers."""
    u = torch.rand(count, 16, generator=generator)
    seeds = torch.randint(2**62, (count,), generator=generator)
    signed = 2 * u - 1
    low, high = how.crop
    scale = (low + (high - low) * u[:, 2]).sqrt()
    room = (1 - scale)[:, None] / 2
    direction = 2 * math.pi * u[:, 6]
    return DrawnAugmentations(
        angle=2 * math.pi * u[:, 0] * how.turn,
        mirror=torch.where((u[:, 1] < 0.5) & torch.tensor(how.flip), -1.0, 1.0),  # noqa: PLR2004 - a coin
        shift=signed[:, 3:5] * (how.shift + room),
        scale=scale,
        gain=torch.exp(how.gain * torch.special.ndtri(0.001 + 0.998 * u[:, 5])),
        tilt=how.tilt * u[:, 7:8] * torch.stack([direction.cos(), direction.sin()], dim=1),
        focus=how.focus * signed[:, 8],
        reverse=(u[:, 9] < 0.5) & torch.tensor(how.reverse_planes),  # noqa: PLR2004 - a coin
        blur=how.blur * u[:, 10],
        noise=how.noise * u[:, 11],
        noise_seed=seeds,
        grey=u[:, 12] < how.grey,
    )


def augment(images: Tensor, drawn: DrawnAugmentations, background: float) -> Tensor:
    """Return the images, (B, 3, s, s) of 0…1, as they were drawn to be; what comes in from outside has the value ``background``."""
    images = _refocused(images, drawn)
    images = _placed(images, drawn, background)
    images = _blurred(images, drawn.blur)
    images = _lit(images, drawn)
    images = _noisy(images, drawn)
    grey = images.mean(dim=1, keepdim=True).expand_as(images)
    return torch.where(drawn.grey[:, None, None, None], grey, images).clamp(0, 1)


def _refocused(images: Tensor, drawn: DrawnAugmentations) -> Tensor:
    """Move every plane towards the next one up or down, as if the focus had drifted, and see some stacks from the other side."""
    turned = torch.where(drawn.reverse[:, None, None, None], images.flip(1), images)
    if not bool(drawn.focus.any()):
        return turned
    up, down = turned[:, [1, 2, 2]], turned[:, [0, 0, 1]]
    towards = torch.where((drawn.focus > 0)[:, None, None, None], up, down)
    share = (
        0.5 * drawn.focus.abs()[:, None, None, None]
    )  # half-way at most: farther is nearer to the other plane
    return turned + share * (towards - turned)


def _placed(images: Tensor, drawn: DrawnAugmentations, background: float) -> Tensor:
    """Turn, mirror, shift and enlarge in one step, so that pixels are interpolated once."""
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
    # Bicubic: linear interpolation would take away grain that the service's images, which are not turned, have.
    moved = functional.grid_sample(
        images - background, grid, mode="bicubic", padding_mode="zeros", align_corners=False
    )
    return moved + background


def _blurred(images: Tensor, blur: Tensor) -> Tensor:
    """Blur each image by its own Gaussian; less than a fifth of a pixel is nothing."""
    sigma_px = (blur * images.shape[-1]).clamp(min=1e-3)
    reach = math.ceil(3 * float(sigma_px.max()))
    if float(sigma_px.max()) < 0.2:  # noqa: PLR2004 - of a pixel
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
    """Change the light: one gain for all planes, and a tilt from side to side."""
    axis = torch.linspace(-0.5, 0.5, images.shape[-1])
    light = 1 + drawn.tilt[:, 0, None, None] * axis + drawn.tilt[:, 1, None, None] * axis[:, None]
    return images * (drawn.gain[:, None, None] * light)[:, None]


def _noisy(images: Tensor, drawn: DrawnAugmentations) -> Tensor:
    """Add each image's own noise; its seed makes it the same in whichever process the image is."""
    if not bool(drawn.noise.any()):
        return images
    grains = [
        torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(int(seed)))
        for seed in drawn.noise_seed
    ]
    return images + drawn.noise[:, None, None, None] * torch.stack(grains)
