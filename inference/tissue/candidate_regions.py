"""A plane, reduced, against the light it would have without tissue; and what stands out there."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.background import block_means, fit_light_surface, refine_light_surface
from inference.tissue.masks import close_mask, dilate_mask, erode_mask, fill_holes, open_mask

SIDE_PX: Final = 384
"""Of the reduced image, its longer side: 3.6 µm a pixel of a usual field, finer than single cells. Lengths here are in its pixels."""

MIN_DARKNESS: Final = 0.06
"""Optical density: plates and liquid vary by less over the width of a spheroid, however good the camera."""

MIN_TEXTURE, MAX_TEXTURE_LIMIT = 0.02, 0.1
"""Local contrast: below 2 % there is no tissue in the best image; 10 % is tissue even where it fills the field and nothing tells the background's."""

MIN_EDGE: Final = 0.008
"""Slope of the logarithm of the light, a pixel, along the outline, above what the floor of the plate has everywhere. Tissue of optical density 0.4 blurred
over a twentieth of the field has 0.012; clouds in the light have up to 0.006."""

_NOISES = 5.0
_LEAST_FREE = 0.05  # of the field, to know the floor's texture by
_CLOUD = 3.0  # times the limit of darkness: darker than clouds are
_GAP_PX = 4.0  # between cells of one tissue
_NARROWEST_PX = 6.0  # half of it, texture's spread included: a thirtieth of the field

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoarsePlane:
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
        return (
            (self.darkness > self.dark_limit) | (self.texture > self.texture_limit)
        ) & self.field


@dataclass(frozen=True, eq=False)
class CandidateRegions:
    """What is wide enough to be tissue; arrays by label, of which 0 is none."""

    labels: npt.NDArray[np.int32]  # (h, w)
    area_px: Numbers
    half_width_px: Numbers  # of the widest place
    elongation: Numbers  # 1 for a disc
    coverage: (
        Numbers  # share of it that differs from the background; the rest are closed gaps and holes
    )
    strength: Numbers  # mean darkness or texture
    edge: Numbers  # slope along the outline, harmonic mean: an edge on one side only is none
    has_edge: npt.NDArray[np.bool_]  # ends somewhere; a cloud in the light fades away instead
    contact_px: Numbers  # with the border of the image

    def of(self, chosen: npt.NDArray[np.bool_]) -> Bools:
        """Return the mask of some regions."""
        return np.asarray((chosen & (np.arange(len(chosen)) > 0))[self.labels])


def analyse_coarse_plane(plane: npt.NDArray[np.uint16]) -> CoarsePlane:
    """Reduce a plane and find its background; what stands out from a first one is left out of the next one."""
    log_light = np.log(_fill_padding(_resize(plane, SIDE_PX)) + np.float32(1))
    texture, slope = _texture(log_light), _slope(log_light)
    field = np.ones(log_light.shape, dtype=bool)
    surface = fit_light_surface(log_light, texture, field)
    look = _judge(log_light, texture, slope, field, surface)
    beyond = _wall(look.something)
    if beyond.any():
        field = ~beyond
        surface = fit_light_surface(log_light, texture, field)
        look = _judge(log_light, texture, slope, field, surface)
    regions = find_candidate_regions(look)
    free = field & ~dilate_mask(regions.of(regions.has_edge), 2 * _GAP_PX)
    return _judge(
        log_light,
        texture,
        slope,
        field,
        refine_light_surface(log_light, surface, free, SIDE_PX / 12),
    )


def find_candidate_regions(look: CoarsePlane) -> CandidateRegions:
    """Return what is wide enough to be tissue; where a cloud and something darker make one region, the darker alone."""
    steepest = np.asarray(
        cv2.dilate(look.slope, np.ones((11, 11), np.uint8)), np.float32
    )  # texture widens a region: its edge lies within it
    regions = _regions(look.something, look, steepest)
    faded = regions.of(~regions.has_edge)
    if not faded.any():
        return regions
    pale = (look.darkness < _CLOUD * look.dark_limit) & (look.texture < look.texture_limit)
    return _regions(look.something & ~(faded & pale), look, steepest)


def _regions(something: Bools, look: CoarsePlane, steepest: Floats) -> CandidateRegions:
    solid = _solid(something)
    count, found, stats, _ = cv2.connectedComponentsWithStats(solid.view(np.uint8), connectivity=8)
    labels = np.asarray(found, np.int32)
    rows, columns = np.nonzero(solid)
    label = labels[rows, columns]
    area = np.maximum(np.bincount(label, minlength=count), 1).astype(np.float64)
    distance = cv2.distanceTransform(
        cv2.copyMakeBorder(solid.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.DIST_L2, 3
    )[1:-1, 1:-1]
    half_width = np.array(
        [float(distance[y : y + h, x : x + w].max()) for x, y, w, h, _ in stats[1:].tolist()]
    )
    outline = distance[rows, columns] <= 2  # noqa: PLR2004 - the outermost two pixels
    flatness = 1 / np.maximum(steepest[rows, columns][outline], 1e-4)
    edge = np.bincount(label[outline], minlength=count) / np.maximum(
        np.bincount(label[outline], flatness, count), 1e-9
    )
    floor = _floor_slope(look, steepest)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return CandidateRegions(
        labels=labels,
        area_px=area,
        half_width_px=np.concatenate([[0.0], half_width]),
        elongation=_elongation(rows, columns, label, area),
        coverage=np.bincount(label, something[rows, columns], count) / area,
        strength=np.bincount(
            label, np.maximum(np.abs(look.darkness), look.texture)[rows, columns], count
        )
        / area,
        edge=edge,
        has_edge=edge > floor + max(MIN_EDGE, floor / 2),
        contact_px=np.bincount(border, minlength=count).astype(np.float64),
    )


def _floor_slope(look: CoarsePlane, steepest: Floats) -> float:
    """Return the usual steepest slope of the free field: tissue that fills most of the field must not set the limit for its own edge."""
    free = (look.field & ~dilate_mask(look.something, 6))[::4, ::4]
    return float(np.median(steepest[::4, ::4][free])) if free.mean() > _LEAST_FREE else 0.0


def _elongation(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    label: npt.NDArray[np.int32],
    area: Numbers,
) -> Numbers:
    """Return the ratio of the axes of the ellipse with the same second moments, by label."""
    y, x = (np.bincount(label, axis, len(area)) / area for axis in (rows, columns))
    dy, dx = rows - y[label], columns - x[label]
    yy, xx, xy = (
        np.bincount(label, moment, len(area)) / area for moment in (dy * dy, dx * dx, dx * dy)
    )
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.asarray(np.sqrt((middle + spread) / np.maximum(middle - spread, 0.1)))


def _judge(
    log_light: Floats, texture: Floats, slope: Floats, field: Bools, surface: Floats
) -> CoarsePlane:
    darkness = np.asarray(cv2.GaussianBlur(surface - log_light, (0, 0), 1.0), np.float32)
    sample = darkness[::4, ::4][field[::4, ::4]]
    low, high = np.quantile(sample, (0.1, 0.4))  # tissue may cover half of the field, and is dark
    noise = float(high - low) / 1.03  # of a normal distribution
    floor = float(np.quantile(texture[::4, ::4][field[::4, ::4]], 0.3))
    texture_limit = float(np.clip(4 * floor, MIN_TEXTURE, MAX_TEXTURE_LIMIT))
    return CoarsePlane(
        log_light,
        texture,
        slope,
        field,
        surface,
        darkness,
        max(_NOISES * noise, MIN_DARKNESS),
        texture_limit,
    )


def _wall(something: Bools) -> Bools:
    """Return the wall of the well and all beyond it: what encloses a large part of the field."""
    free = ~close_mask(something, 2)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(free.view(np.uint8), connectivity=4)
    start = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    end = start + stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    enclosed = (
        (start > 0).all(axis=1)
        & (end < free.shape[::-1]).all(axis=1)
        & (stats[:, cv2.CC_STAT_AREA] > free.size / 5)
    )
    enclosed[0] = False
    if not enclosed.any():
        return np.zeros(something.shape, dtype=bool)
    return ~erode_mask(fill_holes(labels == int(np.flatnonzero(enclosed)[0])), 5)


def _texture(log_light: Floats) -> Floats:
    detail = cv2.GaussianBlur(log_light, (0, 0), 0.8) - cv2.GaussianBlur(log_light, (0, 0), 3.0)
    return np.asarray(np.sqrt(cv2.blur(detail * detail, (5, 5))), np.float32)


def _slope(log_light: Floats) -> Floats:
    smooth = cv2.GaussianBlur(log_light, (0, 0), 2.0)
    return np.asarray(
        cv2.magnitude(
            cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
            cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
        ),
        np.float32,
    )


def _solid(mask: Bools) -> Bools:
    """Close gaps between cells, fill holes, drop what is thin."""
    margin = (
        24  # beyond the border the mask goes on, so that what is cut there is not taken for thin
    )
    extended = cv2.copyMakeBorder(
        mask.view(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE
    ).view(np.bool_)
    return np.ascontiguousarray(
        open_mask(fill_holes(close_mask(extended, _GAP_PX)), _NARROWEST_PX)[
            margin:-margin, margin:-margin
        ]
    )


def _resize(plane: npt.NDArray[np.uint16], side_px: int) -> Floats:
    scale = side_px / max(plane.shape)
    height, width = (max(round(length * scale), 1) for length in plane.shape)
    return np.asarray(
        cv2.resize(
            plane, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        ),
        np.float32,
    )


def _fill_padding(image: Floats) -> Floats:
    """Replace rows and columns at the border that are black, padding and not light, by the nearest others."""
    black = 0.1 * float(np.median(block_means(image)))
    rows, columns = (
        np.flatnonzero(image.max(axis=1) > black),
        np.flatnonzero(image.max(axis=0) > black),
    )
    if not len(rows):
        return image
    top, bottom, left, right = (
        rows[0],
        len(image) - 1 - rows[-1],
        columns[0],
        image.shape[1] - 1 - columns[-1],
    )
    kept = image[top : rows[-1] + 1, left : columns[-1] + 1]
    return np.asarray(
        cv2.copyMakeBorder(kept, top, bottom, left, right, cv2.BORDER_REPLICATE), np.float32
    )
