"""Finds the tissue of a well without training data: coarse on a reduced image, by darkness and texture, then its outline at full resolution.

Everything is relative to the image's own light and noise. Lengths are shares of the field, so that scale and pixels do not matter.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.background import blocks, carry_across, smooth_surface
from inference.masks import closed, enlarged, filled, grown, opened, shrunk
from schemas.tissue import Segmentation, Unsure

SIDE_PX: Final = 384
"""Of the reduced image, its longer side: 3.6 µm a pixel of a usual field, finer than single cells. Lengths below are in its pixels."""

_TEXTURE_SPREAD_PX = 4  # by which texture makes things look wider than they are

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Look:
    """The reduced image against a background, each map (h, w)."""

    log_light: Floats
    texture: Floats  # local contrast
    slope: Floats  # of the logarithm of the light, a pixel
    field: Bools  # inside the well
    surface: Floats  # logarithm of the light without tissue
    darkness: Floats  # optical density against the surface
    dark_limit: float
    texture_limit: float

    @property
    def something(self) -> Bools:
        """What differs from the background."""
        return ((self.darkness > self.dark_limit) | (self.texture > self.texture_limit)) & self.field


@dataclass(frozen=True, eq=False)
class Regions:
    """What is wide enough to be tissue; arrays by label, of which 0 is none."""

    labels: Labels  # (h, w)
    area_px: npt.NDArray[np.float64]
    half_width_px: npt.NDArray[np.float64]  # of the widest place
    strength: npt.NDArray[np.float64]  # mean darkness or texture
    edge: npt.NDArray[np.float64]  # slope of the logarithm of the light along the outline, a pixel
    contact_px: npt.NDArray[np.float64]  # with the border of the image

    def of(self, chosen: npt.NDArray[np.bool_]) -> Bools:
        """Return the mask of some regions."""
        return np.asarray((chosen & (np.arange(len(chosen)) > 0))[self.labels])


class ClassicalSegmenter:
    """Darkness and texture against a fitted background; no training data."""

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:  # noqa: ARG002 - every length is a share of the field
        """Return the tissue of a plane, (H, W), white = 65535."""
        look = look_at(plane)
        regions = find_regions(look)
        chosen = choose(regions, look)
        return _outline(plane, look, regions, chosen)


def look_at(plane: npt.NDArray[np.uint16]) -> Look:
    """Reduce a plane and find its background; what stands out from a first one is left out of the next one."""
    log_light = np.log(_fill_padding(_resize(plane, SIDE_PX)) + np.float32(1))
    texture, slope = _texture(log_light), _slope(log_light)
    field = np.ones(log_light.shape, dtype=bool)
    surface = smooth_surface(log_light, texture, field)
    look = _judge(log_light, texture, slope, field, surface)
    beyond = _wall(look.something)
    if beyond.any():
        field = ~beyond
        surface = smooth_surface(log_light, texture, field)
        look = _judge(log_light, texture, slope, field, surface)
    for _ in range(2):
        regions = find_regions(look)
        free = field & ~grown(regions.of(_has_edge(regions)), 8)
        look = _judge(log_light, texture, slope, field, carry_across(log_light, surface, free, SIDE_PX / 12))
    return look


def _judge(log_light: Floats, texture: Floats, slope: Floats, field: Bools, surface: Floats) -> Look:
    darkness = np.asarray(cv2.GaussianBlur(surface - log_light, (0, 0), 1.0), np.float32)
    sample = darkness[::4, ::4][field[::4, ::4]]
    low, high = np.quantile(sample, (0.1, 0.4))  # tissue may cover half of the field, and is dark
    noise = float(high - low) / 1.03  # of a normal distribution
    floor = float(np.quantile(texture[::4, ::4][field[::4, ::4]], 0.3))
    return Look(log_light, texture, slope, field, surface, darkness, max(5 * noise, 0.06), float(np.clip(4 * floor, 0.02, 0.1)))


def find_regions(look: Look) -> Regions:
    """Return what is wide enough to be tissue."""
    solid = _solid(look.something)
    count, labels = cv2.connectedComponents(solid.view(np.uint8), connectivity=8)
    area = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    inner = cv2.distanceTransform(cv2.copyMakeBorder(solid.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.DIST_L2, 3)[1:-1, 1:-1]
    half_width = np.zeros(count)
    np.maximum.at(half_width, labels[solid], inner[solid])
    strongest = np.maximum(np.abs(look.darkness), look.texture)
    outline = labels * (inner <= 2).astype(labels.dtype)
    steepest = cv2.dilate(look.slope, np.ones((11, 11), np.uint8))  # texture widens a region: its edge lies within it
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return Regions(
        labels=labels,
        area_px=area,
        half_width_px=half_width,
        strength=np.bincount(labels.ravel(), strongest.ravel(), count) / np.maximum(area, 1),
        edge=np.bincount(outline.ravel(), steepest.ravel(), count) / np.maximum(np.bincount(outline.ravel(), minlength=count), 1),
        contact_px=np.bincount(border, minlength=count).astype(np.float64),
    )


def _has_edge(regions: Regions) -> npt.NDArray[np.bool_]:
    """Say which regions end somewhere: a cloud in the light fades away instead."""
    return np.asarray(regions.edge > 0.006)


def choose(regions: Regions, look: Look) -> Bools:
    """Return the regions that are tissue: strong and wide enough, one of them or several together."""
    width = np.maximum(regions.half_width_px - _TEXTURE_SPREAD_PX, 0)
    wall = (regions.contact_px**2 > 8 * regions.area_px) | ((regions.contact_px > 0) & (regions.area_px > 12 * np.pi * regions.half_width_px**2))
    signal = np.where(_has_edge(regions) & ~wall, regions.strength * width / SIDE_PX, 0)
    signal[0] = 0
    leading = int(np.argmax(signal))
    if signal[leading] < 0.003:
        return np.zeros(look.log_light.shape, dtype=bool)
    chosen = (
        (signal > 0) & (regions.strength > 0.3 * regions.strength[leading]) & (regions.edge > 0.3 * regions.edge[leading]) & (width > 0.15 * width[leading])
    )
    radius = float(np.sqrt(regions.area_px[leading] / np.pi))
    away = cv2.distanceTransform((regions.labels != leading).astype(np.uint8), cv2.DIST_L2, 3)
    gap = np.full(len(chosen), np.inf)
    np.minimum.at(gap, regions.labels.ravel(), away.ravel())
    chosen &= (gap < 1.5 * radius) & ((gap < 0.5 * radius) | (regions.area_px < 0.4 * regions.area_px[leading]))
    return regions.of(chosen)


def _outline(plane: npt.NDArray[np.uint16], look: Look, regions: Regions, coarse: Bools) -> Segmentation:
    """Say what is body and what debris, at full resolution."""
    background = np.exp(look.surface)
    scale = max(plane.shape) / SIDE_PX
    through = cv2.GaussianBlur(plane, (0, 0), max(0.3 * scale, 0.6)) / _spread_out(background, plane.shape)
    dark = (through < np.exp(-look.dark_limit)) & enlarged(look.field, plane.shape)
    if not coarse.any():
        return Segmentation(np.zeros(plane.shape, dtype=bool), dark, background, _doubts(coarse, look))
    near = enlarged(grown(coarse, 6), plane.shape)
    width = _edge_width(look, coarse)
    covered = filled(closed((through < _spread_out(_half_way(look, coarse, width), plane.shape)) & near, scale))
    whole = opened(covered | (dark & ~near), scale)
    count, labels = cv2.connectedComponents(whole.view(np.uint8), connectivity=8)
    belongs = np.zeros(count, dtype=bool)
    belongs[np.unique(labels[enlarged(shrunk(coarse, 3), plane.shape)])] = True
    belongs[0] = False
    body = belongs[labels]
    return Segmentation(body, dark & ~grown(body, scale * max(1, width / 2)), background, _doubts(coarse, look))


def _edge_width(look: Look, coarse: Bools) -> float:
    """Return over how many pixels the light falls along the outline: 3 in focus."""
    inside = np.maximum(look.darkness, 0) * coarse
    depth = float((inside**2).sum() / max(inside.sum(), 1e-6))
    edge = look.slope[grown(coarse, 3) & ~shrunk(coarse, 6)]
    return depth / max(float(np.quantile(edge, 0.75)), 1e-6)


def _half_way(look: Look, coarse: Bools, width_px: float) -> Floats:
    """Return (h, w): the share of the light half-way between what passes beside the tissue and what passes through its edge."""
    through = np.exp(look.log_light - look.surface)
    reach = float(np.clip(width_px, 4, 24))
    inside = np.where(coarse, np.maximum(look.darkness - look.dark_limit / 2, 0) ** 2, 0).astype(np.float32)
    outside = (~grown(coarse, max(width_px / 3, 1))).astype(np.float32)
    within = cv2.GaussianBlur(through * inside, (0, 0), reach) / (cv2.GaussianBlur(inside, (0, 0), reach) + np.float32(1e-6))
    beside = (cv2.GaussianBlur(through * outside, (0, 0), 4) + np.float32(1e-2)) / (cv2.GaussianBlur(outside, (0, 0), 4) + np.float32(1e-2))
    return np.asarray(np.minimum((within + beside) / 2, np.exp(-look.dark_limit / 2)), np.float32)


def _doubts(coarse: Bools, look: Look) -> tuple[Unsure, ...]:
    edge = np.concatenate([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]])
    doubts = []
    if edge.mean() > 0.01:
        doubts.append(Unsure.CUT)
    if look.surface.max() - look.surface.min() > 1.0:
        doubts.append(Unsure.UNEVEN)
    return tuple(doubts)


def _wall(something: Bools) -> Bools:
    """Return the wall of the well and all beyond it: what encloses a large part of the field."""
    free = ~closed(something, 2)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(free.view(np.uint8), connectivity=4)
    start = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    end = start + stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    enclosed = (start > 0).all(axis=1) & (end < free.shape[::-1]).all(axis=1) & (stats[:, cv2.CC_STAT_AREA] > 0.2 * free.size)
    enclosed[0] = False
    if not enclosed.any():
        return np.zeros(something.shape, dtype=bool)
    return ~shrunk(filled(labels == int(np.flatnonzero(enclosed)[0])), 5)


def _texture(log_light: Floats) -> Floats:
    detail = cv2.GaussianBlur(log_light, (0, 0), 0.8) - cv2.GaussianBlur(log_light, (0, 0), 3.0)
    return np.asarray(np.sqrt(cv2.blur(detail * detail, (5, 5))), np.float32)


def _slope(log_light: Floats) -> Floats:
    smooth = cv2.GaussianBlur(log_light, (0, 0), 2.0)
    return np.asarray(cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)), np.float32)


def _solid(mask: Bools) -> Bools:
    """Close gaps between cells, fill holes, drop what is thinner than 1/32 of the field."""
    margin = 24  # beyond the border the mask goes on, so that what is cut there is not taken for thin
    extended = cv2.copyMakeBorder(mask.view(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE).view(np.bool_)
    return np.ascontiguousarray(opened(filled(closed(extended, 4)), 6)[margin:-margin, margin:-margin])


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
