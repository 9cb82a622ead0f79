"""A plane reduced to about three pixels per cell.

Texture and spread are measured on it, so that they mean the same at every resolution.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from schemas.tissue import Segmentation

CELL_UM = 10.0
"""Approximate diameter of a tumour cell."""

CELLS_ACROSS_WITHOUT_SCALE = 40.0
"""Assumed diameter of the tissue, in cells, if there is no scale: a spheroid of 400 µm."""

_PX_PER_CELL = 3.0  # 3.3 µm per pixel, or the pixels of the plane if these are larger
_MAX_DENSITY = 2.5  # optical density; below 0.3 % of the light a camera counts noise

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DownscaledPlane:
    """A reduced plane with tissue; each map is (h, w)."""

    density: Floats  # optical density, base 10, relative to the light without tissue
    body: Mask  # at least one pixel
    debris: Mask
    px_per_cell: float
    factor: float  # pixels of this map per pixel of the plane, at most 1


def downscale_plane(
    plane: npt.NDArray[np.uint16], segmentation: Segmentation, um_per_px: float | None
) -> DownscaledPlane:
    """Return the DownscaledPlane of a plane, (H, W), its Segmentation and µm per px or None.

    It has 3.3 µm per pixel. Without a scale the tissue is assumed to be 40 cells wide. The body
    must not be empty.
    """
    diameter_px = 2 * np.sqrt(np.count_nonzero(segmentation.body) / np.pi)
    cell_px = float(CELL_UM / um_per_px if um_per_px else diameter_px / CELLS_ACROSS_WITHOUT_SCALE)
    factor = min(1.0, _PX_PER_CELL / cell_px)
    size = max(1, round(plane.shape[1] * factor)), max(1, round(plane.shape[0] * factor))
    light = cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    lamp = cv2.resize(segmentation.background, size, interpolation=cv2.INTER_LINEAR)
    passes = np.maximum(light, 1, out=light)
    passes /= np.maximum(lamp, 1)
    density = np.log10(np.maximum(passes, 10**-_MAX_DENSITY, out=passes), out=passes)
    np.negative(density, out=density)
    body, debris = (
        cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT).view(np.bool_)
        for mask in (segmentation.body, segmentation.debris)
    )
    if not body.any():  # a body of a few pixels, which nearest neighbours can miss
        y, x = np.argwhere(segmentation.body)[0]
        body[y * size[1] // plane.shape[0], x * size[0] // plane.shape[1]] = True
    return DownscaledPlane(np.asarray(density, np.float32), body, debris, cell_px * factor, factor)
