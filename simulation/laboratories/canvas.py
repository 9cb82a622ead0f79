"""Grid on which the renderers of laboratories draw, texture of fixed strength, and small objects.

A field is drawn on a grid of ``GRID_PX`` × ``GRID_PX`` points and then resampled to the size of the
image, so that a seed gives the same scene at every size.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from simulation.kinds import HiddenMechanism
from simulation.laboratories.spheroid import Spheroid
from simulation.random_numbers import RandomPurpose
from simulation.scene import Floats, smooth_noise

GRID_PX = 512
_FINE_UM, _MIDDLE_UM, _COARSE_UM = 2.5, 8.0, 25.0
"""Standard deviations of the Gaussian filters that separate fine from coarse texture."""
_PIXEL_BLUR_UM = 1.3  # by the pixels of an image that is reduced for the measurement
_PATCH_UM = 75.0  # size of the patches in which the texture gathers
_BALANCING_STEPS, _COMPENSATING_STEPS = 8, 2
_MAX_LITTER = 500  # number of cells or specks
_LITTER_NEAR_BODY = 0.65  # share of the litter


def grid_positions(spheroid: Spheroid, x_um: Floats, y_um: Floats) -> tuple[Floats, Floats]:
    """Return positions in grid points, from positions in µm from the centre of the spheroid."""
    step_um = spheroid.field_um / GRID_PX
    x0, y0 = (centre / step_um + GRID_PX / 2 - 0.5 for centre in spheroid.centre_um)
    return x_um / step_um + np.float32(x0), y_um / step_um + np.float32(y0)


def distance_and_angle(spheroid: Spheroid) -> tuple[Floats, Floats]:
    """Return the distance in µm from the centre of a spheroid and the angle, each (GRID, GRID)."""
    step_um = spheroid.field_um / GRID_PX
    axis = (np.arange(GRID_PX, dtype=np.float32) - np.float32(GRID_PX / 2 - 0.5)) * np.float32(
        step_um
    )
    x = (axis - np.float32(spheroid.centre_um[0]))[None, :]
    y = (axis - np.float32(spheroid.centre_um[1]))[:, None]
    return np.sqrt(x * x + y * y), np.arctan2(y, x)


def scatter(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return the sum of the weights, (n,), at each point of the grid; others are ignored.

    ``x`` and ``y`` are positions in grid points, (n,).
    """
    column, row = np.rint(x).astype(np.int32), np.rint(y).astype(np.int32)
    seen = (column >= 0) & (column < GRID_PX) & (row >= 0) & (row < GRID_PX)
    total = np.bincount(
        row[seen] * GRID_PX + column[seen], weights[seen], minlength=GRID_PX * GRID_PX
    )
    return total.reshape(GRID_PX, GRID_PX).astype(np.float32)


def resample(values: Floats, size_px: int) -> Floats:
    """Return a map of the grid as an image, (size_px, size_px)."""
    if size_px == len(values):
        return values
    reading = cv2.INTER_AREA if size_px < len(values) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(values, (size_px, size_px), interpolation=reading), np.float32)


def window_around(mask: npt.NDArray[np.bool_], margin_px: int) -> tuple[slice, slice]:
    """Return the rows and columns that contain a mask and a margin; all if the mask is empty."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return slice(0, GRID_PX), slice(0, GRID_PX)
    return (
        slice(max(0, top - margin_px), min(GRID_PX, top + height + margin_px)),
        slice(max(0, left - margin_px), min(GRID_PX, left + width + margin_px)),
    )


def balance_texture(
    texture: Floats,
    inside: npt.NDArray[np.bool_],
    step_um: float,
    blur_um: float,
    *,
    fine: float,
    coarse: float,
) -> Floats:
    """Return a texture, (h, w), without its local mean and with fixed strength inside a mask.

    Thus the strength does not depend on the order of the texture. The result is a natural-log
    optical density. Outside the mask it is 0.

    Parameters
    ----------
    texture, inside
        Texture of any strength and mask, (h, w).
    step_um
        Distance of neighbouring points.
    blur_um
        Standard deviation of the blur of the microscope in focus. The strength is that of the
        blurred texture.
    fine, coarse
        Standard deviations at the scale of cells (between Gaussian filters of 2.5 and 8 µm) and at
        the scale of groups of cells (8 to 25 µm).
    """
    seen_um = math.hypot(blur_um, _PIXEL_BLUR_UM)
    weight = inside.astype(np.float32)
    if np.count_nonzero(inside) < 4:  # noqa: PLR2004 - no texture in so few points
        return np.zeros_like(texture)
    fine_part, coarse_part = _bands(texture, weight, step_um)
    parts = (fine_part, coarse_part)
    fine_bands, coarse_bands = [], []
    for part in parts:
        fine_blur, middle_blur, coarse_blur = (
            _blur_inside(part, weight, math.hypot(um, seen_um) / step_um)
            for um in (_FINE_UM, _MIDDLE_UM, _COARSE_UM)
        )
        fine_bands.append((fine_blur - middle_blur)[inside])
        coarse_bands.append((middle_blur - coarse_blur)[inside])
    in_fine, in_coarse = np.cov(fine_bands), np.cov(coarse_bands)
    gains = np.ones(2)
    for _ in range(_BALANCING_STEPS):
        gains[0] *= fine / math.sqrt(max(float(gains @ in_fine @ gains), 1e-12))
        gains[1] *= coarse / math.sqrt(max(float(gains @ in_coarse @ gains), 1e-12))
    strong = np.float32(gains[0]) * fine_part + np.float32(gains[1]) * coarse_part
    return _compensate_blur(strong * weight, seen_um / step_um) * weight


def _compensate_blur(density: Floats, blur_px: float) -> Floats:
    """Return a density whose light, blurred, has the blurred density as its logarithm.

    Blurred light shows small bright spots better than small dark spots. Therefore the difference of
    the logarithms is added, repeatedly.
    """
    blurred = cv2.GaussianBlur(density, (0, 0), blur_px)
    for _ in range(_COMPENSATING_STEPS):
        seen = -np.log(cv2.GaussianBlur(np.exp(-density), (0, 0), blur_px))
        density = density + (blurred - seen)
    return np.asarray(density, np.float32)


def _bands(texture: Floats, weight: Floats, step_um: float) -> tuple[Floats, Floats]:
    """Return the parts of a texture finer than 8 µm, and between 8 and 25 µm."""
    middle, coarse = (
        _blur_inside(texture, weight, um / step_um) for um in (_MIDDLE_UM, _COARSE_UM)
    )
    return texture - middle, middle - coarse


def _blur_inside(values: Floats, weight: Floats, sigma_px: float) -> Floats:
    """Return the Gaussian mean of values, (h, w), over points of weight 1, not of weight 0."""
    covered = blur(weight, sigma_px)
    return np.asarray(blur(values * weight, sigma_px) / np.maximum(covered, 1e-6), np.float32)


def blur(values: Floats, sigma_px: float) -> Floats:
    """Return a Gaussian mean of values, (h, w); a wide one is computed at a lower resolution."""
    finer = int(min(sigma_px / 1.5, min(values.shape) / 4))
    if finer < 2:  # noqa: PLR2004 - no lower resolution
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px), np.float32)
    height, width = values.shape
    small = cv2.resize(
        values, (-(-width // finer), -(-height // finer)), interpolation=cv2.INTER_AREA
    )
    return np.asarray(
        cv2.resize(
            cv2.GaussianBlur(small, (0, 0), sigma_px / finer),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        ),
        np.float32,
    )


def gathering_factor(spheroid: Spheroid) -> Floats:
    """Return the factor of the texture at each point, (GRID, GRID), that gathers it in patches.

    Without gathering it is 1. It is 1 in the patches and 0 between them if all texture gathers.
    """
    level = np.float32(spheroid.order[HiddenMechanism.GATHERING])
    count = max(4, round(spheroid.field_um / _PATCH_UM))
    noise = smooth_noise(spheroid.generator(RandomPurpose.GROWTH, 3), count, GRID_PX)
    return np.asarray(1 - level + level / (1 + np.exp(-5 * noise)), np.float32)


def draw_litter(spheroid: Spheroid, cell_um: float) -> tuple[Floats, Floats]:
    """Return the density and the height in µm, (GRID, GRID), of loose cells and debris.

    Cells have a dark border and refract light as small lenses; debris is dark and small.
    """
    step_um = spheroid.field_um / GRID_PX
    density, height = (np.zeros((GRID_PX, GRID_PX), np.float32) for _ in range(2))
    for number, (count, radii_um) in enumerate(
        ((spheroid.loose_cells, (0.35 * cell_um, 0.6 * cell_um)), (spheroid.debris, (1.0, 4.0)))
    ):
        rng = spheroid.generator(RandomPurpose.LITTER, 2 + number)
        turn, far, near, size, shade = rng.uniform(0, 1, (5, _MAX_LITTER)).astype(np.float32)
        moves = spheroid.generator(RandomPurpose.MOVES, 2 + number, spheroid.day)
        move = moves.normal(0, 8, (2, _MAX_LITTER)).astype(np.float32)
        close = near < _LITTER_NEAR_BODY
        reach = np.where(
            close,
            spheroid.radius_um * (1 + 1.4 * far * far),
            0.7 * spheroid.field_um * np.sqrt(far),
        )
        x, y = grid_positions(
            spheroid,
            reach * np.cos(2 * np.pi * turn) + move[0],
            reach * np.sin(2 * np.pi * turn) + move[1],
        )
        radius = (radii_um[0] + (radii_um[1] - radii_um[0]) * size) / step_um
        for place in range(min(count, _MAX_LITTER)):
            window, distance = _around(float(x[place]), float(y[place]), float(radius[place]))
            disc = np.clip(1.2 - distance, 0, 1)
            if number:
                density[window] += np.float32(0.25 + 0.5 * shade[place]) * disc
            else:
                border = np.exp(-0.5 * ((distance - 0.85) / 0.25) ** 2)
                density[window] += np.float32(0.12 + 0.15 * shade[place]) * border
                height[window] += np.float32(cell_um) * np.sqrt(np.clip(1 - distance**2, 0, 1))
    return density, height


def _around(x: float, y: float, radius: float) -> tuple[tuple[slice, slice], Floats]:
    """Return the points around a position, and their distance from it in units of the radius.

    The arguments are in grid points. The window is empty if it is outside the grid.
    """
    reach = max(2, math.ceil(1.8 * radius))
    rows = slice(max(0, round(y) - reach), max(0, min(GRID_PX, round(y) + reach + 1)))
    columns = slice(max(0, round(x) - reach), max(0, min(GRID_PX, round(x) + reach + 1)))
    down = np.arange(rows.start, max(rows.start, rows.stop), dtype=np.float32)[:, None] - y
    across = np.arange(columns.start, max(columns.start, columns.stop), dtype=np.float32) - x
    return (rows, columns), np.asarray(np.hypot(across, down) / max(radius, 0.5), np.float32)
