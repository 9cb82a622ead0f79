"""Measures the pieces of the tissue one by one: size, shape, place and darkness of each."""

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.bodies import separate_bodies
from inference.tissue.downscaled_plane import DownscaledPlane, downscale_plane
from inference.tissue.measures import name_with_unit
from inference.tissue.outline import measure_outline
from schemas.tissue import Segmentation

Labels = npt.NDArray[np.int32]
PieceRow = dict[str, float | bool]
"""Values of one piece by column name."""


def measure_each_piece(
    plane: npt.NDArray[np.uint16], segmentation: Segmentation, um_per_px: float | None
) -> list[PieceRow]:
    """Return one row per piece of a plane, (H, W), its Segmentation and µm per px or None.

    The largest piece comes first and has the number 1; the result of an empty well and of a refused
    image is empty. Names of sizes end in their unit as in the measures of the whole tissue. The
    centre, ``x_px`` and ``y_px``, is in pixels of the plane, from the centre of its first pixel.
    ``od_mean`` is left out for a piece that is smaller than a pixel of the reduced plane.
    """
    if segmentation.is_empty:
        return []
    reduced = downscale_plane(plane, segmentation, um_per_px)
    x, y, width, height = cv2.boundingRect(segmentation.body.view(np.uint8))
    numbers = np.zeros(segmentation.body.shape, np.int32)
    # Bodies are separated inside their bounding box, as for the measures of the whole tissue.
    window = slice(y, y + height), slice(x, x + width)
    numbers[window] = separate_bodies(np.ascontiguousarray(segmentation.body[window]))
    areas = np.bincount(numbers.ravel())
    areas[0] = 0
    order = [int(n) for n in np.argsort(-areas, kind="stable") if areas[n] > 0]
    boxes = _bounding_boxes(numbers)
    density = _mean_densities(numbers, reduced)
    return [
        {"piece": rank}
        | _measure_piece(numbers, number, boxes[number], um_per_px)
        | ({"od_mean": density[number]} if number in density else {})
        for rank, number in enumerate(order, start=1)
    ]


def _measure_piece(
    numbers: Labels,
    number: int,
    box: tuple[slice, slice],
    um_per_px: float | None,
) -> PieceRow:
    """Return the size, shape and place of one piece of a map of piece numbers, (H, W)."""
    rows, columns = box
    piece = np.asarray(numbers[box] == number)
    area_px = float(np.count_nonzero(piece))
    outline = measure_outline(piece)
    sizes = {
        "area": area_px,
        "equivalent_diameter": float(2 * np.sqrt(area_px / np.pi)),
        "perimeter": outline.perimeter_px,
        "major_diameter": outline.major_px,
        "minor_diameter": outline.minor_px,
    }
    y, x = (float(positions.mean()) for positions in np.nonzero(piece))
    height, width = numbers.shape
    return {
        **{
            name_with_unit(size, um_per_px): value
            * (um_per_px or 1.0) ** (2 if size == "area" else 1)
            for size, value in sizes.items()
        },
        "circularity": outline.circularity,
        "solidity": outline.solidity,
        "eccentricity": outline.eccentricity,
        "x_px": columns.start + x,
        "y_px": rows.start + y,
        "touches_border": rows.start == 0
        or columns.start == 0
        or rows.stop == height
        or columns.stop == width,
    }


def _bounding_boxes(numbers: Labels) -> dict[int, tuple[slice, slice]]:
    """Return the rows and columns of each number of a map, (H, W), by number."""
    rows, columns = np.nonzero(numbers)
    each = numbers[rows, columns]
    low = np.full((each.max() + 1, 2), max(numbers.shape))
    high = np.zeros_like(low)
    for axis, positions in enumerate((rows, columns)):
        np.minimum.at(low[:, axis], each, positions)
        np.maximum.at(high[:, axis], each, positions + 1)
    return {
        int(n): (slice(int(low[n, 0]), int(high[n, 0])), slice(int(low[n, 1]), int(high[n, 1])))
        for n in np.unique(each)
    }


def _mean_densities(numbers: Labels, reduced: DownscaledPlane) -> dict[int, float]:
    """Return the mean optical density by piece number, on the reduced plane."""
    small = cv2.resize(
        numbers.astype(np.float32),
        reduced.body.shape[::-1],
        interpolation=cv2.INTER_NEAREST_EXACT,
    ).astype(np.int32)
    count = np.bincount(small.ravel())
    total = np.bincount(small.ravel(), reduced.density.ravel())
    return {int(n): float(total[n] / count[n]) for n in np.flatnonzero(count) if n > 0}
