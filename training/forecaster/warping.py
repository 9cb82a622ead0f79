"""Views of trajectories by dynamic time warping (DTW), for the objective ``timeclr``.

DTW matches the days of two series in order, so that the sum of the squared distances of matched
days is smallest (Sakoe and Chiba 1978, doi:10.1109/TASSP.1978.1163055).
"""

import numpy as np

from schemas.arrays import BoolArray, Float64Array, IndexArray


def matched_days(distances: Float64Array) -> BoolArray:
    """Return the days that DTW matches in pairs of series, (N, T, U) bool.

    The first days are matched, the last days are matched, and from one match to the next, one
    series or both continue by a day. Of equally good continuations, both is preferred.

    Parameters
    ----------
    distances
        (N, T, U) distances between the T days of one series and the U days of the other.
    """
    pairs, rows, columns = distances.shape
    cost = np.full((pairs, rows + 1, columns + 1), np.inf)
    cost[:, 0, 0] = 0.0
    for day, other in np.ndindex(rows, columns):
        best = np.minimum(cost[:, day, other], cost[:, day, other + 1])
        best = np.minimum(best, cost[:, day + 1, other])
        cost[:, day + 1, other + 1] = distances[:, day, other] + best
    matched = np.zeros(distances.shape, dtype=bool)
    pair = np.arange(pairs)
    row, column = np.full(pairs, rows), np.full(pairs, columns)
    for _ in range(rows + columns - 1):
        matched[pair, row - 1, column - 1] = True
        earlier = np.stack(
            [
                cost[pair, row - 1, column - 1],
                cost[pair, row - 1, column],
                cost[pair, row, column - 1],
            ]
        )
        step = earlier.argmin(axis=0)  # 0: both, 1: only the row, 2: only the column
        row = np.maximum(row - (step != 2), 1)  # noqa: PLR2004 - see the line above
        column = np.maximum(column - (step != 1), 1)
    return matched


def warp(
    series: Float64Array, has_image: BoolArray, guides: IndexArray, shares: Float64Array
) -> tuple[Float64Array, BoolArray]:
    """Return views of series, (N, T, C), that are shifted and changed towards other series.

    On each day, a view is the mean of the series on the days that DTW matches to this day of its
    guide. The value of the guide is then mixed in by its share. A match with a day without image
    has no cost.

    Parameters
    ----------
    has_image
        (N, T).
    guides
        (N,) place of the guide of each series.
    shares
        (N,) weight of the guide's value, 0…1.

    Returns
    -------
    views : Float64Array
        (N, T, C); 0 without image.
    has_image : BoolArray
        (N, T): false if no matched day has an image.
    """
    guide, guide_has_image = series[guides], has_image[guides]
    distances = np.square(series[:, :, None] - guide[:, None]).sum(axis=3)  # (N, T, T)
    imaged = has_image[:, :, None] & guide_has_image[:, None]
    weights = (matched_days(np.where(imaged, distances, 0.0)) & has_image[:, :, None]).astype(float)
    count = weights.sum(axis=1)  # (N, T)
    views = np.einsum("ntu,ntc->nuc", weights, series) / np.maximum(count, 1.0)[..., None]
    share = np.where((count > 0) & guide_has_image, shares[:, None], 0.0)[..., None]
    return views + share * (guide - views), count > 0


def random_view(
    series: Float64Array, has_image: BoolArray, amplitude: float, rng: np.random.Generator
) -> tuple[Float64Array, BoolArray]:
    """Return a view of each series as :func:`warp`, with a random other series as guide.

    Parameters
    ----------
    series
        (N, T, C), of two wells or more.
    amplitude
        Largest share of the value of the guide.
    """
    count = len(series)
    guides = (np.arange(count) + rng.integers(1, count, count)) % count
    return warp(series, has_image, guides, rng.uniform(0.0, amplitude, count))
