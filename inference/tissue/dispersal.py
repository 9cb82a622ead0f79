"""How far tissue has left its core: what reaches out of it, in how many directions, and how wide it lies.

An exploded aggregate is a core with chains and clumps of cells on all sides, nearly as dense as itself. A lobe, a second piece or a fibre reaches out on one
side; litter is thin, or single cells.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.downscaled_plane import DownscaledPlane, Mask

_DIRECTIONS = 36  # sectors of 10° around the middle of the core
_OPENED_CELLS = 3.0  # what is thinner than twice this is not core
_OPENED_SHARE = 0.5  # of the largest depth, so that small tissue keeps a core
_BESIDE_CELLS = 5.0  # beyond the core; nearer lie a rough edge and cells that cling to it
_GAP_CELLS = 0.5  # cells nearer than twice this touch
_DENSE = (
    0.3  # of the density of the body's darkest quarter, which is never debris; debris is thinner
)
_DARKEST_QUARTER = 0.75
_SMOOTHED_CELLS = 0.3  # so that the bright middle of a cell does not part it
_CLUMP_CELLS = (
    10.0  # area in squared cells of a clump away from the core: more than a pair of loose cells
)
_REACH = 0.95  # share of the tissue within its spread: one stray clump does not count


@dataclass(frozen=True)
class Dispersal:
    """Of one well."""

    directions: float  # 0…1: share of directions in which tissue lies beyond the core
    spilled: float  # area of tissue beyond the core, in areas of the core
    spread_px: float  # of the plane: distance from the middle of the core within which 95 % of the tissue lies


def measure_dispersal(view: DownscaledPlane) -> Dispersal:
    """Measure how the tissue lies around its core."""
    tissue = _dense(view)
    core = _core(tissue & view.body, view.px_per_cell)
    spilled = _spilled(tissue, core, view.px_per_cell)
    moments = cv2.moments(core.astype(np.uint8), binaryImage=True)
    middle = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    beyond = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    x, y = _points(spilled & (beyond > _BESIDE_CELLS * view.px_per_cell), middle)
    sector = ((np.arctan2(y, x) / (2 * np.pi)) % 1.0 * _DIRECTIONS).astype(int) % _DIRECTIONS
    return Dispersal(
        directions=len(np.unique(sector)) / _DIRECTIONS,
        spilled=float(np.count_nonzero(spilled) / np.count_nonzero(core)),
        spread_px=float(np.quantile(np.hypot(*_points(core | spilled, middle)), _REACH))
        / view.factor,
    )


def _points(mask: Mask, middle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (2, n): x and y of the pixels of a mask, from a point."""
    y, x = np.nonzero(mask)
    return np.stack([x - middle[0], y - middle[1]])


def _core(body: Mask, px_per_cell: float) -> Mask:
    """Return the largest part of the body that stays when all thin parts are taken off, holes filled."""
    x, y, width, height = cv2.boundingRect(body.view(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    contours, _ = cv2.findContours(
        _largest(body[window]).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    filled = np.zeros((height + 2, width + 2), np.uint8)  # what is cut by the border ends there
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED, offset=(1, 1))
    depth = cv2.distanceTransform(filled, cv2.DIST_L2, cv2.DIST_MASK_5)
    radius = min(_OPENED_CELLS * px_per_cell, _OPENED_SHARE * float(depth.max()))
    opened = (
        cv2.distanceTransform((depth <= radius).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        <= radius
    )
    core = np.zeros(body.shape, dtype=bool)
    core[window] = _largest((opened & (filled > 0))[1:-1, 1:-1])
    return core


def _largest(mask: Mask) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _dense(view: DownscaledPlane) -> Mask:
    """Return what is nearly as dense as the body: neither debris nor the gaps between chains of cells that an outline runs across."""
    density = cv2.GaussianBlur(view.density, (0, 0), max(_SMOOTHED_CELLS * view.px_per_cell, 0.3))
    dense = density >= _DENSE * float(np.quantile(density[view.body], _DARKEST_QUARTER))
    return np.asarray((view.body | view.debris) & dense if (dense & view.body).any() else view.body)


def _spilled(tissue: Mask, core: Mask, px_per_cell: float) -> Mask:
    """Return the tissue beyond the core: what hangs on to it, and clumps that do not and lie whole in the field."""
    whole = tissue | core
    grown = 2 * max(1, round(_GAP_CELLS * px_per_cell)) + 1
    joined = cv2.dilate(
        whole.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown))
    )
    count, labels = cv2.connectedComponents(joined, connectivity=8)
    kept = np.bincount(labels[whole], minlength=count) >= _CLUMP_CELLS * px_per_cell**2
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        kept[border] = False
    kept[labels[core][0]] = True  # the core is in one piece
    return np.asarray(kept[labels] & tissue & ~core)
