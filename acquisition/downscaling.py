"""Downscale images to a fixed number of pixels per field, and to blocks."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.ports import Pixels

BLOCKS: Final = 32
"""Blocks per side of a field; a block is 44 µm of a usual field, smaller than any tissue."""

Floats = npt.NDArray[np.float32]


def downscale(image: Pixels | Floats, side_px: int) -> Floats:
    """Return an image downscaled so that its longer side is at most ``side_px`` pixels."""
    return image.astype(np.float32) if side_px >= max(image.shape) else rescale(image, side_px)


def rescale(image: Pixels | Floats, side_px: int) -> Floats:
    """Return an image rescaled so that its longer side has ``side_px`` pixels."""
    scale = side_px / max(image.shape)
    height, width = (max(round(length * scale), 1) for length in image.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=method)
    return np.asarray(resized, np.float32)


def block_means(image: Floats) -> Floats:
    """Return the mean of an image in each of 32 × 32 blocks."""
    return np.asarray(cv2.resize(image, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA), np.float32)
