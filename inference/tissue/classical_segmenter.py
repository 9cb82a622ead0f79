"""Segmentation of the tissue by darkness and texture, without training data.

The tissue is first found on a reduced plane and then outlined at full resolution. All limits are
relative to the light and noise of the image, and lengths are shares of the field, so that the
scale and the number of pixels do not matter.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.candidate_regions import (
    SIDE_PX,
    CandidateRegions,
    CoarsePlane,
    analyse_coarse_plane,
    find_candidate_regions,
)
from inference.tissue.masks import (
    close_mask,
    dilate_mask,
    erode_mask,
    fill_holes,
    open_mask,
    resize_mask,
)
from schemas.tissue import Segmentation, Unsure

MIN_SIGNAL: Final = 0.0045
"""Smallest signal of tissue.

The signal is the mean darkness or texture of a region × half of its width as a share of the field
× its coverage to the fourth power. Freshly seeded tissue is pale but wide and has 0.0056 or more.
Heaps of cells are narrow or have gaps and stay below 0.0035.
"""

MIN_FILLED_SHARE: Final = 0.15
"""Smallest share of a region that is tissue at full resolution; scattered cells have less."""

FIBRE_ELONGATION: Final = 4.0
"""Smallest elongation of a fibre or scratch."""

BLURRED_PX: Final = 8.0
"""Width of the outline's edge, in reduced pixels, above which the segmentation is unsure.

In focus the width is 3. At 8 the outline may be off by a hundredth of the field.
"""

_TEXTURE_BLUR_PX = 4.0  # by which the texture filter widens an object
_BAND_PX = 6.0  # around the coarse tissue, where the outline can be
_CHAIN_REACH_PX = 96.0  # a quarter of the field; the longest thin chains of cells
_MIN_INSIDE_PX = 3  # a piece must reach this far inside the coarse tissue
_MIN_PIECE_WIDTH = 0.15  # relative to the leading region
_MIN_LIKENESS = 0.3  # strength and edge of a piece relative to the leading region
_RIVAL_AREA = 0.4  # area of a second object relative to the leading region; a fragment has less
_MAX_GAP_RADII = 1.5  # largest gap between pieces of one tissue, in radii of the leading region
_MIN_RIVAL_GAP_RADII = 0.5  # a closer object of that size is a piece

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _CoarseTissue:
    """Regions of a reduced plane by kind; each mask is (h, w)."""

    tissue: Bools
    foreign: Bools  # walls, clouds, fibres and second objects: neither tissue nor debris
    doubts: tuple[Unsure, ...]


class ClassicalSegmenter:
    """Segmenter that compares darkness and texture with a fitted background.

    It implements :class:`inference.ports.Segmenter`.
    """

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:  # noqa: ARG002 - every length is a share of the field
        """Return the Segmentation of a plane, (H, W) uint16, with a scale in µm per px or None.

        White is 65535 in the plane.
        """
        coarse = analyse_coarse_plane(plane)
        chosen = _choose_tissue(find_candidate_regions(coarse))
        edge_px = _edge_width(coarse, chosen.tissue)
        transmitted = _transmitted(plane, coarse)
        dark = (transmitted < np.exp(-coarse.dark_limit)) & resize_mask(
            coarse.field & ~chosen.foreign, plane.shape
        )
        body = _outline(transmitted, dark, coarse, chosen.tissue, edge_px)
        seam = dilate_mask(resize_mask(body, coarse.field.shape), max(1.0, edge_px / 2))
        debris = dark & ~(body | resize_mask(seam, plane.shape))
        return Segmentation(body, debris, np.exp(coarse.surface), _doubts(chosen, body, edge_px))


def _choose_tissue(regions: CandidateRegions) -> _CoarseTissue:
    """Return the tissue among the candidate regions of a reduced plane, and the foreign objects.

    The region with the strongest signal leads. Similar regions near it are pieces of the tissue.
    """
    width = np.maximum(regions.half_width_px - _TEXTURE_BLUR_PX, 0)
    # A straight band or a corner of the image has 8 or more; a disc cut anywhere has less than 6.
    along_the_border = regions.contact_px**2 > 8 * regions.area_px
    foreign = ~regions.has_edge | along_the_border | (regions.elongation > FIBRE_ELONGATION)
    signal = np.where(foreign, 0, regions.strength * width / SIDE_PX * regions.coverage**4)
    signal[0] = 0
    leading = int(np.argmax(signal))
    if signal[leading] < MIN_SIGNAL:
        return _CoarseTissue(
            np.zeros(regions.labels.shape, dtype=bool),
            regions.mask(foreign),
            (Unsure.FAINT,) if signal[leading] > MIN_SIGNAL / 2 else (),
        )
    alike = (
        (regions.strength > _MIN_LIKENESS * regions.strength[leading])
        & (regions.edge > _MIN_LIKENESS * regions.edge[leading])
        & (width > _MIN_PIECE_WIDTH * width[leading])
    )
    candidates = alike & ~foreign
    tissue = _pieces_of_tissue(regions, leading, candidates)
    others = candidates & ~tissue
    doubts: list[Unsure] = []
    if signal[leading] < 2 * MIN_SIGNAL:
        doubts.append(Unsure.FAINT)
    if regions.contact_px[tissue].sum() > SIDE_PX / 50:
        doubts.append(Unsure.CUT)
    if (others & (regions.area_px > _RIVAL_AREA / 2 * regions.area_px[leading])).any():
        doubts.append(Unsure.OTHER_OBJECT)
    if (~regions.has_edge & (regions.strength > regions.strength[leading] / 2))[1:].any():
        doubts.append(Unsure.UNEVEN)
    return _CoarseTissue(regions.mask(tissue), regions.mask(foreign | others), tuple(doubts))


def _pieces_of_tissue(
    regions: CandidateRegions, leading: int, candidates: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return, by label, the candidates that form one tissue with the leading region.

    Pieces are near the leading region or near another piece. A single object of the leading
    region's size, apart from it, is not a piece.
    """
    radius = float(np.sqrt(regions.area_px[leading] / np.pi))
    tissue: npt.NDArray[np.bool_] = np.arange(len(candidates)) == leading
    rivals = (
        candidates
        & ~tissue
        & (regions.area_px > _RIVAL_AREA * regions.area_px[leading])
        & (_gaps(regions, tissue) > _MIN_RIVAL_GAP_RADII * radius)
    )
    if np.count_nonzero(rivals) == 1:
        candidates = candidates & ~rivals
    while True:
        more = candidates & (_gaps(regions, tissue) < _MAX_GAP_RADII * radius)
        if np.array_equal(more, tissue):
            return tissue
        tissue = more


def _gaps(regions: CandidateRegions, tissue: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return, by label, the distance in pixels of each region from the tissue regions."""
    away = cv2.distanceTransform((~regions.mask(tissue)).view(np.uint8), cv2.DIST_L2, 3)
    rows, columns = np.nonzero(regions.labels)
    gap = np.full(len(tissue), np.inf)
    np.minimum.at(gap, regions.labels[rows, columns], away[rows, columns])
    return gap


def _transmitted(plane: npt.NDArray[np.uint16], coarse: CoarsePlane) -> Floats:
    """Return the share of the light that passes, (H, W), relative to the background."""
    sigma_px = max(0.3 * max(plane.shape) / SIDE_PX, 0.6)
    light = cv2.GaussianBlur(plane, (0, 0), sigma_px).astype(np.float32)
    return np.asarray(
        cv2.multiply(light, _enlarge(np.exp(-coarse.surface), plane.shape)), np.float32
    )


def _outline(
    transmitted: Floats, dark: Bools, coarse: CoarsePlane, tissue: Bools, edge_px: float
) -> Bools:
    """Return the body of the tissue at full resolution, (H, W), with holes and attached chains.

    In and around the coarse tissue, a pixel belongs to the body if the light falls there below
    half-way between outside and inside.

    Parameters
    ----------
    transmitted
        Share of the light that passes, (H, W).
    dark
        Pixels darker than the background, without foreign objects, (H, W).
    coarse, tissue
        The reduced plane and the mask of its tissue, (h, w).
    edge_px
        Width of the outline's edge in reduced pixels.
    """
    body = np.zeros(transmitted.shape, dtype=bool)
    if not tissue.any():
        return body
    shape, scale = transmitted.shape, max(transmitted.shape) / SIDE_PX
    near = dilate_mask(tissue, _BAND_PX)
    reachable = dilate_mask(tissue, _CHAIN_REACH_PX) & resize_mask(dark, near.shape)
    box = _bounding_box(near | reachable, shape)
    dark_limit = np.float32(np.exp(-coarse.dark_limit))
    limit = np.where(near, _half_way(coarse, tissue, edge_px), dark_limit)
    covered = (transmitted[box] < _enlarge(limit, shape)[box]) & (dark | resize_mask(near, shape))[
        box
    ]
    inside = erode_mask(tissue, 2 * _TEXTURE_BLUR_PX + edge_px) & coarse.differs
    covered |= resize_mask(inside, shape)[box]
    whole = open_mask(fill_holes(close_mask(covered, scale)), scale)
    count, labels = cv2.connectedComponents(whole.view(np.uint8), connectivity=8)
    belongs = np.zeros(count, dtype=bool)
    belongs[np.unique(labels[resize_mask(erode_mask(tissue, _MIN_INSIDE_PX), shape)[box]])] = True
    belongs[0] = False
    body[box] = belongs[labels]
    enough = np.count_nonzero(body) > MIN_FILLED_SHARE * scale**2 * np.count_nonzero(tissue)
    return body if enough else np.zeros_like(body)


def _bounding_box(mask: Bools, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a mask's bounding box in an image of another shape, (H, W)."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    down, across = shape[0] / mask.shape[0], shape[1] / mask.shape[1]
    return slice(int(y * down), int(np.ceil((y + height) * down))), slice(
        int(x * across), int(np.ceil((x + width) * across))
    )


def _edge_width(coarse: CoarsePlane, tissue: Bools) -> float:
    """Return the number of reduced pixels over which the light falls along the outline."""
    if not tissue.any():
        return 0.0
    transmitted = np.exp(-np.maximum(coarse.darkness, 0))
    lost = (1 - transmitted) * tissue
    depth = float((lost**2).sum() / max(float(lost.sum()), 1e-6))
    steepest = cv2.dilate(coarse.slope * transmitted, np.ones((11, 11), np.uint8))
    return depth / max(float(np.median(steepest[tissue & ~erode_mask(tissue, 2)])), 1e-6)


def _half_way(coarse: CoarsePlane, tissue: Bools, edge_px: float) -> Floats:
    """Return, (h, w), the transmitted share half-way between outside and inside of the outline.

    Dark pixels dominate the share inside. Otherwise the outline would be too far out at a dark
    seam with pale surroundings, and at an edge out of focus.
    """
    transmitted = np.exp(coarse.log_light - coarse.surface)
    reach = float(np.clip(2.5 * edge_px, 4, 24))
    inside = np.where(
        tissue, np.maximum(coarse.darkness - coarse.dark_limit / 2, 0) ** 4, 0
    ).astype(np.float32)
    outside = (~dilate_mask(tissue, max(edge_px / 2, 1))).astype(np.float32)
    within = cv2.GaussianBlur(transmitted * inside, (0, 0), reach) / (
        cv2.GaussianBlur(inside, (0, 0), reach) + np.float32(1e-9)
    )
    beside = (cv2.GaussianBlur(transmitted * outside, (0, 0), 4) + np.float32(1e-2)) / (
        cv2.GaussianBlur(outside, (0, 0), 4) + np.float32(1e-2)
    )
    return np.asarray(np.minimum((within + beside) / 2, np.exp(-coarse.dark_limit / 2)), np.float32)


def _doubts(chosen: _CoarseTissue, body: Bools, edge_px: float) -> tuple[Unsure, ...]:
    """Return the reasons to doubt a body, (H, W), from the coarse tissue and the edge's width."""
    if not body.any():
        return (Unsure.FAINT,) if chosen.tissue.any() or Unsure.FAINT in chosen.doubts else ()
    return (*chosen.doubts, Unsure.BLURRED) if edge_px > BLURRED_PX else chosen.doubts


def _enlarge(image: Floats, shape: tuple[int, ...]) -> Floats:
    """Return an image resampled to another shape, (H, W), by linear interpolation."""
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
