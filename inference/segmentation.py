"""Finds the tissue of a well without training data: coarse on a reduced image, by darkness and texture, then its outline at full resolution.

Everything is relative to the image's own light and noise. Lengths are shares of the field, so that scale and pixels do not matter.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.background import blocks, carry_across, smooth_surface
from schemas.tissue import Segmentation, Unsure

SIDE_PX: Final = 384  # of the reduced image; 3.6 µm a pixel of a usual field, finer than single cells
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Seen:
    """The reduced image, each map (h, w)."""

    log_light: Floats
    texture: Floats
    field: Bools  # inside the well
    surface: Floats  # logarithm of the light without tissue
    darkness: Floats  # optical density against the surface
    dark_limit: float
    texture_limit: float


class ClassicalSegmenter:
    """Darkness and texture against a fitted background; no training data."""

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:  # noqa: ARG002 - every length is a share of the field
        """Return the tissue of a plane, (H, W), white = 65535."""
        log_light = np.log(_fill_padding(_resize(plane, SIDE_PX)) + np.float32(1))
        seen = _look(log_light)
        return _outline(plane, seen)


def _look(log_light: Floats) -> _Seen:
    texture = _texture(log_light)
    field = np.ones(log_light.shape, dtype=bool)
    surface = smooth_surface(log_light, texture, field)
    for _ in range(2):
        seen = _judge(log_light, texture, field, surface)
        found = seen.darkness > seen.dark_limit
        found |= texture > seen.texture_limit
        field = field & ~_rim(found)
        surface = smooth_surface(log_light, texture, field)
        seen = _judge(log_light, texture, field, surface)
        found = _grown(_solid((seen.darkness > seen.dark_limit) | (texture > seen.texture_limit)), 8)
        surface = carry_across(log_light, surface, field & ~found, SIDE_PX / 12)
    return _judge(log_light, texture, field, surface)


def _judge(log_light: Floats, texture: Floats, field: Bools, surface: Floats) -> _Seen:
    darkness = cv2.GaussianBlur(surface - log_light, (0, 0), 1.0)
    sample = darkness[::4, ::4][field[::4, ::4]]
    low, high = np.quantile(sample, (0.1, 0.4))  # tissue may cover half of the field, and is dark
    noise = float(high - low) / 1.03  # of a normal distribution
    floor = float(np.quantile(texture[::4, ::4][field[::4, ::4]], 0.3))
    return _Seen(log_light, texture, field, surface, darkness, max(5 * noise, 0.06), float(np.clip(4 * floor, 0.02, 0.1)))


def _outline(plane: npt.NDArray[np.uint16], seen: _Seen) -> Segmentation:
    """Say what is body and what debris, at full resolution."""
    background = np.exp(seen.surface)
    scale = max(plane.shape) / SIDE_PX
    found = ((seen.darkness > seen.dark_limit) | (seen.texture > seen.texture_limit)) & seen.field
    coarse = _choose(_solid(found), seen)
    through = cv2.GaussianBlur(plane, (0, 0), max(0.3 * scale, 0.6)) / _spread_out(background, plane.shape)
    dark = (through < np.exp(-seen.dark_limit)) & _enlarged(seen.field, plane.shape)
    if not coarse.any():
        return Segmentation(np.zeros(plane.shape, dtype=bool), dark, background, _doubts(coarse, seen))
    near = _enlarged(_grown(coarse, 6), plane.shape)
    covered = _filled(_closed((through < _spread_out(_half_way(seen, coarse), plane.shape)) & near, scale))
    whole = cv2.morphologyEx((covered | (dark & ~near)).astype(np.uint8), cv2.MORPH_OPEN, _disc(scale))
    count, labels = cv2.connectedComponents(whole, connectivity=8)
    belongs = np.zeros(count, dtype=bool)
    belongs[np.unique(labels[_enlarged(_shrunk(coarse, 3), plane.shape)])] = True
    belongs[0] = False
    body = belongs[labels]
    return Segmentation(body, dark & ~_grown(body, scale), background, _doubts(coarse, seen))


def _half_way(seen: _Seen, coarse: Bools) -> Floats:
    """Return (h, w): the share of the light half-way between what passes beside the tissue and what passes through its edge."""
    through = np.exp(-seen.darkness)
    inside = np.where(coarse, np.maximum(seen.darkness - seen.dark_limit / 2, 0), 0).astype(np.float32)
    outside = (~_grown(coarse, 1)).astype(np.float32)
    within = cv2.GaussianBlur(through * inside, (0, 0), 4) / (cv2.GaussianBlur(inside, (0, 0), 4) + np.float32(1e-6))
    beside = (cv2.GaussianBlur(through * outside, (0, 0), 4) + np.float32(1e-3)) / (cv2.GaussianBlur(outside, (0, 0), 4) + np.float32(1e-3))
    return np.asarray(np.minimum((within + beside) / 2, np.exp(-seen.dark_limit / 2)), np.float32)


def _doubts(coarse: Bools, seen: _Seen) -> tuple[Unsure, ...]:
    edge = np.concatenate([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]])
    doubts = []
    if edge.mean() > 0.01:
        doubts.append(Unsure.CUT)
    if seen.surface.max() - seen.surface.min() > 1.0:
        doubts.append(Unsure.UNEVEN)
    return tuple(doubts)


def _choose(solid: Bools, seen: _Seen) -> Bools:
    """Return the regions that are tissue: strong and wide enough, one of them or several together."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid.astype(np.uint8), connectivity=8)
    strength, area = np.zeros(count), stats[:, cv2.CC_STAT_AREA] / solid.size
    strongest = np.maximum(np.abs(seen.darkness), seen.texture)
    border = np.zeros(solid.shape, dtype=bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    for label in range(1, count):
        region = labels == label
        contact = int(np.count_nonzero(region & border))
        if contact**2 < 8 * stats[label, cv2.CC_STAT_AREA]:
            strength[label] = float(strongest[region].mean())
    signal = strength * np.sqrt(area)
    leading = int(np.argmax(signal))
    chosen = (signal > 0.006) & (strength > 0.35 * strength[leading]) & (area > 0.02 * area[leading])
    return np.asarray(chosen[labels])


def _rim(found: Bools) -> Bools:
    """Return the wall of the well and all beyond it: what encloses a large part of the field."""
    free = ~_closed(found, 2)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    boxes = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]], stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]] + stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    enclosed = (boxes[0] > 0).all(axis=1) & (boxes[1] < free.shape[::-1]).all(axis=1)
    enclosed &= stats[:, cv2.CC_STAT_AREA] > 0.2 * free.size
    enclosed[0] = False
    if not enclosed.any():
        return np.zeros(found.shape, dtype=bool)
    well = _filled(labels == int(np.flatnonzero(enclosed)[0]))
    return ~_shrunk(well, 5)


def _texture(log_light: Floats) -> Floats:
    detail = cv2.GaussianBlur(log_light, (0, 0), 0.8) - cv2.GaussianBlur(log_light, (0, 0), 3.0)
    return np.asarray(np.sqrt(cv2.blur(detail * detail, (5, 5))), np.float32)


def _solid(mask: Bools) -> Bools:
    """Close gaps between cells, fill holes, drop what is thinner than 1/32 of the field."""
    margin = 24  # beyond the border the mask goes on, so that what is cut there is not taken for thin
    extended = cv2.copyMakeBorder(mask.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    filled = _filled(_closed(extended.astype(bool), 4))
    opened = cv2.morphologyEx(filled.astype(np.uint8), cv2.MORPH_OPEN, _disc(6))
    return np.asarray(opened[margin:-margin, margin:-margin].astype(bool))


def _closed(mask: Bools, radius_px: float) -> Bools:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(radius_px)).astype(bool))


def _grown(mask: Bools, radius_px: float) -> Bools:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius_px)).astype(bool))


def _shrunk(mask: Bools, radius_px: float) -> Bools:
    return np.asarray(cv2.erode(mask.astype(np.uint8), _disc(radius_px)).astype(bool))


def _filled(mask: Bools) -> Bools:
    """Return the mask without holes: everything that cannot be reached from outside the image."""
    _, labels = cv2.connectedComponents(cv2.copyMakeBorder((~mask).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1), connectivity=4)
    return np.asarray((labels != labels[0, 0])[1:-1, 1:-1])


def _disc(radius_px: float) -> npt.NDArray[np.uint8]:
    size = 2 * max(round(radius_px), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _enlarged(mask: Bools, shape: tuple[int, ...]) -> Bools:
    return np.asarray(cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool))


def _spread_out(image: Floats, shape: tuple[int, ...]) -> Floats:
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _resize(plane: npt.NDArray[np.uint16], side_px: int) -> Floats:
    scale = side_px / max(plane.shape)
    height, width = (max(round(length * scale), 1) for length in plane.shape)
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.float32)


def _fill_padding(image: Floats) -> Floats:
    """Replace rows and columns at the border that are black, padding and not light, by the nearest others."""
    black = 0.1 * float(np.median(blocks(image)))
    rows, columns = np.flatnonzero(image.max(axis=1) > black), np.flatnonzero(image.max(axis=0) > black)
    if not len(rows):
        return image
    top, bottom, left, right = rows[0], len(image) - 1 - rows[-1], columns[0], image.shape[1] - 1 - columns[-1]
    kept = image[top : rows[-1] + 1, left : columns[-1] + 1]
    return np.asarray(cv2.copyMakeBorder(kept, top, bottom, left, right, cv2.BORDER_REPLICATE), np.float32)
