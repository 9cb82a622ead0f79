"""Finds fibres and scratches: long, thin parts of a mask."""

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.masks import dilate_mask, label_parts, open_mask, select_parts

_FIBRE_HALF_WIDTH = 0.13  # of a fibre relative to the radius of the body
_FIBRE_LENGTH = 0.3  # shortest fibre relative to the radius of the body
_FIBRE_SLENDERNESS = 3.0  # length of a fibre relative to its mean width
_MAX_FIBRE_PERIMETER, _MAX_SURE_FIBRE_PERIMETER = 4.5, 3.3
"""Perimeter relative to the length: a line has 2.3, two that cross 4, a cluster of pieces more.

The second limit is for many thin parts.
"""
_MAX_FIBRES = 3  # more thin parts are chains of cells
_MIN_FIBRE_SHARE = 0.05  # length of a fibre apart from the body relative to the field
_MAX_THICKENING = 1.6
"""Half width of a fibre at its thickest place relative to the mean one.

Fibres that cross each other have 1.4. Tissue with fibres across it has 2 and more.
"""
_SURE_FIBRE_SLENDERNESS = 8.0  # a chain of cells is shorter or thicker

Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


def find_attached_fibres(body: Bools) -> Bools:
    """Return the thin, long parts of a body, (h, w), that are fibres which touch it.

    Many thin parts are chains of cells of a tissue that burst, and are no fibres.
    """
    radius = float(np.sqrt(np.count_nonzero(body) / np.pi))
    thick = dilate_mask(open_mask(body, _FIBRE_HALF_WIDTH * radius), 1.5)
    labels, stats = label_parts(body & ~thick)
    length, slenderness = _measure_slenderness(stats)
    fibres = (slenderness > _FIBRE_SLENDERNESS) & (length > _FIBRE_LENGTH * radius)
    longest_edge = _MAX_FIBRE_PERIMETER
    if np.count_nonzero(fibres) > _MAX_FIBRES:
        fibres &= slenderness > _SURE_FIBRE_SLENDERNESS
        longest_edge = _MAX_SURE_FIBRE_PERIMETER
    for label in np.flatnonzero(fibres):
        part = (labels == label).view(np.uint8)
        contours, _ = cv2.findContours(part, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        perimeter = sum(cv2.arcLength(contour, closed=True) for contour in contours)
        fibres[label] = perimeter < longest_edge * length[label]
    return select_parts(labels, fibres)


def label_without_fibres(
    debris: Bools,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the labels of the parts of the debris, (H, W), and their statistics, (labels, 5).

    They are those of :func:`label_parts`, but the area of label 0 and of fibres and scratches,
    which are long and thin, is 0.
    """
    labels, stats = label_parts(debris)
    length, slenderness = _measure_slenderness(stats)
    stats[_are_fibres(length, slenderness, max(debris.shape)), cv2.CC_STAT_AREA] = 0
    stats[0, cv2.CC_STAT_AREA] = 0
    return labels, stats


def find_fibres_of_body(body: Bools) -> Bools:
    """Return the fibres of a body, (h, w): its slender parts, without what they cross.

    A slender part that is much thicker at one place is an object with fibres across it.
    """
    labels, stats = label_parts(body)
    length, slenderness = _measure_slenderness(stats)
    slender = _are_fibres(length, slenderness, max(body.shape))
    if not slender.any():
        return np.zeros_like(body)
    half_width_px = length / np.maximum(slenderness, 1e-6) / 2
    fibres = select_parts(labels, slender)
    depth = cv2.distanceTransform(fibres.view(np.uint8), cv2.DIST_L2, 3)
    for label in np.flatnonzero(slender):
        widest_px = _MAX_THICKENING * half_width_px[label]
        part = labels == label
        if depth[part].max() >= widest_px:
            fibres &= ~dilate_mask(open_mask(part, widest_px), 1.5)
    return fibres


def _are_fibres(length: Numbers, slenderness: Numbers, side_px: int) -> npt.NDArray[np.bool_]:
    """Return, by label, whether parts are slender as fibres; ``side_px`` is that of the field."""
    return (slenderness > _SURE_FIBRE_SLENDERNESS) & (length > _MIN_FIBRE_SHARE * side_px)


def _measure_slenderness(stats: npt.NDArray[np.int32]) -> tuple[Numbers, Numbers]:
    """Return, by label, the length and slenderness of parts from their statistics, (labels, 5).

    The slenderness is the length divided by the mean width; both are 0 for label 0, the outside.
    """
    length = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    slenderness = length**2 / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    length[0] = slenderness[0] = 0
    return length, slenderness
