"""One plane at the scale of cells: what texture and spread are read on, so that they mean the same at every resolution, and fast."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from schemas.tissue import Segmentation

CELL_UM = 10.0  # a tumour cell across, roughly
CELLS_ACROSS = 40.0  # of a spheroid where there is no scale: 400 µm
_PX_PER_CELL = 3.0  # 3.3 µm a pixel, or the plane's own pixels if those are coarser
_DARKEST = 2.5  # optical density; below 0.3 % of the light a camera counts noise

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DownscaledPlane:
    """A plane with tissue, each map (h, w)."""

    density: Floats  # optical density, base 10, against the light without tissue
    body: Mask  # at least one pixel
    debris: Mask
    px_per_cell: float
    factor: float  # ≤ 1: pixels here for a pixel of the plane


def downscale_plane(
    plane: npt.NDArray[np.uint16], segmentation: Segmentation, um_per_px: float | None
) -> DownscaledPlane:
    """Reduce a plane, (H, W), with tissue to about 3.3 µm a pixel; without a scale the tissue counts as 40 cells across."""
    diameter_px = 2 * np.sqrt(np.count_nonzero(segmentation.body) / np.pi)
    cell_px = float(CELL_UM / um_per_px if um_per_px else diameter_px / CELLS_ACROSS)
    factor = min(1.0, _PX_PER_CELL / cell_px)
    size = max(1, round(plane.shape[1] * factor)), max(1, round(plane.shape[0] * factor))
    light = cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    lamp = cv2.resize(segmentation.background, size, interpolation=cv2.INTER_LINEAR)
    density = -np.log10(np.clip(np.maximum(light, 1) / np.maximum(lamp, 1), 10**-_DARKEST, None))
    body, debris = (
        cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
        for mask in (segmentation.body, segmentation.debris)
    )
    if not body.any():  # a few pixels, none of them read
        y, x = np.argwhere(segmentation.body)[0]
        body[y * size[1] // plane.shape[0], x * size[0] // plane.shape[1]] = True
    return DownscaledPlane(density.astype(np.float32), body, debris, cell_px * factor, factor)
