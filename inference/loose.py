"""What lies around the tissue, and how far the tissue itself has spread."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

_REACH = 0.95  # share of the tissue within its spread: one stray clump does not count

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Debris:
    """Loose material outside the body."""

    count: int
    area_px: float
    spread_px: float | None  # root mean square distance from the middle of the tissue; None without debris


@dataclass(frozen=True)
class Pieces:
    """What the body is made of."""

    count: int
    largest: Mask  # (H, W)
    corner_px: tuple[int, int]  # x, y of ``largest`` in the plane


def debris_of(debris: Mask, middle_px: tuple[float, float] | None) -> Debris:
    """Measure an (H, W) mask of debris around a point x, y; in an empty well around its own middle."""
    points = cv2.findNonZero(debris.astype(np.uint8))
    if points is None:
        return Debris(0, 0.0, None)
    count = cv2.connectedComponents(debris.astype(np.uint8), connectivity=8)[0] - 1
    x_y = points.reshape(-1, 2).astype(np.float64)
    away = x_y - (x_y.mean(axis=0) if middle_px is None else np.array(middle_px))
    return Debris(count, float(len(x_y)), float(np.sqrt(np.mean(away**2) * 2)))


def pieces_of(body: Mask) -> Pieces:
    """Take the (H, W) body apart; it holds at least one pixel."""
    x, y, width, height = cv2.boundingRect(body.astype(np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(body[y : y + height, x : x + width].astype(np.uint8), connectivity=8)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    left, top, across, down = (int(stats[largest, column]) for column in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT))
    return Pieces(count - 1, labels[top : top + down, left : left + across] == largest, (x + left, y + top))


def spread_px(tissue: Mask, middle_px: tuple[float, float]) -> float:
    """Return the distance from a point x, y within which 95 % of an (H, W) mask lies."""
    points = cv2.findNonZero(tissue.astype(np.uint8)).reshape(-1, 2)
    return float(np.quantile(np.hypot(*(points - np.array(middle_px)).T), _REACH))
