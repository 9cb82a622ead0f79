"""Outlines the chosen tissue at the resolution of the working plane.

The outline has holes where the background is seen through the body, and no fibres that touch it.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.candidate_regions import MIN_LUMEN_SOLIDITY
from inference.tissue.coarse_plane import SIDE_PX, CoarsePlane
from inference.tissue.fibres import find_attached_fibres, label_without_fibres
from inference.tissue.masks import (
    box_around,
    close_mask,
    dilate_mask,
    erode_mask,
    fill_convex_holes,
    fill_lumens,
    label_areas,
    median_solidity,
    open_mask,
    resize_mask,
    select_parts,
    solidity,
)
from inference.tissue.openings import (
    find_holes,
    find_narrow_gaps,
    find_open_gaps,
    without_wide_gaps,
)
from inference.tissue.prepared_plane import HALF_COVERED
from inference.tissue.tissue_choice import TEXTURE_BLUR_PX, ChosenTissue
from schemas.tissue import Unsure

MIN_FILLED_SHARE: Final = 0.15
"""Smallest share of a region that is tissue at full resolution; scattered cells have less."""

_BAND_PX = 6.0  # reduced pixels around the coarse tissue, where the outline can be
_CHAIN_REACH_PX = 96.0  # a quarter of the field; the longest thin chains of cells
_MIN_INSIDE_PX = 3  # a piece must reach this far inside the coarse tissue

_SURELY_INSIDE_PX = 2.0  # reduced pixels from the outline of a coarse small body
_RIM_REACH_PX = 4.0  # reduced pixels from the outline of a small body to its darkest part
_MAX_FRAGMENT_SOLIDITY = 0.9  # median of small bodies that are fragments; organoids have more
_FRAGMENT_RADIUS_PX = 1.5  # of a disc with the area of the smallest fragment, in reduced pixels
_MIN_FRAGMENT_AREA = 0.1  # of such a body relative to the largest; crumbs have any shape
_MIN_COMPACT_SOLIDITY = 0.84  # of a tissue without gaps, in which light is texture
_MIN_SOLIDITY_BESIDE_FIBRE = 0.95  # the same without its thin parts
_FIBRE_REACH = 0.2  # half width of a fibre with its texture relative to the radius of the tissue
_MAX_GRAIN_SHARE = 0.02  # side of a bright grain of tissue relative to the field
_MIN_FRAGMENTS = 6  # pieces of a tissue that fell apart
_MAX_FRAGMENTS_AREA = 0.25  # of small fragments together, relative to the other pieces
_LOOSE_CELL_RADIUS_PX = 3.5  # of a disc with the area of the largest cells, in reduced pixels
_MIN_FRAGMENT_DENSITY = 0.3  # of the light that a fragment takes away, relative to its body
_MIN_PIECE_AREA = 0.005  # of the largest piece; smaller pieces are loose cells


Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BodyOutline:
    """Body of the tissue in the working plane, and the light at its outline."""

    body: Bools  # (H, W)
    limit: Floats  # (h, w): transmitted share at the outline, in the window around the body
    window: tuple[slice, slice]

    def cover(self, body: Bools, transmitted: Floats) -> npt.NDArray[np.uint8]:
        """Return the position of each pixel relative to the outline of a body, (H, W).

        The values are 128 to 255 inside the body and 0 to 127 outside. Beside the outline they are
        in proportion to the light, so that linear interpolation finds the place between two pixels
        at which the light has its limit.

        Parameters
        ----------
        body
            This body or parts of it, (H, W).
        transmitted
            Share of the light that passes, (H, W).
        """
        cover = np.asarray(body.view(np.uint8) * np.uint8(255))
        if not body.any():
            return cover
        limit, window = self.limit, self.window
        below = (limit - transmitted[window]) / (1 - limit)  # 0 at the outline, -1 outside
        below += 1
        light = cv2.convertScaleAbs(np.clip(below, 0, 2, out=below), alpha=127.5)
        agrees = (light > HALF_COVERED) == body[window]
        np.copyto(cover[window], light, where=agrees)
        return cover


@dataclass(frozen=True)
class OutlineEdge:
    """Edge of the tissue in a reduced plane."""

    width_px: float  # median along the outline
    blurred: bool  # whether it is wide everywhere and no detail in the plane is fine


def outline_body(
    transmitted: Floats, dark: Bools, coarse: CoarsePlane, chosen: ChosenTissue, edge: OutlineEdge
) -> BodyOutline:
    """Return the BodyOutline of the tissue in the working plane, with attached chains of cells.

    In and around the coarse tissue, a pixel belongs to the body if the light falls there below
    half-way between outside and inside.

    Parameters
    ----------
    transmitted
        Share of the light that passes, (H, W).
    dark
        Pixels darker than the background, without foreign objects, (H, W).
    coarse, chosen
        The reduced plane and its chosen tissue.
    edge
        Width of the outline's edge.
    """
    tissue = chosen.tissue
    if not tissue.any():
        nowhere = np.zeros(transmitted.shape, dtype=bool)
        return BodyOutline(nowhere, transmitted, (slice(None), slice(None)))
    if chosen.many:
        return _outline_small_bodies(transmitted, dark, coarse, tissue)
    return _outline_one_tissue(transmitted, dark, coarse, chosen, edge)


def _outline_small_bodies(
    transmitted: Floats, dark: Bools, coarse: CoarsePlane, tissue: Bools
) -> BodyOutline:
    """Return the BodyOutline of many small bodies in the working plane.

    Each place of an outline has its own limit, half-way between the light of the background and the
    darkest light nearby, because neighbouring bodies can be pale and dark. The light inside a thin
    rim is not the light of the body's middle.

    Parameters
    ----------
    transmitted, dark
        As in :func:`outline_body`.
    coarse
        The reduced plane.
    tissue
        Coarse mask of the bodies, (h, w).
    """
    shape, scale = transmitted.shape, max(transmitted.shape) / SIDE_PX
    near = dilate_mask(tissue, _BAND_PX)
    box = _bounding_box(near, shape)
    light = transmitted[box]
    limit = np.minimum((_darkest_nearby(light, _RIM_REACH_PX * scale) + 1) / 2, _palest(coarse))
    covered = (light < limit) & (dark | resize_mask(near, shape))[box]
    covered |= resize_mask(erode_mask(tissue, _SURELY_INSIDE_PX), shape)[box]
    whole = open_mask(fill_lumens(close_mask(covered, scale), MIN_LUMEN_SOLIDITY), scale)
    if median_solidity(tissue, _MIN_FRAGMENT_AREA) < _MAX_FRAGMENT_SOLIDITY:
        crumb_px = np.pi * (_FRAGMENT_RADIUS_PX * scale) ** 2
        large = _without_crumbs(whole, crumb_px)
        cut = open_mask(large & ~find_open_gaps(light, limit, scale), scale)
        whole = (whole & ~large) | _without_crumbs(cut, crumb_px)
    return _in_plane(_parts_with(whole, resize_mask(tissue, shape)[box]), limit, box, shape)


def _outline_one_tissue(
    transmitted: Floats, dark: Bools, coarse: CoarsePlane, chosen: ChosenTissue, edge: OutlineEdge
) -> BodyOutline:
    """Return the BodyOutline of one tissue, with its pieces and attached chains of cells.

    The parameters are those of :func:`outline_body`.
    """
    tissue = chosen.tissue
    shape, scale = transmitted.shape, max(transmitted.shape) / SIDE_PX
    near = dilate_mask(tissue, _BAND_PX)
    reachable = dilate_mask(tissue, _CHAIN_REACH_PX) & resize_mask(dark, near.shape)
    box = _bounding_box(near | reachable, shape)
    limit = enlarge(_outline_light(coarse, tissue, near, edge), shape)[box]
    covered = (transmitted[box] < limit) & (dark | resize_mask(near, shape))[box]
    inside = erode_mask(tissue, 2 * TEXTURE_BLUR_PX + edge.width_px) & coarse.differs
    covered |= without_wide_gaps(resize_mask(inside, shape)[box], transmitted[box], max(shape))
    # The pale middle of tissue is round, and bright grains are small. Gaps are neither.
    grain_px = (_MAX_GRAIN_SHARE * max(shape)) ** 2
    part = fill_convex_holes(close_mask(covered, scale), MIN_LUMEN_SOLIDITY, grain_px)
    if Unsure.FAINT not in chosen.doubts and not _is_compact(tissue):
        part &= ~find_narrow_gaps(transmitted[box], limit)
    seeds = resize_mask(erode_mask(tissue, _MIN_INSIDE_PX), shape)[box]
    part = _parts_with(open_mask(part, scale), seeds)
    if np.count_nonzero(part) > MIN_FILLED_SHARE * scale**2 * np.count_nonzero(tissue):
        part &= ~find_attached_fibres(part)
        part &= ~find_holes(part, transmitted[box], limit, max(shape))
        labels, area = label_areas(part)
        part = select_parts(labels, area > _MIN_PIECE_AREA * area.max())
        if len(area) > _MIN_FRAGMENTS and not _is_compact(tissue):
            part |= _fragments(transmitted[box], dark[box] & ~part, part, scale)
    else:
        part = np.zeros_like(part)
    return _in_plane(part, limit, box, shape)


def _fragments(light: Floats, dark: Bools, body: Bools, scale: float) -> Bools:
    """Return the parts of dark pixels, (h, w), that are fragments of a body which fell apart.

    A fragment is larger than a loose cell, nearly as dark as the body, and no fibre. If such parts
    are large together, they are other objects, such as drops on the lid, and none is returned.

    Parameters
    ----------
    light
        Share of the light that passes, (h, w).
    dark
        Pixels darker than the background and outside the body, (h, w).
    body
        Body without these fragments, (h, w).
    scale
        Number of pixels per reduced pixel.
    """
    labels, stats = label_without_fibres(dark)
    density = 1 - light
    usual = float(np.median(density[body]))
    kept = stats[:, cv2.CC_STAT_AREA] > np.pi * (_LOOSE_CELL_RADIUS_PX * scale) ** 2
    kept[0] = False
    for label in np.flatnonzero(kept):
        x, y, width, height, _ = stats[label]
        window = slice(y, y + height), slice(x, x + width)
        inside = labels[window] == label
        kept[label] = density[window][inside].mean() > _MIN_FRAGMENT_DENSITY * usual
    if stats[kept, cv2.CC_STAT_AREA].sum() > _MAX_FRAGMENTS_AREA * np.count_nonzero(body):
        return np.zeros_like(body)
    return select_parts(labels, kept)


def _in_plane(
    part: Bools, limit: Floats, box: tuple[slice, slice], shape: tuple[int, ...]
) -> BodyOutline:
    """Return the BodyOutline in a plane of a shape from maps of a box, (h, w)."""
    body = np.zeros(shape, dtype=bool)
    body[box] = part
    return BodyOutline(body, limit, box)


def _darkest_nearby(light: Floats, radius_px: float) -> Floats:
    """Return the smallest light, (h, w), within a radius of each pixel."""
    side = 2 * max(round(radius_px), 1) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.erode(light, disc), np.float32)


def _is_compact(tissue: Bools) -> bool:
    """Return whether a tissue, (h, w), has no gaps, also if a fibre crosses it."""
    radius = float(np.sqrt(np.count_nonzero(tissue) / np.pi))
    return (
        solidity(tissue) > _MIN_COMPACT_SOLIDITY
        or solidity(open_mask(tissue, _FIBRE_REACH * radius)) > _MIN_SOLIDITY_BESIDE_FIBRE
    )


def _without_crumbs(body: Bools, crumb_px: float) -> Bools:
    """Return a body, (H, W), without the pieces of at most ``crumb_px`` pixels."""
    labels, area = label_areas(body)
    return select_parts(labels, area > crumb_px)


def _parts_with(mask: Bools, seeds: Bools) -> Bools:
    """Return the connected parts of a mask that contain seeds."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    belongs = np.zeros(count, dtype=bool)
    belongs[labels[seeds]] = True
    return select_parts(np.asarray(labels, np.int32), belongs)


def _bounding_box(mask: Bools, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a mask's bounding box in an image of another shape, (H, W)."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    down, across = shape[0] / mask.shape[0], shape[1] / mask.shape[1]
    return slice(int(y * down), int(np.ceil((y + height) * down))), slice(
        int(x * across), int(np.ceil((x + width) * across))
    )


def _outline_light(coarse: CoarsePlane, tissue: Bools, near: Bools, edge: OutlineEdge) -> Floats:
    """Return, (h, w), the transmitted share half-way between inside and outside of a tissue.

    It is the dark limit of the plane where the mask ``near``, (h, w), of the surroundings is False.

    Dark pixels dominate the share inside. Otherwise the outline would be too far out at a dark
    seam with pale surroundings, and at an edge out of focus. A dark core far inside does not count,
    as the outline may be that of a pale mantle.
    """
    reach = float(np.clip(2.5 * edge.width_px, 4, 24))
    window = box_around(tissue, int(np.ceil(_BAND_PX + 3 * reach)))
    body, darkness = tissue[window], coarse.darkness[window]
    transmitted = np.exp(coarse.log_light[window] - coarse.surface[window])
    counted = body
    if not edge.blurred:
        counted = body & ~erode_mask(body, TEXTURE_BLUR_PX + reach)
    excess = np.maximum(darkness - coarse.dark_limit / 2, 0) ** 2
    inside = np.where(counted, excess * excess, np.float32(0))
    outside = (~dilate_mask(body, max(edge.width_px / 2, 1))).astype(np.float32)
    # The filter is wide, so half of the resolution is enough.
    light, weight = (
        cv2.GaussianBlur(
            cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (0, 0), reach / 2
        )
        for each in (transmitted * inside, inside)
    )
    within = enlarge(light / (weight + np.float32(1e-9)), inside.shape)
    beside = (cv2.GaussianBlur(transmitted * outside, (0, 0), 4) + np.float32(1e-2)) / (
        cv2.GaussianBlur(outside, (0, 0), 4) + np.float32(1e-2)
    )
    limit = np.full(tissue.shape, np.exp(-coarse.dark_limit), np.float32)
    half_way = np.minimum((within + beside) / 2, _palest(coarse))
    np.copyto(limit[window], half_way, where=near[window])
    return limit


def _palest(coarse: CoarsePlane) -> float:
    """Return the largest transmitted share of an outline."""
    return float(np.exp(-coarse.dark_limit / 2))


def enlarge(image: Floats, shape: tuple[int, ...]) -> Floats:
    """Return an image resampled to another shape, (H, W), by linear interpolation."""
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
