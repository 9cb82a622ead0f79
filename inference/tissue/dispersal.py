"""Measures the tissue outside its core: its area, its directions, its distance and its parts.

An exploded aggregate is a core with chains and clumps of cells on all sides, nearly as dense as
the core, or clumps without a core. A lobe, a second piece or a fibre extends to one side. Debris is
thin or consists of single cells. Compact bodies that lie apart, as several spheroids or organoids
in one well do, are cores of their own.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from inference.tissue.bodies import Labels, separate_bodies
from inference.tissue.downscaled_plane import DownscaledPlane, Mask
from inference.tissue.masks import (
    box_around,
    centre_of_mass,
    dilate_mask,
    label_parts,
    positions,
    select_parts,
)
from inference.tissue.quantiles import quantiles

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
_MIN_CORE_SHARE = 0.5  # of the tissue; around a smaller core the middle is that of all tissue
_MIN_BODY_AREA = 0.1  # of a body relative to the largest; a smaller one is a fragment
_COMPACT_SOLIDITY = 0.9  # of a body without chains of cells
_FEW_BODIES = 6
_FEW_SOLIDITY, _MANY_SOLIDITY = 0.7, 0.875
"""Smallest median solidity of the bodies, of few and of many, that are no fragments.

Round organoids have 0.88 to 0.97 and fragments of cell clumps 0.76 to 0.86. A few bodies may be
ragged: tissue falls apart into many fragments.
"""
_ROUND_SOLIDITY = 0.93  # smallest median solidity of bodies that are surely round
_BLOCKS = 6  # per side of the field
_MIN_BLOCKS, _MIN_BLOCKS_OF_ROUND = 0.4, 0.3
"""Share of the blocks with a body in a culture of many bodies, and if they are surely round.

Fifteen bodies at any places have 0.33 or more. Fragments are around a centre.
"""
_SPREAD_SHARE = 0.95  # of the tissue; a single stray clump does not change it


@dataclass(frozen=True)
class Dispersal:
    """Dispersal of the tissue of one well around its core."""

    directions: float  # 0…1: share of directions with tissue outside the core
    spilled: float  # area of the tissue outside the core, in areas of the core
    spread_px: float
    """Distance from the centre of the core that contains 95 % of the tissue, in plane pixels."""
    effective_parts: float
    """Inverse Simpson index of the areas of the parts: n if the tissue is n parts of one size."""


def measure_dispersal(plane: DownscaledPlane) -> Dispersal:
    """Return the Dispersal of a DownscaledPlane: the tissue outside its core."""
    numbers = separate_bodies(plane.body)
    area = np.bincount(numbers[plane.body])
    tissue = _dense_tissue(plane, numbers == int(np.argmax(area)))
    core = _core(tissue & plane.body, plane.px_per_cell)
    others, is_culture = _other_bodies(numbers, area, core)
    cores = core | others
    spilled = _spilled_tissue(tissue, cores, core, plane.px_per_cell)
    if is_culture:
        spilled &= _parts_that_touch(spilled, cores)
    middle = core | spilled
    if np.count_nonzero(core) >= _MIN_CORE_SHARE * np.count_nonzero(middle):
        middle = core
    centre = np.array(centre_of_mass(middle))
    away = _far_from(core, spilled, _MIN_DISTANCE_CELLS * plane.px_per_cell)
    x, y = _offsets(away, centre)
    sector = ((np.arctan2(y, x) / (2 * np.pi)) % 1.0 * _DIRECTIONS).astype(int) % _DIRECTIONS
    [reach] = quantiles(np.hypot(*_offsets(core | spilled, centre)), _SPREAD_SHARE)
    return Dispersal(
        directions=len(np.unique(sector)) / _DIRECTIONS,
        spilled=float(np.count_nonzero(spilled) / np.count_nonzero(cores)),
        spread_px=reach / plane.factor,
        effective_parts=_effective_number(cores, spilled),
    )


def _far_from(core: Mask, spilled: Mask, distance_px: float) -> Mask:
    """Return the spilled tissue that is farther than ``distance_px`` from the core."""
    if not spilled.any():
        return spilled
    x, y, width, height = cv2.boundingRect((core | spilled).view(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    distance = cv2.distanceTransform((~core[window]).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    far = np.zeros_like(spilled)
    far[window] = spilled[window] & (distance > distance_px)
    return far


def _other_bodies(numbers: Labels, area: npt.NDArray[np.intp], core: Mask) -> tuple[Mask, bool]:
    """Return the bodies apart from the core that are compact bodies and no fragments of tissue.

    The second value is True if they are a culture of many bodies. A separate clump in such a
    culture is a small body or debris, because it has no core around which it could lie.

    ``numbers`` are the bodies of the pixels, from 1, and ``area`` is the area of each number.
    """
    large = np.flatnonzero(area >= _MIN_BODY_AREA * area.max())
    none = np.zeros_like(core)
    if len(large) == 1:
        return none, False
    solidity = _median_solidity(numbers, large)
    if len(large) > _FEW_BODIES:
        blocks = cv2.resize(
            np.isin(numbers, large).astype(np.float32),
            (_BLOCKS, _BLOCKS),
            interpolation=cv2.INTER_AREA,
        )
        least = _MIN_BLOCKS_OF_ROUND if solidity >= _ROUND_SOLIDITY else _MIN_BLOCKS
        if (blocks > 0).mean() < least or solidity < _MANY_SOLIDITY:
            return none, False
        return np.asarray(numbers > 0) & ~core, True
    if solidity < _FEW_SOLIDITY:
        return none, False
    own = np.bincount(numbers[core], minlength=len(area)).argmax()
    return np.asarray(np.isin(numbers, large[large != own]) & ~core), False


def _parts_that_touch(mask: Mask, cores: Mask) -> Mask:
    """Return the parts of a mask that touch a core."""
    labels, stats = label_parts(mask)
    touching = np.zeros(len(stats), dtype=bool)
    touching[labels[dilate_mask(cores, 1)]] = True
    return select_parts(labels, touching)


def _median_solidity(numbers: Labels, chosen: npt.NDArray[np.intp]) -> float:
    """Return the median solidity of the chosen numbers of bodies in a map, (h, w)."""
    boxes = find_objects(numbers)
    return float(np.median([_solidity(numbers[boxes[n - 1]] == n) for n in chosen.tolist()]))


def _solidity(mask: Mask) -> float:
    """Return the area of a mask divided by the area of its convex hull."""
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(outlines))
    # Half a pixel around the centres of the pixels, by Steiner's formula.
    hull_area = cv2.contourArea(hull) + cv2.arcLength(hull, closed=True) / 2 + 1
    return np.count_nonzero(mask) / hull_area


def _effective_number(cores: Mask, spilled: Mask) -> float:
    """Return the inverse Simpson index of the areas of the cores and the parts outside them."""
    areas = np.concatenate([_part_areas(cores), _part_areas(spilled)])
    return float(areas.sum() ** 2 / (areas**2).sum())


def _part_areas(mask: Mask) -> npt.NDArray[np.float64]:
    """Return the areas of the connected parts of a mask, (parts,)."""
    if not mask.any():
        return np.zeros(0)
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    _, stats = label_parts(mask[y : y + height, x : x + width])
    return stats[1:, cv2.CC_STAT_AREA].astype(np.float64)


def _offsets(mask: Mask, centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the offsets, (2, n) x and y, of the pixels of a mask from a point."""
    y, x = positions(mask)
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
    labels, stats = label_parts(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _dense_tissue(plane: DownscaledPlane, largest: Mask) -> Mask:
    """Return the pixels of body and debris that are nearly as dense as the body.

    This excludes debris and the gaps between chains of cells that the outline encloses. The largest
    body has no gaps if its outline is compact; light in it is texture.
    """
    sigma_px = max(_SMOOTHING_CELLS * plane.px_per_cell, 0.3)
    density = cv2.GaussianBlur(plane.density, (0, 0), sigma_px)
    dense = density >= _MIN_DENSITY * quantiles(density[plane.body], _DARKEST_QUARTER)[0]
    if _solidity(largest[box_around(largest, 0)]) > _COMPACT_SOLIDITY:
        dense |= largest
    return np.asarray(
        (plane.body | plane.debris) & dense if (dense & plane.body).any() else plane.body
    )


def _spilled_tissue(tissue: Mask, cores: Mask, core: Mask, px_per_cell: float) -> Mask:
    """Return the tissue outside the cores: attached parts, and separate clumps inside the field.

    ``core`` is the largest of the ``cores``.
    """
    whole = tissue | cores
    side = 2 * max(1, round(_GAP_CELLS * px_per_cell)) + 1
    joined = cv2.dilate(
        whole.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    )
    count, found = cv2.connectedComponents(joined, connectivity=8)
    labels = np.asarray(found, np.int32)
    kept = np.bincount(labels[whole], minlength=count) >= _MIN_CLUMP_CELLS * px_per_cell**2
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        kept[border] = False
    kept[labels[core][0]] = True  # the core is in one piece
    return select_parts(labels, kept) & tissue & ~cores
