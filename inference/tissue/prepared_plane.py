"""Prepares a plane for the search of tissue: smaller, without padding and burned-in marks.

Text and scale bars that a program has drawn into an image, and bars that fill it up to a format,
are no light of the microscope. They are replaced by the light around them.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.masks import dilate_mask, resize_mask

WORKING_SIDE_PX: Final = 512
"""Longer side of the largest plane that is outlined; larger planes are reduced.

An outline has the same detail at every larger number of pixels, and takes the same time.
"""

_COARSE_SIDE_PX = 256  # of the map in which marks are compared with their surroundings
_SURROUNDINGS_PX = 41  # of that map: strokes thinner than a twelfth of the field stand out
_MIN_MARK_CONTRAST = 0.25  # of the range of the plane
_MARK_TOLERANCE = 1 / 256  # of the range of the plane: a mark has its largest or smallest value
_MIN_STEP_SHARE = 0.7
"""Smallest share of the pixels beside a mark that have the light of the surroundings.

A mark is drawn with sharp steps. The optics of a microscope spreads the edge of tissue.
"""
_STEP_PX = 2  # pixels of the original plane from a mark to its surroundings
_MIN_MARK_SHARE = 2e-5  # of the field; smaller are single bright or dark pixels
_MIN_MARK_PX = 5
_MAX_STROKE_SHARE = 0.015  # half width of a stroke relative to the field
_MIN_RECTANGLE_FILL = 0.97  # of its bounding box, for marks that are thicker than a stroke
_BLACK_BAR = 0.1  # largest light in a bar relative to the light of the field
_FLAT_BAR = 1e-3  # largest range of values in a bar relative to the light of the field

Plane = npt.NDArray[np.uint16]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PreparedPlane:
    """A plane of at most 1024 pixels per side, with light in place of marks and padding."""

    plane: Plane  # (h, w)
    replaced: Bools  # (h, w): marks and padding, which are neither tissue nor debris

    @property
    def white(self) -> int:
        """Value that is 0 in the negative."""
        return int(self.plane.max())

    def negative(self) -> "PreparedPlane":
        """Return the plane with bright and dark exchanged."""
        return PreparedPlane(np.asarray(self.white - self.plane, np.uint16), self.replaced)


def prepare_plane(plane: Plane) -> PreparedPlane:
    """Return the PreparedPlane of a plane, (H, W) uint16."""
    scale = min(1.0, WORKING_SIDE_PX / max(plane.shape))
    size = tuple(max(round(length * scale), 1) for length in plane.shape)
    working = (
        np.asarray(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA), np.uint16)
        if scale < 1
        else plane
    )
    marks = _burned_in_marks(plane)
    if marks.any():
        marks = _reduce_mask(marks, size)
        working = _replace_by_surroundings(working, marks)
    kept = _without_bars(working)
    padding = np.ones(working.shape, dtype=bool)
    padding[kept] = False
    if padding.any():
        rows, columns = kept
        working = np.asarray(
            cv2.copyMakeBorder(
                working[kept],
                rows.start,
                working.shape[0] - rows.stop,
                columns.start,
                working.shape[1] - columns.stop,
                cv2.BORDER_REPLICATE,
            ),
            np.uint16,
        )
    return PreparedPlane(working, marks | padding if marks.shape == size else padding)


def _burned_in_marks(plane: Plane) -> Bools:
    """Return the mask, (H, W), of text and scale bars that are drawn into a plane.

    A mark has the smallest or largest value of the plane, differs much from its surroundings, has
    sharp steps, and is a thin stroke or a rectangle.
    """
    marks = np.zeros(plane.shape, dtype=bool)
    low, high = int(plane.min()), int(plane.max())
    span = high - low
    if not span:
        return marks
    tolerance = span * _MARK_TOLERANCE
    smallest = _smallest_mark_px(plane)
    for value, extreme in ((low, plane <= low + tolerance), (high, plane >= high - tolerance)):
        if np.count_nonzero(extreme) >= smallest:
            different = extreme & _stands_out(plane, value)
            marks |= _drawn_parts(plane, different, float(value), float(span))
    return marks


def _smallest_mark_px(plane: Plane) -> float:
    """Return the smallest area of a mark in a plane, in pixels."""
    return float(max(_MIN_MARK_SHARE * max(plane.shape) ** 2, _MIN_MARK_PX))


def _stands_out(plane: Plane, value: int) -> Bools:
    """Return the pixels of a plane, (H, W), around which the light is far from a value."""
    low, high = int(plane.min()), int(plane.max())
    scale = min(1.0, _COARSE_SIDE_PX / max(plane.shape))
    coarse = cv2.resize(plane, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = np.round((coarse - np.float32(low)) * np.float32(255 / (high - low))).astype(np.uint8)
    side = max(min(_SURROUNDINGS_PX, min(grey.shape) // 2 * 2 - 1), 1)
    around = cv2.medianBlur(grey, side).astype(np.float32) / 255
    far = np.abs(around - (value - low) / (high - low)) > _MIN_MARK_CONTRAST
    return resize_mask(far, plane.shape)


def _drawn_parts(plane: Plane, extreme: Bools, value: float, span: float) -> Bools:
    """Return the connected parts of a mask of extreme pixels, (H, W), that a program has drawn."""
    drawn = np.zeros(plane.shape, dtype=bool)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(extreme.view(np.uint8), connectivity=8)
    side = max(plane.shape)
    large = stats[:, cv2.CC_STAT_AREA] >= _smallest_mark_px(plane)
    for label in (np.flatnonzero(large[1:]) + 1).tolist():
        x, y, width, height, area = stats[label].tolist()
        margin = _STEP_PX + 1
        window = (
            slice(max(y - margin, 0), y + height + margin),
            slice(max(x - margin, 0), x + width + margin),
        )
        part = labels[window] == label
        beside = dilate_mask(part, _STEP_PX) & ~dilate_mask(part, 1)
        steps = np.abs(plane[window][beside] - np.float32(value)) > _MIN_MARK_CONTRAST / 2 * span
        half_width = float(cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, 3).max())
        is_stroke = half_width < _MAX_STROKE_SHARE * side
        is_rectangle = area > _MIN_RECTANGLE_FILL * width * height
        if steps.size and steps.mean() > _MIN_STEP_SHARE and (is_stroke or is_rectangle):
            drawn[window] |= part
    return drawn


def _reduce_mask(mask: Bools, size: tuple[int, ...]) -> Bools:
    """Return a mask of another size, (h, w), that covers all its pixels and their neighbours."""
    if mask.shape == size:
        return dilate_mask(mask, _STEP_PX)
    covered = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0
    return dilate_mask(np.asarray(covered), 1)


def _replace_by_surroundings(plane: Plane, marks: Bools) -> Plane:
    """Return a plane, (h, w), with the mean light around each mark in place of the mark."""
    light = plane.astype(np.float32)
    sigma_px = max(plane.shape) / 100
    known = (~marks).astype(np.float32)
    weight = cv2.GaussianBlur(known, (0, 0), sigma_px)
    mean = cv2.GaussianBlur(light * known, (0, 0), sigma_px) / np.maximum(weight, 1e-6)
    return np.where(marks, np.round(mean), plane).astype(np.uint16)


def _without_bars(plane: Plane) -> tuple[slice, slice]:
    """Return the rows and columns of a plane, (h, w), without the bars at its borders.

    The values of a bar are nearly 0, or all equal. If every row or column is one, nothing is left
    out.
    """
    level = float(np.quantile(plane[::4, ::4], 0.8))
    kept = []
    for axis, sample in ((1, plane[:, ::4]), (0, plane[::4])):
        low, high = np.quantile(sample, (0.02, 0.98), axis=axis)
        lit = np.flatnonzero((high > _BLACK_BAR * level) & (high - low > _FLAT_BAR * level))
        kept.append(slice(int(lit[0]), int(lit[-1]) + 1) if len(lit) else slice(None))
    rows, columns = kept
    height, width = plane.shape
    return slice(*rows.indices(height)[:2]), slice(*columns.indices(width)[:2])
