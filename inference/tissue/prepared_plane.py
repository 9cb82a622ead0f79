"""Prepares a plane for the search of tissue: smaller, without padding and burned-in marks.

Text and scale bars that a program has drawn into an image, and bars that fill it up to a format,
are no light of the microscope. Marks are replaced by the light around them, bars are left out.
"""

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.masks import (
    box_around,
    covered_share,
    dilate_mask,
    label_areas,
    label_parts,
    resize_mask,
    select_parts,
)
from inference.tissue.quantiles import quantiles

WORKING_SIDE_PX: Final = 512
"""Longer side of the largest plane that is outlined; larger planes are reduced.

An outline has the same detail at every larger number of pixels, and takes the same time.
"""

HALF_COVERED: Final = 127
"""Largest cover of a pixel outside a mask; full cover is 255."""

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
_MAX_MARKED = 0.2  # of the image; more are no marks
_MIN_MARK_PX = 5
_MAX_STROKE_SHARE = 0.015  # half width of a stroke relative to the field
_MIN_RECTANGLE_FILL = 0.97  # of its bounding box, for marks that are thicker than a stroke
_BLACK_BAR = 0.1  # largest light in a bar relative to the light of the field
_BAR_EDGE_PX = 2  # beside a bar, where its value and light are mixed
_BESIDE = 8  # rows or columns beside a bar, to which it is compared
_FLAT_BAR = 0.02  # largest range of values in a bar relative to the light of the field

Plane = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PreparedPlane:
    """A plane of at most 512 pixels per side, without bars and with light in place of marks."""

    plane: Plane  # (h, w)
    marks: Bools  # (h, w): replaced by light, neither tissue nor debris
    window: tuple[slice, slice]  # rows and columns of the plane in the reduced image
    reduced_shape: tuple[int, int]  # of the reduced image with its bars

    @property
    def white(self) -> int:
        """Value that is 0 in the negative."""
        return int(self.plane.max())

    def negative(self) -> "PreparedPlane":
        """Return the plane with bright and dark exchanged."""
        return replace(self, plane=np.asarray(self.white - self.plane, np.uint16))

    def restore_mask(self, cover: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> Bools:
        """Return the mask of the whole image, (H, W), from the cover of the plane's pixels, (h, w).

        A pixel whose cover is above 127 is in the mask. Between pixels the cover is interpolated.
        """
        whole = cover
        if cover.shape != self.reduced_shape:
            whole = np.zeros(self.reduced_shape, np.uint8)
            whole[self.window] = cover
        if whole.shape == shape:
            return np.asarray(whole > HALF_COVERED)
        if not cover.any():
            return np.zeros(shape, dtype=bool)
        large = cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_LINEAR)
        return np.greater(large, HALF_COVERED, out=large.view(np.bool_))

    def restore_light(self, light: Floats) -> Floats:
        """Return a map of the plane's light, (h', w'), with the nearest light in place of bars."""
        height, width = self.plane.shape
        rows, columns = self.window
        down, across = light.shape[0] / height, light.shape[1] / width
        margins = (
            round(rows.start * down),
            round((self.reduced_shape[0] - rows.stop) * down),
            round(columns.start * across),
            round((self.reduced_shape[1] - columns.stop) * across),
        )
        return np.asarray(cv2.copyMakeBorder(light, *margins, cv2.BORDER_REPLICATE), np.float32)


def prepare_plane(plane: Plane) -> PreparedPlane:
    """Return the PreparedPlane of a plane, (H, W) uint16."""
    scale = min(1.0, WORKING_SIDE_PX / max(plane.shape))
    height, width = (max(round(length * scale), 1) for length in plane.shape)
    working = plane
    if scale < 1:
        working = np.asarray(
            cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.uint16
        )
    marks = _burned_in_marks(plane)
    if not marks.any():
        window = _without_bars(working)
        working = working[window]
        return PreparedPlane(working, np.zeros(working.shape, dtype=bool), window, (height, width))
    marks = _reduce_mask(marks, (height, width))
    window = _without_bars(np.where(marks, np.uint16(0), working))
    working, marks = working[window], marks[window]
    if 0 < covered_share(marks) < _MAX_MARKED:
        working = _replace_by_surroundings(working, marks)
    else:
        marks = np.zeros(working.shape, dtype=bool)
    return PreparedPlane(working, marks, window, (height, width))


def _burned_in_marks(plane: Plane) -> Bools:
    """Return the mask, (H, W), of text and scale bars that are drawn into a plane.

    A mark has the smallest or largest value of the plane, differs much from its surroundings, has
    sharp steps, and is a thin stroke or a rectangle.
    """
    marks = np.zeros(plane.shape, dtype=bool)
    low, high = (int(value) for value in cv2.minMaxLoc(plane)[:2])
    span = high - low
    if not span:
        return marks
    tolerance = span * _MARK_TOLERANCE
    smallest = _smallest_mark_px(plane)
    for value, extreme in (
        (low, plane <= np.uint16(low + tolerance)),
        (high, plane >= np.uint16(np.ceil(high - tolerance))),
    ):
        if np.count_nonzero(extreme) < smallest:
            continue
        box = box_around(extreme, 0)
        labels, area = label_areas(extreme[box])
        if area.max() >= smallest:
            large = np.zeros_like(extreme)
            large[box] = select_parts(labels, area >= smallest)
            different = large & _stands_out(plane, value, large)
            marks |= _drawn_parts(plane, different, float(value), float(span))
    return marks


def _smallest_mark_px(plane: Plane) -> float:
    """Return the smallest area of a mark in a plane, in pixels."""
    return float(max(_MIN_MARK_SHARE * max(plane.shape) ** 2, _MIN_MARK_PX))


def _stands_out(plane: Plane, value: int, extreme: Bools) -> Bools:
    """Return the pixels around which the light of a plane is far from a value, (H, W).

    The result holds for the pixels of a mask of extreme pixels, (H, W); others can be missing.
    """
    low, high = (int(value) for value in cv2.minMaxLoc(plane)[:2])
    scale = min(1.0, _COARSE_SIDE_PX / max(plane.shape))
    height, width = (max(round(length * scale), 1) for length in plane.shape)
    coarse = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    grey = np.round((coarse - np.float32(low)) * np.float32(255 / (high - low))).astype(np.uint8)
    side = max(min(_SURROUNDINGS_PX, (min(grey.shape) - 1) // 2 * 2 + 1), 1)
    # The filter is slow, so it is applied only around the extreme pixels.
    x, y, across, down = (length * scale for length in cv2.boundingRect(extreme.view(np.uint8)))
    rows = slice(max(int(y) - 2, 0), int(y + down) + 3)
    columns = slice(max(int(x) - 2, 0), int(x + across) + 3)
    far = np.zeros(grey.shape, dtype=bool)
    reach = side // 2
    extended = cv2.copyMakeBorder(grey, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    window = extended[rows.start : rows.stop + 2 * reach, columns.start : columns.stop + 2 * reach]
    around = cv2.medianBlur(window, side)
    around = around[reach : around.shape[0] - reach, reach : around.shape[1] - reach]
    difference = np.abs(around.astype(np.float32) / 255 - (value - low) / (high - low))
    far[rows, columns] = difference > _MIN_MARK_CONTRAST
    return resize_mask(far, plane.shape)


def _drawn_parts(plane: Plane, extreme: Bools, value: float, span: float) -> Bools:
    """Return the connected parts of a mask of extreme pixels, (H, W), that a program has drawn."""
    drawn = np.zeros(plane.shape, dtype=bool)
    labels, stats = label_parts(extreme)
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

    The values of a bar are nearly 0, or all equal and unlike the light beside it. If every row or
    column is one, nothing is left out.
    """
    [level] = quantiles(plane[::4, ::4], 0.8)
    kept = []
    for sample in (plane[:, ::4], plane[::4].T):
        low, _, high = _line_levels(sample[[0, -1]])
        if ((high > _BLACK_BAR * level) & (high - low > _FLAT_BAR * level)).all():
            kept.append((0, len(sample)))
            continue
        low, middle, high = _line_levels(sample)
        varied = np.flatnonzero((high > _BLACK_BAR * level) & (high - low > _FLAT_BAR * level))
        start, stop = (int(varied[0]), int(varied[-1]) + 1) if len(varied) else (0, len(high))
        # Rows of one value are no bar if they are as bright as the rows beside them.
        before, after = middle[start:][:_BESIDE].mean(), middle[:stop][-_BESIDE:].mean()
        if np.abs(middle[:start] - before).max(initial=0) < _BLACK_BAR * level:
            start = 0
        if np.abs(middle[stop:] - after).max(initial=0) < _BLACK_BAR * level:
            stop = len(high)
        if stop - start > 4 * _BAR_EDGE_PX:
            start += _BAR_EDGE_PX if start else 0
            stop -= _BAR_EDGE_PX if stop < len(high) else 0
        kept.append((start, stop))
    (top, bottom), (left, right) = kept
    return slice(top, bottom), slice(left, right)


def _line_levels(lines: Plane) -> npt.NDArray[np.float64]:
    """Return nearly the smallest, the median and nearly the largest value of lines, (3, lines)."""
    places = np.round(np.array((0.02, 0.5, 0.98)) * (lines.shape[1] - 1)).astype(int)
    ordered = np.partition(lines, places, axis=1)
    return np.asarray(ordered.take(places, axis=1).T, np.float64)
