"""Search for files that are the same photograph, also if one was compressed or made brighter.

Two photographs of one well have different noise and different positions of debris. The finest
structure of two images is therefore hardly correlated, unless both files are one photograph. The
correlation of all pairs of different images shows how large it is by chance on these microscopes.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.stats import t as student_t

from schemas.arrays import Float64Array
from training.data.crops import PlateCrops
from training.data_check.doubts import (
    REPORTED_PROBABILITY,
    DataDoubt,
    DoubtKind,
    ImageName,
    image_names,
)

SIDE_PX = 96
BLUR_PX = 1.5  # coarser structure is removed
BLOCK = 1024
"""Rows whose correlations are in memory at a time."""
PRIOR = 1e-3
"""Share of the images that have a copy, before the images are examined."""
FREEDOM = 4.0
"""Degrees of freedom of chance correlations, which have longer tails than a normal distribution."""
MIN_SPREAD = 0.02
"""Smallest standard deviation of chance correlations."""
LIKELY_COPY = (0.3, 1.0)
"""Correlations of copies; all values between are equally probable."""


def find_duplicates(plates: Sequence[PlateCrops]) -> list[DataDoubt]:
    """Return a DataDoubt for each pair of images that seem to be one photograph.

    An image of one grey value is not compared.
    """
    names = image_names(plates)
    rows = np.concatenate([_fine_structure(plate) for plate in plates])
    known = np.flatnonzero(np.linalg.norm(rows, axis=1) > 0)
    rows = rows[known]
    if len(rows) < 2:  # noqa: PLR2004 - a pair
        return []
    centre, spread = _chance_correlation(rows)
    prior = PRIOR / len(rows)  # of one pair
    found = []
    for start in range(0, len(rows), BLOCK):
        correlations = rows[start : start + BLOCK] @ rows.T
        for row, column in np.argwhere(correlations > LIKELY_COPY[0]):
            if start + row < column:
                copy = prior / (LIKELY_COPY[1] - LIKELY_COPY[0])
                chance = student_t.pdf((correlations[row, column] - centre) / spread, FREEDOM)
                probability = copy / (copy + chance / spread)
                if probability >= REPORTED_PROBABILITY:
                    pair = names[known[start + row]], names[known[column]]
                    found.append(_doubt(*sorted(pair), float(probability)))
    return found


def _fine_structure(plate: PlateCrops) -> Float64Array:
    """Return the fine structure of the middle channel of each image, (n, pixels), of length 1.

    It is 0 if the image has one grey value only.
    """
    rows = []
    for crop in plate.crops:
        small = cv2.resize(crop[1], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        values = small.astype(np.float64)
        fine = (values - cv2.GaussianBlur(values, (0, 0), BLUR_PX)).ravel()
        length = np.linalg.norm(fine - fine.mean())
        rows.append((fine - fine.mean()) / length if length > 0 else np.zeros(fine.size))
    return np.stack(rows)


def _chance_correlation(rows: Float64Array) -> tuple[float, float]:
    """Return the median and the robust standard deviation of the correlation of random pairs."""
    rng = np.random.default_rng(0)
    one, other = rng.integers(len(rows), size=(2, 20_000))
    different = one != other
    values = np.einsum("ij,ij->i", rows[one[different]], rows[other[different]])
    centre = float(np.median(values))
    return centre, max(1.4826 * float(np.median(np.abs(values - centre))), MIN_SPREAD)


def _doubt(one: ImageName, other: ImageName, probability: float) -> DataDoubt:
    return DataDoubt(
        DoubtKind.DUPLICATE,
        probability,
        (one, other),
        f"{one} and {other} seem to be the same photograph: check which of them is missing.",
    )
