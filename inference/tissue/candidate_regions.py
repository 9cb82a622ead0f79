"""Finds the regions of a plane that can be tissue, on a copy reduced to 384 pixels.

Regions differ from the fitted background by darkness or texture. All lengths in this module are
in pixels of the reduced plane.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.background import refine_light_surface
from inference.tissue.coarse_plane import SIDE_PX, CoarsePlane, steepest_nearby, with_surface
from inference.tissue.masks import (
    box_around,
    close_mask,
    covered_share,
    depth_of_mask,
    dilate_mask,
    erode_mask,
    fill_holes,
    fill_lumens,
    label_areas,
    label_parts,
    open_mask,
    select_parts,
)
from inference.tissue.quantiles import label_quantiles, quantiles

MIN_LUMEN_SOLIDITY: Final = 0.85
"""Smallest solidity of a body with a dark rim, or of its bright middle.

A gap between bodies and the bodies around it have less.
"""

MIN_EDGE: Final = 0.008
"""Smallest slope of the log light per pixel along the outline, above that of the plate's floor.

Tissue of optical density 0.4, blurred over a twentieth of the field, has 0.012. Clouds in the
light have up to 0.006.
"""

_MIN_FREE_SHARE = 0.05  # of the field, to estimate the slope of the floor
_DARKER_THAN_CLOUDS = 3.0  # darkness relative to the dark limit
_SCRATCHED_COVERAGE = 0.75  # of a region of scratches; tissue in pieces has 0.84 and more
_MIN_SCRATCHED_SHARE = 0.05  # of the field, of such a region; heaps of loose cells are smaller
_SCRATCH_HALF_WIDTH_PX = 5.0  # of scratches with the blur of their texture
_CELL_GAP_PX = 4.0  # between cells of one tissue
_MIN_HALF_WIDTH_PX = 6.0  # of a region, including the blur of its texture; a thirtieth of the field
_RIM_GAP_PX = 2.0  # half of the widest gap in the rim of a hollow body
_SMALL_BODY_PX = 1.5  # half width of the narrowest part of a small body
_ONE_BODY_SHARE = 0.6  # of the area of all dark objects
_MIDDLE = 0.75  # depth of the middle of a region relative to its half width
_BRIGHT_MIDDLE = 0.05  # natural log: light of a bubble's middle above the background
_MAX_RING_CONTACT = 1.8  # with the border, of a ring, in half widths; half a disc of tissue has 2
_MAX_OPEN_RING_CONTACT = 3.0  # the same for a ring with a wide clear middle
_MAX_RING_AREA = 1.4  # of a round region, relative to the widest disc inside
_OPEN_RING_COVERAGE = 0.6  # a ring that covers less of its disc is no tissue, also if it is cut
_RING_MIDDLE = 0.5  # radius of the middle of a cut ring relative to the ring
_MAX_CIRCLE_ERROR = 0.015  # distance of a bubble's edge from a circle, relative to the radius
_NEAR_CIRCLE = 0.03  # distance from a circle of an outline that lies on it, the same
_MIN_ARC = 0.3  # share of the circle on which the outline lies
_SECTOR = np.pi / 18  # smallest part of the arc
_MIN_CIRCLE_POINTS = 6
_FLOOR_MARGIN_PX = 6
_SMALL_EDGE_REACH_PX = 5  # side of the square around the outline of a small body with its edge
_SHARPEST = 0.9  # quantile of the slopes along an outline
_OUTLINE_PX = 2  # width of a region's outline

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


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
    sharpest_edge: Numbers  # slope that a tenth of the outline exceeds
    has_edge: npt.NDArray[np.bool_]  # false for a cloud in the light, which fades away
    contact_px: Numbers  # length of contact with the border of the image
    is_ring: npt.NDArray[np.bool_]  # a rim around light without absorption: a bubble
    dark_limit: float  # of the plane

    def mask(self, chosen: npt.NDArray[np.bool_]) -> Bools:
        """Return the mask, (h, w), of the regions that are True in ``chosen``, (labels,)."""
        return select_parts(self.labels, chosen)


@dataclass(frozen=True, eq=False)
class _EdgeSlopes:
    """Slopes of the log light per pixel, to recognise edges."""

    steepest: Floats  # (h, w): largest slope nearby
    floor: float  # median of the plate's floor; 0 if objects cover nearly the whole field

    @property
    def least(self) -> float:
        """Slope that an edge exceeds."""
        return self.floor + max(MIN_EDGE, self.floor / 2)


@dataclass(frozen=True, eq=False)
class _Regions:
    """Connected regions of a mask with their outlines; arrays are indexed by label, and 0 is none.

    The maps are (h, w).
    """

    labels: npt.NDArray[np.int32]
    half_width_px: Numbers
    distance: Floats  # from the outline; the border of the image is no outline
    outline: npt.NDArray[np.int32]  # (pixels,): label of each pixel of the outlines
    steepest: Floats  # (pixels,): largest slope nearby
    edge: Numbers  # this and the next as in CandidateRegions
    has_edge: npt.NDArray[np.bool_]

    def with_edge(self) -> Bools:
        """Return the mask, (h, w), of the regions that have an edge."""
        return select_parts(self.labels, self.has_edge)


def _edge_slopes(coarse: CoarsePlane, steepest: Floats) -> _EdgeSlopes:
    """Return the _EdgeSlopes of a plane with the steepest slopes nearby, (h, w)."""
    free = (coarse.field & ~dilate_mask(coarse.differs, _FLOOR_MARGIN_PX))[::4, ::4]
    is_seen = covered_share(free) > _MIN_FREE_SHARE
    floor = quantiles(steepest[::4, ::4][free], 0.5)[0] if is_seen else 0.0
    return _EdgeSlopes(steepest, floor)


def refine_background(coarse: CoarsePlane) -> CoarsePlane:
    """Return a CoarsePlane whose background is corrected by the free field around its regions."""
    _, regions = _find_regions(coarse, _edge_slopes(coarse, coarse.steepest))
    free = coarse.field & ~dilate_mask(regions.with_edge(), 2 * _CELL_GAP_PX)
    refined = refine_light_surface(coarse.log_light, coarse.surface, free, SIDE_PX / 12)
    return with_surface(coarse, refined)


def find_candidate_regions(coarse: CoarsePlane) -> CandidateRegions:
    """Return the CandidateRegions of a CoarsePlane that are wide enough to be tissue.

    If a cloud in the light and a darker object form one region, only the darker object is kept.
    """
    return _measure_regions(*_find_regions(coarse, _edge_slopes(coarse, coarse.steepest)), coarse)


def _find_regions(coarse: CoarsePlane, slopes: _EdgeSlopes) -> tuple[Bools, _Regions]:
    """Return the pixels that differ from the background, (h, w), and the _Regions that they form.

    The pale pixels of a region that fades away are left out.
    """
    differs = coarse.differs
    regions = _outline_regions(_solid(differs), slopes)
    if regions.has_edge[1:].all():
        return differs, regions
    faded = (regions.labels > 0) & ~regions.with_edge()
    pale = (coarse.darkness < _DARKER_THAN_CLOUDS * coarse.dark_limit) & (
        coarse.texture < coarse.texture_limit
    )
    differs = differs & ~(faded & pale)
    return differs, _outline_regions(_solid(differs), slopes)


def remove_scratches(regions: CandidateRegions, coarse: CoarsePlane) -> CandidateRegions:
    """Return the CandidateRegions of a CoarsePlane without the scratches that join them.

    Of large regions with wide gaps only the wide parts are kept. Without such regions the given
    regions are returned.
    """
    scratched = (regions.coverage < _SCRATCHED_COVERAGE) & (
        regions.area_px > _MIN_SCRATCHED_SHARE * regions.labels.size
    )
    if not scratched[1:].any():
        return regions
    differs = coarse.differs & (regions.labels > 0)
    differs &= open_mask(differs, _SCRATCH_HALF_WIDTH_PX) | ~regions.mask(scratched)
    regions_left = _outline_regions(_solid(differs), _edge_slopes(coarse, coarse.steepest))
    return _measure_regions(differs, regions_left, coarse)


def find_small_regions(coarse: CoarsePlane, at_least: int) -> CandidateRegions | None:
    """Return the dark CandidateRegions of a CoarsePlane, also those too narrow for one tissue.

    They are the bodies of an organoid culture, or the pieces of a tissue that fell apart. None is
    returned if fewer than ``at_least`` are dark inside the field, or if one of these is larger than
    all others together.
    """
    dark = (coarse.darkness > coarse.dark_limit) & coarse.field
    labels, area = label_areas(dark)
    area[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = 0
    wide = area[1:][area[1:] > np.pi * _SMALL_BODY_PX**2]
    if len(wide) < at_least or wide.max() > _ONE_BODY_SHARE * wide.sum():
        return None
    rims = close_mask(dark, _RIM_GAP_PX)
    lumens = fill_lumens(rims, MIN_LUMEN_SOLIDITY) & ~rims
    closed = fill_lumens(close_mask(dark | lumens, 1), MIN_LUMEN_SOLIDITY)
    solid = open_mask(closed, _SMALL_BODY_PX)
    slopes = _edge_slopes(coarse, steepest_nearby(coarse.slope, _SMALL_EDGE_REACH_PX))
    return _measure_regions(dark, _outline_regions(solid, slopes), coarse)


def has_edge(coarse: CoarsePlane, tissue: Bools) -> bool:
    """Return whether the outline of a tissue, (h, w), has an edge; that of a cloud fades away."""
    slopes = _edge_slopes(coarse, coarse.steepest)
    outline = slopes.steepest[tissue & ~erode_mask(tissue, _OUTLINE_PX)]
    edge = len(outline) / max(float((1 / np.maximum(outline, 1e-4)).sum()), 1e-9)
    return edge > slopes.least


def _outline_regions(solid: Bools, slopes: _EdgeSlopes) -> _Regions:
    """Return the _Regions of a mask, (h, w), with the slopes along their outlines."""
    labels, stats = label_parts(solid)
    count = len(stats)
    distance = depth_of_mask(solid)
    half_width = [
        float(distance[y : y + h, x : x + w].max()) for x, y, w, h, _ in stats[1:].tolist()
    ]
    outline = np.flatnonzero(solid & (distance <= _OUTLINE_PX))
    label, steepest = labels.take(outline), slopes.steepest.take(outline)
    edge = np.bincount(label, minlength=count) / np.maximum(
        np.bincount(label, 1 / np.maximum(steepest, 1e-4), count), 1e-9
    )
    return _Regions(
        labels=labels,
        half_width_px=np.array([0.0, *half_width]),
        distance=distance,
        outline=label,
        steepest=steepest,
        edge=edge,
        has_edge=edge > slopes.least,
    )


def _measure_regions(differs: Bools, regions: _Regions, coarse: CoarsePlane) -> CandidateRegions:
    """Return the CandidateRegions of _Regions with their size, shape and strength.

    Parameters
    ----------
    differs
        Pixels that differ from the background, (h, w).
    regions
        Regions with gaps and holes that do not differ.
    coarse
        The reduced plane.
    """
    labels, half_widths = regions.labels, regions.half_width_px
    count = len(half_widths)
    pixels = np.flatnonzero(labels > 0)
    label = labels.take(pixels).astype(np.intp)
    rows = pixels // labels.shape[1]
    columns = pixels - rows * labels.shape[1]
    area = np.maximum(np.bincount(label, minlength=count), 1).astype(np.float64)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    darkness, texture = coarse.darkness.take(pixels), coarse.texture.take(pixels)
    signal = np.maximum(np.abs(darkness), texture)
    depth = regions.distance.take(pixels) / np.maximum(half_widths[label], 1)
    is_middle = depth > _MIDDLE
    inner = _means(label, depth > 0.5, darkness, count)  # noqa: PLR2004 - half of the depth
    middle = _means(label, is_middle, darkness, count)
    is_smooth = _means(label, is_middle, texture, count) < coarse.texture_limit
    is_clear = (is_smooth & (inner < coarse.dark_limit / 2)) | (middle < -_BRIGHT_MIDDLE)
    contact = np.bincount(border, minlength=count).astype(np.float64)
    coverage = np.bincount(label, differs.take(pixels), count) / area
    is_round = (area < _MAX_RING_AREA * np.pi * half_widths**2) & (
        contact
        < half_widths
        * np.where(coverage < _OPEN_RING_COVERAGE, _MAX_OPEN_RING_CONTACT, _MAX_RING_CONTACT)
    )
    return CandidateRegions(
        labels=labels,
        area_px=area,
        half_width_px=half_widths,
        elongation=_elongation(rows, columns, label, area),
        coverage=coverage,
        strength=np.bincount(label, signal, count) / area,
        edge=regions.edge,
        sharpest_edge=label_quantiles(regions.outline, regions.steepest, _SHARPEST, count),
        has_edge=regions.has_edge,
        contact_px=contact,
        is_ring=(is_clear & is_round) | _cut_rings(labels, count, np.flatnonzero(contact), coarse),
        dark_limit=coarse.dark_limit,
    )


def _cut_rings(
    labels: npt.NDArray[np.int32], count: int, cut: npt.NDArray[np.intp], coarse: CoarsePlane
) -> npt.NDArray[np.bool_]:
    """Return, by label, whether a region is the rim of a bubble that the border of the image cuts.

    The outer edge is a part of a circle whose middle has the light of the background.

    Parameters
    ----------
    labels
        Labels of the regions, (h, w).
    count
        Number of labels.
    cut
        Labels of the regions at the border of the image.
    coarse
        The reduced plane.
    """
    is_ring = np.zeros(count, dtype=bool)
    for label in cut[cut > 0]:
        circle = _fit_circle(labels == label)
        if circle is None:
            continue
        y, x = np.ogrid[: labels.shape[0], : labels.shape[1]]
        y, x = y.astype(np.float32), x.astype(np.float32)
        middle = np.hypot(x - circle[0], y - circle[1]) < _RING_MIDDLE * circle[2]
        is_ring[label] = (
            middle.any()
            and coarse.darkness[middle].mean() < coarse.dark_limit / 2
            and coarse.texture[middle].mean() < coarse.texture_limit
        )
    return is_ring


def _fit_circle(region: Bools) -> tuple[float, float, float] | None:
    """Return x, y and radius of the circle on which the outline of a region, (h, w), lies inside.

    None is returned if the hull is no circle, or too little of the outline lies on it. The circle
    is fitted by least squares (Kåsa, IEEE Trans. Instrum. Meas. 25, 8, 1976).
    """
    contours, _ = cv2.findContours(region.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=len)
    hull = cv2.convexHull(outline).reshape(-1, 2).astype(np.float64)
    inside = (hull >= _OUTLINE_PX).all(axis=1)
    inside &= (hull < np.array(region.shape[::-1]) - _OUTLINE_PX).all(axis=1)
    points = hull[inside]
    if len(points) < _MIN_CIRCLE_POINTS:
        return None
    terms = np.column_stack([2 * points, np.ones(len(points))])
    (x, y, rest), *_ = np.linalg.lstsq(terms, (points**2).sum(axis=1))
    radius = float(np.sqrt(max(rest + x * x + y * y, 1.0)))
    offset = points - (x, y)
    error = float(np.sqrt(np.mean((np.hypot(*offset.T) - radius) ** 2)))
    if error > _MAX_CIRCLE_ERROR * radius:
        return None
    dx, dy = (outline.reshape(-1, 2) - (x, y)).T
    on_circle = np.abs(np.hypot(dx, dy) - radius) < _NEAR_CIRCLE * radius
    sectors = np.unique((np.arctan2(dy, dx)[on_circle] / _SECTOR).astype(int))
    if len(sectors) * _SECTOR < 2 * np.pi * _MIN_ARC:
        return None
    return float(x), float(y), radius


def _means(
    label: npt.NDArray[np.intp], counted: npt.NDArray[np.bool_], values: Floats, count: int
) -> Numbers:
    """Return, by label, the mean of the values of the counted pixels; all three are (pixels,)."""
    chosen = label[counted]
    pixels = np.maximum(np.bincount(chosen, minlength=count), 1)
    return np.asarray(np.bincount(chosen, values[counted], count) / pixels)


def _elongation(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    label: npt.NDArray[np.intp],
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


def _solid(mask: Bools) -> Bools:
    """Return a mask with gaps between cells closed, holes filled and thin parts removed."""
    # The mask is continued across the border, so that an object cut there does not count as thin.
    margin = 24
    extended = cv2.copyMakeBorder(
        mask.view(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE
    ).view(np.bool_)
    box = box_around(extended, int(_CELL_GAP_PX) + 2)
    solid = np.zeros_like(extended)
    solid[box] = open_mask(fill_holes(close_mask(extended[box], _CELL_GAP_PX)), _MIN_HALF_WIDTH_PX)
    return np.ascontiguousarray(solid[margin:-margin, margin:-margin])
