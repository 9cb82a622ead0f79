"""Separates the body mask of a well into single bodies, also where two bodies touch each other."""

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.masks import box_around, fill_holes, label_parts, resize_mask

_SIDE_PX = 512  # of the mask on which bodies are separated
_MIN_AREA = 1.2  # of touching bodies, relative to the widest disc inside; one body has less
_LEVELS = (0.35, 0.45, 0.55, 0.65)  # depths at which a neck can break, relative to the deepest
_MIN_DEPTH = 0.5  # depth of a body relative to the deepest; a lobe has less
_NECK_TO_BODY = 0.65  # half width of a neck relative to the half width of the smaller body

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]


def separate_bodies(body: Mask) -> Labels:
    """Return a map, (H, W), with the number of the body of each pixel, from 1; 0 is no body.

    Connected parts of the mask are bodies. A part is two or more bodies if it has a neck that is
    narrower than 0.65 of the smaller body, whose width is at least half of the larger one's.
    """
    scale = min(1.0, _SIDE_PX / max(body.shape))
    size = tuple(max(round(length * scale), 1) for length in body.shape)
    small = resize_mask(body, size)
    solid = fill_holes(small)  # a hole is no neck
    box = box_around(small, 0)
    depth = np.zeros(small.shape, np.float32)
    depth[box] = cv2.distanceTransform(
        np.pad(solid[box], 1).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5
    )[1:-1, 1:-1]
    parts, stats = label_parts(small)
    numbers = np.zeros(small.shape, np.int32)
    used = 0
    for part in range(1, len(stats)):
        x, y, width, height, area = stats[part].tolist()
        window = slice(y, y + height), slice(x, x + width)
        inside = parts[window] == part
        own = np.where(inside, depth[window], 0)
        deepest = float(own.max())
        bodies = inside.astype(np.int32)
        if area > _MIN_AREA * np.pi * deepest**2:
            bodies = _divide_at_necks(own, deepest)
        numbers[window][inside] = bodies[inside] + used
        used += int(bodies.max())
    if scale == 1:
        return numbers
    return _enlarge(numbers, body)


def _divide_at_necks(depth: npt.NDArray[np.float32], deepest: float) -> Labels:
    """Return the body of each pixel of one part from its depth, (h, w); 0 outside the part."""
    best, bodies = 1, (depth > 0).astype(np.int32)
    for level in _LEVELS:
        above = (depth > level * deepest).view(np.uint8)
        count, found = cv2.connectedComponents(above, connectivity=8)
        if count - 1 <= best:
            continue
        seeds = np.asarray(found, np.int32)
        wide = np.zeros(count, dtype=bool)
        wide[seeds[depth >= np.float64(max(_MIN_DEPTH, level / _NECK_TO_BODY) * deepest)]] = True
        if np.count_nonzero(wide) > best:
            best = int(np.count_nonzero(wide))
            renumbered = np.where(wide, np.cumsum(wide), 0)[seeds]
            bodies[depth > 0] = _nearest(renumbered, depth > 0)
    return bodies


def _nearest(seeds: npt.NDArray[np.integer], pixels: Mask) -> Labels:
    """Return the number of the nearest seed, (n,), of the n pixels of a mask, (h, w)."""
    _, nearest = cv2.distanceTransformWithLabels(
        (seeds == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    number = np.zeros(int(nearest.max()) + 1, np.int32)
    number[nearest[seeds > 0]] = seeds[seeds > 0]
    return np.asarray(number.take(nearest[pixels]))


def _enlarge(numbers: Labels, body: Mask) -> Labels:
    """Return reduced numbers at the size of the body mask, (H, W)."""
    if numbers.max() == 1:
        return body.astype(np.int32)
    height, width = body.shape
    large = cv2.resize(
        numbers.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    ).astype(np.int32)
    missing = body & (large == 0)
    if missing.any() and large.any():
        large[missing] = _nearest(large, missing)
    return np.where(body, large, 0)
