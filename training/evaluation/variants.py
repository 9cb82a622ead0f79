"""Variants of a well image: changes of the microscope that do not change the tissue."""

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
"""Share of the shorter side of the image."""
DEFOCUS_UM, DEFOCUS_SHARE = 5.0, 0.004
"""Blur of an image of one plane: in µm, or as a share of its side if it has no scale."""
_LARGEST_BACKGROUND = 0.98  # share of white that a longer exposure may reach


def change_plane(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Return the image and, as its sharpest plane's index, a random neighbour of the old one.

    An image of one plane is blurred instead.
    """
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
    """Return the image with a random gradient of light, and the index of its sharpest plane.

    The light decreases towards one side, in a random direction.
    """
    height, width = image.planes.shape[1:]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    slope = 1 + TILT * (np.cos(angle) * x + np.sin(angle) * y)
    return replace(image, planes=_to_uint16(image.planes * slope)), sharpest


def change_exposure(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Return the image with a random exposure, and the index of its sharpest plane.

    The exposure is shorter or longer; the background stays below white.
    """
    bright = float(np.quantile(image.planes[:, ::4, ::4], 0.99)) / _WHITE
    gain = min(float(rng.choice(GAINS)), _LARGEST_BACKGROUND / max(bright, 1e-3))
    return replace(image, planes=_to_uint16(image.planes * gain)), sharpest


def shift_field(image: WellImage, sharpest: int, rng: np.random.Generator) -> ImageAndPlane:
    """Return the image moved in a random direction, and the index of its sharpest plane.

    The border is filled by reflection.
    """
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
    """Return the image with all the other changes, and the index of its sharpest plane."""
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
