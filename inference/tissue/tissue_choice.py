"""Chooses which regions of a reduced plane are tissue: one body with its pieces, or many bodies.

All lengths in this module are in pixels of the reduced plane.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.candidate_regions import (
    CandidateRegions,
    find_candidate_regions,
    find_small_regions,
    remove_scratches,
)
from inference.tissue.coarse_plane import SIDE_PX, CoarsePlane
from inference.tissue.masks import solidity
from schemas.tissue import Unsure

MIN_SIGNAL: Final = 0.0045
"""Smallest signal of tissue.

The signal is the mean darkness or texture of a region × half of its width as a share of the field
× its coverage to the fourth power. Freshly seeded tissue is pale but wide and has 0.0056 or more.
Heaps of cells are narrow or have gaps and stay below 0.0035.
"""

FIBRE_ELONGATION: Final = 4.0
"""Smallest elongation of a fibre or scratch."""

TEXTURE_BLUR_PX: Final = 4.0
"""Distance by which the texture filter widens an object."""

_MAX_CORNER_SHARE = 0.03  # of the field, of a wall in a corner of the image
_MAX_WALL_WIDTH_PX = 30.0  # half width of the arc of a wall at the border of the image
_MAX_FIBRE_WIDTH_PX = 14.0  # half width of a fibre or scratch, without the blur of its texture
_MIN_PIECE_WIDTH = 0.15  # relative to the leading region
_MIN_LIKENESS = 0.3  # strength and edge of a piece relative to the leading region
_MIN_SHARPNESS = 0.42
"""Edge of a piece relative to the sharpest part of the leading region's edge.

Drops of condensation on the lid are out of focus, and have up to 0.39 beside tissue in focus.
Pieces of tissue have 0.46 and more.
"""
_MAX_EDGE_WIDTH_PX = 5.6
"""Usual width of the edge of many bodies: their darkness divided by the slope of their edge.

Organoids and pieces in focus have 3.7 to 5.0, drops of condensation 6.0 and more.
"""
_MIN_BODY_WIDTH = 0.55  # width of a body far from the leading region, relative to it
_MIN_BODY_STRENGTH = 0.5  # of a body far from the leading region, relative to it
_MIN_BODY_EDGE = 0.2  # the same for the edge, which loose cells around a body make less steep
_MAX_GAP_RADII = 1.5  # largest gap between pieces of one tissue, in radii of the leading region
_OTHER_OBJECT_AREA = 0.2  # of an object that is left out and reported, relative to the leading
_MAX_CONTACT_PX = SIDE_PX / 50  # with the border, of tissue that is not cut

_MIN_BODIES = 8
"""Smallest number of bodies in a field of many bodies."""
_MAX_BODY_SHARE = 1 / 3
"""Largest share of the area of all bodies that the largest of many bodies has.

On real images of organoids it is up to 0.24. A body with pieces around it has 0.58 and more.
"""
MIN_BODY_SIGNAL: Final = 0.0027
"""Signal of many bodies (mean darkness × half width as a share of the field, weighted by area).

Loose cells and debris in an empty well have up to 0.0019. Many bodies may be as small as loose
cells. They are recognised by :data:`MIN_BODIES_SIGNAL`, too.
"""
MIN_BODIES_SIGNAL: Final = 0.0005
"""Smallest product of the signal of many bodies and the square root of the field they cover.

Real images of organoids have 0.0006 and more, loose cells and debris up to 0.0004.
"""
_ROUND_BODIES = 0.65  # signal of many bodies that are surely round, relative to the limits
_ROUND_SHARE = 0.8
"""Share of round bodies in the area of many bodies that are surely round.

Organoids have 0.88 and more. Dirt with loose cells, some of which touch each other, has up to 0.7
in most images.
"""
_ROUND_SOLIDITY, _ROUND_ELONGATION = 0.88, 1.5  # of a round body, at least and at most
_ROUND_RADIUS_PX = 3.0  # of a round body that is no speck, at least
_FAINT_BODIES = 0.8  # signal of many bodies that may be loose cells, relative to the limits
_SURELY_MANY = 25  # so many bodies are no texture of one pale tissue
_MIN_SMALL_AREA = 1 / 3  # area of many bodies relative to the region that else would be the tissue
_SMALL_HALF_WIDTH_PX = 2.0  # of a body among many
_SMALL_TO_WIDEST = 0.2  # radius of a disc with the area of a body relative to the widest body
_FIBRE_THINNESS = 6.0  # area relative to the widest disc inside; a disc has 1
_MIN_CROSSING_THINNESS = 5.0  # of bent or crossing fibres, the same
_MAX_FIBRE_SOLIDITY = 0.43  # of bent or crossing fibres; tissue in pieces has 0.44 and more
_FIBRE_TO_BODY = 0.7  # half width of a fibre relative to the bodies
_CHAIN_ELONGATION = 6.0  # largest elongation of a chain of bodies
_SURE_DARKNESS = 1.5  # mean darkness of a body relative to the dark limit
_MIN_SMALL_DARKNESS = 0.7  # relative to the dark limit

Bools = npt.NDArray[np.bool_]
Chosen = npt.NDArray[np.bool_]  # (labels,)


@dataclass(frozen=True, eq=False)
class ChosenTissue:
    """Regions of a reduced plane by kind; each mask is (h, w)."""

    tissue: Bools
    foreign: Bools  # walls, clouds, fibres and other objects: neither tissue nor debris
    doubts: tuple[Unsure, ...]
    many: bool = False  # whether the tissue is many bodies, and not one body with its pieces


def choose_tissue(coarse: CoarsePlane) -> ChosenTissue:
    """Return the ChosenTissue of a CoarsePlane.

    If many dark bodies of similar size are in the field, they are the tissue. Else the wide region
    with the strongest signal leads, and similar regions are tissue too.
    """
    regions = find_candidate_regions(coarse)
    small = find_small_regions(coarse, _MIN_BODIES)
    many, many_signal = _many_bodies(small) if small is not None else (np.zeros(1, dtype=bool), 0.0)
    foreign, signal = _weigh(regions)
    leading = int(np.argmax(signal))
    enough = _MIN_SMALL_AREA * (regions.area_px[leading] if signal[leading] > MIN_SIGNAL else 0)
    if (
        small is not None
        and _are_tissue(small, many, many_signal)
        and (many.sum() >= _SURELY_MANY or small.area_px[many].sum() >= enough)
    ):
        return _choose_many(small, many, is_faint=many_signal < 1)
    if signal[leading] < MIN_SIGNAL:
        regions = remove_scratches(regions, coarse)
        foreign, signal = _weigh(regions)
        leading = int(np.argmax(signal))
    if signal[leading] < MIN_SIGNAL:
        is_faint = signal[leading] > MIN_SIGNAL / 2 or coarse.is_textured
        is_faint |= many_signal > _FAINT_BODIES
        return ChosenTissue(
            np.zeros(regions.labels.shape, dtype=bool),
            regions.mask(foreign),
            (Unsure.FAINT,) if is_faint else (),
        )
    width = _width(regions)
    alike = (
        (regions.strength > _MIN_LIKENESS * regions.strength[leading])
        & (regions.edge > _MIN_LIKENESS * regions.edge[leading])
        & (regions.edge > _MIN_SHARPNESS * regions.sharpest_edge[leading])
        & (width > _MIN_PIECE_WIDTH * width[leading])
    )
    candidates = alike & ~foreign
    bodies = (
        ~foreign
        & (width > _MIN_BODY_WIDTH * width[leading])
        & (regions.strength > _MIN_BODY_STRENGTH * regions.strength[leading])
        & (regions.edge > _MIN_BODY_EDGE * regions.edge[leading])
    )
    bodies[0] = False
    tissue = _with_pieces(regions, leading, bodies, candidates)
    others = candidates & ~tissue
    doubts: list[Unsure] = []
    if signal[leading] < 2 * MIN_SIGNAL:
        doubts.append(Unsure.FAINT)
    if regions.contact_px[tissue].sum() > _MAX_CONTACT_PX:
        doubts.append(Unsure.CUT)
    if (others & (regions.area_px > _OTHER_OBJECT_AREA * regions.area_px[leading])).any():
        doubts.append(Unsure.OTHER_OBJECT)
    if (~regions.has_edge & (regions.strength > regions.strength[leading] / 2))[1:].any():
        doubts.append(Unsure.UNEVEN)
    return ChosenTissue(regions.mask(tissue), regions.mask(foreign | others), tuple(doubts))


def _weigh(regions: CandidateRegions) -> tuple[Chosen, npt.NDArray[np.float64]]:
    """Return, by label, whether a region is foreign to tissue, and its signal, 0 if it is."""
    foreign = ~regions.has_edge | _along_the_border(regions) | regions.is_ring
    width = _width(regions)
    widest = np.where(regions.contact_px > 0, _MAX_WALL_WIDTH_PX, _MAX_FIBRE_WIDTH_PX)
    foreign |= (width < widest) & (
        (regions.elongation > FIBRE_ELONGATION) | _bent_or_crossing_fibres(regions)
    )
    signal = np.where(foreign, 0, regions.strength * width / SIDE_PX * regions.coverage**4)
    signal[0] = 0
    return foreign, signal


def _width(regions: CandidateRegions) -> npt.NDArray[np.float64]:
    """Return, by label, the half width of the regions without the blur of their texture."""
    return np.maximum(regions.half_width_px - TEXTURE_BLUR_PX, 0)


def _many_bodies(small: CandidateRegions) -> tuple[Chosen, float]:
    """Return, by label, the small regions that can be many bodies, and their relative signal.

    The bodies have similar sizes. The dark ones decide; pale ones, as hollow bodies are, belong to
    them. The signal is relative to the limits of this module: bodies with 1 or more are tissue. It
    is 0 if there are not enough bodies.
    """
    bodies = (
        small.has_edge
        & ~_along_the_border(small)
        & ~_thin(small)
        & (small.strength > _MIN_SMALL_DARKNESS * small.dark_limit)
        & (small.half_width_px >= _SMALL_HALF_WIDTH_PX)
    )
    bodies[0] = False
    radius_px = np.sqrt(small.area_px / np.pi)
    bodies &= radius_px >= _SMALL_TO_WIDEST * small.half_width_px[bodies].max(initial=0)
    dark = bodies & (small.strength > _SURE_DARKNESS * small.dark_limit)
    area = small.area_px[dark]
    if len(area) < _MIN_BODIES or area.max() > _MAX_BODY_SHARE * area.sum():
        return bodies, 0.0
    edge_width_px = small.strength[bodies] / np.maximum(small.edge[bodies], 1e-6)
    if np.median(edge_width_px) > _MAX_EDGE_WIDTH_PX:
        return bodies, 0.0
    signal = small.strength[dark] * small.half_width_px[dark] / SIDE_PX
    mean = float((signal * area).sum() / area.sum())
    together = mean * float(np.sqrt(area.sum() / small.labels.size))
    return bodies, max(mean / MIN_BODY_SIGNAL, together / MIN_BODIES_SIGNAL)


def _are_tissue(small: CandidateRegions, bodies: Chosen, signal: float) -> bool:
    """Return whether many bodies, given by label with their relative signal, are tissue.

    Bodies with a lower signal are tissue if most of them are round.
    """
    return signal >= 1 or (
        signal >= _ROUND_BODIES and _share_of_round(small, bodies) >= _ROUND_SHARE
    )


def _share_of_round(small: CandidateRegions, bodies: Chosen) -> float:
    """Return the share of round bodies in the area of the bodies, which are given by label."""
    large = small.area_px > np.pi * _ROUND_RADIUS_PX**2
    round_px = sum(
        small.area_px[label]
        for label in np.flatnonzero(bodies & large & (small.elongation < _ROUND_ELONGATION))
        if solidity(small.labels == label) > _ROUND_SOLIDITY
    )
    return float(round_px / small.area_px[bodies].sum())


def _choose_many(small: CandidateRegions, bodies: Chosen, *, is_faint: bool) -> ChosenTissue:
    """Return the ChosenTissue of a field of many bodies, given by label."""
    foreign = _along_the_border(small) | _thin(small)
    doubts = (Unsure.FAINT,) if is_faint else ()
    if small.contact_px[bodies].sum() > _MAX_CONTACT_PX:
        doubts = (*doubts, Unsure.CUT)
    return ChosenTissue(small.mask(bodies), small.mask(foreign & ~bodies), doubts, many=True)


def _thin(small: CandidateRegions) -> Chosen:
    """Return, by label, the small regions that are long and thin, as fibres and scratches are.

    A chain of bodies that touch each other is long, but as wide as the other bodies. A straight
    chain of six bodies or more is improbable.
    """
    thin = small.area_px > _FIBRE_THINNESS * np.pi * small.half_width_px**2
    by_area = np.repeat(small.half_width_px[1:], small.area_px[1:].astype(int))
    usual = float(np.median(by_area)) if len(by_area) else 0.0
    narrow = small.half_width_px < _FIBRE_TO_BODY * usual
    return np.asarray(thin & narrow | (small.elongation > _CHAIN_ELONGATION))


def _bent_or_crossing_fibres(regions: CandidateRegions) -> Chosen:
    """Return, by label, the regions that are thin and far from convex.

    Their ellipse is not elongated, but they are fibres.
    """
    thin = regions.area_px > _MIN_CROSSING_THINNESS * np.pi * regions.half_width_px**2
    for label in np.flatnonzero(thin[1:]) + 1:
        thin[label] = solidity(regions.labels == label) < _MAX_FIBRE_SOLIDITY
    return thin


def _along_the_border(regions: CandidateRegions) -> Chosen:
    """Return, by label, the regions that lie flat along the border, as a wall or a shadow does."""
    # A straight band has 8 or more; a disc cut anywhere has less than 6, a quarter of a disc 5.1.
    flatness = regions.contact_px**2 / np.maximum(regions.area_px, 1)
    corners = np.zeros(len(flatness), dtype=bool)
    corners[regions.labels[[0, 0, -1, -1], [0, -1, 0, -1]]] = True
    corners &= regions.area_px < _MAX_CORNER_SHARE * regions.labels.size
    return np.asarray(flatness > np.where(corners, 5.4, 8.0))


def _with_pieces(
    regions: CandidateRegions, leading: int, bodies: Chosen, candidates: Chosen
) -> Chosen:
    """Return, by label, the bodies and the candidates that are pieces of them.

    A piece is near a body or near another piece.
    """
    radius = float(np.sqrt(regions.area_px[leading] / np.pi))
    tissue = bodies
    while (candidates & ~tissue).any():
        more = tissue | candidates & (_gaps(regions, tissue) < _MAX_GAP_RADII * radius)
        if np.array_equal(more, tissue):
            break
        tissue = more
    return tissue


def _gaps(regions: CandidateRegions, tissue: Chosen) -> npt.NDArray[np.float64]:
    """Return, by label, the distance in pixels of each region from the tissue regions."""
    away = cv2.distanceTransform((~regions.mask(tissue)).view(np.uint8), cv2.DIST_L2, 3)
    pixels = np.flatnonzero(regions.labels > 0)
    gap = np.full(len(tissue), np.inf)
    np.minimum.at(gap, regions.labels.take(pixels), away.take(pixels))
    return gap
