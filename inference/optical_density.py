"""How dark tissue is and how its darkness is spread: optical density against the light beside it, by depth and by the size of the grain."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

DEPTHS = 5  # rings of equal width from the outline inwards
CELL_UM = 10.0  # a tumour cell across, roughly
_CELLS_ACROSS = 30.0  # without a scale: a spheroid of 300 µm
_PX_PER_CELL = 4.0  # texture is read at 2.5 µm a pixel, or at the plane's own if that is coarser
_DARKEST = 2.5  # optical density; below 0.3 % of the light a camera counts noise
_FINE_CELLS, _MIDDLE_CELLS, _COARSE_CELLS = 0.25, 0.8, 2.5  # standard deviations of the Gaussians that part fine from coarse grain
_MARGIN = 2  # px

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Darkness:
    """Of the body of tissue; optical densities, base 10."""

    mean: float
    spread: float
    by_depth: tuple[float, ...]  # (DEPTHS,) from the rim to the core
    core: float
    edge: float
    grain_fine: float
    grain_coarse: float


def cell_px(um_per_px: float | None, equivalent_diameter_px: float) -> float:
    """Return how many pixels a cell is across; without a scale a spheroid counts as 30 cells across."""
    return CELL_UM / um_per_px if um_per_px else equivalent_diameter_px / _CELLS_ACROSS


def darkness(plane: npt.NDArray[np.uint16], body: Mask, background: Floats, px_per_cell: float) -> Darkness:
    """Measure the tissue of a plane, (H, W), under its (H, W) mask, against the light without tissue, (h, w)."""
    density, inside = _reduced_density(plane, body, background, min(1.0, _PX_PER_CELL / px_per_cell))
    if not inside.any():  # thinner than a reduced pixel
        density, inside = _reduced_density(plane, body, background, 1.0)
    values = density[inside]
    by_depth = _by_depth(density, inside)
    middle = by_depth[DEPTHS // 2]
    fine, coarse = _grain(density, inside, min(px_per_cell, _PX_PER_CELL))
    return Darkness(
        mean=float(values.mean()),
        spread=float(values.std()),
        by_depth=by_depth,
        core=by_depth[-1] - middle,
        edge=by_depth[0] - middle,
        grain_fine=fine,
        grain_coarse=coarse,
    )


def _reduced_density(plane: npt.NDArray[np.uint16], body: Mask, background: Floats, factor: float) -> tuple[Floats, Mask]:
    """Return optical density and mask around the body, (h, w), at ``factor`` ≤ 1 times the resolution."""
    x, y, width, height = cv2.boundingRect(body.astype(np.uint8))
    left, top = max(0, x - _MARGIN), max(0, y - _MARGIN)
    window = slice(top, y + height + _MARGIN), slice(left, x + width + _MARGIN)
    rows, columns = body[window].shape
    size = max(1, round(columns * factor)), max(1, round(rows * factor))
    light = cv2.resize(plane[window], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    cover = cv2.resize(body[window].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    lamp = _at(background, plane.shape, (left, top, columns, rows), size)
    passed = np.maximum(light, 1.0) / np.maximum(lamp, 1.0)
    density = -np.log10(np.clip(passed, 10**-_DARKEST, None))
    return density.astype(np.float32), cover >= 0.5  # noqa: PLR2004 - half covered


def _at(background: Floats, shape: tuple[int, ...], window: tuple[int, int, int, int], size: tuple[int, int]) -> Floats:
    """Return the part of a reduced (h, w) map of the whole plane that lies in a window x, y, width, height of it, as (rows, columns) of size[::-1]."""
    (x, y, width, height), (columns, rows) = window, size
    step_x, step_y = width / columns * background.shape[1] / shape[1], height / rows * background.shape[0] / shape[0]
    start_x, start_y = x * background.shape[1] / shape[1], y * background.shape[0] / shape[0]
    placing = np.array([[step_x, 0, start_x + step_x / 2 - 0.5], [0, step_y, start_y + step_y / 2 - 0.5]], np.float32)
    reading = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(background, placing, size, flags=reading, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _by_depth(density: Floats, inside: Mask) -> tuple[float, ...]:
    """Return the mean density of rings of equal width from the outline to the deepest point; a ring too thin for pixels takes the one outside it."""
    depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1][inside] - 0.5
    ring = np.minimum((depth / depth.max() * DEPTHS).astype(int), DEPTHS - 1)
    count = np.bincount(ring, minlength=DEPTHS)
    total = np.bincount(ring, density[inside], minlength=DEPTHS)
    means: list[float] = []
    for number in range(DEPTHS):
        means.append(float(total[number] / count[number]) if count[number] else means[-1])
    return tuple(means)


def _grain(density: Floats, inside: Mask, px_per_cell: float) -> tuple[float, float]:
    """Return the standard deviation of the density at the scale of cells and of groups of cells, from the inside only."""
    weight = inside.astype(np.float32)
    fine, middle, coarse = (_blur_inside(density, weight, cells * px_per_cell) for cells in (_FINE_CELLS, _MIDDLE_CELLS, _COARSE_CELLS))
    return float((fine - middle)[inside].std()), float((middle - coarse)[inside].std())


def _blur_inside(density: Floats, weight: Floats, sigma_px: float) -> Floats:
    """Return the Gaussian mean of what lies inside: the light beside the tissue never leaks in."""
    covered = cv2.GaussianBlur(weight, (0, 0), sigma_px)
    return np.asarray(cv2.GaussianBlur(density * weight, (0, 0), sigma_px) / np.maximum(covered, 1e-6), np.float32)
