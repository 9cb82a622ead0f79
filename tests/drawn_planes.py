"""Planes of drawn tissue for tests of the segmentation: discs, optical densities and exposures.

Positions and lengths are shares of the field, so that a scene can be drawn with any number of
pixels.
"""

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 400
"""Side of a plane in pixels, unless another one is given."""

Plane = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.floating]


def disc(x: float, y: float, radius: float, side: int = SIDE) -> Mask:
    """Return the mask of a disc, (side, side)."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    return np.asarray(np.hypot(columns - x, rows - y) < radius)


def grain(side: int = SIDE, cell: float = 0.004, seed: int = 2) -> Map:
    """Return a map, (side, side), of the texture of cells: mean 0 and standard deviation 1."""
    noise = np.random.default_rng(seed).normal(0, 1, (side, side))
    smooth = cv2.GaussianBlur(noise, (0, 0), max(cell * side, 0.5))
    return np.asarray(smooth / smooth.std())


def expose(density: Map, light: Map | float = 0.6, noise: float = 0.01) -> Plane:
    """Return the camera image, uint16, of a natural-log optical density in a given light.

    White is 65535. ``light`` is a share of white, and ``noise`` a share of the light.
    """
    seen = cv2.GaussianBlur(np.exp(-density.astype(np.float32)), (0, 0), 0.8) * light
    factor = np.random.default_rng(4).normal(1, noise, density.shape)
    return np.clip(seen * factor * 65535, 0, 65535).astype(np.uint16)


def dice(found: Mask, truth: Mask) -> float:
    """Return the Dice coefficient of two masks, 0 to 1; at least one is not empty."""
    return float(
        2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))
    )
