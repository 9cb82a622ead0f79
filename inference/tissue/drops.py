"""Finds objects that are out of focus beside tissue in focus: drops on the lid and shadows."""

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.coarse_plane import SIDE_PX
from inference.tissue.masks import erode_mask, label_parts
from inference.tissue.quantiles import label_quantiles

_MAX_EDGE_WIDTH = 1.5
"""Width of an edge relative to that of the largest piece of tissue, at the sharpest tenth of each.

Pieces of tissue have up to 1.42, drops of condensation 1.6 and more.
"""
_MIN_EDGE_WIDTH = 0.0043  # of tissue, relative to the field; a narrower one is that of its grain
_MAX_AREA = 0.5  # of the largest piece; a larger one is a body at another height
_MIN_AREA = 0.0004  # of the field; the edge of a single cell is too short
_MIN_LOST_LIGHT = 0.1  # share that a drop takes away; the edge of noise in a cloud is no edge
_SMOOTHING_PX = 0.75  # reduced pixels; less is noise
_SHARPEST = 0.9  # quantile of the slopes along an outline
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
    (labels, stats), (other_labels, other_stats) = label_parts(body), label_parts(debris)
    area, other_area = stats[:, cv2.CC_STAT_AREA], other_stats[:, cv2.CC_STAT_AREA]
    leading = 1 + int(np.argmax(area[1:]))
    least, most = _MIN_AREA * body.size, _MAX_AREA * area[leading]
    small, other_small = ((each > least) & (each < most) for each in (area, other_area))
    small[0] = other_small[0] = False
    if not (small.any() or other_small.any()):
        return drops
    measured = small.copy()
    measured[leading] = True
    box = _box_around(np.concatenate([stats[measured], other_stats[other_small]]))
    steepest = _steepest_slope(transmitted)[box]
    lost, width = _measure_edges(labels[box], measured, transmitted[box], steepest)
    usual = max(float(width[leading]), _MIN_EDGE_WIDTH * max(body.shape))
    is_drop = small & (lost > _MIN_LOST_LIGHT) & (width > _MAX_EDGE_WIDTH * usual)
    drops[box] = is_drop[labels[box]]
    if other_small.any():
        lost, width = _measure_edges(other_labels[box], other_small, transmitted[box], steepest)
        is_drop = other_small & (lost > _MIN_LOST_LIGHT) & (width > _MAX_EDGE_WIDTH * usual)
        drops[box] |= is_drop[other_labels[box]]
    return drops


def _box_around(stats: npt.NDArray[np.int32]) -> tuple[slice, slice]:
    """Return the rows and columns of a box around parts with statistics, (parts, 5)."""
    start = stats[:, [cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT]]
    end = start + stats[:, [cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH]]
    (top, left), (bottom, right) = (start.min(axis=0) - 1).clip(0).tolist(), end.max(axis=0) + 1
    return slice(top, int(bottom)), slice(left, int(right))


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
    labels: Labels, measured: npt.NDArray[np.bool_], transmitted: Floats, steepest: Floats
) -> tuple[Numbers, Numbers]:
    """Return, by label, the light that labelled parts, (H, W), take away, and their edge's width.

    The light is the sum of the squared shares divided by the sum of the shares. The width is the
    light divided by the slope of the light at the sharpest tenth of the outline, in pixels. Only
    the measured labels have values.
    """
    count, mask = len(measured), measured[labels]
    edge = mask & ~erode_mask(labels > 0, 1)
    slope = label_quantiles(labels[edge], steepest[edge], _SHARPEST, count)
    label, lost = labels[mask].astype(np.intp), np.maximum(1 - transmitted[mask], 0)
    total, squares = (np.bincount(label, light, count) for light in (lost, lost * lost))
    light = np.asarray(squares / np.maximum(total, 1e-6))
    return light, np.asarray(light / np.maximum(slope, 1e-6))
