"""Measures the optical density of the body: its mean, its profile by depth and its grain."""

from dataclasses import dataclass

import cv2
import numpy as np

from inference.tissue.downscaled_plane import DownscaledPlane, Floats, Mask

DEPTHS = 5
"""Number of rings of equal width from the outline inwards."""

_FINE_CELLS, _MIDDLE_CELLS, _COARSE_CELLS = 0.25, 0.8, 2.5
"""Standard deviations, in cells, of the Gaussian filters that separate fine from coarse grain."""


@dataclass(frozen=True)
class DensityMeasures:
    """Optical density of the body of the tissue, base 10."""

    mean: float
    spread: float  # standard deviation
    by_depth: tuple[float, ...]  # (DEPTHS,) means from the rim to the core
    core: float  # mean of the innermost ring minus the middle ring
    edge: float  # mean of the outermost ring minus the middle ring
    grain_fine: float  # standard deviation at the scale of cells
    grain_coarse: float  # standard deviation at the scale of groups of cells


def measure_density(plane: DownscaledPlane) -> DensityMeasures:
    """Return the DensityMeasures of the body of a DownscaledPlane."""
    x, y, width, height = cv2.boundingRect(plane.body.astype(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    density, inside = plane.density[window], plane.body[window]
    values = density[inside]
    by_depth = _means_by_depth(density, inside)
    middle = by_depth[DEPTHS // 2]
    fine, coarse = _measure_grain(density, inside, plane.px_per_cell)
    return DensityMeasures(
        mean=float(values.mean()),
        spread=float(values.std()),
        by_depth=by_depth,
        core=by_depth[-1] - middle,
        edge=by_depth[0] - middle,
        grain_fine=fine,
        grain_coarse=coarse,
    )


def _means_by_depth(density: Floats, inside: Mask) -> tuple[float, ...]:
    """Return the mean density of rings of equal width, from the outline to the deepest point.

    A ring without pixels has the value of the ring outside it.
    """
    depth = (
        cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)[
            1:-1, 1:-1
        ][inside]
        - 0.5
    )
    ring = np.minimum((depth / depth.max() * DEPTHS).astype(int), DEPTHS - 1)
    count = np.bincount(ring, minlength=DEPTHS)
    total = np.bincount(ring, density[inside], minlength=DEPTHS)
    means: list[float] = []
    for number in range(DEPTHS):
        means.append(
            float(total[number] / count[number])
            if count[number]
            else (means[-1] if means else float(density[inside].mean()))
        )
    return tuple(means)


def _measure_grain(density: Floats, inside: Mask, px_per_cell: float) -> tuple[float, float]:
    """Return the standard deviations of the density at the scales of cells and of cell groups."""
    weight = inside.astype(np.float32)
    fine, middle, coarse = (
        _blur_inside(density, weight, cells * px_per_cell)
        for cells in (_FINE_CELLS, _MIDDLE_CELLS, _COARSE_CELLS)
    )
    return float((fine - middle)[inside].std()), float((middle - coarse)[inside].std())


def _blur_inside(density: Floats, weight: Floats, sigma_px: float) -> Floats:
    """Return the Gaussian mean of the density, (h, w), over pixels of weight 1, not of weight 0."""
    covered = cv2.GaussianBlur(weight, (0, 0), sigma_px)
    return np.asarray(
        cv2.GaussianBlur(density * weight, (0, 0), sigma_px) / np.maximum(covered, 1e-6), np.float32
    )
