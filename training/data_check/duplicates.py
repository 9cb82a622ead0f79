"""Search for files that are the same photograph, also if one was compressed or made brighter.

Two photographs of one well have different noise and different positions of debris and grain. The
finest structure of two images is therefore hardly correlated, unless both files are one photograph.
The structure is divided by its local contrast, so that the outline of the tissue, which is similar
in many wells, has no more weight than other pixels. The correlation of random pairs, and of pairs
of days of one well, shows how large it is by chance in these images.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from schemas.arrays import IndexArray
from training.data.crops import PlateCrops
from training.data_check.doubts import (
    REPORTED_PROBABILITY,
    DataDoubt,
    DoubtKind,
    ImageName,
    image_names,
)

Float32Array = npt.NDArray[np.float32]
SIDE_PX = 64
BLUR_PX = 1.5  # coarser structure is removed
CONTRAST_PX = 3.0  # standard deviation of the neighbourhood of a local contrast
MIN_CONTRAST = 2.0  # grey values, so that quantised noise is not enlarged
BLOCK = 1024
"""Rows whose correlations are in memory at a time."""
PRIOR = 1e-3
"""Share of the images that have a copy, before the images are examined."""
FREEDOM = 8.0
"""Degrees of freedom of chance correlations, which have longer tails than a normal distribution."""
CHANCE_PAIRS = 4000
CHANCE_QUANTILE = 0.98  # of chance correlations, at which their spread is read
MIN_SPREAD = 0.02
"""Smallest standard deviation of chance correlations."""
LIKELY_COPY = (0.5, 1.0)
"""Correlations of copies; all values between are equally probable."""
SAME_PIXELS = 0.99999
"""Correlation of two files with the same pixels, which two photographs never have."""


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
    of_known = [names[row] for row in known]
    well = _well_numbers(of_known)
    spreads = _chance_spreads(rows, well)
    prior = PRIOR / len(rows) / (LIKELY_COPY[1] - LIKELY_COPY[0])  # density for one pair
    found = []
    for start in range(0, len(rows), BLOCK):
        correlations = rows[start : start + BLOCK] @ rows.T
        for place, other in np.argwhere(correlations > LIKELY_COPY[0]):
            one = start + int(place)
            if one < other:
                spread = spreads[int(well[one] == well[other])]
                chance = student_t.pdf(correlations[place, other] / spread, FREEDOM) / spread
                is_same = correlations[place, other] > SAME_PIXELS
                probability = 1.0 if is_same else float(prior / (prior + chance))
                if probability >= REPORTED_PROBABILITY:
                    pair = sorted((of_known[one], of_known[int(other)]))
                    found.append(_doubt(pair[0], pair[1], probability))
    return found


def _fine_structure(plate: PlateCrops) -> Float32Array:
    """Return the fine structure of the middle channel of each image, (n, pixels), of length 1.

    It is 0 if the image has one grey value only.
    """
    rows = []
    for crop in plate.crops:
        small = cv2.resize(crop[1], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        values = small.astype(np.float32)
        fine = values - cv2.GaussianBlur(values, (0, 0), BLUR_PX)
        contrast = np.sqrt(cv2.GaussianBlur(fine**2, (0, 0), CONTRAST_PX))
        fine = (fine / (contrast + MIN_CONTRAST)).ravel()
        length = np.linalg.norm(fine - fine.mean())
        rows.append(
            (fine - fine.mean()) / length if length > 0 else np.zeros(fine.size, np.float32)
        )
    return np.stack(rows)


def _well_numbers(names: Sequence[ImageName]) -> IndexArray:
    """Return the number of the well of each image, unique over all plates."""
    numbers: dict[tuple[str, str], int] = {}
    return np.array([numbers.setdefault((each.plate, each.well), len(numbers)) for each in names])


def _chance_spreads(rows: Float32Array, well: IndexArray) -> tuple[float, float]:
    """Return the spread of the correlation of photographs of two wells, and of one well."""
    rng = np.random.default_rng(0)
    one, other = rng.integers(len(rows), size=(2, CHANCE_PAIRS))
    different = well[one] != well[other]
    order = np.argsort(well, kind="stable")
    is_same = well[order[:-1]] == well[order[1:]]
    of_wells = _spread(_correlations(rows, one[different], other[different]))
    of_one_well = _spread(_correlations(rows, order[:-1][is_same], order[1:][is_same]))
    return of_wells, max(of_wells, of_one_well)


def _spread(correlations: Float32Array) -> float:
    """Return the scale of a t distribution around 0 with a large quantile of the correlations."""
    if not len(correlations):
        return MIN_SPREAD
    limit = student_t.ppf((1 + CHANCE_QUANTILE) / 2, FREEDOM)
    return max(MIN_SPREAD, float(np.quantile(np.abs(correlations), CHANCE_QUANTILE) / limit))


def _correlations(rows: Float32Array, one: IndexArray, other: IndexArray) -> Float32Array:
    found: Float32Array = np.einsum("ij,ij->i", rows[one], rows[other])
    return found


def _doubt(one: ImageName, other: ImageName, probability: float) -> DataDoubt:
    return DataDoubt(
        DoubtKind.DUPLICATE,
        probability,
        (one, other),
        f"{one} and {other} seem to be the same photograph: check which of them is missing.",
    )
