"""Measure the sharpness of the planes of a well image.

Blur makes every edge of an image at least as wide as itself, so an image is as sharp as its
sharpest detail, however soft its strongest structure is. Detail is measured at a fixed number of
pixels per field, so that the sharpness of a scene does not depend on the size of the image.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.downscaling import BLOCKS, Floats, block_means, rescale

MIN_SHARPNESS: Final = 0.065
"""Lowest sharpness of an image in focus.

Sharp photographs of spheroids and organoids, and enlarged parts of them, have 0.08 and more. Images
with a blur of 0.7 % of the field (standard deviation of a Gaussian) and more have at most 0.055.
"""

MIN_STRUCTURE: Final = 0.004
"""Lowest contrast, relative to the background, at which sharpness is defined; noise has less."""

_SIDE_PX: Final = 320
_REDUCED_PX: Final = 480
_STRUCTURED_BLOCKS: Final = 8  # the edge of a small spheroid fills as many
_COMPARED_BLOCKS: Final = 24  # in which planes are compared with each other
_DETAILED_BLOCKS: Final = slice(12, 36)  # ranks; specks of dust on the sensor fill the first ranks
_NOISE_FACTOR: Final = 2.5  # the noise of a block varies around that of a background block
_BACKGROUND_QUANTILE: Final = 0.15  # of the blocks; tissue may cover up to 80 % of the field
_MIN_DETAIL: Final = 0.001  # fine detail relative to the background; less is no evidence
_LEVEL_DETAIL: Final = 0.12  # fine detail of the steps between grey levels, in levels
_LEVEL_8_BITS: Final = 257  # of a grey level, white = 65535
_OVERLAY_BLACK: Final = 0.03  # relative to the background: black bars, burned-in bars and text
_OVERLAY_WHITE: Final = 250 * _LEVEL_8_BITS  # burned-in text, after JPEG compression
_MAX_OVERLAY: Final = 0.5  # share of the blocks; more is no overlay but a dark or bright image
_OVERLAY_SIDE_PX: Final = 512  # text is searched at this resolution

_PICTURE: Final = 255  # of a mask

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sharpness:
    """The sharpness of the planes of a well image."""

    planes: tuple[float, ...]  # fine detail relative to coarse detail of each plane
    sharpest: int  # index of the plane with most fine detail where structure is strongest
    structure: float  # contrast of the strongest structure, relative to the background

    @property
    def is_blurred(self) -> bool:
        """True if the image has structure, but no sharp detail in its sharpest plane."""
        return self.structure >= MIN_STRUCTURE and self.planes[self.sharpest] < MIN_SHARPNESS


def measure_sharpness(planes: npt.NDArray[np.uint16]) -> Sharpness:
    """Return the sharpness of each plane in (planes, H, W) uint16, white = 65535.

    All planes are measured in the same blocks and relative to the same coarse detail. So a plane
    does not become sharper by losing coarse detail. The sharpness is the larger one of the blocks
    with most structure and of the blocks with most fine detail. Noise, the steps between grey
    levels, and blocks with black bars or burned-in text do not count.
    """
    measured = [_block_details(plane) for plane in planes]
    inside = np.logical_and.reduce([each.inside for each in measured])
    inside = inside if inside.any() else np.ones_like(inside)
    fine = np.stack([_above_noise(each.fine[inside], each.floor) for each in measured])
    coarse = np.stack([each.coarse[inside] for each in measured])
    wide = np.max([each.wide[inside] for each in measured], axis=0)
    strongest = coarse.max(axis=0)
    detail = np.zeros(len(planes))
    for blocks in (
        np.argsort(wide)[::-1][:_STRUCTURED_BLOCKS],
        np.argsort(fine.max(axis=0))[::-1][_DETAILED_BLOCKS],
    ):
        energy = float(strongest[blocks].sum())
        detail = np.maximum(detail, fine[:, blocks].sum(axis=1) / max(energy, 1e-12))
    compared = np.argsort(strongest)[::-1][:_COMPARED_BLOCKS]
    contrast = coarse[:, compared].sum(axis=1)
    structure = np.sort(strongest)[-_STRUCTURED_BLOCKS:].mean() - np.median(strongest)
    return Sharpness(
        planes=tuple(float(value) for value in np.sqrt(detail)),
        # Planes without any fine detail are far out of focus, where contrast decreases with blur.
        sharpest=int(np.lexsort((contrast, fine[:, compared].sum(axis=1)))[-1]),
        structure=float(np.sqrt(max(float(structure), 0.0))),
    )


@dataclass(frozen=True, eq=False)
class _BlockDetails:
    """The detail of a plane in its inner blocks, (30, 30) each.

    Energies are relative to the square of the background.
    """

    fine: Floats
    coarse: Floats
    wide: Floats  # like coarse, on a scale on which a speck of dust has little energy
    inside: Mask  # False where a black bar or burned-in text is
    floor: float  # energy of fine detail below which it is ignored


def _block_details(plane: npt.NDArray[np.uint16]) -> _BlockDetails:
    """Return the detail of a plane, (H, W), in its blocks."""
    image = rescale(_reduce(plane), _SIDE_PX)
    background = max(float(np.median(block_means(image))), 1.0)
    image = image / np.float32(background)
    # Equal steps of the squared width: soft edges cancel up to their third derivative.
    narrow, middle, broad = (_smooth(image, width) for width in (1.0, 1.58, 2.0))
    smooth = _smooth(image, 4.0)
    half = rescale(smooth, max(image.shape) // 2)
    step = max(max(plane.shape) // _OVERLAY_SIDE_PX, 1)
    sampled = np.ascontiguousarray(plane[::step, ::step])
    has_8_bits = not (sampled[::8, ::8] % _LEVEL_8_BITS).any()
    level = _LEVEL_8_BITS / background if has_8_bits else 0.0
    fine, coarse, wide = (
        block_means(detail * detail)[1:-1, 1:-1]  # uneven light is strongest in the outer blocks
        for detail in (
            narrow - 2 * middle + broad,
            narrow - smooth,
            half - _smooth(half, 6.0),
        )
    )
    inside = _without_overlay(sampled, background)
    return _BlockDetails(fine, coarse, wide, inside, _MIN_DETAIL**2 + (_LEVEL_DETAIL * level) ** 2)


def _reduce(plane: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16] | Floats:
    """Return a plane, (H, W), reduced by a whole number, which is fast, to about 512 pixels."""
    factor = max(plane.shape) // _REDUCED_PX
    height, width = (length // max(factor, 1) for length in plane.shape)
    if factor <= 1 or min(height, width) < 1:
        return plane
    whole = plane[: height * factor, : width * factor]
    reduced = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.float32)


def _above_noise(fine: Floats, floor: float) -> Floats:
    """Return the energy of fine detail of blocks, (n,), above that of noise."""
    noise = _NOISE_FACTOR * float(np.quantile(fine, _BACKGROUND_QUANTILE))
    return np.asarray(np.maximum(fine - noise - floor, 0), np.float32)


def _smooth(image: Floats, width_px: float) -> Floats:
    """Return an image smoothed by a Gaussian with a standard deviation of ``width_px``."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), width_px), np.float32)


def _without_overlay(plane: npt.NDArray[np.uint16], background: float) -> Mask:
    """Return the inner blocks, (30, 30), without black bars and burned-in text near them."""
    picture = cv2.inRange(plane, _OVERLAY_BLACK * background, _OVERLAY_WHITE)
    overlay = cv2.resize(picture, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA) < _PICTURE
    near = cv2.dilate(overlay.astype(np.uint8), np.ones((3, 3), np.uint8))
    if near.sum() > _MAX_OVERLAY * BLOCKS**2:
        near[:] = 0
    return np.asarray(near[1:-1, 1:-1] == 0)
