"""Quantiles of the values of maps and of labelled pixels."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def quantiles(values: npt.NDArray[np.generic], *shares: float) -> list[float]:
    """Return the quantiles of an array of any shape for shares from 0 to 1.

    Between two values a quantile is interpolated linearly, as by :func:`numpy.quantile`, which
    takes several times as long.
    """
    ordered = np.sort(values, axis=None)
    found = []
    for share in shares:
        before, rest = divmod(share * (ordered.size - 1), 1)
        low = float(ordered[int(before)])
        high = float(ordered[min(int(before) + 1, ordered.size - 1)])
        found.append(low + (high - low) * rest)
    return found


def sort_by_label(
    labels: npt.NDArray[np.integer], values: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the values of label 0 in ascending order, then those of label 1, and so on.

    Both arrays are (pixels,), and labels are at most 65,535.
    """
    # Two sorts of one key each take less time than numpy.lexsort.
    order = np.argsort(values)
    return values[order[np.argsort(labels[order].astype(np.uint16), kind="stable")]]


def label_quantiles(
    labels: npt.NDArray[np.integer], values: npt.NDArray[np.float32], share: float, count: int
) -> Numbers:
    """Return, by label, the value that a share of the values does not exceed; both are (pixels,).

    It is 0 for a label without values. ``count`` is the number of labels.
    """
    ordered = np.append(sort_by_label(labels, values), 0.0)
    pixels = np.bincount(labels, minlength=count)
    place = np.cumsum(pixels) - pixels + (share * np.maximum(pixels - 1, 0)).astype(int)
    return np.where(pixels > 0, ordered[place], 0.0).astype(np.float64)
