"""How good a well image is: focus, saturation, and whether there is tissue and all of it is in the field. Pixels in, no disk.

Everything is judged on a reduced image and relative to the image's own background and noise, so that camera, bits, light and size of the
image do not matter. A flag is a reason to look twice; no image is refused here.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.ports import Pixels
from schemas.quality import Flag, Quality

MIN_SHARPNESS = 0.2
"""Detail of 1–2 pixels relative to detail of 2–6 pixels, at 512 pixels a field, where there is most structure. A step edge in focus has 0.3–0.7,
whatever its contrast; the best of eleven planes of a deep organoid culture has 0.24; autofocus failures have less than 0.15."""

MIN_STRUCTURE = 0.004
"""Contrast, relative to the background, below which nothing in the image can be called sharp or blurred: what noise alone shows."""

MAX_SATURATED = 0.01
"""A few glints saturate in good images; one percent at white is a lamp too bright, and intensities are lost."""

MIN_TISSUE_SIGNAL = 0.006
"""Mean local contrast of a region × its width as a share of the field. Neither alone is enough: freshly seeded tissue is as faint as a patch
of loose cells, but wider; a lump of debris is as strong as tissue, but narrower."""

MIN_PLANE_LIGHT = 0.6
"""Light of the darkest plane of a well relative to its brightest: planes are taken seconds apart under one lamp, and differ by a few percent."""

MIN_CONTACT = 0.03
"""Share of the border that cut tissue covers: less is a fibre or a lump of debris."""

MIN_DEPTH = 0.25
"""How deep cut tissue reaches into the image, relative to its contact with the border: a shadow or the well's wall lies flat along it."""

_FOCUS_SIDE_PX = 512
_TISSUE_SIDE_PX = 256
_BLOCKS = 32  # a side; a block is 44 µm of a usual field, smaller than any tissue
_STRUCTURED_BLOCKS = 8  # the ones with most structure: the edge of even a small spheroid fills them

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Region:
    """A connected part of the field that stands out from the background; all shares are of the field or of its border."""

    area: float
    contrast: float  # mean local contrast inside, relative to the background
    contact: float  # share of the border it covers
    depth: float  # how far it reaches in from the border, relative to its contact
    centre: tuple[
        float, float
    ]  # right and down of the middle of the field, in widths and heights of it

    @property
    def signal(self) -> float:
        """How much speaks for tissue: contrast × width."""
        return float(self.contrast * np.sqrt(self.area))

    @property
    def cut(self) -> bool:
        """Whether it goes on beyond the border."""
        return self.contact >= MIN_CONTACT and self.depth >= MIN_DEPTH


def assess(planes: npt.NDArray[np.uint16], flags: tuple[Flag, ...] = ()) -> Quality:
    """Judge (planes, H, W), white = 65535; ``flags`` are what reading already knows and come first."""
    focus, structure = measure_focus(planes)
    sharpest_plane = int(np.argmax(focus))
    plane = planes[sharpest_plane]
    saturated = float(np.count_nonzero(plane == np.iinfo(np.uint16).max) / plane.size)
    tissue = find_tissue(plane)
    # Blur takes the contrast away by which tissue is known: of a blurred image nothing else is said.
    blurred = structure >= MIN_STRUCTURE and focus[sharpest_plane] < MIN_SHARPNESS
    levels = [float(np.median(each[::8, ::8])) for each in planes]
    conclusions = {
        Flag.BLURRED: blurred,
        Flag.SATURATED: saturated > MAX_SATURATED,
        Flag.EMPTY: not blurred and not tissue,
        Flag.DARK_PLANE: min(levels) < MIN_PLANE_LIGHT * max(levels),
        Flag.CUT: not blurred and any(region.cut for region in tissue),
    }
    return Quality(
        focus=focus,
        sharpest_plane=sharpest_plane,
        saturated_fraction=saturated,
        tissue_fraction=min(sum(region.area for region in tissue), 1.0),
        border_fraction=min(sum(region.contact for region in tissue), 1.0),
        flags=(
            *flags,
            *(flag for flag, holds in conclusions.items() if holds and flag not in flags),
        ),
    )


def measure_focus(planes: npt.NDArray[np.uint16]) -> tuple[tuple[float, ...], float]:
    """Return the sharpness of each plane, and the contrast of the structure it was judged on, relative to the background.

    All planes are judged on the same blocks of the image, the ones with most structure in any plane, and against the same structure, so
    that a plane cannot look sharp by losing its coarse detail. What fills every block (noise, the floor of the plate) is taken off.
    """
    fine, coarse = zip(*(_band_energies(plane) for plane in planes), strict=True)
    strongest = np.max(coarse, axis=0)
    blocks = np.argsort(strongest, axis=None)[-_STRUCTURED_BLOCKS:]
    structure = max(float(strongest.ravel()[blocks].mean() - np.median(strongest)), 0.0)
    detail = [max(float(energy.ravel()[blocks].mean() - np.median(energy)), 0.0) for energy in fine]
    return tuple(float(np.sqrt(energy / max(structure, 1e-9))) for energy in detail), float(
        np.sqrt(structure)
    )


def _band_energies(plane: npt.NDArray[np.uint16]) -> tuple[Floats, Floats]:
    """Return the energy of fine and of coarse detail in each inner block, (30, 30) each, relative to the squared background."""
    image = _reduce(plane, _FOCUS_SIDE_PX)
    half = _reduce(image, max(image.shape) // 2)
    smooth, half_smooth = cv2.GaussianBlur(image, (0, 0), 2.0), cv2.GaussianBlur(half, (0, 0), 1.0)
    fine = cv2.GaussianBlur(image, (0, 0), 1.0) - smooth
    coarse = half_smooth - cv2.GaussianBlur(half, (0, 0), 3.0)
    background = np.float32(max(float(np.median(_blocks(half))), 1.0) ** 2)
    inner = slice(1, -1)  # at the border a slope of the light would look like structure
    return _blocks(fine * fine)[inner, inner] / background, _blocks(coarse * coarse)[
        inner, inner
    ] / background


def find_tissue(plane: Pixels) -> list[Region]:
    """Return the regions that are tissue, (H, W) in."""
    return [region for region in find_regions(plane) if region.signal >= MIN_TISSUE_SIGNAL]


def find_regions(plane: Pixels) -> list[Region]:
    """Return what stands out from the background by local contrast or darkness, (H, W) in, thin things and specks left out."""
    image = _trim(_reduce(plane, _TISSUE_SIDE_PX))
    image = image / np.float32(max(float(np.median(_blocks(image))), 1.0))
    energy = cv2.blur(
        (cv2.GaussianBlur(image, (0, 0), 0.8) - cv2.GaussianBlur(image, (0, 0), 3.0)) ** 2, (5, 5)
    )
    contrast = np.sqrt(np.maximum(energy, 0))  # its running sums may end a little below nothing
    count, labels = cv2.connectedComponents(_solid(_stands_out(image, contrast)), connectivity=8)
    return [_region(labels == label, contrast) for label in range(1, count)]


def _region(inside: npt.NDArray[np.bool_], contrast: Floats) -> Region:
    edges = (
        (inside[0], inside),
        (inside[-1], inside),
        (inside[:, 0], inside.T),
        (inside[:, -1], inside.T),
    )
    contacts = [int(edge.sum()) for edge, _ in edges]
    widest = int(np.argmax(contacts))
    depth = int(edges[widest][1].any(axis=1).sum())
    height, width = inside.shape
    y, x = (float(places.mean()) for places in np.nonzero(inside))
    return Region(
        area=float(inside.mean()),
        contrast=float(contrast[inside].mean()),
        contact=sum(contacts) / (2 * sum(inside.shape)),
        depth=depth / max(contacts[widest], 1),
        centre=((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5),
    )


def _stands_out(image: Floats, contrast: Floats) -> Mask:
    """Return 1 where local contrast is above the background's, or the image darker than a smooth background."""
    background = _smooth_background(image)
    darkness = 1 - cv2.GaussianBlur(image, (0, 0), 1.0) / background
    unevenness = _spread(darkness[::4, ::4])
    # Tissue may fill most of the field: a low quantile is background even then, and the upper limit is tissue whatever the quantile says.
    textured = contrast > np.clip(5 * np.quantile(contrast[::4, ::4], 0.25), 0.012, 0.1)
    return (textured | (darkness > max(5 * unevenness, 0.1))).astype(np.uint8)


def _smooth_background(image: Floats) -> Floats:
    """Return a surface of second order through the background, (H, W); dark pixels, which may be tissue, soon count no more."""
    y, x = np.mgrid[-1 : 1 : _BLOCKS * 1j, -1 : 1 : _BLOCKS * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    level = _blocks(image).ravel().astype(np.float64)
    weight = np.ones_like(level)
    surface = level
    for _ in range(6):
        weighted = terms * weight[:, None]
        surface = terms @ np.linalg.solve(weighted.T @ terms, weighted.T @ level)
        residual = level - surface
        spread = _spread(residual) + 1e-4
        weight = 1 / (1 + (residual / np.where(residual < 0, 2 * spread, 4 * spread)) ** 2) ** 2
    fitted = np.maximum(surface, 0.05).reshape(_BLOCKS, _BLOCKS).astype(np.float32)
    return np.asarray(
        cv2.resize(fitted, image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
    )


def _spread(values: npt.NDArray[np.floating]) -> float:
    """Return the standard deviation that the middle half of the values suggests."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float(high - low) / 1.349


def _solid(mask: Mask) -> Mask:
    """Close gaps between cells, fill holes, drop what is thinner than 1/16 of the field (contrast widens everything by about 1/32)."""
    side = max(mask.shape)
    margin = (
        side // 8
    )  # beyond the border the mask goes on, so that what is cut there is not taken for thin
    extended = cv2.copyMakeBorder(mask, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(extended, cv2.MORPH_CLOSE, _disc(side / 64))
    _, labels = cv2.connectedComponents(
        cv2.copyMakeBorder(1 - closed, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1), connectivity=4
    )
    filled = (labels != labels[0, 0])[1:-1, 1:-1].astype(np.uint8)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, _disc(side / 32))
    return np.ascontiguousarray(
        opened[margin : margin + mask.shape[0], margin : margin + mask.shape[1]]
    )


def _disc(radius_px: float) -> Mask:
    size = 2 * max(round(radius_px), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _trim(image: Floats) -> Floats:
    """Drop rows and columns at the border that hold nothing but black: padding, not light."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else image


def _reduce(image: Pixels | Floats, side_px: int) -> Floats:
    """Return the image with its longer side at most ``side_px``; never enlarged."""
    scale = side_px / max(image.shape)
    if scale >= 1:
        return image.astype(np.float32)
    height, width = (max(round(length * scale), 1) for length in image.shape)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _blocks(image: Floats) -> Floats:
    return np.asarray(
        cv2.resize(image, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA), np.float32
    )
