"""Estimates the light of a plane in which a shadow with a straight edge covers a part of the field.

A polynomial surface cannot describe such light. The logarithm of the light is modelled as a plane
plus a profile, which depends only on the distance from the edge of the shadow.
"""

import cv2
import numpy as np
import numpy.typing as npt

_BLOCKS = 32  # per side of the image
_ANGLES = 36  # directions of the edge that are tried first
_REFINEMENTS = 3  # each halves the step of the angle
_ROUNDS = 3  # of the robust fit
_SCALE = 0.05  # natural log: residuals above it lose weight
_BINS = 192  # across the field, of the profile
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
    share = cv2.resize(smooth.astype(np.float32), (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA)
    total = cv2.resize(
        np.where(smooth, log_light, 0).astype(np.float32),
        (_BLOCKS, _BLOCKS),
        interpolation=cv2.INTER_AREA,
    )
    known = share.ravel() > 0.25  # noqa: PLR2004 - a quarter of a block
    if np.count_nonzero(known) < known.size / 4:
        return None
    y, x = (axis.ravel()[known] for axis in np.mgrid[-1 : 1 : _BLOCKS * 1j, -1 : 1 : _BLOCKS * 1j])
    level = (total.ravel()[known] / share.ravel()[known]).astype(np.float64)
    step = np.pi / _ANGLES
    angles = np.arange(_ANGLES) * step
    best = min(angles, key=lambda angle: _misfit(angle, x, y, level))
    for _ in range(_REFINEMENTS):
        step /= 2
        best = min((best - step, best, best + step), key=lambda angle: _misfit(angle, x, y, level))
    return _surface(float(best), log_light, smooth)


def _hats(distance: Numbers) -> Numbers:
    """Return the linear spline functions, (points, knots), at distances of -1.5 to 1.5."""
    position = (distance + 1.5) * (_BLOCKS / 2)  # knots one block apart
    knots = np.arange(int(3 * _BLOCKS / 2) + 1)
    return np.asarray(np.maximum(1 - np.abs(position[:, None] - knots), 0))


def _misfit(angle: float, x: Numbers, y: Numbers, level: Numbers) -> float:
    """Return the robust mean error of a profile along an angle, fitted to levels, (points,)."""
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    terms = np.column_stack([_hats(along), across])
    weight = np.ones_like(level)
    residual = level
    for _ in range(_ROUNDS):
        weighted = terms * weight[:, None]
        fitted = np.linalg.solve(
            weighted.T @ terms + 1e-3 * np.eye(terms.shape[1]), weighted.T @ level
        )
        residual = level - terms @ fitted
        weight = 1 / (1 + (residual / _SCALE) ** 2) ** 2
    return float(np.minimum(np.abs(residual), 2 * _SCALE).mean())


def _surface(angle: float, log_light: Floats, smooth: Bools) -> Floats | None:
    """Return the log light, (h, w), of the profile along an angle; None if it is no shadow."""
    height, width = log_light.shape
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    along = columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))
    across = rows * np.float32(np.cos(angle)) - columns * np.float32(np.sin(angle))
    low, high = float(along.min()), float(along.max())
    position = (along - low) * ((_BINS - 1) / (high - low))
    bins = np.round(position[::2, ::2][smooth[::2, ::2]]).astype(np.intp)
    light, side = log_light[::2, ::2][smooth[::2, ::2]], across[::2, ::2][smooth[::2, ::2]]
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
    ordered = values[np.lexsort((values, bins))]
    count = np.bincount(bins, minlength=_BINS)
    filled = np.flatnonzero(count >= _MIN_BIN)
    middle = (np.cumsum(count) - count + count // 2)[filled]
    return np.asarray(np.interp(np.arange(_BINS), filled, ordered[middle]), np.float32)
