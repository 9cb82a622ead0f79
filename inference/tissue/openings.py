"""Finds the places where light is seen between pieces of tissue, and the holes in a body."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from inference.tissue.masks import (
    close_mask,
    dilate_mask,
    erode_mask,
    fill_holes,
    label_openings,
    open_mask,
    select_parts,
)

_WIDE_GAP_LIGHT = 0.93  # transmitted share in a wide gap between pieces
_GAP_HALF_WIDTH = 0.0075  # of a wide gap relative to the field; a bright grain is narrower
_NARROW_GAP_LIGHT = 0.6  # of the way from the outline to the background
_NARROW_GAP_PX = 3  # side of the square in which a narrow gap has this light
_NARROW_GAP_SHARE = 0.15  # of a gap that has this light; of bright grains in tissue less has it
_MAX_GAP_LIMIT = 0.9  # transmitted share at the outline of tissue beside a gap
_MIN_WIDTH_PX = 3.0  # half width of a gap or hole; in fewer pixels no texture is seen
_MIN_HOLE_SHARE = 0.008  # half width of a hole relative to the field
_MAX_HOLE_AREA = 0.35  # of the body; the bright middle of a hollow body is larger
_MAX_TISSUE_BESIDE_HOLE = 0.8  # transmitted share; beside paler tissue a hole is not certain
_MAX_HOLE_SPREAD = 0.06  # standard deviation of the transmitted share in a hole

_LEAK_PX = 1.5
"""Radius of the widest leak in the dark rim of a hollow body, in reduced pixels."""

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def without_wide_gaps(inside: Bools, transmitted: Floats, side_px: int) -> Bools:
    """Return a mask, (h, w), without places where the background is seen between pieces.

    They are bright, wide relative to the side of the field, and without the texture of tissue.
    """
    bright = open_mask(transmitted > _WIDE_GAP_LIGHT, max(_GAP_HALF_WIDTH * side_px, _MIN_WIDTH_PX))
    if not (bright & inside).any():
        return inside
    count, found = cv2.connectedComponents(bright.view(np.uint8), connectivity=4)
    labels = np.asarray(found, np.int32)
    reaches_inside = np.zeros(count, dtype=bool)
    reaches_inside[labels[inside]] = True
    smooth = np.zeros(count, dtype=bool)
    windows = find_objects(labels)
    for label in (np.flatnonzero(reaches_inside[1:]) + 1).tolist():
        window = windows[label - 1]
        part = (labels[window] == label).view(np.uint8)
        _, spread = cv2.meanStdDev(transmitted[window], mask=part)
        smooth[label] = spread[0, 0] < _MAX_HOLE_SPREAD
    return inside & ~select_parts(labels, smooth)


def find_narrow_gaps(transmitted: Floats, limit: Floats) -> Bools:
    """Return the places, (h, w), where light is seen between the pieces of tissue that burst.

    They are brighter than the outline, beside dark tissue, and nearly as bright as the background
    on a part of their area.

    Parameters
    ----------
    transmitted
        Share of the light that passes, (h, w).
    limit
        Transmitted share at the outline, (h, w).
    """
    brighter = (transmitted > limit) & (limit < _MAX_GAP_LIMIT)
    labels, area = label_openings(brighter)
    mean = cv2.blur(transmitted, (_NARROW_GAP_PX, _NARROW_GAP_PX))
    open_part = brighter & (mean > limit + _NARROW_GAP_LIGHT * (1 - limit))
    share = np.bincount(labels[open_part], minlength=len(area)) / np.maximum(area, 1)
    return select_parts(labels, share > _NARROW_GAP_SHARE)


def find_open_gaps(transmitted: Floats, limit: Floats, scale: float) -> Bools:
    """Return the narrow gaps, (h, w), between fragments of tissue, without pale middles of bodies.

    The pale middle of a hollow body is enclosed by a rim, which may have leaks. A gap is open to
    the background.

    Parameters
    ----------
    transmitted
        Share of the light that passes, (h, w).
    limit
        Transmitted share at the outline, (h, w).
    scale
        Pixels of these maps per reduced pixel.
    """
    rims = close_mask(transmitted < limit, _LEAK_PX * scale)
    lumens = fill_holes(rims) & ~rims
    return find_narrow_gaps(transmitted, limit) & ~dilate_mask(lumens, _LEAK_PX * scale + 1)


def find_holes(body: Bools, transmitted: Floats, limit: Floats, side_px: int) -> Bools:
    """Return the holes of a body, (h, w), through which the background is seen.

    A hole is wide, has the light of the background without texture, and is surrounded by clearly
    darker tissue.

    Parameters
    ----------
    body
        Mask without holes, (h, w).
    transmitted
        Share of the light that passes, (h, w).
    limit
        Transmitted share half-way between outside and inside of the outline, (h, w).
    side_px
        Longer side of the field.
    """
    found = np.zeros_like(body)
    half_width = max(_MIN_HOLE_SHARE * side_px, _MIN_WIDTH_PX)
    bright = open_mask((transmitted > limit) & erode_mask(body, 2 * half_width), half_width)
    if not bright.any():
        return found
    labels, areas = label_openings(bright)
    largest = _MAX_HOLE_AREA * np.count_nonzero(body)
    margin = int(np.ceil(3 * half_width)) + 1
    for label, (rows, columns) in enumerate(find_objects(labels), start=1):
        if areas[label] >= largest:
            continue
        window = (
            slice(max(rows.start - margin, 0), rows.stop + margin),
            slice(max(columns.start - margin, 0), columns.stop + margin),
        )
        hole = labels[window] == label
        light = transmitted[window][erode_mask(hole, half_width / 2)]
        if (
            light.size
            and float(np.median(light)) > 1 - _MAX_HOLE_SPREAD
            and float(light.std()) < _MAX_HOLE_SPREAD
        ):
            beside = dilate_mask(hole, 2 * half_width) & ~dilate_mask(hole, half_width / 2)
            if float(np.median(transmitted[window][beside])) < _MAX_TISSUE_BESIDE_HOLE:
                found[window] |= hole
    return found
