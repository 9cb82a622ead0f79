"""Finds the tissue of a well without training data: coarse on a reduced image, by darkness and texture, then its outline at full resolution.

Everything is relative to the image's own light and noise. Lengths are shares of the field, so that scale and pixels do not matter.
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
"""Mean darkness or texture of a region × half its width as a share of the field × its coverage to the fourth power. Freshly seeded tissue is pale but wide
and has 0.0056 or more; heaps of cells are narrow or leave gaps and stay below 0.0035."""

MIN_FILLED: Final = 0.15
"""Share of a region that is tissue at full resolution: scattered cells fill less of the region they span."""

FIBRE: Final = 4.0
"""Elongation from which on a region is a fibre or a scratch."""

BLURRED_PX: Final = 8.0
"""Reduced pixels over which the light falls along the outline: 3 in focus, 8 when the outline may be off by a hundredth of the field."""

_TEXTURE_SPREAD_PX = 4.0  # by which texture makes things look wider than they are
_BAND_PX = 6.0  # around the coarse tissue, where its outline may lie
_REACH_PX = 96.0  # a quarter of the field: as far as thin chains of cells reach out that hang on to the tissue
_PIECE = 0.15  # width of the smallest piece, relative to the widest region's
_ALIKE = 0.3  # strength and edge of a piece, relative to the widest region's
_RIVAL = 0.4  # area of a second object, relative to the first: more than a piece that fell off
_FAR, _NEAR = (
    1.5,
    0.5,
)  # gaps between pieces of one tissue, in radii of its largest piece: no piece beyond the first, a rival within the second is one

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Choice:
    """What of the regions is what, (h, w) each."""

    tissue: Bools
    foreign: Bools  # walls, clouds, fibres and second objects: neither tissue nor debris
    doubts: tuple[Unsure, ...]


class ClassicalSegmenter:
    """Darkness and texture against a fitted background; no training data."""

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:  # noqa: ARG002 - every length is a share of the field
        """Return the tissue of a plane, (H, W), white = 65535."""
        look = analyse_coarse_plane(plane)
        choice = _choose(find_candidate_regions(look))
        width_px = _edge_width(look, choice.tissue)
        through = _transmitted(plane, look)
        dark = (through < np.exp(-look.dark_limit)) & resize_mask(
            look.field & ~choice.foreign, plane.shape
        )
        body = _outline(through, dark, look, choice.tissue, width_px)
        seam = dilate_mask(resize_mask(body, look.field.shape), max(1.0, width_px / 2))
        debris = dark & ~(body | resize_mask(seam, plane.shape))
        return Segmentation(body, debris, np.exp(look.surface), _doubts(choice, body, width_px))


def _choose(regions: CandidateRegions) -> _Choice:
    """Say which regions are tissue: strong and wide enough, one of them or several together."""
    width = np.maximum(regions.half_width_px - _TEXTURE_SPREAD_PX, 0)
    along_the_border = (
        regions.contact_px**2 > 8 * regions.area_px
    )  # a straight band or a corner; a disc cut anywhere has less than 6
    foreign = ~regions.has_edge | along_the_border | (regions.elongation > FIBRE)
    signal = np.where(foreign, 0, regions.strength * width / SIDE_PX * regions.coverage**4)
    signal[0] = 0
    leading = int(np.argmax(signal))
    if signal[leading] < MIN_SIGNAL:
        return _Choice(
            np.zeros(regions.labels.shape, dtype=bool),
            regions.of(foreign),
            (Unsure.FAINT,) if signal[leading] > MIN_SIGNAL / 2 else (),
        )
    alike = (
        (regions.strength > _ALIKE * regions.strength[leading])
        & (regions.edge > _ALIKE * regions.edge[leading])
        & (width > _PIECE * width[leading])
    )
    candidates = alike & ~foreign
    tissue = _together(regions, leading, candidates)
    doubts: list[Unsure] = []
    if signal[leading] < 2 * MIN_SIGNAL:
        doubts.append(Unsure.FAINT)
    if regions.contact_px[tissue].sum() > SIDE_PX / 50:
        doubts.append(Unsure.CUT)
    if (candidates & ~tissue & (regions.area_px > _RIVAL / 2 * regions.area_px[leading])).any():
        doubts.append(Unsure.CROWDED)
    if (~regions.has_edge & (regions.strength > regions.strength[leading] / 2))[1:].any():
        doubts.append(Unsure.UNEVEN)
    return _Choice(regions.of(tissue), regions.of(foreign | (candidates & ~tissue)), tuple(doubts))


def _together(
    regions: CandidateRegions, leading: int, candidates: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return the pieces of one tissue: the leading region, what lies near it, and what lies near that; a single rival of its size stands alone."""
    radius = float(np.sqrt(regions.area_px[leading] / np.pi))
    tissue: npt.NDArray[np.bool_] = np.arange(len(candidates)) == leading
    rivals = (
        candidates
        & ~tissue
        & (regions.area_px > _RIVAL * regions.area_px[leading])
        & (_gaps(regions, tissue) > _NEAR * radius)
    )
    if np.count_nonzero(rivals) == 1:
        candidates = candidates & ~rivals
    while True:
        more = candidates & (_gaps(regions, tissue) < _FAR * radius)
        if np.array_equal(more, tissue):
            return tissue
        tissue = more


def _gaps(regions: CandidateRegions, tissue: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return how far each region lies from the tissue, in pixels."""
    away = cv2.distanceTransform((~regions.of(tissue)).view(np.uint8), cv2.DIST_L2, 3)
    rows, columns = np.nonzero(regions.labels)
    gap = np.full(len(tissue), np.inf)
    np.minimum.at(gap, regions.labels[rows, columns], away[rows, columns])
    return gap


def _transmitted(plane: npt.NDArray[np.uint16], look: CoarsePlane) -> Floats:
    """Return (H, W): the share of the light that passes."""
    sigma_px = max(0.3 * max(plane.shape) / SIDE_PX, 0.6)
    light = cv2.GaussianBlur(plane, (0, 0), sigma_px).astype(np.float32)
    return np.asarray(cv2.multiply(light, _at(np.exp(-look.surface), plane.shape)), np.float32)


def _outline(
    through: Floats, dark: Bools, look: CoarsePlane, tissue: Bools, width_px: float
) -> Bools:
    """Return (H, W): where less than half-way the light passes in and around the coarse tissue, with its holes and what hangs on to it."""
    body = np.zeros(through.shape, dtype=bool)
    if not tissue.any():
        return body
    shape, scale = through.shape, max(through.shape) / SIDE_PX
    near = dilate_mask(tissue, _BAND_PX)
    box = _box(near | dilate_mask(tissue, _REACH_PX) & resize_mask(dark, near.shape), shape)
    limit = np.where(near, _half_way(look, tissue, width_px), np.float32(np.exp(-look.dark_limit)))
    covered = (through[box] < _at(limit, shape)[box]) & (dark | resize_mask(near, shape))[box]
    covered |= resize_mask(
        erode_mask(tissue, 2 * _TEXTURE_SPREAD_PX + width_px) & look.something, shape
    )[box]
    whole = open_mask(fill_holes(close_mask(covered, scale)), scale)
    count, labels = cv2.connectedComponents(whole.view(np.uint8), connectivity=8)
    belongs = np.zeros(count, dtype=bool)
    belongs[np.unique(labels[resize_mask(erode_mask(tissue, 3), shape)[box]])] = True
    belongs[0] = False
    body[box] = belongs[labels]
    return (
        body
        if np.count_nonzero(body) > MIN_FILLED * scale**2 * np.count_nonzero(tissue)
        else np.zeros_like(body)
    )


def _box(mask: Bools, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return where the mask lies in an image of another size."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    down, across = shape[0] / mask.shape[0], shape[1] / mask.shape[1]
    return slice(int(y * down), int(np.ceil((y + height) * down))), slice(
        int(x * across), int(np.ceil((x + width) * across))
    )


def _edge_width(look: CoarsePlane, tissue: Bools) -> float:
    """Return over how many reduced pixels the light falls along the outline."""
    if not tissue.any():
        return 0.0
    through = np.exp(-np.maximum(look.darkness, 0))
    lost = (1 - through) * tissue
    depth = float((lost**2).sum() / max(float(lost.sum()), 1e-6))
    steepest = cv2.dilate(look.slope * through, np.ones((11, 11), np.uint8))
    return depth / max(float(np.median(steepest[tissue & ~erode_mask(tissue, 2)])), 1e-6)


def _half_way(look: CoarsePlane, tissue: Bools, width_px: float) -> Floats:
    """Return (h, w): the share of the light half-way between what passes beside the tissue and what passes through its edge.

    The edge is the darkest nearby: at half the depth of a dark seam's surroundings, and of an edge out of focus, the outline would lie too far out.
    """
    through = np.exp(look.log_light - look.surface)
    reach = float(np.clip(2.5 * width_px, 4, 24))
    inside = np.where(tissue, np.maximum(look.darkness - look.dark_limit / 2, 0) ** 4, 0).astype(
        np.float32
    )
    outside = (~dilate_mask(tissue, max(width_px / 2, 1))).astype(np.float32)
    within = cv2.GaussianBlur(through * inside, (0, 0), reach) / (
        cv2.GaussianBlur(inside, (0, 0), reach) + np.float32(1e-9)
    )
    beside = (cv2.GaussianBlur(through * outside, (0, 0), 4) + np.float32(1e-2)) / (
        cv2.GaussianBlur(outside, (0, 0), 4) + np.float32(1e-2)
    )
    return np.asarray(np.minimum((within + beside) / 2, np.exp(-look.dark_limit / 2)), np.float32)


def _doubts(choice: _Choice, body: Bools, width_px: float) -> tuple[Unsure, ...]:
    if not body.any():
        return (Unsure.FAINT,) if choice.tissue.any() or Unsure.FAINT in choice.doubts else ()
    return (*choice.doubts, Unsure.BLURRED) if width_px > BLURRED_PX else choice.doubts


def _at(image: Floats, shape: tuple[int, ...]) -> Floats:
    return np.asarray(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
