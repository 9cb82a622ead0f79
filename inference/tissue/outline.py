"""The outline of one piece of tissue: its length, its shape and how rough it is, whatever the resolution."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_POINTS = 1024  # along an outline; a power of two for the transform
_SMOOTHED_OVER = 0.01  # of the equivalent diameter: far below a lobe
_STAIRS_PX = (
    0.8  # at least, or the stairs of the pixels would stay on pieces less than 80 px across
)
_ROUGH_BELOW = 0.10  # of the equivalent diameter: slower bends are the shape, faster ones roughness


@dataclass(frozen=True)
class OutlineMeasures:
    """Of one piece, holes filled; lengths in pixels."""

    area_px: float
    perimeter_px: float
    major_px: float
    minor_px: float
    circularity: float
    solidity: float
    eccentricity: float
    roughness: float


def measure_outline(piece: npt.NDArray[np.bool_]) -> OutlineMeasures:
    """Measure the (H, W) mask of one connected piece.

    The perimeter is that of the outline through the middles of the border pixels, at equal steps of its own length, smoothed by a Gaussian of 1 % of the
    equivalent diameter along it and moved out by half a pixel: that removes the stairs of the pixels in proportion to the piece, so that the same shape
    has the same circularity at every resolution. The first harmonic, which is the ellipse, is kept as it is, so that smoothing shrinks nothing round.
    """
    contours, _ = cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    filled = np.zeros(piece.shape, np.uint8)
    cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED)
    moments = cv2.moments(filled, binaryImage=True)
    area = moments["m00"]
    diameter = 2 * np.sqrt(area / np.pi)
    major, minor = _axes(moments)
    fine, coarse = (
        _smooth(contour.reshape(-1, 2).astype(np.float64), max(share * diameter, _STAIRS_PX))
        for share in (_SMOOTHED_OVER, _ROUGH_BELOW)
    )
    perimeter = float(
        np.abs(np.diff(fine, append=fine[:1])).sum() + np.pi
    )  # moving a closed curve out by d adds 2πd
    hull = cv2.convexHull(np.stack([fine.real, fine.imag], axis=1).astype(np.float32))
    hull_area = (
        cv2.contourArea(hull) + cv2.arcLength(hull, closed=True) / 2 + np.pi / 4
    )  # Steiner: a convex set and a disc of half a pixel
    return OutlineMeasures(
        area_px=float(area),
        perimeter_px=perimeter,
        major_px=major,
        minor_px=minor,
        circularity=float(4 * np.pi * area / perimeter**2),
        solidity=float(min(1.0, area / hull_area)),
        eccentricity=float(np.sqrt(max(0.0, 1 - (minor / major) ** 2))),
        roughness=float(np.sqrt(np.mean(np.abs(fine - coarse) ** 2)) / diameter),
    )


def _axes(moments: dict[str, float] | cv2.typing.Moments) -> tuple[float, float]:
    """Return the axes in pixels of the ellipse with the same second moments; a pixel is a square, not a point."""
    across = (
        np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]])
        / moments["m00"]
        + np.eye(2) / 12
    )
    minor, major = 4 * np.sqrt(np.linalg.eigvalsh(across))
    return float(major), float(minor)


def _smooth(points: npt.NDArray[np.float64], sigma_px: float) -> npt.NDArray[np.complex128]:
    """Return a closed outline, (n, 2) x, y, as _POINTS complex numbers, smoothed along its length but for its first harmonic."""
    closed = np.vstack([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.arange(_POINTS) * along[-1] / _POINTS
    outline = np.asarray(
        np.interp(at, along, closed[:, 0]) + 1j * np.interp(at, along, closed[:, 1]), np.complex128
    )
    if along[-1] == 0:  # one pixel
        return outline
    waves = np.fft.fftfreq(_POINTS, d=along[-1] / _POINTS)  # per pixel
    kept = np.exp(-0.5 * (2 * np.pi * waves * sigma_px) ** 2)
    kept[[0, 1, -1]] = 1
    return np.asarray(np.fft.ifft(np.fft.fft(outline) * kept))
