"""Measures the outline of one piece of tissue: length, shape and roughness at any resolution."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_POINTS = 1024  # along an outline; a power of two for the Fourier transform
_SMOOTHING_SHARE = 0.01  # of the equivalent diameter: much smaller than a lobe
_MIN_SMOOTHING_PX = 0.8  # removes the pixel steps of pieces less than 80 pixels wide
_SHAPE_SHARE = 0.10  # of the equivalent diameter: longer bends are shape, shorter bends roughness


@dataclass(frozen=True)
class OutlineMeasures:
    """Size and shape of one piece without holes; lengths are in pixels."""

    area_px: float
    perimeter_px: float
    major_px: float  # major axis of the ellipse with the same second moments
    minor_px: float
    circularity: float
    solidity: float
    eccentricity: float
    roughness: float


def measure_outline(piece: npt.NDArray[np.bool_]) -> OutlineMeasures:
    """Return the OutlineMeasures of one connected piece from its mask, (H, W).

    The outline goes through the centres of the border pixels. It is sampled at equal steps,
    smoothed along its length by a Gaussian of 1 % of the equivalent diameter, and moved outwards
    by half a pixel. This removes the pixel steps in proportion to the piece, so that a shape has
    the same circularity at every resolution. The first harmonic, which is the ellipse, is not
    smoothed, so that round pieces do not shrink.
    """
    contours, _ = cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    solid = np.zeros(piece.shape, np.uint8)
    cv2.drawContours(solid, [contour], -1, 1, cv2.FILLED)
    moments = cv2.moments(solid, binaryImage=True)
    area = moments["m00"]
    diameter = 2 * np.sqrt(area / np.pi)
    major, minor = _axes(moments)
    fine, coarse = _smooth_outlines(
        contour.reshape(-1, 2).astype(np.float64),
        [max(share * diameter, _MIN_SMOOTHING_PX) for share in (_SMOOTHING_SHARE, _SHAPE_SHARE)],
    )
    # Moving a closed curve outwards by d adds 2πd to its length; here d is half a pixel.
    perimeter = float(np.abs(np.diff(fine, append=fine[:1])).sum() + np.pi)
    hull = cv2.convexHull(np.stack([fine.real, fine.imag], axis=1).astype(np.float32))
    # Steiner's formula for a convex set extended by a disc of half a pixel.
    hull_area = cv2.contourArea(hull) + cv2.arcLength(hull, closed=True) / 2 + np.pi / 4
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
    """Return the major and minor axis in pixels of the ellipse with these second moments.

    A pixel counts as a square, which adds 1/12 to the variance in each direction.
    """
    covariance = (
        np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]])
        / moments["m00"]
        + np.eye(2) / 12
    )
    minor, major = 4 * np.sqrt(np.linalg.eigvalsh(covariance))
    return float(major), float(minor)


def _smooth_outlines(
    points: npt.NDArray[np.float64], sigmas_px: list[float]
) -> list[npt.NDArray[np.complex128]]:
    """Return a closed outline as 1024 complex numbers x + iy, smoothed by each of several filters.

    The first harmonic is not smoothed.

    Parameters
    ----------
    points
        Points of the outline, (n, 2) x and y.
    sigmas_px
        Standard deviations of the Gaussians along the outline.
    """
    closed = np.vstack([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.arange(_POINTS) * along[-1] / _POINTS
    outline = np.asarray(
        np.interp(at, along, closed[:, 0]) + 1j * np.interp(at, along, closed[:, 1]), np.complex128
    )
    if along[-1] == 0:  # one pixel
        return [outline] * len(sigmas_px)
    frequencies = np.fft.fftfreq(_POINTS, d=along[-1] / _POINTS)  # per pixel
    kept = np.exp(-0.5 * (2 * np.pi * np.outer(sigmas_px, frequencies)) ** 2)
    kept[:, [0, 1, -1]] = 1
    return list(np.fft.ifft(np.fft.fft(outline) * kept))
