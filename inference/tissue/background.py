"""The light as it would be without tissue: a smooth surface first, then what lies around the tissue carried across it."""

import cv2
import numpy as np
import numpy.typing as npt

_BLOCKS = 32  # a side
_ORDERS = (
    1,
    1,
    1,
    1,
    2,
    2,
    2,
    3,
    3,
    3,
    3,
)  # of the surface, round by round: a stiff one first, which cannot bend into wide tissue

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_Y, _X = np.mgrid[-1 : 1 : _BLOCKS * 1j, -1 : 1 : _BLOCKS * 1j]
_POWERS = [(power, total - power) for total in range(4) for power in range(total + 1)]
_TERMS = np.stack([_X**power * _Y**other for power, other in _POWERS], axis=-1).reshape(
    -1, len(_POWERS)
)  # by order
_COUNTS = (1, 3, 6, 10)  # of terms up to an order


def fit_light_surface(log_light: Floats, texture: Floats, field: Bools) -> Floats:
    """Return (h, w): a surface of third order through the background of the logarithm of an image.

    Blocks count less the more texture they have, and soon not at all when they are far from the surface: dark ones, which may be tissue, sooner.
    """
    inside = block_means(field.astype(np.float32)).ravel()
    level = (block_means(np.where(field, log_light, 0)).ravel() / np.maximum(inside, 1e-3)).astype(
        np.float64
    )
    rough = block_means(texture).ravel()
    usual = np.quantile(rough[inside > 0.5], 0.3) + 1e-4  # noqa: PLR2004 - half a block
    prior = np.where(inside > 0.5, 1 / (1 + (rough / (3 * usual)) ** 4), 0).astype(np.float64)  # noqa: PLR2004 - half a block
    weight = prior
    surface = level
    for order in _ORDERS:
        terms = _TERMS[:, : _COUNTS[order]]
        weighted = terms * weight[:, None]
        surface = terms @ np.linalg.solve(
            weighted.T @ terms + 1e-3 * np.eye(_COUNTS[order]), weighted.T @ level
        )
        residual = level - surface
        spread = weighted_robust_deviation(residual, prior) + 3e-3
        weight = prior / (1 + (residual / np.where(residual < 0, 2 * spread, 4 * spread)) ** 2) ** 2
    fitted = surface.reshape(_BLOCKS, _BLOCKS).astype(np.float32)
    return np.asarray(
        cv2.resize(fitted, log_light.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
    )


def refine_light_surface(
    log_light: Floats, surface: Floats, free: Bools, reach_px: float
) -> Floats:
    """Return (h, w): the surface corrected by what is seen where nothing lies (``free``), averaged over ``reach_px``; far from there, the surface itself."""
    small = tuple(max(length // 4, 8) for length in log_light.shape[::-1])
    weight = cv2.resize(free.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    difference = cv2.resize(
        np.where(free, log_light - surface, 0).astype(np.float32),
        small,
        interpolation=cv2.INTER_AREA,
    )
    near, far = (
        (cv2.GaussianBlur(difference, (0, 0), reach), cv2.GaussianBlur(weight, (0, 0), reach))
        for reach in (reach_px / 4, reach_px / 2)
    )  # of reduced pixels: a quarter and twice that
    broad = far[0] / (far[1] + np.float32(0.05))
    fine = (near[0] + np.float32(0.1) * broad) / (near[1] + np.float32(0.1))
    return np.asarray(
        surface + cv2.resize(fine, log_light.shape[::-1], interpolation=cv2.INTER_LINEAR),
        np.float32,
    )


def weighted_robust_deviation(
    values: npt.NDArray[np.floating], weight: npt.NDArray[np.floating]
) -> float:
    """Return the standard deviation that the weighted median of the absolute values suggests."""
    order = np.argsort(np.abs(values))
    total = np.cumsum(weight[order])
    middle = order[int(np.searchsorted(total, total[-1] / 2))]
    return float(abs(values[middle]) * 1.4826)


def block_means(image: Floats) -> Floats:
    """Return (32, 32) means."""
    return np.asarray(
        cv2.resize(image, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA), np.float32
    )
