"""Segmentation of the tissue by darkness and texture, without training data.

The tissue is first found on a reduced plane and then outlined at full resolution. All limits are
relative to the light and noise of the image, and lengths are shares of the field, so that the
scale and the number of pixels do not matter.
"""

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.body_outline import OutlineEdge, enlarge, outline_body
from inference.tissue.candidate_regions import has_edge, refine_background
from inference.tissue.coarse_plane import (
    SIDE_PX,
    CoarsePlane,
    analyse_coarse_plane,
    steepest_nearby,
)
from inference.tissue.drops import find_drops
from inference.tissue.fibres import find_fibres_of_body, label_without_fibres
from inference.tissue.masks import (
    box_around,
    covered_share,
    dilate_mask,
    erode_mask,
    resize_mask,
    select_parts,
)
from inference.tissue.prepared_plane import PreparedPlane, prepare_plane
from inference.tissue.quantiles import quantiles
from inference.tissue.tissue_choice import ChosenTissue, choose_tissue
from schemas.tissue import Segmentation, Unsure

SEGMENTER_ID: Final = "classical-4"
"""Name and version of this segmenter.

Raise the version whenever the outline of any image changes: images that were measured by different
versions are never compared.
"""

MIN_SIDE_PX: Final = 16
"""Shortest side of a reduced plane in which tissue can be found; a smaller one is refused."""

BLURRED_PX: Final = 5.5
"""Width of the edge, in reduced pixels, at the sharpest parts of an outline that is blurred.

In focus it is 2.5 to 7: the edge of thick tissue is soft on most of its length, but not where
cells lie on the outline. Blur of a fiftieth of the field makes every edge wider than 8.
"""
MIN_SHARPNESS: Final = 0.36
"""Smallest sharpness of a plane that is in focus at any place; a soft outline is then no blur."""

MIN_CERTAIN_SHARE: Final = 0.35
"""Smallest share of the coarse tissue in an outline without doubt.

Less may be the dark rim of tissue whose middle was taken as background.
"""
_MIN_TISSUE_SHARE, _FEW_TISSUE_SHARE = 0.1, 0.5  # of a body of fibres and tissue
_EDGE_REACH_PX = 11  # side of the square around an outline in which its edge is
_SHARPEST_PARTS = 0.97  # quantile of the slope along the outline

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


class ClassicalSegmenter:
    """Segmenter that compares darkness and texture with a fitted background.

    It implements :class:`inference.ports.Segmenter`.
    """

    @property
    def segmenter_id(self) -> str:
        """Name and version: outlines by segmenters with different ids are never compared."""
        return SEGMENTER_ID

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:  # noqa: ARG002 - every length is a share of the field
        """Return the Segmentation of a plane, (H, W) uint16, with a scale in µm per px or None.

        White is 65535 in the plane.
        """
        prepared = prepare_plane(plane)
        if min(prepared.plane.shape) < MIN_SIDE_PX:
            nothing = np.zeros(plane.shape, dtype=bool)
            light = np.full((1, 1), max(float(np.median(plane)), 1), np.float32)
            return Segmentation(nothing, nothing, light, (Unsure.NO_BACKGROUND,))
        coarse = analyse_coarse_plane(prepared)
        believable = coarse.shows_background or coarse.has_dark_ground
        if not (coarse.shows_bright_tissue and believable):
            return _segment_dark_tissue(prepared, coarse, plane.shape)
        negative = prepared.negative()
        found = _segment_dark_tissue(negative, analyse_coarse_plane(negative), plane.shape)
        return replace(
            found,
            background=np.maximum(np.float32(prepared.white) - found.background, 1),
            unsure=(*found.unsure, Unsure.BRIGHT),
        )


def _segment_dark_tissue(
    prepared: PreparedPlane, coarse: CoarsePlane, shape: tuple[int, ...]
) -> Segmentation:
    """Return the Segmentation, with masks of a shape (H, W), of tissue darker than its ground.

    Without background in view the image is refused: the body is empty, with that doubt. It is also
    refused if no tissue is found on ground that is rougher than a plate or varies more.
    """
    if not coarse.shows_background:
        return _refuse(prepared, coarse, shape)
    coarse = refine_background(coarse)
    chosen = choose_tissue(coarse)
    edge = _find_edge(coarse, chosen.tissue)
    transmitted = _transmitted(prepared.plane, coarse)
    usable = resize_mask(coarse.field & ~chosen.foreign, transmitted.shape) & ~prepared.marks
    dark = (transmitted < np.exp(-coarse.dark_limit)) & usable
    outline = outline_body(transmitted, dark, coarse, chosen, edge)
    body = _without_fibres(outline.body & ~prepared.marks)
    doubts = _doubts(coarse, chosen, body, edge)
    if Unsure.FAINT in doubts:
        bare = body & ~find_fibres_of_body(body)
        if not has_edge(coarse, resize_mask(bare, coarse.field.shape)):
            body, doubts = np.zeros_like(body), (Unsure.FAINT,)
    if coarse.hides_tissue and not body.any():
        return _refuse(prepared, coarse, shape)
    seam = dilate_mask(resize_mask(body, coarse.field.shape), max(1.0, edge.width_px / 2))
    debris = dark & ~(body | resize_mask(seam, dark.shape))
    labels, stats = label_without_fibres(debris)
    debris_px = stats[:, cv2.CC_STAT_AREA]
    debris &= ~select_parts(labels, debris_px == 0)
    if not chosen.many:
        drops = find_drops(body, labels, debris_px, transmitted)
        body, debris = body & ~drops, debris & ~drops
    is_reduced = prepared.reduced_shape != shape
    return Segmentation(
        prepared.restore_mask(
            outline.cover(body, transmitted) if is_reduced else _full_cover(body), shape
        ),
        prepared.restore_mask(_full_cover(debris), shape),
        prepared.restore_light(np.exp(coarse.surface)),
        doubts,
    )


def _without_fibres(body: Bools) -> Bools:
    """Return a body, (h, w), without its fibres and scratches if they are more than half of it.

    It is empty if they are nearly all of it. Fewer fibres may be chains of cells.
    """
    if not body.any():
        return body
    left = body & ~find_fibres_of_body(body)
    share = np.count_nonzero(left) / np.count_nonzero(body)
    if share <= _MIN_TISSUE_SHARE:
        return np.zeros_like(body)
    return left if share < _FEW_TISSUE_SHARE else body


def _full_cover(mask: Bools) -> npt.NDArray[np.uint8]:
    """Return the cover of the pixels of a mask, (h, w): 255 inside and 0 outside."""
    return np.asarray(mask.view(np.uint8) * np.uint8(255))


def _refuse(prepared: PreparedPlane, coarse: CoarsePlane, shape: tuple[int, ...]) -> Segmentation:
    """Return the Segmentation of an image without background in view, with masks (H, W)."""
    nothing = np.zeros(shape, dtype=bool)
    light = prepared.restore_light(np.exp(coarse.surface))
    return Segmentation(nothing, nothing, light, (Unsure.NO_BACKGROUND,))


def _transmitted(plane: npt.NDArray[np.uint16], coarse: CoarsePlane) -> Floats:
    """Return the share of the light that passes, (H, W), relative to the background."""
    sigma_px = max(0.45 * max(plane.shape) / SIDE_PX, 0.6)
    light = cv2.GaussianBlur(plane, (0, 0), sigma_px).astype(np.float32)
    light += 1
    light *= enlarge(np.exp(-coarse.surface), plane.shape)
    return np.asarray(light, np.float32)


def _find_edge(coarse: CoarsePlane, tissue: Bools) -> OutlineEdge:
    """Return the OutlineEdge of the tissue, (h, w), of a reduced plane.

    The width of an edge is the light that the tissue takes away, divided by the slope of the light.
    """
    if not tissue.any():
        return OutlineEdge(width_px=0.0, blurred=False)
    window = box_around(tissue, _EDGE_REACH_PX // 2 + 1)
    transmitted = np.exp(-np.maximum(coarse.darkness[window], 0))
    inside = tissue[window]
    lost = (1 - transmitted) * inside
    depth = float((lost * lost).sum() / max(float(lost.sum()), 1e-6))
    steepest = steepest_nearby(coarse.slope[window] * transmitted, _EDGE_REACH_PX)
    outline = inside & ~erode_mask(inside, 2)
    slopes = quantiles(steepest[outline], 0.5, _SHARPEST_PARTS)
    median, sharpest = (depth / max(slope, 1e-6) for slope in slopes)
    return OutlineEdge(
        width_px=median,
        blurred=sharpest > BLURRED_PX and coarse.sharpness() < MIN_SHARPNESS,
    )


def _doubts(
    coarse: CoarsePlane, chosen: ChosenTissue, body: Bools, edge: OutlineEdge
) -> tuple[Unsure, ...]:
    """Return the reasons to doubt a body, (H, W), of chosen tissue with an edge.

    On a rough ground, pale tissue can be missed.
    """
    if not body.any():
        return (Unsure.FAINT,) if chosen.tissue.any() or Unsure.FAINT in chosen.doubts else ()
    doubts = chosen.doubts
    if coarse.is_rough and Unsure.FAINT not in doubts:
        doubts = (Unsure.FAINT, *doubts)
    least = MIN_CERTAIN_SHARE * covered_share(chosen.tissue)
    if covered_share(body) < least and Unsure.FAINT not in doubts:
        doubts = (Unsure.FAINT, *doubts)
    return (*doubts, Unsure.BLURRED) if edge.blurred else doubts
