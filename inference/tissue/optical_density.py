"""How dark tissue is and how its darkness is spread: by depth and by the size of the grain."""

from dataclasses import dataclass

import cv2
import numpy as np

from inference.tissue.downscaled_plane import DownscaledPlane, Floats, Mask

DEPTHS = 5  # rings of equal width from the outline inwards
_FINE_CELLS, _MIDDLE_CELLS, _COARSE_CELLS = (
    0.25,
    0.8,
    2.5,
)  # standard deviations of the Gaussians that part fine from coarse grain


@dataclass(frozen=True)
class DensityMeasures:
    """Of the body of tissue; optical densities, base 10."""

    mean: float
    spread: float
    by_depth: tuple[float, ...]  # (DEPTHS,) from the rim to the core
    core: float
    edge: float
    grain_fine: float
    grain_coarse: float


def measure_density(view: DownscaledPlane) -> DensityMeasures:
    """Measure the body."""
    x, y, width, height = cv2.boundingRect(view.body.astype(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    density, inside = view.density[window], view.body[window]
    values = density[inside]
    by_depth = _by_depth(density, inside)
    middle = by_depth[DEPTHS // 2]
    fine, coarse = _grain(density, inside, view.px_per_cell)
    return DensityMeasures(
        mean=float(values.mean()),
        spread=float(values.std()),
        by_depth=by_depth,
        core=by_depth[-1] - middle,
        edge=by_depth[0] - middle,
        grain_fine=fine,
        grain_coarse=coarse,
    )


def _by_depth(density: Floats, inside: Mask) -> tuple[float, ...]:
    """Return the mean density of rings of equal width from the outline to the deepest point; a ring too thin for pixels takes the one outside it."""
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


def _grain(density: Floats, inside: Mask, px_per_cell: float) -> tuple[float, float]:
    """Return the standard deviation of the density at the scale of cells and of groups of cells, from the inside only."""
    weight = inside.astype(np.float32)
    fine, middle, coarse = (
        _blur_inside(density, weight, cells * px_per_cell)
        for cells in (_FINE_CELLS, _MIDDLE_CELLS, _COARSE_CELLS)
    )
    return float((fine - middle)[inside].std()), float((middle - coarse)[inside].std())


def _blur_inside(density: Floats, weight: Floats, sigma_px: float) -> Floats:
    """Return the Gaussian mean of what lies inside: the light beside the tissue never leaks in."""
    covered = cv2.GaussianBlur(weight, (0, 0), sigma_px)
    return np.asarray(
        cv2.GaussianBlur(density * weight, (0, 0), sigma_px) / np.maximum(covered, 1e-6), np.float32
    )
