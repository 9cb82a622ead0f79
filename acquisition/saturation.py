"""Measure the share of the pixels of an image that are saturated at the white of the camera."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

_WHITE: Final = 65535
_LEVEL_8_BITS: Final = 257
_JPEG_WHITE: Final = 3
"""Number of white levels of 8 bits: JPEG compression spreads white to 253…255."""

_MIN_EXCESS: Final = 0.1
"""Lowest share of the saturated pixels that the levels below do not explain."""


def _camera_whites() -> frozenset[int]:
    """Return the values, relative to white = 65535, that can be the white of a camera.

    A camera with n bits has the white 2ⁿ - 1. Its pixels are stored in any neighbouring bits of a
    file with 10, 12, 14 or 16 bits.
    """
    return frozenset(
        round(((2**bits - 1) << shift) * _WHITE / (2**stored - 1))
        for stored in (10, 12, 14, 16)
        for bits in range(8, stored + 1)
        for shift in range(stored - bits + 1)
    )


_CAMERA_WHITES: Final = _camera_whites()


def saturated_fraction(planes: npt.NDArray[np.uint16], index: int) -> float:
    """Return the share of the pixels of one plane that are saturated, 0…1.

    Pixels are saturated if they have the largest value of all planes, this value is the white of a
    camera, and the histogram piles up there. Without saturation, the numbers of pixels at the
    highest grey levels decrease towards the largest value.

    Parameters
    ----------
    planes
        (planes, H, W) uint16, white = 65535.
    index
        Index of the plane.
    """
    largest = int(planes.max())
    lowest_8_bits = _WHITE - (_JPEG_WHITE - 1) * _LEVEL_8_BITS
    if largest not in _CAMERA_WHITES and largest < lowest_8_bits:
        return 0.0
    counts = cv2.calcHist([planes[index]], [0], None, [_WHITE + 1], [0, _WHITE + 1]).ravel()
    size = float(planes[index].size)
    if largest in _CAMERA_WHITES:
        below = counts[:largest][counts[:largest] > 0][::-1]
        if _is_pile_up(float(counts[largest]), below):
            return float(counts[largest]) / size
    levels = counts[::_LEVEL_8_BITS]
    has_8_bits = levels.sum() >= size
    # Levels that are not in use next to white are a sign of a stretched image, not of JPEG.
    if largest >= lowest_8_bits and has_8_bits and counts[largest - _LEVEL_8_BITS] > 0:
        groups = levels[::-1][: 3 * _JPEG_WHITE].reshape(3, _JPEG_WHITE).sum(axis=1)
        if _is_pile_up(float(groups[0]), groups[1:]):
            return float(groups[0]) / size
    return 0.0


def _is_pile_up(top: float, below: npt.NDArray[np.floating]) -> bool:
    """Return whether more pixels are at the top than the levels below continue to.

    Parameters
    ----------
    top
        The number of pixels at the top.
    below
        The numbers at the grey levels below, the highest level first.
    """
    first, second = (float(below[rank]) if rank < len(below) else 0.0 for rank in range(2))
    # The logarithm of the density of noise is concave, so a line through two levels is a limit.
    expected = first * min(first / second, 1.0) if second else first
    return top - expected > _MIN_EXCESS * top
