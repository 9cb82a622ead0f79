"""Morphology of masks, (H, W) bool; radii in pixels of the mask."""

import cv2
import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

_SMALL_PX = 2.0  # a radius from which on distances are faster than a structuring element


def dilate_mask(mask: Bools, radius_px: float) -> Bools:
    """Add a seam."""
    if radius_px <= _SMALL_PX:
        return np.asarray(cv2.dilate(mask.view(np.uint8), _disc(radius_px)).view(np.bool_))
    return (
        np.asarray(cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 3) <= radius_px)
        if mask.any()
        else mask
    )


def erode_mask(mask: Bools, radius_px: float) -> Bools:
    """Take a seam away; the border of the image is none."""
    return ~dilate_mask(~mask, radius_px)


def close_mask(mask: Bools, radius_px: float) -> Bools:
    """Fill what a disc cannot enter."""
    return erode_mask(dilate_mask(mask, radius_px), radius_px)


def open_mask(mask: Bools, radius_px: float) -> Bools:
    """Drop what a disc does not fit into."""
    return dilate_mask(erode_mask(mask, radius_px), radius_px)


def fill_holes(mask: Bools) -> Bools:
    """Return the mask with its holes: everything that cannot be reached from outside the image."""
    free = cv2.copyMakeBorder((~mask).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(free, None, (0, 0), 2)
    return np.asarray((free != 2)[1:-1, 1:-1])  # noqa: PLR2004 - the value just flooded


def resize_mask(mask: Bools, shape: tuple[int, ...]) -> Bools:
    """Return the mask at another size."""
    return np.asarray(
        cv2.resize(mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).view(np.bool_)
    )


def _disc(radius_px: float) -> npt.NDArray[np.uint8]:
    size = 2 * max(round(radius_px), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
