"""Estimates the light of a plane in which a shadow with a straight edge covers a part of the field.

A polynomial surface cannot describe such light. The logarithm of the light is modelled as a plane
plus a profile, which depends only on the distance from the edge of the shadow.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.quantiles import sort_by_label

_FEW_BLOCKS, _BLOCKS = 16, 32  # per side of the image, to find an angle and to refine it
_MIN_SMOOTH_SHARE = 0.25  # of a block
_ANGLES = 24  # directions of the edge that are tried first
_REFINEMENTS = 5  # each halves the step of the angle
_ROUNDS = 2  # of the robust fit
_SCALE = 0.05  # natural log: residuals above it lose weight
_BINS = 192  # across the field, of the profile
_STRIDE = 3  # every third row and column is enough for the medians of the bins
_MIN_STEP = 0.2  # natural log: light that a shadow takes away
_MAX_RETURN = 0.45  # of the step, in the other direction; the profile of a band returns
_SMOOTHING_BINS = 1.0
_MIN_BIN = 8  # smooth pixels in a bin with a value of its own

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


def fit_shadowed_light(log_light: Floats, smooth: Bools) -> Floats | None:
    """Return the log light without tissue, (h, w), of a field with a shadow; None without shadow.

    Parameters
    ----------
    log_light
        Natural logarithm of the light, (h, w).
    smooth
        Pixels of the field with the texture of its floor, (h, w).
    """
    # Most fields without a shadow are recognised on few blocks, which takes little time.
    few = _block_levels(log_light, smooth, _FEW_BLOCKS)
    if few.level.size < _FEW_BLOCKS**2 / 4:
        return None
    step = np.pi / _ANGLES
    angle = min((number * step for number in range(_ANGLES)), key=few.misfit)
    if _surface(angle, log_light, smooth) is None:
        return None
    blocks = _block_levels(log_light, smooth, _BLOCKS)
    for _ in range(_REFINEMENTS):
        step /= 2
        angle = min((angle - step, angle, angle + step), key=blocks.misfit)
    return _surface(angle, log_light, smooth)


@dataclass(frozen=True, eq=False)
class _BlockLevels:
    """Mean log light of the blocks with smooth pixels; arrays are (blocks,)."""

    x: Numbers  # -1 to 1 across the field
    y: Numbers
    level: Numbers
    per_side: int

    def misfit(self, angle: float) -> float:
        """Return the robust mean error of a profile along an angle in radians."""
        along = self.x * np.cos(angle) + self.y * np.sin(angle)
        across = self.y * np.cos(angle) - self.x * np.sin(angle)
        position = (along + 1.5) * (self.per_side / 2)  # knots of a linear spline, a block apart
        knots = np.arange(3 * self.per_side // 2 + 1)
        spline = np.maximum(1 - np.abs(position[:, None] - knots), 0)
        terms = np.column_stack([spline, across])
        weight = np.ones_like(self.level)
        residual = self.level
        for _ in range(_ROUNDS):
            weighted = terms * weight[:, None]
            fitted = np.linalg.solve(
                weighted.T @ terms + 1e-3 * np.eye(terms.shape[1]), weighted.T @ self.level
            )
            residual = self.level - terms @ fitted
            weight = 1 / (1 + (residual / _SCALE) ** 2) ** 2
        return float(np.minimum(np.abs(residual), 2 * _SCALE).mean())


def _block_levels(log_light: Floats, smooth: Bools, per_side: int) -> _BlockLevels:
    """Return the _BlockLevels of log light, (h, w), at smooth pixels, with blocks per side."""
    size = (per_side, per_side)
    share = cv2.resize(smooth.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    light = np.where(smooth, log_light, 0).astype(np.float32)
    total = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    known = share > _MIN_SMOOTH_SHARE
    y, x = np.mgrid[-1 : 1 : per_side * 1j, -1 : 1 : per_side * 1j]
    level = (total[known] / share[known]).astype(np.float64)
    return _BlockLevels(x[known], y[known], level, per_side)


def _surface(angle: float, log_light: Floats, smooth: Bools) -> Floats | None:
    """Return the log light, (h, w), of the profile along an angle; None if it is no shadow."""
    height, width = log_light.shape
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    along = columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))
    across = rows * np.float32(np.cos(angle)) - columns * np.float32(np.sin(angle))
    low, high = float(along.min()), float(along.max())
    position = (along - low) * ((_BINS - 1) / (high - low))
    bins = np.round(position[::_STRIDE, ::_STRIDE][smooth[::_STRIDE, ::_STRIDE]]).astype(np.intp)
    light, side = (
        log_light[::_STRIDE, ::_STRIDE][smooth[::_STRIDE, ::_STRIDE]],
        across[::_STRIDE, ::_STRIDE][smooth[::_STRIDE, ::_STRIDE]],
    )
    if np.bincount(bins, minlength=_BINS).max() < _MIN_BIN:  # a very narrow image
        return None
    profile = _medians(bins, light)
    slope = 0.0
    for _ in range(2):
        residual = light - profile[bins]
        near = np.abs(residual - slope * side) < 2 * _SCALE
        slope = float((residual * side)[near].sum() / max((side * side)[near].sum(), 1e-6))
        profile = _medians(bins, np.asarray(light - np.float32(slope) * side, np.float32))
    profile = cv2.GaussianBlur(
        profile[None], (0, 0), _SMOOTHING_BINS, borderType=cv2.BORDER_REPLICATE
    )[0]
    steps = np.diff(profile)
    up, down = float(steps[steps > 0].sum()), float(-steps[steps < 0].sum())
    if max(up, down) < _MIN_STEP or min(up, down) > _MAX_RETURN * max(up, down):
        return None
    fitted = np.interp(position.ravel(), np.arange(_BINS), profile).reshape(position.shape)
    return np.asarray(fitted + slope * across, np.float32)


def _medians(bins: npt.NDArray[np.intp], values: Floats) -> Floats:
    """Return the median of the values of each bin, (_BINS,); empty bins are interpolated."""
    ordered = sort_by_label(bins, values)
    count = np.bincount(bins, minlength=_BINS)
    filled = np.flatnonzero(count >= _MIN_BIN)
    middle = (np.cumsum(count) - count + count // 2)[filled]
    return np.asarray(np.interp(np.arange(_BINS), filled, ordered[middle]), np.float32)
