"""Find the focus height of tissue in a stack of bright-field planes (autofocus by software).

Contrast is no measure of focus in bright field. Tissue absorbs light and refracts it, and on either
side of focus the two effects add up or cancel, so the plane with the largest contrast lies up to
20 µm away from focus.

Near focus an image is A + z·B (transport of intensity equation), and defocus blurs its detail with
a gain G(z) that is equal above and below focus. The detail images i and j of two neighbouring
planes span an area √(⟨i,i⟩⟨j,j⟩ − ⟨i,j⟩²) = G(z_i)·G(z_j)·|A∧B|·step. This area no longer depends
on the signs of A and B, and it is largest at focus.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.ports import Pixels
from acquisition.quality import MIN_TISSUE_SIGNAL, find_regions

MIN_CORRELATION = 0.3
"""Smallest correlation of the detail of two neighbouring planes that proves structure.

Structure is similar in neighbouring planes, noise is not. The most similar pair is compared.
"""

MIN_CHANGE = 0.015
"""Smallest decrease of the correlation with the distance of two planes that proves a movement.

Planes that were taken at one height, for example because the focus drive does not move, differ by
noise only. Their correlation decreases by at most 0.007, that of a scan by at least 0.027 (virtual
wells of 128 and 512 pixels, seven planes or more).
"""

_MIN_PLANES_FOR_CHANGE = 7  # fewer planes with small steps change too little to tell

_ANALYSIS_SIDE_PX = 512  # enough for the detail of tissue; 13 planes of 2048² take 0.2 s
_FINE_SIGMA_PX, _COARSE_SIGMA_PX = 1.0, 2.0  # band of detail, in pixels of the reduced plane
# Blocks are evaluated separately: tissue may lie at several heights, and noise and the floor of the
# well fill every block, so that the median block measures them.
_BLOCKS_PER_SIDE = 16
_BLOCKS_USED = 80  # those with the most detail
_TOP_SHARE = 0.4  # the part of the curve above this share of its maximum defines the peak

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FocusResult:
    """The focus height found in one stack of planes."""

    z_um: float
    found: bool  # False if the stack shows no tissue, or does not change with the height
    at_edge: bool  # True if focus lies at the end of the scanned heights or beyond
    changes: bool = True  # False if all planes are alike: the focus drive did not move

    @property
    def is_sharp(self) -> bool:
        """True if tissue is in focus within the scanned heights."""
        return self.found and not self.at_edge


def find_focus(
    planes: npt.NDArray[np.generic] | Sequence[Pixels], z_um: Sequence[float]
) -> FocusResult:
    """Return the FocusResult (height, found, at edge) of planes, (n, H, W), at n heights in µm.

    Parameters
    ----------
    planes
        At least three planes, (n, H, W), in the order of their heights.
    z_um
        The n heights, rising.
    """
    areas, correlation, change = _detail_areas(planes)
    heights = np.asarray(z_um, np.float64)
    between = (heights[1:] + heights[:-1]) / 2
    if correlation < MIN_CORRELATION or not areas.any():
        return FocusResult(float(np.median(heights)), found=False, at_edge=False)
    if len(heights) >= _MIN_PLANES_FOR_CHANGE and change < MIN_CHANGE:
        return FocusResult(float(np.median(heights)), found=False, at_edge=False, changes=False)
    at = _peak_height(between, areas)
    at_edge = int(areas.argmax()) in (0, len(areas) - 1) or not between[0] < at < between[-1]
    sharpest = planes[int(np.abs(heights - at).argmin())]
    tissue = any(region.signal >= MIN_TISSUE_SIGNAL for region in find_regions(sharpest))
    return FocusResult(float(np.clip(at, heights[0], heights[-1])), found=tissue, at_edge=at_edge)


def _detail_areas(
    planes: npt.NDArray[np.generic] | Sequence[Pixels],
) -> tuple[Floats, float, float]:
    """Return the area spanned by the detail of each pair of neighbouring planes.

    Returns
    -------
    areas
        (n − 1,) areas of the n planes; see the module's description.
    correlation
        The largest correlation of the detail of two neighbouring planes.
    change
        The decrease of the mean correlation from neighbouring planes to planes half a stack apart.
    """
    details = [_detail(plane) for plane in planes]
    own = np.array([_block_means(each * each) for each in details])
    shared = np.array([_block_means(a * b) for a, b in pairwise(details)])
    chosen = np.argsort(own.max(axis=0))[-_BLOCKS_USED:]
    sums = own[:, chosen].sum(axis=1)
    correlations = shared[:, chosen].sum(axis=1) / np.sqrt(np.maximum(sums[1:] * sums[:-1], 1e-30))
    lag = max(len(details) // 2, 1)
    apart = [
        _block_means(details[i] * details[i + lag])[chosen].sum()
        / np.sqrt(max(sums[i] * sums[i + lag], 1e-30))
        for i in range(len(details) - lag)
    ]
    squares, products = (
        np.maximum(each[:, chosen] - np.median(each, axis=1, keepdims=True), 0)
        for each in (own, shared)
    )
    areas = np.sqrt(np.maximum(squares[1:] * squares[:-1] - products**2, 0)).sum(axis=1)
    return areas, float(correlations.max()), float(correlations.mean() - np.mean(apart))


def _detail(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Return the fine detail of one plane, reduced in size and divided by the background."""
    pixels = np.asarray(plane)
    scale = min(_ANALYSIS_SIDE_PX / max(pixels.shape), 1.0)
    height, width = (max(round(length * scale), 1) for length in pixels.shape)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    background = np.float32(max(float(np.median(small[::8, ::8])), 1.0))
    fine, coarse = (
        cv2.GaussianBlur(small, (0, 0), sigma) for sigma in (_FINE_SIGMA_PX, _COARSE_SIGMA_PX)
    )
    return np.asarray((fine - coarse) / background, np.float32)


def _block_means(energy: npt.NDArray[np.float32]) -> Floats:
    """Return the mean of each inner block of an image, (196,).

    The outer blocks are left out: a slope of the illumination looks like structure there.
    """
    size = (_BLOCKS_PER_SIDE, _BLOCKS_PER_SIDE)
    blocks = cv2.resize(energy, size, interpolation=cv2.INTER_AREA)
    return np.asarray(blocks[1:-1, 1:-1], np.float64).ravel()


def _peak_height(z_um: Floats, areas: Floats) -> float:
    """Return the height of the peak of a curve of areas over heights.

    A parabola is fitted to the logarithm of the top of the curve. The peak lies beyond the last
    height if the curve still rises there.
    """
    share = areas / areas.max()
    peak = int(share.argmax())
    first, last = max(peak - 1, 0), min(peak + 1, len(share) - 1)
    while first > 0 and share[first - 1] >= _TOP_SHARE:
        first -= 1
    while last < len(share) - 1 and share[last + 1] >= _TOP_SHARE:
        last += 1
    weight = np.maximum(share[first : last + 1], 1e-6)
    off_um = z_um[first : last + 1] - z_um[peak]
    rows = np.stack([np.ones_like(off_um), off_um, off_um**2], axis=1)
    (_, slope, curvature), *_ = np.linalg.lstsq(
        rows * weight[:, None], np.log(weight) * weight, rcond=None
    )
    return float(z_um[peak] - (slope / (2 * curvature) if curvature < 0 else 0))
