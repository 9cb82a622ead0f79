"""Signal of one fluorescent stain in one image: area and intensity above the background."""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from schemas.arrays import BoolArray, Float64Array

FOREGROUND_DEVIATIONS = 5.0
"""Height of a stained pixel above the background, in standard deviations of the background."""
SMOOTHING_PX = 1.0
"""Standard deviation of the smoothing before pixels are compared with the background."""
TEXTURE_PX = 4.0
"""Standard deviation of the smoothing that is subtracted to keep the texture of cells."""
MIN_CORRELATION = 0.4
"""Smallest correlation of the textures of two stains that shows bleed-through."""
MIN_STAINED_SHARE = 1e-4
"""Smallest share of stained pixels of an image with a stain."""
SMALLEST_WHITE = 255
"""Largest count of a camera with 8 bits; no camera saturates below it."""
MAX_SATURATED_SHARE = 0.01
"""Largest share of stained pixels with the largest count of an image."""
EXTREME = 0.001
"""Share of the darkest and of the brightest pixels that may be defective."""
DARK_TAIL = 2.0
"""Distance of the darkest pixels from the median, relative to that of the brightest pixels, from
which an image looks like bright field.
"""
START_QUANTILES = (0.02, 0.125)
"""Quantiles of the darkest pixels, from which the search for the background starts."""
ITERATIONS = 10
"""Number of steps of the search for the background."""
ROUNDING = 0.5
"""Smallest noise, in counts: cameras round to whole counts."""


class Projection(StrEnum):
    """Way in which the planes of a z-stack become one plane."""

    SUM = "sum"
    """Sum of all planes. Intensities of stains add up."""
    MAX = "max"
    """Largest count of each pixel. Overlapping cells count once, so intensities do not add up."""
    MEAN = "mean"
    """Mean of all planes; it does not depend on the number of planes."""


@dataclass(frozen=True, eq=False)
class StainSignal:
    """Signal of a stain in one image of H × W pixels, above its background."""

    signal: Float64Array  # (H, W) counts above the background, 0 where not stained
    stained: BoolArray  # (H, W)
    background: float  # counts
    noise: float  # standard deviation of the background, counts
    sharpness: float  # mean squared Laplacian of the signal relative to its mean square
    saturated_share: float  # of the stained pixels

    @property
    def area_px(self) -> int:
        """Number of stained pixels."""
        return int(self.stained.sum())

    @property
    def intensity(self) -> float:
        """Sum of the counts above the background of the stained pixels."""
        return float(self.signal.sum())

    @property
    def is_empty(self) -> bool:
        """True if fewer pixels are stained than noise and dust explain."""
        return self.area_px < MIN_STAINED_SHARE * self.stained.size


def project(planes: Float64Array, projection: Projection) -> Float64Array:
    """Return the (H, W) projection of planes (Z, H, W)."""
    match projection:
        case Projection.SUM:
            return np.asarray(planes.sum(axis=0))
        case Projection.MAX:
            return np.asarray(planes.max(axis=0))
        case Projection.MEAN:
            return np.asarray(planes.mean(axis=0))


def looks_like_bright_field(plane: Float64Array) -> bool:
    """Return whether a plane (H, W) has a bright background with darker tissue.

    Its darkest pixels are then farther from the median than its brightest ones.
    """
    darkest, middle, brightest = np.quantile(plane, (EXTREME, 0.5, 1 - EXTREME)).tolist()
    return bool(middle - darkest > DARK_TAIL * (brightest - middle))


def saturated_share(planes: Float64Array, stained: BoolArray) -> float:
    """Return the share of stained pixels (H, W) with the largest count of planes (Z, H, W).

    It is 0 if the largest count is below that of every camera.
    """
    brightest = float(planes.max())
    if brightest < SMALLEST_WHITE or not stained.any():
        return 0.0
    return float((planes == brightest).any(axis=0)[stained].mean())


def find_background(plane: Float64Array) -> tuple[float, float]:
    """Return (background, standard deviation of its noise) of a plane (H, W), in counts.

    The darkest pixels are background. From there, all pixels within three standard deviations are
    added, until the background no longer changes. Stained tissue may therefore cover most of the
    image. The noise follows from the pixels below the background: no stain darkens a pixel.
    """
    counts = np.sort(plane, axis=None)
    low, background = np.quantile(counts, START_QUANTILES).tolist()
    noise = max(background - low, ROUNDING)
    for _ in range(ITERATIONS):
        own = counts[: np.searchsorted(counts, background + 3 * noise)]
        background = float(np.median(own))
        below = own[own <= background] - background
        noise = max(1.4826 * float(np.median(np.abs(below))), ROUNDING)
    return background, noise


def measure_stain(planes: Float64Array, projection: Projection) -> StainSignal:
    """Return the StainSignal of planes (Z, H, W) of one stain, in counts of the camera."""
    plane = project(planes, projection)
    background, noise = find_background(plane)
    smooth = cv2.GaussianBlur(plane, (0, 0), SMOOTHING_PX)
    stained = smooth - background > FOREGROUND_DEVIATIONS * noise
    signal = np.where(stained, np.maximum(plane - background, 0.0), 0.0)
    return StainSignal(
        signal=signal,
        stained=stained,
        background=background,
        noise=noise,
        sharpness=_sharpness(signal),
        saturated_share=saturated_share(planes, stained),
    )


def _sharpness(signal: Float64Array) -> float:
    """Return the mean squared Laplacian of a signal (H, W) relative to its mean square."""
    energy = float((signal**2).mean())
    if energy == 0:
        return 0.0
    smooth = cv2.GaussianBlur(signal, (0, 0), SMOOTHING_PX)
    return float((cv2.Laplacian(smooth, cv2.CV_64F) ** 2).mean()) / energy


def subtract_bleed_through(signal: StainSignal, other: StainSignal, share: float) -> StainSignal:
    """Return a signal without the share of another stain's signal that reached its channel."""
    left = np.maximum(signal.signal - share * other.signal, 0.0)
    stained = signal.stained & (left > FOREGROUND_DEVIATIONS * signal.noise)
    return StainSignal(
        np.where(stained, left, 0.0),
        stained,
        signal.background,
        signal.noise,
        signal.sharpness,
        signal.saturated_share,
    )


def bleed_through(signal: StainSignal, other: StainSignal) -> float:
    """Return the share of another stain's signal that seems to reach this channel, 0 or more.

    A cell is alive or dead, so that the fine texture of two stains is independent, although both
    are strong where the tissue is thick. Bleed-through copies the texture of the other stain. The
    share is the slope of the regression of the fine texture of this channel on that of the other
    one, inside the tissue: both stains end at its edge. It is 0 if the textures are hardly
    correlated, the other stain is empty or no tissue is wide enough.
    """
    reach = 2 * int(np.ceil(2 * TEXTURE_PX)) + 1
    tissue = (signal.stained | other.stained).astype(np.uint8)
    inside = cv2.erode(tissue, np.ones((reach, reach), np.uint8), borderValue=0).astype(bool)
    if other.is_empty or not inside.any():
        return 0.0
    own, copied = (_texture(each.signal)[inside] for each in (signal, other))
    size, common = float((copied**2).sum()), float((own * copied).sum())
    if common <= MIN_CORRELATION * np.sqrt(size * float((own**2).sum())):
        return 0.0
    return common / size


def _texture(signal: Float64Array) -> Float64Array:
    """Return the texture of a signal (H, W) at the size of cells: without shape and pixel noise."""
    return np.asarray(
        cv2.GaussianBlur(signal, (0, 0), SMOOTHING_PX)
        - cv2.GaussianBlur(signal, (0, 0), TEXTURE_PX)
    )
