"""Measure the quality of a well image: focus, saturation, tissue in the field and at its border.

All measures are taken on a downscaled image and are relative to the background and noise of the
image itself, so that they do not depend on camera, bit depth, light or image size. The result is a
set of flags; no image is refused here. An image of many small bodies may be flagged as empty until
its tissue is measured (``inference/tissue/crowding.py``).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.downscaling import BLOCKS, Floats, block_means, downscale
from acquisition.ports import Pixels
from acquisition.saturation import saturated_fraction
from acquisition.sharpness import measure_sharpness
from schemas.quality import Flag, Quality

MAX_SATURATED = 0.01
"""Highest share of saturated pixels: good images have a few glints, a bright lamp causes more."""

MIN_TISSUE_SIGNAL = 0.006
"""Lowest tissue signal of a region: its mean local contrast × its width as a share of the field.

Freshly seeded tissue has as little contrast as a patch of loose cells, but is wider. A lump of
debris has as much contrast as tissue, but is narrower.
"""

MIN_PLANE_LIGHT = 0.6
"""Lowest brightness of the darkest plane relative to the brightest plane of a well image.

The planes are recorded within seconds under one lamp and differ by a few percent.
"""

MIN_CONTACT = 0.03
"""Lowest share of the border that cut tissue covers; a fibre or a lump of debris covers less."""

MIN_DEPTH = 0.25
"""Lowest depth of cut tissue relative to its contact with the border.

A shadow or the wall of the well lies flat along the border and has less.
"""

MIN_WALL_CONTACT = 0.2
"""Lowest share of the border that the wall of a well covers; it lies flat along the border."""

_TISSUE_SIDE_PX = 256

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Region:
    """A connected region of the field with more contrast or less light than the background."""

    area: float  # share of the field
    contrast: float  # mean local contrast inside, relative to the background
    contact: float  # share of the border of the field that the region covers
    depth: float  # extent from the border inwards, relative to the contact
    centre: tuple[float, float]  # from the middle of the field, in widths right and heights down

    @property
    def signal(self) -> float:
        """The tissue signal: contrast × width as a share of the field."""
        return float(self.contrast * np.sqrt(self.area))

    @property
    def is_cut(self) -> bool:
        """True if the border of the field cuts the region."""
        return self.contact >= MIN_CONTACT and self.depth >= MIN_DEPTH

    @property
    def is_wall(self) -> bool:
        """True if the region lies flat along the border, as the edge of a well does."""
        return self.contact >= MIN_WALL_CONTACT and self.depth < MIN_DEPTH


def assess(planes: npt.NDArray[np.uint16], flags: tuple[Flag, ...] = ()) -> Quality:
    """Return the quality of the planes of a well image: focus, saturation, tissue and flags.

    Parameters
    ----------
    planes
        (planes, H, W) uint16, white = 65535.
    flags
        Flags that were set when the files were read; they come first in the result.
    """
    sharpness = measure_sharpness(planes)
    plane = planes[sharpness.sharpest]
    saturated = saturated_fraction(planes, sharpness.sharpest)
    tissue = find_tissue(plane)
    # Blur removes the contrast that tissue is found by, so a blurred image has no tissue flags.
    blurred = sharpness.is_blurred
    levels = [float(np.median(each[::8, ::8])) for each in planes]
    conclusions = {
        Flag.BLURRED: blurred,
        Flag.SATURATED: saturated > MAX_SATURATED,
        Flag.EMPTY: not blurred and not tissue,
        Flag.DARK_PLANE: min(levels) < MIN_PLANE_LIGHT * max(levels),
        Flag.CUT: not blurred and any(region.is_cut for region in tissue),
    }
    return Quality(
        focus=sharpness.planes,
        sharpest_plane=sharpness.sharpest,
        saturated_fraction=saturated,
        tissue_fraction=min(sum(region.area for region in tissue), 1.0),
        border_fraction=min(sum(region.contact for region in tissue), 1.0),
        flags=(
            *flags,
            *(flag for flag, holds in conclusions.items() if holds and flag not in flags),
        ),
    )


def find_tissue(plane: Pixels) -> list[Region]:
    """Return the regions of a plane, (H, W), whose signal is that of tissue."""
    return [region for region in find_regions(plane) if region.signal >= MIN_TISSUE_SIGNAL]


def find_regions(plane: Pixels) -> list[Region]:
    """Return the regions of a plane, (H, W), with more local contrast or less light than elsewhere.

    Specks and thin objects such as fibres are left out.
    """
    image = _crop_black_borders(downscale(plane, _TISSUE_SIDE_PX))
    image = image / np.float32(max(float(np.median(block_means(image))), 1.0))
    energy = cv2.blur(
        (cv2.GaussianBlur(image, (0, 0), 0.8) - cv2.GaussianBlur(image, (0, 0), 3.0)) ** 2, (5, 5)
    )
    contrast = np.sqrt(np.maximum(energy, 0))  # cv2.blur may return values slightly below 0
    mask = _remove_thin_parts(_foreground(image, contrast))
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    return [_measure_region(labels == label, contrast) for label in range(1, count)]


def _measure_region(inside: npt.NDArray[np.bool_], contrast: Floats) -> Region:
    """Return area, contrast, border contact, depth and centre of a region mask, (H, W) bool."""
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
    y, x = (float(positions.mean()) for positions in np.nonzero(inside))
    return Region(
        area=float(inside.mean()),
        contrast=float(contrast[inside].mean()),
        contact=sum(contacts) / (2 * sum(inside.shape)),
        depth=depth / max(contacts[widest], 1),
        centre=((x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5),
    )


def _foreground(image: Floats, contrast: Floats) -> Mask:
    """Return a mask of the pixels with more local contrast than the background, or less light.

    ``image`` and its local ``contrast`` are (H, W) and relative to the background.
    """
    background = _smooth_background(image)
    darkness = 1 - cv2.GaussianBlur(image, (0, 0), 1.0) / background
    unevenness = _robust_std(darkness[::4, ::4])
    # Tissue may fill most of the field, so the background level is a low quantile. Contrast above
    # 0.1 is tissue at any background level.
    textured = contrast > np.clip(5 * np.quantile(contrast[::4, ::4], 0.25), 0.012, 0.1)
    return (textured | (darkness > max(5 * unevenness, 0.1))).astype(np.uint8)


def _smooth_background(image: Floats) -> Floats:
    """Return the background light of an image, (H, W), as a surface of second order.

    The fit is repeated with lower weights for blocks far from the surface. Dark blocks, which may
    be tissue, lose their weight at half the distance of bright ones.
    """
    y, x = np.mgrid[-1 : 1 : BLOCKS * 1j, -1 : 1 : BLOCKS * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    level = block_means(image).ravel().astype(np.float64)
    weight = np.ones_like(level)
    surface = level
    for _ in range(6):
        weighted = terms * weight[:, None]
        surface = terms @ np.linalg.solve(weighted.T @ terms, weighted.T @ level)
        residual = level - surface
        spread = _robust_std(residual) + 1e-4
        weight = 1 / (1 + (residual / np.where(residual < 0, 2 * spread, 4 * spread)) ** 2) ** 2
    fitted = np.maximum(surface, 0.05).reshape(BLOCKS, BLOCKS).astype(np.float32)
    return np.asarray(
        cv2.resize(fitted, image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
    )


def _robust_std(values: npt.NDArray[np.floating]) -> float:
    """Return the standard deviation of a normal distribution with the same interquartile range."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float(high - low) / 1.349


def _remove_thin_parts(mask: Mask) -> Mask:
    """Return a mask with closed gaps and holes, without parts thinner than 1/16 of the field.

    The local contrast widens each object by about 1/32 of the field.
    """
    side = max(mask.shape)
    margin = side // 8  # continued beyond the border, so that cut tissue does not count as thin
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
    """Return a disc of ones in a square of zeros, the kernel of a morphological operation."""
    size = 2 * max(round(radius_px), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _crop_black_borders(image: Floats) -> Floats:
    """Return an image without the black rows and columns at its border, which are padding."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else image
