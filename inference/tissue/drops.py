"""Finds objects that are out of focus beside tissue in focus: drops on the lid and shadows."""

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.coarse_plane import SIDE_PX
from inference.tissue.masks import box_around, erode_mask, label_areas, select_parts
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


def find_drops(
    body: Bools, other_labels: Labels, other_area: npt.NDArray[np.int32], transmitted: Floats
) -> Bools:
    """Return the pieces of the body and the parts of the debris that are out of focus, (H, W).

    The edge of such a part is wider than the edge of the largest piece of the body.

    Parameters
    ----------
    body
        Mask, (H, W).
    other_labels, other_area
        Labels of the parts of the debris, (H, W), and their areas by label; a part with an area of
        0 does not count.
    transmitted
        Share of the light that passes, (H, W).
    """
    drops = np.zeros_like(body)
    if not body.any():
        return drops
    labels, area = label_areas(body)
    leading = int(np.argmax(area))
    least, most = _MIN_AREA * body.size, _MAX_AREA * area[leading]
    small, other_small = ((each > least) & (each < most) for each in (area, other_area))
    if not (small.any() or other_small.any()):
        return drops
    measured = small.copy()
    measured[leading] = True
    compared = select_parts(labels, measured) | select_parts(other_labels, other_small)
    box = box_around(compared, 1)
    steepest = _steepest_slope(transmitted, box)
    lost, width = _measure_edges(labels[box], measured, transmitted[box], steepest)
    usual = max(float(width[leading]), _MIN_EDGE_WIDTH * max(body.shape))
    is_drop = small & (lost > _MIN_LOST_LIGHT) & (width > _MAX_EDGE_WIDTH * usual)
    drops[box] = select_parts(labels[box], is_drop)
    if other_small.any():
        lost, width = _measure_edges(other_labels[box], other_small, transmitted[box], steepest)
        is_drop = other_small & (lost > _MIN_LOST_LIGHT) & (width > _MAX_EDGE_WIDTH * usual)
        drops[box] |= select_parts(other_labels[box], is_drop)
    return drops


def _steepest_slope(transmitted: Floats, box: tuple[slice, slice]) -> Floats:
    """Return the largest slope per pixel of the light, (H, W), near each pixel of a box, (h, w)."""
    sigma_px = max(_SMOOTHING_PX * max(transmitted.shape) / SIDE_PX, 0.3)
    smooth = cv2.GaussianBlur(transmitted, (0, 0), sigma_px)
    rows, columns = box
    margin = _EDGE_REACH_PX // 2 + 1  # of the filters below
    top, left = max(rows.start - margin, 0), max(columns.start - margin, 0)
    near = smooth[top : rows.stop + margin, left : columns.stop + margin]
    slope = cv2.magnitude(
        cv2.Sobel(near, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(near, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    steepest = cv2.dilate(slope, np.ones((_EDGE_REACH_PX, _EDGE_REACH_PX), np.uint8))
    return np.asarray(
        steepest[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left],
        np.float32,
    )


def _measure_edges(
    labels: Labels, measured: npt.NDArray[np.bool_], transmitted: Floats, steepest: Floats
) -> tuple[Numbers, Numbers]:
    """Return, by label, the light that labelled parts, (H, W), take away, and their edge's width.

    The light is the sum of the squared shares divided by the sum of the shares. The width is the
    light divided by the slope of the light at the sharpest tenth of the outline, in pixels. Only
    the measured labels have values.
    """
    count, mask = len(measured), select_parts(labels, measured)
    edge = mask & ~erode_mask(labels > 0, 1)
    slope = label_quantiles(labels[edge], steepest[edge], _SHARPEST, count)
    label, lost = labels[mask], np.maximum(1 - transmitted[mask], 0)
    total, squares = (np.bincount(label, light, count) for light in (lost, lost * lost))
    light = np.asarray(squares / np.maximum(total, 1e-6))
    return light, np.asarray(light / np.maximum(slope, 1e-6))
