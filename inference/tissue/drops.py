"""Finds objects that are out of focus beside tissue in focus: drops on the lid and shadows."""

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.candidate_regions import label_quantiles
from inference.tissue.coarse_plane import SIDE_PX
from inference.tissue.masks import erode_mask, label_parts

_MAX_EDGE_WIDTH = 1.5
"""Width of an edge relative to that of the largest piece of tissue, at the sharpest tenth of each.

Pieces of tissue have up to 1.42, drops of condensation 1.6 and more.
"""
_MIN_EDGE_WIDTH = 0.0043  # of tissue, relative to the field; a narrower one is that of its grain
_MAX_AREA = 0.5  # of the largest piece; a larger one is a body at another height
_MIN_AREA = 0.0004  # of the field; the edge of a single cell is too short
_MIN_LOST_LIGHT = 0.1  # share that a drop takes away; the edge of noise in a cloud is no edge
_SMOOTHING_PX = 0.75  # reduced pixels; less is noise
_EDGE_REACH_PX = 5  # side of the square around an outline in which the edge is

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]


def find_drops(body: Bools, debris: Bools, transmitted: Floats) -> Bools:
    """Return the pieces of the body and the parts of the debris that are out of focus, (H, W).

    The edge of such a part is wider than the edge of the largest piece of the body.

    Parameters
    ----------
    body, debris
        Masks, (H, W).
    transmitted
        Share of the light that passes, (H, W).
    """
    drops = np.zeros_like(body)
    if not body.any():
        return drops
    (labels, area), other = _label_areas(body), _label_areas(debris)
    leading = 1 + int(np.argmax(area[1:]))
    least, most = _MIN_AREA * body.size, _MAX_AREA * area[leading]
    if not any(((each > least) & (each < most)).any() for each in (area[1:], other[1][1:])):
        return drops
    steepest = _steepest_slope(transmitted)
    width_px = float(_measure_edges(labels, transmitted, steepest)[1][leading])
    widest = _MAX_EDGE_WIDTH * max(width_px, _MIN_EDGE_WIDTH * max(body.shape))
    for part_labels, part_area in ((labels, area), other):
        lost, width = _measure_edges(part_labels, transmitted, steepest)
        is_drop = (part_area > least) & (part_area < most)
        is_drop &= (lost > _MIN_LOST_LIGHT) & (width > widest)
        is_drop[0] = False
        drops |= is_drop[part_labels]
    return drops


def _label_areas(mask: Bools) -> tuple[Labels, Numbers]:
    """Return the labels of the parts of a mask, (H, W), and their areas in pixels by label."""
    labels, stats = label_parts(mask)
    return labels, stats[:, cv2.CC_STAT_AREA].astype(np.float64)


def _steepest_slope(transmitted: Floats) -> Floats:
    """Return the largest slope of the light near each pixel, (H, W), per pixel."""
    sigma_px = max(_SMOOTHING_PX * max(transmitted.shape) / SIDE_PX, 0.3)
    smooth = cv2.GaussianBlur(transmitted, (0, 0), sigma_px)
    slope = cv2.magnitude(
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    square = np.ones((_EDGE_REACH_PX, _EDGE_REACH_PX), np.uint8)
    return np.asarray(cv2.dilate(slope, square), np.float32)


def _measure_edges(
    labels: Labels, transmitted: Floats, steepest: Floats
) -> tuple[Numbers, Numbers]:
    """Return, by label, the light that labelled parts, (H, W), take away, and their edge's width.

    The light is the sum of the squared shares divided by the sum of the shares. The width is the
    light divided by the slope of the light at the sharpest tenth of the outline, in pixels.
    """
    count, mask = int(labels.max()) + 1, labels > 0
    edge = mask & ~erode_mask(mask, 1)
    slope = label_quantiles(labels[edge], steepest[edge], count)
    label, lost = labels[mask], np.maximum(1 - transmitted[mask], 0)
    total, squares = (np.bincount(label, lost**power, count) for power in (1, 2))
    light = np.asarray(squares / np.maximum(total, 1e-6))
    return light, np.asarray(light / np.maximum(slope, 1e-6))
