"""The pieces of the tissue and the debris around it, counted."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DebrisMeasures:
    """Loose material outside the body."""

    count: int
    area_px: float
    spread_px: (
        float | None
    )  # root mean square distance from the middle of the tissue; None without debris


@dataclass(frozen=True)
class PieceMeasures:
    """What the body is made of."""

    count: int
    area_px: float
    largest: Mask  # (h, w) of the largest, in the box around all
    middle_px: tuple[float, float] | None  # x, y of the largest in the plane; None without tissue


def measure_debris(debris: Mask, middle_px: tuple[float, float] | None) -> DebrisMeasures:
    """Measure an (H, W) mask of debris around a point x, y; in an empty well around its own middle."""
    points = cv2.findNonZero(debris.view(np.uint8))
    if points is None:
        return DebrisMeasures(0, 0.0, None)
    count = cv2.connectedComponents(debris.view(np.uint8), connectivity=8)[0] - 1
    x_y = points.reshape(-1, 2).astype(np.float64)
    away = x_y - (x_y.mean(axis=0) if middle_px is None else np.array(middle_px))
    return DebrisMeasures(count, float(len(x_y)), float(np.sqrt(np.mean(away**2) * 2)))


def measure_pieces(body: Mask) -> PieceMeasures:
    """Take the (H, W) body apart."""
    x, y, width, height = cv2.boundingRect(body.view(np.uint8))
    if width == 0:
        return PieceMeasures(0, 0.0, body[:0, :0], None)
    window = body[y : y + height, x : x + width]
    count, labels, stats, middles = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(window).view(np.uint8), connectivity=8
    )
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    middle_px = float(x + middles[largest][0]), float(y + middles[largest][1])
    return PieceMeasures(
        count - 1, float(stats[1:, cv2.CC_STAT_AREA].sum()), labels == largest, middle_px
    )
