"""Estimates the light of a plane as it would be without tissue.

First a smooth polynomial surface is fitted to the logarithm of the light. Then it is corrected by
the free field around the tissue.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.masks import covered_share
from inference.tissue.quantiles import quantiles

_BLOCKS = 32  # per side of the image; the surface is fitted to their means
_ORDERS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3)
"""Order of the polynomial in each round of the fit.

The first rounds use a stiff surface, which cannot bend into wide tissue.
"""
_MIN_COVER = 0.5
"""Share of the field that shows background, for a fit from above of a higher order than 1.

A surface of third order is wrong far from the blocks to which it was fitted.
"""
_ENVELOPE_ROUNDS = 8
_WEIGHT_BELOW_ENVELOPE = 0.01  # relative to a block above it

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

_Y, _X = np.mgrid[-1 : 1 : _BLOCKS * 1j, -1 : 1 : _BLOCKS * 1j]
_POWERS = [(power, total - power) for total in range(4) for power in range(total + 1)]
_TERMS = np.stack([_X**x_power * _Y**y_power for x_power, y_power in _POWERS], axis=-1).reshape(
    -1, len(_POWERS)
)  # (blocks, terms), terms in ascending order
_TERMS_UP_TO = [np.ascontiguousarray(_TERMS[:, :count].T) for count in (1, 3, 6, 10)]
"""Terms of each order and all lower ones, (terms, blocks)."""


@dataclass(frozen=True, eq=False)
class LightBlocks:
    """Blocks of an image to which a surface of light is fitted; arrays are (blocks,)."""

    level: Numbers  # mean log light inside the well
    is_inside: Bools  # at least half of the block is inside the well
    prior: Numbers  # weight, which is less the more texture a block has; 0 outside the well
    shape: tuple[int, ...]  # of the image


def measure_blocks(log_light: Floats, texture: Floats, field: Bools) -> LightBlocks:
    """Return the LightBlocks of an image.

    Parameters
    ----------
    log_light
        Natural logarithm of the light, (h, w).
    texture
        Local contrast, (h, w).
    field
        Pixels inside the well, (h, w).
    """
    known = field.astype(np.float32)
    inside = block_means(known).ravel()
    level = block_means(log_light * known).ravel() / np.maximum(inside, 1e-3)
    is_inside = inside > 0.5  # noqa: PLR2004 - half a block
    rough = block_means(texture).ravel()
    usual = quantiles(rough[is_inside], 0.3)[0] + 1e-4
    prior = np.where(is_inside, 1 / (1 + (rough / (3 * usual)) ** 4), 0)
    return LightBlocks(
        level.astype(np.float64), is_inside, prior.astype(np.float64), log_light.shape
    )


def fit_light_surface(blocks: LightBlocks, *, from_above: bool = False) -> Floats:
    """Return the log light without tissue, (h, w), fitted to the blocks of an image.

    It is a surface of third order. The fit is robust. A block has less weight the more texture it
    has and the farther it is from the surface. A dark block, which may be tissue, loses weight
    sooner.

    The fit starts from the mean light, or from the brightest light (``from_above``). The mean light
    is that of the tissue if tissue covers more than about half of the field.

    Parameters
    ----------
    blocks
        The LightBlocks of the image.
    from_above
        Whether the fit starts as the upper envelope of the light: an expectile regression (Newey &
        Powell, Econometrica 55, 819, 1987).
    """
    level, prior = blocks.level, blocks.prior
    weight = prior
    for _ in range(_ENVELOPE_ROUNDS if from_above else 0):
        residual = level - _weighted_surface(level, weight, order=1)
        weight = prior * np.where(residual > 0, 1.0, _WEIGHT_BELOW_ENVELOPE)
    surface = level
    for number, highest in enumerate(_ORDERS):
        if number:
            residual = level - surface
            spread = weighted_robust_deviation(residual, weight if from_above else prior) + 3e-3
            relative = residual / np.where(residual < 0, 2 * spread, 4 * spread)
            weight = prior / (1 + relative * relative) ** 2
        order = highest
        if from_above:
            covered = covered_share((weight > 0.5)[blocks.is_inside])  # noqa: PLR2004 - half of a weight
            order = highest if covered >= _MIN_COVER else 1
        surface = _weighted_surface(level, weight, order)
    fitted = surface.reshape(_BLOCKS, _BLOCKS).astype(np.float32)
    return np.asarray(
        cv2.resize(fitted, blocks.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
    )


def _weighted_surface(
    level: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], order: int
) -> npt.NDArray[np.float64]:
    """Return the polynomial surface of an order, (blocks,), fitted to levels with weights."""
    terms = _TERMS_UP_TO[order]
    weighted = terms * weight
    normal = weighted @ terms.T
    normal.ravel()[:: len(terms) + 1] += 1e-3  # the diagonal
    _, factors = cv2.solve(normal, (weighted @ level)[:, None], flags=cv2.DECOMP_CHOLESKY)
    return np.asarray(factors[:, 0] @ terms)


def refine_light_surface(
    log_light: Floats, surface: Floats, free: Bools, reach_px: float
) -> Floats:
    """Return a log light surface (h, w) corrected by log light at free pixels within ``reach_px``.

    The correction is the local mean of the difference between light and surface.

    Parameters
    ----------
    log_light, surface
        Natural logarithm of the light and its fitted surface, (h, w).
    free
        Pixels without tissue or debris, (h, w).
    reach_px
        Range of the local mean; farther than this from free pixels the surface is unchanged.
    """
    small = tuple(max(length // 4, 8) for length in log_light.shape[::-1])
    known = free.astype(np.float32)
    weight, difference = (
        cv2.resize(each, small, interpolation=cv2.INTER_AREA)
        for each in (known, (log_light - surface) * known)
    )
    # Maps are four times smaller: the near mean has the given reach, the far mean twice the reach.
    near, far = (
        (cv2.GaussianBlur(difference, (0, 0), reach), cv2.GaussianBlur(weight, (0, 0), reach))
        for reach in (reach_px / 4, reach_px / 2)
    )
    broad = far[0] / (far[1] + np.float32(0.05))
    fine = (near[0] + np.float32(0.1) * broad) / (near[1] + np.float32(0.1))
    return np.asarray(
        surface + cv2.resize(fine, log_light.shape[::-1], interpolation=cv2.INTER_LINEAR),
        np.float32,
    )


def weighted_robust_deviation(
    values: npt.NDArray[np.floating], weight: npt.NDArray[np.floating]
) -> float:
    """Return the standard deviation of weighted values, estimated from their absolute median.

    The factor 1.4826 holds for a normal distribution with mean 0.
    """
    # Methods of arrays take less time than functions of NumPy, and this is called in each round.
    order = np.abs(values).argsort()
    total = weight.take(order).cumsum()
    middle = order[total.searchsorted(total[-1] / 2)]
    return float(abs(values[middle]) * 1.4826)


def block_means(image: Floats) -> Floats:
    """Return the (32, 32) means of an image, (h, w), over a grid of 32 × 32 blocks."""
    return np.asarray(
        cv2.resize(image, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA), np.float32
    )
