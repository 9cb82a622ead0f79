"""Measures the tissue outside its core: its area, its directions and its distance.

An exploded aggregate is a core with chains and clumps of cells on all sides, nearly as dense as
the core. A lobe, a second piece or a fibre extends to one side. Debris is thin or consists of
single cells.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.downscaled_plane import DownscaledPlane, Mask

_DIRECTIONS = 36  # sectors of 10° around the centre of the core
_CORE_RADIUS_CELLS = 3.0  # parts thinner than twice this are not core
_CORE_RADIUS_SHARE = 0.5  # of the largest depth, if that is less, so that small tissue has a core
_MIN_DISTANCE_CELLS = 5.0  # from the core; closer are a rough edge and cells attached to it
_GAP_CELLS = 0.5  # cells closer than twice this count as connected
_MIN_DENSITY = 0.3
"""Density of dispersed tissue relative to the darkest quarter of the body; debris is thinner.

The darkest quarter of the body is never debris.
"""
_DARKEST_QUARTER = 0.75  # quantile
_SMOOTHING_CELLS = 0.3  # so that the bright middle of a cell does not divide it
_MIN_CLUMP_CELLS = 10.0  # area of a separate clump in squared cells; a pair of loose cells has less
_SPREAD_SHARE = 0.95  # of the tissue; a single stray clump does not change it


@dataclass(frozen=True)
class Dispersal:
    """Dispersal of the tissue of one well around its core."""

    directions: float  # 0…1: share of directions with tissue outside the core
    spilled: float  # area of the tissue outside the core, in areas of the core
    spread_px: float
    """Distance from the centre of the core that contains 95 % of the tissue, in plane pixels."""


def measure_dispersal(plane: DownscaledPlane) -> Dispersal:
    """Return the Dispersal of a DownscaledPlane: the tissue outside its core."""
    tissue = _dense_tissue(plane)
    core = _core(tissue & plane.body, plane.px_per_cell)
    spilled = _spilled_tissue(tissue, core, plane.px_per_cell)
    moments = cv2.moments(core.astype(np.uint8), binaryImage=True)
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    distance = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    x, y = _offsets(spilled & (distance > _MIN_DISTANCE_CELLS * plane.px_per_cell), centre)
    sector = ((np.arctan2(y, x) / (2 * np.pi)) % 1.0 * _DIRECTIONS).astype(int) % _DIRECTIONS
    reach = np.quantile(np.hypot(*_offsets(core | spilled, centre)), _SPREAD_SHARE)
    return Dispersal(
        directions=len(np.unique(sector)) / _DIRECTIONS,
        spilled=float(np.count_nonzero(spilled) / np.count_nonzero(core)),
        spread_px=float(reach) / plane.factor,
    )


def _offsets(mask: Mask, centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the offsets, (2, n) x and y, of the pixels of a mask from a point."""
    y, x = np.nonzero(mask)
    return np.stack([x - centre[0], y - centre[1]])


def _core(body: Mask, px_per_cell: float) -> Mask:
    """Return the largest part of a body without its thin parts, holes filled."""
    x, y, width, height = cv2.boundingRect(body.view(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    contours, _ = cv2.findContours(
        _largest_piece(body[window]).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    solid = np.zeros((height + 2, width + 2), np.uint8)  # with a margin: a cut body ends there
    cv2.drawContours(solid, contours, -1, 1, cv2.FILLED, offset=(1, 1))
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, cv2.DIST_MASK_5)
    radius = min(_CORE_RADIUS_CELLS * px_per_cell, _CORE_RADIUS_SHARE * float(depth.max()))
    thick = (
        cv2.distanceTransform((depth <= radius).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        <= radius
    )
    core = np.zeros(body.shape, dtype=bool)
    core[window] = _largest_piece((thick & (solid > 0))[1:-1, 1:-1])
    return core


def _largest_piece(mask: Mask) -> Mask:
    """Return the largest connected piece of a mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _dense_tissue(plane: DownscaledPlane) -> Mask:
    """Return the pixels of body and debris that are nearly as dense as the body.

    This excludes debris and the gaps between chains of cells that the outline encloses.
    """
    sigma_px = max(_SMOOTHING_CELLS * plane.px_per_cell, 0.3)
    density = cv2.GaussianBlur(plane.density, (0, 0), sigma_px)
    dense = density >= _MIN_DENSITY * float(np.quantile(density[plane.body], _DARKEST_QUARTER))
    return np.asarray(
        (plane.body | plane.debris) & dense if (dense & plane.body).any() else plane.body
    )


def _spilled_tissue(tissue: Mask, core: Mask, px_per_cell: float) -> Mask:
    """Return the tissue outside the core: attached parts, and separate clumps inside the field."""
    whole = tissue | core
    side = 2 * max(1, round(_GAP_CELLS * px_per_cell)) + 1
    joined = cv2.dilate(
        whole.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    )
    count, labels = cv2.connectedComponents(joined, connectivity=8)
    kept = np.bincount(labels[whole], minlength=count) >= _MIN_CLUMP_CELLS * px_per_cell**2
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        kept[border] = False
    kept[labels[core][0]] = True  # the core is in one piece
    return np.asarray(kept[labels] & tissue & ~core)
