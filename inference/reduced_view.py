"""One plane at the scale of cells: what texture and spread are read on, so that they mean the same at every resolution, and fast."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from schemas.tissue import Segmentation

CELL_UM = 10.0  # a tumour cell across, roughly
CELLS_ACROSS = 30.0  # of a spheroid where there is no scale: 300 µm
_PX_PER_CELL = 4.0  # 2.5 µm a pixel, or the plane's own pixels if those are coarser
_DARKEST = 2.5  # optical density; below 0.3 % of the light a camera counts noise
_HALF = 0.5

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ReducedView:
    """A plane with tissue, each map (h, w)."""

    density: Floats  # optical density, base 10, against the light without tissue
    body: Mask  # at least one pixel
    debris: Mask
    px_per_cell: float
    factor: float  # ≤ 1: pixels here for a pixel of the plane


def reduce(plane: npt.NDArray[np.uint16], segmentation: Segmentation, um_per_px: float | None) -> ReducedView:
    """Reduce a plane, (H, W), with tissue to about 2.5 µm a pixel; without a scale the tissue counts as 30 cells across."""
    diameter_px = 2 * np.sqrt(np.count_nonzero(segmentation.body) / np.pi)
    cell_px = float(CELL_UM / um_per_px if um_per_px else diameter_px / CELLS_ACROSS)
    factor = min(1.0, _PX_PER_CELL / cell_px)
    size = max(1, round(plane.shape[1] * factor)), max(1, round(plane.shape[0] * factor))
    light = cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    lamp = cv2.resize(segmentation.background, size, interpolation=cv2.INTER_LINEAR)
    density = -np.log10(np.clip(np.maximum(light, 1) / np.maximum(lamp, 1), 10**-_DARKEST, None))
    cover, loose = (cv2.resize(mask.view(np.uint8) * np.uint8(200), size, interpolation=cv2.INTER_AREA) for mask in (segmentation.body, segmentation.debris))
    body = cover >= 200 * _HALF
    return ReducedView(density.astype(np.float32), body if body.any() else cover == cover.max(), loose >= 200 * _HALF, cell_px * factor, factor)
