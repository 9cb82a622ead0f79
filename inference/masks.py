"""Morphology of masks, (H, W) bool; radii in pixels of the mask."""

import cv2
import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]


def closed(mask: Bools, radius_px: float) -> Bools:
    """Fill what a disc cannot enter."""
    return _morphology(mask, cv2.MORPH_CLOSE, radius_px)


def opened(mask: Bools, radius_px: float) -> Bools:
    """Drop what a disc does not fit into."""
    return _morphology(mask, cv2.MORPH_OPEN, radius_px)


def grown(mask: Bools, radius_px: float) -> Bools:
    """Add a seam."""
    return _morphology(mask, cv2.MORPH_DILATE, radius_px)


def shrunk(mask: Bools, radius_px: float) -> Bools:
    """Take a seam away; the border of the image is none."""
    return _morphology(mask, cv2.MORPH_ERODE, radius_px)


def filled(mask: Bools) -> Bools:
    """Return the mask with its holes: everything that cannot be reached from outside the image."""
    free = cv2.copyMakeBorder((~mask).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(free, None, (0, 0), 2)
    return np.asarray((free != 2)[1:-1, 1:-1])  # noqa: PLR2004 - the value just flooded


def enlarged(mask: Bools, shape: tuple[int, ...]) -> Bools:
    """Return the mask at another size."""
    return np.asarray(cv2.resize(mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).view(np.bool_))


def _morphology(mask: Bools, operation: int, radius_px: float) -> Bools:
    size = 2 * max(round(radius_px), 1) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.morphologyEx(mask.view(np.uint8), operation, disc).view(np.bool_))
