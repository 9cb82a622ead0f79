"""Counts the pieces of the tissue and the debris around it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.bodies import separate_bodies
from inference.tissue.masks import centre_of_mass, fill_holes, positions
from inference.tissue.quantiles import quantiles

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
    """Number, areas and holes of the pieces of the body, and its largest piece."""

    areas_px: tuple[float, ...]  # of each piece, without holes; the largest first
    holes: int
    hole_area_px: float
    largest: Mask  # (h, w): the largest piece in the bounding box of all pieces
    centre_px: tuple[float, float] | None  # x, y of the largest in the plane; None without tissue

    @property
    def count(self) -> int:
        """Number of pieces."""
        return len(self.areas_px)

    @property
    def area_px(self) -> float:
        """Area of all pieces."""
        return float(sum(self.areas_px))

    def diameters_px(self, *shares: float) -> list[float]:
        """Return quantiles of the diameters of discs with the areas of the pieces."""
        areas = quantiles(np.array(self.areas_px), *shares)
        return [float(2 * np.sqrt(area / np.pi)) for area in areas]


def measure_debris(debris: Mask, centre_px: tuple[float, float] | None) -> DebrisMeasures:
    """Return the DebrisMeasures of a mask, (H, W), around the tissue's centre (x, y) or None.

    In an empty well, without a centre, the spread is relative to the centre of the debris.
    """
    if not debris.any():
        return DebrisMeasures(0, 0.0, None)
    count = cv2.connectedComponents(debris.view(np.uint8), connectivity=8)[0] - 1
    y, x = positions(debris)
    centre = (x.mean(), y.mean()) if centre_px is None else centre_px
    spread = float(np.sqrt(np.mean((x - centre[0]) ** 2 + (y - centre[1]) ** 2)))
    return DebrisMeasures(count, float(len(x)), spread)


def measure_pieces(body: Mask) -> PieceMeasures:
    """Return the PieceMeasures of a body mask, (H, W).

    Bodies that touch each other are pieces of their own.
    """
    x, y, width, height = cv2.boundingRect(body.view(np.uint8))
    if width == 0:
        return PieceMeasures((), 0, 0.0, body[:0, :0], None)
    window = np.ascontiguousarray(body[y : y + height, x : x + width])
    numbers = separate_bodies(window)
    areas = np.bincount(numbers[window]).astype(np.float64)
    areas[0] = 0
    largest = numbers == int(np.argmax(areas))
    column, row = centre_of_mass(largest)
    holes = fill_holes(window) & ~window
    return PieceMeasures(
        areas_px=tuple(np.sort(areas[areas > 0])[::-1].tolist()),
        holes=cv2.connectedComponents(holes.view(np.uint8), connectivity=4)[0] - 1,
        hole_area_px=float(np.count_nonzero(holes)),
        largest=largest,
        centre_px=(x + column, y + row),
    )
