"""Focus by software: which height of a coarse scan shows the tissue sharp, and where it will lie in the next well.

Bright field has no contrast that is largest in focus: tissue takes light away and bends it, and one may add to or cancel the other on either
side, so that the plane with the most detail lies up to 20 µm off. Near focus an image is A + z·B (the transport of intensity), whose detail defocus
then blurs by G(z), the same above and below. The area that the details of two neighbouring planes span, √(⟨i,i⟩⟨j,j⟩ − ⟨i,j⟩²), is
G(z_i)·G(z_j)·|A∧B|·step: how A and B add up is gone from it, and it is largest about focus.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Pixels
from acquisition.quality import MIN_TISSUE_SIGNAL, find_regions

MIN_CORRELATION = 0.3
"""Of the details of neighbouring planes, where they agree best: structure stays from plane to plane, noise does not."""

_SIDE_PX = 512  # planes are judged at this size: tissue has detail enough at it, and 13 planes of 2048² take 0.2 s
_FINE, _COARSE = 1.0, 2.0  # of the band of detail, in these pixels
_BLOCKS = 16  # a side; each for itself, as tissue may lie at several heights, and by what it has above noise and the floor of the plate, which fill all
_STRUCTURED_BLOCKS = 80  # the ones with most detail
_TOP = 0.4  # of the curve: what lies above this share of its largest value says where the middle is

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Focus:
    """Where a scan is sharpest."""

    z_um: float
    found: bool  # whether there is tissue by which to tell
    at_edge: bool  # whether focus lies at the end of the scan or beyond


def find_focus(planes: npt.NDArray[np.generic] | Sequence[Pixels], z_um: Sequence[float]) -> Focus:
    """Return where (n, H, W), three planes at least, taken at these rising heights, are in focus."""
    areas, correlation = _spanned(planes)
    heights = np.asarray(z_um, np.float64)
    between = (heights[1:] + heights[:-1]) / 2
    if correlation < MIN_CORRELATION or not areas.any():
        return Focus(float(np.median(heights)), found=False, at_edge=False)
    at = _vertex(between, areas)
    at_edge = int(areas.argmax()) in (0, len(areas) - 1) or not between[0] < at < between[-1]
    sharpest = planes[int(np.abs(heights - at).argmin())]
    tissue = any(region.signal >= MIN_TISSUE_SIGNAL for region in find_regions(sharpest))
    return Focus(float(np.clip(at, heights[0], heights[-1])), found=tissue, at_edge=at_edge)


def _spanned(planes: npt.NDArray[np.generic] | Sequence[Pixels]) -> tuple[Floats, float]:
    """Return the area spanned by the details of each two neighbours, (n − 1), and the largest correlation of these details."""
    details = [_detail(plane) for plane in planes]
    own = np.array([_block_means(each * each) for each in details])
    shared = np.array([_block_means(a * b) for a, b in pairwise(details)])
    chosen = np.argsort(own.max(axis=0))[-_STRUCTURED_BLOCKS:]
    sums = own[:, chosen].sum(axis=1)
    correlations = shared[:, chosen].sum(axis=1) / np.sqrt(np.maximum(sums[1:] * sums[:-1], 1e-30))
    squares, products = (
        np.maximum(each[:, chosen] - np.median(each, axis=1, keepdims=True), 0)
        for each in (own, shared)
    )
    areas = np.sqrt(np.maximum(squares[1:] * squares[:-1] - products**2, 0)).sum(axis=1)
    return areas, float(correlations.max())


def _detail(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Return fine detail relative to the background, reduced."""
    pixels = np.asarray(plane)
    scale = min(_SIDE_PX / max(pixels.shape), 1.0)
    height, width = (max(round(length * scale), 1) for length in pixels.shape)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    background = np.float32(max(float(np.median(small[::8, ::8])), 1.0))
    return np.asarray(
        (cv2.GaussianBlur(small, (0, 0), _FINE) - cv2.GaussianBlur(small, (0, 0), _COARSE))
        / background,
        np.float32,
    )


def _block_means(energy: npt.NDArray[np.float32]) -> Floats:
    """Return the mean of each inner block, (196,): at the border a slope of the light would look like structure."""
    blocks = cv2.resize(energy, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA)
    return np.asarray(blocks[1:-1, 1:-1], np.float64).ravel()


def _vertex(z_um: Floats, areas: Floats) -> float:
    """Return the middle of the curve's top, by a parabola through its logarithm; beyond the end if the curve still rises there."""
    share = areas / areas.max()
    peak = int(share.argmax())
    first, last = max(peak - 1, 0), min(peak + 1, len(share) - 1)
    while first > 0 and share[first - 1] >= _TOP:
        first -= 1
    while last < len(share) - 1 and share[last + 1] >= _TOP:
        last += 1
    weight = np.maximum(share[first : last + 1], 1e-6)
    off_um = z_um[first : last + 1] - z_um[peak]
    rows = np.stack([np.ones_like(off_um), off_um, off_um**2], axis=1)
    (_, slope, bend), *_ = np.linalg.lstsq(
        rows * weight[:, None], np.log(weight) * weight, rcond=None
    )
    return float(z_um[peak] - (slope / (2 * bend) if bend < 0 else 0))


AGREEING = 8
"""So many wells have to lie on one surface before the next is looked for near it only."""

_ENOUGH_FOR_SURFACE = 3
_SAME_WELL_UM = 1000.0
_NEWEST = 5
_CLEAR_SHIFT = 1.5  # in spreads: the median of five wells that stray by chance is off by less
_FIRM_UM = 10.0  # a residual below it counts in full, one of ten times as much for a tenth
_USUAL_ERROR_UM = 20.0  # of one well, against which …
_USUAL_TILT = 1e-3  # … a plate's tilt, 100 µm from end to end, is weighed: a few neighbouring wells say little of it
_POINTS = TypeAdapter(tuple[tuple[float, float, float], ...])


@dataclass(frozen=True)
class FocusSurface:
    """Where focus was found on one plate, oldest first, and the plane through it, which a few wild wells do not move."""

    points: tuple[tuple[float, float, float], ...] = ()  # x_um, y_um, z_um

    def with_point(self, x_um: float, y_um: float, z_um: float) -> "FocusSurface":
        """Return the surface with one more well, or a well's newest height."""
        others = (
            point for point in self.points if math.dist(point[:2], (x_um, y_um)) > _SAME_WELL_UM
        )
        return replace(self, points=(*others, (x_um, y_um, z_um)))

    def predict(self, x_um: float, y_um: float) -> float | None:
        """Return where focus should lie; None while too few wells are known."""
        if len(self.points) < _ENOUGH_FOR_SURFACE:
            return None
        middle, plane = self._plane()
        return float(plane @ (1.0, x_um - middle[0], y_um - middle[1])) + self._shift_um(
            middle, plane
        )

    @property
    def spread_um(self) -> float:
        """How far wells lie from the plane: the standard deviation that the nearer half of them suggests."""
        if len(self.points) < _ENOUGH_FOR_SURFACE:
            return math.inf
        middle, plane = self._plane()
        return float(1.4826 * np.median(np.abs(self._residuals(middle, plane))))

    def to_json(self) -> str:
        """Return the points as text."""
        return _POINTS.dump_json(self.points).decode()

    @classmethod
    def from_json(cls, text: str) -> "FocusSurface":
        """Return what :meth:`to_json` wrote; ValueError if it is something else."""
        points = _POINTS.validate_json(text)
        if not all(map(math.isfinite, sum(points, ()))):
            raise ValueError("a point is not finite; expected x, y and z in µm")
        return cls(points)

    def _plane(self) -> tuple[Floats, Floats]:
        """Return the middle of the wells (x, y), and height and slopes there: least absolute residuals, by reweighting."""
        points = np.asarray(self.points, np.float64)
        middle = points[:, :2].mean(axis=0)
        rows = np.column_stack([np.ones(len(points)), points[:, :2] - middle])
        prior = np.diag(
            [0.0, (_USUAL_ERROR_UM / _USUAL_TILT) ** 2, (_USUAL_ERROR_UM / _USUAL_TILT) ** 2]
        )
        plane = np.array([np.median(points[:, 2]), 0.0, 0.0])
        for _ in range(20):
            weight = _FIRM_UM / np.maximum(np.abs(points[:, 2] - rows @ plane), _FIRM_UM)
            plane = np.linalg.solve(
                rows.T @ (rows * weight[:, None]) + prior, rows.T @ (points[:, 2] * weight)
            )
        return middle, plane

    def _shift_um(self, middle: Floats, plane: Floats) -> float:
        """Return how far the newest wells lie off the plane if they agree on it: a plate that was taken away and put back lies a little higher or lower."""
        newest = self._residuals(middle, plane)[-_NEWEST:]
        shift = float(np.median(newest))
        agree = np.median(np.abs(newest - shift)) <= max(self.spread_um, _FIRM_UM)
        return shift if agree and abs(shift) > _CLEAR_SHIFT * self.spread_um else 0.0

    def _residuals(self, middle: Floats, plane: Floats) -> Floats:
        points = np.asarray(self.points, np.float64)
        return np.asarray(points[:, 2] - plane[0] - (points[:, :2] - middle) @ plane[1:])


def scan(
    settings: MicroscopeSettings, surface: FocusSurface, x_um: float, y_um: float, *, wide: bool
) -> tuple[float, ...]:
    """Return the rising heights to look at for focus: about the surface, only as far from it as wells stray once enough of them agree."""
    predicted = surface.predict(x_um, y_um)
    if wide:
        half_um = settings.wide_range_um
    elif len(surface.points) >= AGREEING:
        half_um = min(
            max(2 * settings.focus_step_um, 3 * surface.spread_um), settings.focus_range_um
        )
    else:
        half_um = settings.focus_range_um
    lowest, highest = settings.z_limits_um or (-math.inf, math.inf)
    middle_um = min(max(settings.focus_z_um if predicted is None else predicted, lowest), highest)
    low, high = max(middle_um - half_um, lowest), min(middle_um + half_um, highest)
    steps = max(math.ceil((high - low) / settings.focus_step_um - 1e-6), 2)
    return tuple(float(z) for z in np.linspace(low, high, steps + 1))
