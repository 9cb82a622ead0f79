"""Finds the regions of a plane that can be tissue, on a copy reduced to 384 pixels.

Regions differ from the fitted background by darkness or texture. All lengths in this module are
in pixels of the reduced plane.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.background import fit_light_surface, refine_light_surface
from inference.tissue.masks import (
    close_mask,
    dilate_mask,
    erode_mask,
    fill_convex_holes,
    fill_holes,
    open_mask,
    resize_mask,
)
from inference.tissue.prepared_plane import PreparedPlane

SIDE_PX: Final = 384
"""Longer side of the reduced plane: 3.6 µm per pixel of a usual field, finer than single cells."""

MIN_DARKNESS: Final = 0.06
"""Smallest natural-log optical density of tissue.

Plates and liquid vary by less over the width of a spheroid, even with a perfect camera.
"""

MIN_TEXTURE_LIMIT, MAX_TEXTURE_LIMIT = 0.02, 0.1
"""Bounds of the limit of local contrast above which a pixel differs from the background.

Below 2 % there is no tissue in the best image. 10 % is tissue even if it fills the field, so that
the contrast of the background is unknown.
"""

MIN_LUMEN_SOLIDITY: Final = 0.85
"""Smallest solidity of the bright middle of a body with a dark rim; a gap between bodies has less.
"""

MIN_EDGE: Final = 0.008
"""Smallest slope of the log light per pixel along the outline, above that of the plate's floor.

Tissue of optical density 0.4, blurred over a twentieth of the field, has 0.012. Clouds in the
light have up to 0.006.
"""

_DARK_LIMIT_IN_NOISE = 5.0  # standard deviations of the background
_BRIGHTER = 0.1  # natural log: light above the surface that is more than noise and glints
_MAX_BRIGHTER_SHARE = 0.03  # of the field; more means that the surface was fitted to tissue
_FLOOR_IN_SMOOTHEST = 3.0
"""Texture of the plate's floor relative to the smoothest twentieth of the field, at most.

Plates have 1.5 to 3. More means that tissue covers most of the field.
"""
_MAX_SMOOTHEST_TEXTURE = 0.02
"""Largest local contrast of the smoothest part of an image that shows background.

Plates have up to 0.009, tissue that fills the field has 0.024 and more.
"""
_BRIGHT_TISSUE = 0.2  # natural log: light above the ground; halos and glints are narrow
_MIN_BRIGHT_SHARE = 0.004  # of the field
_BRIGHT_IN_DARK = 3.0  # area of bright objects relative to dark objects on the same ground
_MAX_BRIGHT_BORDER = 0.2  # of the border; a bright ground around dark tissue has more
_MIN_FREE_SHARE = 0.05  # of the field, to estimate the slope of the floor
_DARKER_THAN_CLOUDS = 3.0  # darkness relative to the dark limit
_CELL_GAP_PX = 4.0  # between cells of one tissue
_MIN_HALF_WIDTH_PX = 6.0  # of a region, including the blur of its texture; a thirtieth of the field
_SMALL_BODY_PX = 1.5  # half width of the narrowest part of a small body
_FLOOR_MARGIN_PX = 6
_WALL_MARGIN_PX = 5
_OUTLINE_PX = 2  # width of a region's outline
_EDGE_REACH = np.ones((11, 11), np.uint8)
"""Neighbourhood of the steepest slope: texture widens a region, so its edge is inside it."""

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoarsePlane:
    """A reduced plane and its background; each map is (h, w)."""

    log_light: Floats  # natural logarithm of the light
    texture: Floats  # local contrast
    slope: Floats  # of the log light per pixel
    field: Bools  # inside the well
    surface: Floats  # log light without tissue
    darkness: Floats  # natural-log optical density relative to the surface
    dark_limit: float
    texture_limit: float
    smoothest_texture: float  # local contrast of the smoothest twentieth of the field

    @property
    def shows_background(self) -> bool:
        """True if a twentieth of the field is as smooth as a plate without tissue."""
        return self.smoothest_texture < _MAX_SMOOTHEST_TEXTURE

    @property
    def shows_bright_tissue(self) -> bool:
        """True if objects on a dark ground are brighter than it, and little is darker."""
        bright = open_mask((self.darkness < -_BRIGHT_TISSUE) & self.field, _CELL_GAP_PX)
        dark = open_mask((self.darkness > self.dark_limit) & self.field, _CELL_GAP_PX)
        border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
        return bool(
            bright.mean() > max(_MIN_BRIGHT_SHARE, _BRIGHT_IN_DARK * dark.mean())
            and border.mean() < _MAX_BRIGHT_BORDER
        )

    @property
    def differs(self) -> Bools:
        """Pixels of the field that differ from the background by darkness or texture, (h, w)."""
        return (
            (self.darkness > self.dark_limit) | (self.texture > self.texture_limit)
        ) & self.field


@dataclass(frozen=True, eq=False)
class CandidateRegions:
    """Regions that are wide enough to be tissue; arrays are indexed by label, and 0 is none."""

    labels: npt.NDArray[np.int32]  # (h, w)
    area_px: Numbers
    half_width_px: Numbers  # at the widest place
    elongation: Numbers  # ratio of the axes, 1 for a disc
    coverage: Numbers  # share that differs from the background; the rest are gaps and holes
    strength: Numbers  # mean darkness or texture
    edge: Numbers  # harmonic mean of the slope along the outline; small if one side has no edge
    has_edge: npt.NDArray[np.bool_]  # false for a cloud in the light, which fades away
    contact_px: Numbers  # length of contact with the border of the image
    dark_limit: float  # of the plane

    def mask(self, chosen: npt.NDArray[np.bool_]) -> Bools:
        """Return the mask, (h, w), of the regions that are True in ``chosen``, (labels,)."""
        return np.asarray((chosen & (np.arange(len(chosen)) > 0))[self.labels])


def analyse_coarse_plane(prepared: PreparedPlane) -> CoarsePlane:
    """Return the CoarsePlane of a PreparedPlane: reduced, with texture, slope and background.

    The background is fitted twice. The second fit excludes the regions that the first one found.
    """
    log_light = np.log(_reduce_plane(prepared.plane) + np.float32(1))
    texture, slope = _local_contrast(log_light), _slope(log_light)
    field = ~resize_mask(prepared.replaced, log_light.shape)
    surface = fit_light_surface(log_light, texture, field)
    coarse = _compare_with_surface(log_light, texture, slope, field, surface)
    brighter = coarse.darkness < -_BRIGHTER
    from_above = bool(brighter.mean() > _MAX_BRIGHTER_SHARE) and not coarse.shows_bright_tissue
    if from_above:
        surface = fit_light_surface(log_light, texture, field, from_above=True)
        coarse = _compare_with_surface(log_light, texture, slope, field, surface)
    outside = _outside_well(coarse.differs)
    if outside.any():
        field = field & ~outside
        surface = fit_light_surface(log_light, texture, field, from_above=from_above)
        coarse = _compare_with_surface(log_light, texture, slope, field, surface)
    regions = find_candidate_regions(coarse)
    free = field & ~dilate_mask(regions.mask(regions.has_edge), 2 * _CELL_GAP_PX)
    refined = refine_light_surface(log_light, surface, free, SIDE_PX / 12)
    return _compare_with_surface(log_light, texture, slope, field, refined)


def find_candidate_regions(coarse: CoarsePlane) -> CandidateRegions:
    """Return the CandidateRegions of a CoarsePlane that are wide enough to be tissue.

    If a cloud in the light and a darker object form one region, only the darker object is kept.
    """
    steepest = np.asarray(cv2.dilate(coarse.slope, _EDGE_REACH), np.float32)
    regions = _measure_regions(coarse.differs, _solid(coarse.differs), coarse, steepest)
    faded = regions.mask(~regions.has_edge)
    if not faded.any():
        return regions
    pale = (coarse.darkness < _DARKER_THAN_CLOUDS * coarse.dark_limit) & (
        coarse.texture < coarse.texture_limit
    )
    differs = coarse.differs & ~(faded & pale)
    return _measure_regions(differs, _solid(differs), coarse, steepest)


def find_small_regions(coarse: CoarsePlane) -> CandidateRegions:
    """Return the dark CandidateRegions of a CoarsePlane, also those too narrow for one tissue.

    They are the bodies of an organoid culture, or the pieces of a tissue that fell apart.
    """
    steepest = np.asarray(cv2.dilate(coarse.slope, np.ones((5, 5), np.uint8)), np.float32)
    dark = (coarse.darkness > coarse.dark_limit) & coarse.field
    solid = open_mask(fill_convex_holes(close_mask(dark, 1), MIN_LUMEN_SOLIDITY), _SMALL_BODY_PX)
    return _measure_regions(dark, solid, coarse, steepest)


def _measure_regions(
    differs: Bools, solid: Bools, coarse: CoarsePlane, steepest: Floats
) -> CandidateRegions:
    """Return the connected regions of a mask, (h, w), with their size, shape, strength and edge.

    Parameters
    ----------
    differs
        Pixels that differ from the background, (h, w).
    solid
        Mask of the regions, (h, w), with gaps and holes that do not differ.
    coarse
        The reduced plane.
    steepest
        Largest slope nearby, (h, w).
    """
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
    outline = distance[rows, columns] <= _OUTLINE_PX
    flatness = 1 / np.maximum(steepest[rows, columns][outline], 1e-4)
    edge = np.bincount(label[outline], minlength=count) / np.maximum(
        np.bincount(label[outline], flatness, count), 1e-9
    )
    floor = _floor_slope(coarse, steepest)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    signal = np.maximum(np.abs(coarse.darkness), coarse.texture)[rows, columns]
    return CandidateRegions(
        labels=labels,
        area_px=area,
        half_width_px=np.concatenate([[0.0], half_width]),
        elongation=_elongation(rows, columns, label, area),
        coverage=np.bincount(label, differs[rows, columns], count) / area,
        strength=np.bincount(label, signal, count) / area,
        edge=edge,
        has_edge=edge > floor + max(MIN_EDGE, floor / 2),
        contact_px=np.bincount(border, minlength=count).astype(np.float64),
        dark_limit=coarse.dark_limit,
    )


def _floor_slope(coarse: CoarsePlane, steepest: Floats) -> float:
    """Return the median of the steepest slopes, (h, w), of the plate's floor, without objects.

    It is 0 if objects cover nearly the whole field; otherwise tissue would set the limit of its own
    edge.
    """
    free = (coarse.field & ~dilate_mask(coarse.differs, _FLOOR_MARGIN_PX))[::4, ::4]
    return float(np.median(steepest[::4, ::4][free])) if free.mean() > _MIN_FREE_SHARE else 0.0


def _elongation(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    label: npt.NDArray[np.int32],
    area: Numbers,
) -> Numbers:
    """Return, by label, the ratio of the axes of the ellipse with the same second moments.

    Parameters
    ----------
    rows, columns, label
        Row, column and label of each pixel of a region.
    area
        Number of pixels by label.
    """
    y, x = (np.bincount(label, axis, len(area)) / area for axis in (rows, columns))
    dy, dx = rows - y[label], columns - x[label]
    yy, xx, xy = (
        np.bincount(label, moment, len(area)) / area for moment in (dy * dy, dx * dx, dx * dy)
    )
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.asarray(np.sqrt((middle + spread) / np.maximum(middle - spread, 0.1)))


def _compare_with_surface(
    log_light: Floats, texture: Floats, slope: Floats, field: Bools, surface: Floats
) -> CoarsePlane:
    """Return a reduced plane with its darkness relative to a surface and the limits of its signals.

    The limits depend on the noise of the darkness and on the usual texture of the field.
    """
    darkness = np.asarray(cv2.GaussianBlur(surface - log_light, (0, 0), 1.0), np.float32)
    sample = darkness[::4, ::4][field[::4, ::4]]
    # Tissue is dark and may cover most of the field, so the noise is read from the brighter part:
    # quantiles below the middle of a normal distribution differ by 1.03 and 0.44 SD.
    lowest, low, high = np.quantile(sample, (0.1, 0.2, 0.4))
    noise = float(min((high - lowest) / 1.03, (low - lowest) / 0.44))
    smoothest, usual = np.quantile(texture[::4, ::4][field[::4, ::4]], (0.05, 0.3))
    floor = float(min(usual, _FLOOR_IN_SMOOTHEST * smoothest))
    texture_limit = float(np.clip(4 * floor, MIN_TEXTURE_LIMIT, MAX_TEXTURE_LIMIT))
    return CoarsePlane(
        log_light,
        texture,
        slope,
        field,
        surface,
        darkness,
        max(_DARK_LIMIT_IN_NOISE * noise, MIN_DARKNESS),
        texture_limit,
        float(smoothest),
    )


def _outside_well(differs: Bools) -> Bools:
    """Return the mask, (h, w), of the well's wall and everything outside it.

    The wall is an object that encloses more than a fifth of the image. Without a wall the mask is
    empty.
    """
    free = ~close_mask(differs, 2)
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
        return np.zeros(differs.shape, dtype=bool)
    inside = fill_holes(labels == int(np.flatnonzero(enclosed)[0]))
    return ~erode_mask(inside, _WALL_MARGIN_PX)


def _local_contrast(log_light: Floats) -> Floats:
    """Return the local standard deviation, (h, w), of details of about 1 to 3 pixels."""
    detail = cv2.GaussianBlur(log_light, (0, 0), 0.8) - cv2.GaussianBlur(log_light, (0, 0), 3.0)
    mean_square = cv2.blur(detail * detail, (5, 5))
    # The running sums of the blur are rounded, and may be slightly below zero.
    return np.asarray(np.sqrt(np.maximum(mean_square, 0)), np.float32)


def _slope(log_light: Floats) -> Floats:
    """Return the magnitude of the gradient, (h, w), of the smoothed log light, per pixel."""
    smooth = cv2.GaussianBlur(log_light, (0, 0), 2.0)
    return np.asarray(
        cv2.magnitude(
            cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
            cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
        ),
        np.float32,
    )


def _solid(mask: Bools) -> Bools:
    """Return a mask with gaps between cells closed, holes filled and thin parts removed."""
    # The mask is continued across the border, so that an object cut there does not count as thin.
    margin = 24
    extended = cv2.copyMakeBorder(
        mask.view(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE
    ).view(np.bool_)
    solid = open_mask(fill_holes(close_mask(extended, _CELL_GAP_PX)), _MIN_HALF_WIDTH_PX)
    return np.ascontiguousarray(solid[margin:-margin, margin:-margin])


def _reduce_plane(plane: npt.NDArray[np.uint16]) -> Floats:
    """Return a plane, (H, W), resampled so that its longer side has 384 pixels."""
    scale = SIDE_PX / max(plane.shape)
    height, width = (max(round(length * scale), 1) for length in plane.shape)
    return np.asarray(
        cv2.resize(
            plane, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        ),
        np.float32,
    )
