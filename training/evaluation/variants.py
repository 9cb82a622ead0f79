"""Other views of one well: what a microscope may change from one day to the next without the tissue changing."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from schemas.well_image import WellImage

Planes = npt.NDArray[np.uint16]
ImageAndPlane = tuple[WellImage, int]
"""A well image, and the index of its sharpest plane."""

_WHITE = 65535
GAINS = (0.7, 1.35)
TILT = 0.4
"""Relative change of the light from one side to the other."""
SHIFT = 0.06
"""Of the image's shorter side, in any direction."""
DEFOCUS_UM, DEFOCUS_SHARE = 5.0, 0.004
"""Blur of an image that has one plane only, with and without a scale (of its side)."""
_NEVER_BRIGHTER = 0.98  # of white: a longer exposure stops short of saturation


def change_plane(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Take a neighbour for the sharpest plane; an image with one plane goes out of focus instead."""
    count = len(image.planes)
    if count > 1:
        beside = [plane for plane in (sharpest - 1, sharpest + 1) if 0 <= plane < count]
        return image, int(rng.choice(beside))
    sigma_px = (
        DEFOCUS_UM / image.um_per_px
        if image.um_per_px
        else DEFOCUS_SHARE * min(image.planes.shape[1:])
    )
    return replace(
        image,
        planes=np.stack(
            [cv2.GaussianBlur(plane, (0, 0), max(sigma_px, 0.5)) for plane in image.planes]
        ).astype(np.uint16),
    ), sharpest


def change_light(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Let the light fall off from one side to the other, in any direction."""
    height, width = image.planes.shape[1:]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    slope = 1 + TILT * (np.cos(angle) * x + np.sin(angle) * y)
    return replace(image, planes=_to_uint16(image.planes * slope)), sharpest


def change_exposure(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Expose shorter, or longer as far as the brightest background stays below white."""
    bright = float(np.quantile(image.planes[:, ::4, ::4], 0.99)) / _WHITE
    gain = min(float(rng.choice(GAINS)), _NEVER_BRIGHTER / max(bright, 1e-3))
    return replace(image, planes=_to_uint16(image.planes * gain)), sharpest


def shift_field(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Move the stage; what comes into the field at the border is the mirror image of what was there."""
    angle, by = rng.uniform(0, 2 * np.pi), SHIFT * min(image.planes.shape[1:])
    moved = np.array([[1, 0, by * np.cos(angle)], [0, 1, by * np.sin(angle)]], np.float32)
    size = image.planes.shape[2], image.planes.shape[1]
    planes = [
        cv2.warpAffine(
            plane, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        for plane in image.planes
    ]
    return replace(image, planes=np.stack(planes).astype(np.uint16)), sharpest


def change_everything(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Change all of it at once."""
    for change in (change_plane, change_light, change_exposure, shift_field):
        image, sharpest = change(image, sharpest, rng)
    return image, sharpest


def _to_uint16(values: npt.NDArray[np.floating]) -> Planes:
    return np.clip(np.round(values), 0, _WHITE).astype(np.uint16)


VARIANTS: Mapping[str, Callable[[WellImage, int, np.random.Generator], ImageAndPlane]] = {
    "plane": change_plane,
    "light": change_light,
    "exposure": change_exposure,
    "shift": shift_field,
    "together": change_everything,
}
