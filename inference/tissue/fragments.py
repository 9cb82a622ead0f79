"""Counts the pieces of the tissue and the debris around it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DebrisMeasures:
    """Number, area and distance of the debris outside the body."""

    count: int
    area_px: float
    spread_px: float | None
    """Root mean square distance from the centre of the tissue; None without debris."""


@dataclass(frozen=True)
class PieceMeasures:
    """Number and area of the pieces of the body, and its largest piece."""

    count: int
    area_px: float  # of all pieces
    largest: Mask  # (h, w): the largest piece in the bounding box of all pieces
    centre_px: tuple[float, float] | None  # x, y of the largest in the plane; None without tissue


def measure_debris(debris: Mask, centre_px: tuple[float, float] | None) -> DebrisMeasures:
    """Return the DebrisMeasures of a mask, (H, W), around the tissue's centre (x, y) or None.

    In an empty well, without a centre, the spread is relative to the centre of the debris.
    """
    points = cv2.findNonZero(debris.view(np.uint8))
    if points is None:
        return DebrisMeasures(0, 0.0, None)
    count = cv2.connectedComponents(debris.view(np.uint8), connectivity=8)[0] - 1
    x_y = points.reshape(-1, 2).astype(np.float64)
    away = x_y - (x_y.mean(axis=0) if centre_px is None else np.array(centre_px))
    return DebrisMeasures(count, float(len(x_y)), float(np.sqrt(np.mean(away**2) * 2)))


def measure_pieces(body: Mask) -> PieceMeasures:
    """Return the PieceMeasures of a body mask, (H, W): number, area and largest piece."""
    x, y, width, height = cv2.boundingRect(body.view(np.uint8))
    if width == 0:
        return PieceMeasures(0, 0.0, body[:0, :0], None)
    window = body[y : y + height, x : x + width]
    count, labels, stats, centres = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(window).view(np.uint8), connectivity=8
    )
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    centre_px = float(x + centres[largest][0]), float(y + centres[largest][1])
    area_px = float(stats[1:, cv2.CC_STAT_AREA].sum())
    return PieceMeasures(count - 1, area_px, labels == largest, centre_px)
