"""Analyses a plane on a copy reduced to 384 pixels: background light, texture and edges.

All lengths in this module are in pixels of the reduced plane.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from inference.tissue.background import fit_light_surface, measure_blocks
from inference.tissue.masks import (
    close_mask,
    covered_share,
    dilate_mask,
    enclosed_px,
    erode_mask,
    fill_holes,
    label_openings,
    open_mask,
    resize_mask,
)
from inference.tissue.prepared_plane import PreparedPlane
from inference.tissue.quantiles import quantiles
from inference.tissue.shadow import fit_shadowed_light

SIDE_PX: Final = 384
"""Longer side of the reduced plane: 3.6 µm per pixel of a usual field, finer than single cells."""

MIN_DARKNESS: Final = 0.06
"""Smallest natural-log optical density of tissue.

Plates and liquid vary by less over the width of a spheroid, even with a perfect camera.
"""

MIN_TEXTURE_LIMIT, MAX_TEXTURE_LIMIT = 0.02, 0.1
"""Bounds of the limit of local contrast above which a pixel differs from the background.

Below 2 % there is no tissue in the best image. 10 % is tissue even if it fills the field, so that
the contrast of the background is unknown.
"""

MAX_BACKGROUND_UNEVENNESS: Final = 0.009
"""Largest coarse texture of the smoothest part of an image that surely shows background.

Plates have up to 0.007, tissue that fills the field has 0.01 and more.
"""
MIN_TISSUE_TO_BACKGROUND: Final = 2.5
"""Usual texture relative to the smoothest part in an image of a rough plate with objects on it.

Tissue that fills the field has up to 1.8.
"""

MAX_GROUND_VARIATION: Final = 0.18
"""Largest dark limit (natural-log optical density) of an image in which pale tissue is visible.

Empty plates have up to 0.15. Tissue that fills the field, with smooth parts, has 0.2 and more.
"""

_DARK_LIMIT_IN_NOISE = 5.0  # standard deviations of the background
_ABOVE = 0.06  # natural log: difference of the two fits of the background that matters
_MIN_ABOVE_SHARE = 0.1  # of the field in which they differ
_WELL_EXPLAINED = 0.97  # share of the smooth pixels that a fit describes, so that it is right
_POORLY_EXPLAINED, _SHADOW_GAIN = 0.8, 0.5
"""Share of the smooth pixels that a fit describes if there is a shadow, and its least gain.

The gain of a fit with a shadow is the part of the other smooth pixels that it describes, too. It is
0.57 and more if there is a shadow, and up to 0.38 for the straight edge of large tissue.
"""
_DARKEST = 0.015  # of the light of the field; what is darker is black to a camera
_BRIGHTER, _MIN_BRIGHTER_SHARE = 0.1, 0.05
"""Light above a fit (natural log), and the share of the field that has it if the fit is wrong."""
_MIN_EXPLAINED = 0.25  # share of the smooth pixels that a fit from above describes
_FITTED = 0.06  # natural log: largest difference of a fit from the light that it describes
_FLOOR_IN_SMOOTHEST = 3.0
"""Texture of the plate's floor relative to the smoothest twentieth of the field, at most.

Plates have 1.5 to 3. More means that tissue covers most of the field.
"""
_BRIGHT_TISSUE = 0.2  # natural log: light above the ground; halos and glints are narrow
_DARK_GROUND = 1.2  # natural log: light of tissue above a ground that scatters no light
_MIN_BRIGHT_SHARE = 0.004  # of the field
_BRIGHT_IN_DARK = 3.0  # area of bright objects relative to dark objects on the same ground
_MAX_BRIGHT_BORDER = 0.3  # of the border; a bright ground around dark tissue has more
_BRIGHT_HALF_WIDTH_PX = 4.0  # glints and halos are narrower
_TISSUE_IN_NOISE = 3.0  # spread of the darkness that is more than noise and clouds
_NOISE_MARGIN = 3.0  # energy of detail that may be noise, relative to that of the smooth field
_SMOOTHING_PX = 2.0  # SD of the filter of slopes and of the finer filter of coarse texture
_WIDE_PX = 5.7  # SD of the filter that makes it one of 6 pixels
_ROUGH, _TEXTURED_SHARE = 0.015, 0.35
"""Local contrast of pale tissue, and the share of the field with it that is more than debris.

The floor of some plates is as rough, so this is a reason for doubt only.
"""
_STRONGEST = 0.03  # of the image: where detail is strongest
_SMOOTHEST = 0.05  # quantile of the texture of the field
_EDGE_REACH_PX = 11  # side of the square around an outline in which its edge is
_WALL_MARGIN_PX = 5
_WALL_REACH_PX = 12  # in which the wall is, beyond the blur of its texture
_MIN_WALL_DARKNESS = 0.05  # natural log, relative to the light inside the well

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CoarsePlane:
    """A reduced plane and its background; each map is (h, w)."""

    log_light: Floats  # natural logarithm of the light
    texture: Floats  # local contrast
    slope: Floats  # of the log light per pixel
    steepest: Floats  # largest slope nearby, as texture widens a region beyond its edge
    field: Bools  # inside the well
    surface: Floats  # log light without tissue
    darkness: Floats  # natural-log optical density relative to the surface
    dark_limit: float
    texture_limit: float
    unevenness: float  # coarse texture of the smoothest twentieth of the field
    usual_unevenness: float  # three tenths of the field have less

    @property
    def shows_background(self) -> bool:
        """True if a twentieth of the field is as smooth as a plate, or smoother than the rest."""
        return (
            not self.is_rough or self.usual_unevenness > MIN_TISSUE_TO_BACKGROUND * self.unevenness
        )

    @property
    def is_rough(self) -> bool:
        """True if even the smoothest twentieth of the field is rougher than a plate."""
        return self.unevenness >= MAX_BACKGROUND_UNEVENNESS

    @property
    def hides_tissue(self) -> bool:
        """True if the field is so rough or varies so much that pale tissue cannot be seen."""
        return self.is_rough or self.dark_limit > MAX_GROUND_VARIATION

    @property
    def has_dark_ground(self) -> bool:
        """True if the brightest objects have several times the light of their ground."""
        return quantiles(self.darkness[::2, ::2], 0.01)[0] < -_DARK_GROUND

    @property
    def is_textured(self) -> bool:
        """True if so much of the field is rougher than its smoothest part that it may be tissue."""
        [smoothest] = quantiles(self.texture[::4, ::4], _SMOOTHEST)
        limit = max(_ROUGH, _FLOOR_IN_SMOOTHEST * smoothest)
        return covered_share(self.texture > limit) > _TEXTURED_SHARE

    @property
    def shows_bright_tissue(self) -> bool:
        """True if objects on a dark ground are brighter than it, and little is darker."""
        bright = (self.darkness < -_BRIGHT_TISSUE) & self.field
        if covered_share(bright) <= _MIN_BRIGHT_SHARE:
            return False
        bright = open_mask(bright, _BRIGHT_HALF_WIDTH_PX)
        dark = open_mask((self.darkness > self.dark_limit) & self.field, _BRIGHT_HALF_WIDTH_PX)
        border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
        least = max(_MIN_BRIGHT_SHARE, _BRIGHT_IN_DARK * covered_share(dark))
        return covered_share(bright) > least and covered_share(border) < _MAX_BRIGHT_BORDER

    @cached_property
    def differs(self) -> Bools:
        """Pixels of the field that differ from the background by darkness or texture, (h, w)."""
        return (
            (self.darkness > self.dark_limit) | (self.texture > self.texture_limit)
        ) & self.field

    def sharpness(self) -> float:
        """Return the strength of fine detail relative to coarse detail, where detail is strongest.

        Detail is that of the transmitted light, less the noise of the camera. In focus it is 0.4
        and more, at the sharpest places of thick tissue with a soft edge, too.
        """
        light = np.exp(-np.clip(self.surface - self.log_light, -1, 5)).astype(np.float32)
        fine, coarse = (
            _local_contrast(light, sigmas_px, side_px) ** 2
            for sigmas_px, side_px in (((0.8, 2.0), 7), ((2.0, 6.0), 15))
        )
        fine, coarse = (
            np.maximum(energy - _NOISE_MARGIN * quantiles(energy[::4, ::4], 0.3)[0], 0)
            for energy in (fine, coarse)
        )
        strongest = (coarse >= quantiles(coarse[::2, ::2], 1 - _STRONGEST)[0]) & self.field
        ratio = np.sqrt(fine[strongest] / np.maximum(coarse[strongest], 1e-9))
        return quantiles(ratio, 0.9)[0] if ratio.size else 0.0


def analyse_coarse_plane(prepared: PreparedPlane) -> CoarsePlane:
    """Return the CoarsePlane of a PreparedPlane, with the light of the well outside its objects.

    The light is fitted to the whole image, and again without the well's wall if it is in view.
    """
    light = _reduce_plane(prepared.plane)
    darkest = np.float32(_DARKEST * quantiles(light[::4, ::4], 0.8)[0])
    log_light = np.maximum(light, darkest, out=light)
    log_light += 1
    np.log(log_light, out=log_light)
    smooth = np.asarray(cv2.GaussianBlur(log_light, (0, 0), _SMOOTHING_PX), np.float32)
    unevenness, usual_unevenness = _unevenness(smooth)
    texture, slope = _local_contrast(log_light, (0.8, 3.0), 5), _slope(smooth)
    field = np.ones(log_light.shape, dtype=bool)
    if prepared.marks.any():
        field = ~resize_mask(prepared.marks, log_light.shape)
    unlit = CoarsePlane(
        log_light=log_light,
        texture=texture,
        slope=slope,
        steepest=steepest_nearby(slope, _EDGE_REACH_PX),
        field=field,
        surface=log_light,
        darkness=log_light,
        dark_limit=0.0,
        texture_limit=_texture_limit(texture, field),
        unevenness=unevenness,
        usual_unevenness=usual_unevenness,
    )
    coarse = with_surface(unlit, _fit_surface(unlit))
    outside = _outside_well(coarse)
    if not outside.any():
        return coarse
    field = field & ~outside
    inside = replace(coarse, field=field, texture_limit=_texture_limit(texture, field))
    return with_surface(inside, _fit_surface(inside))


def _fit_surface(coarse: CoarsePlane) -> Floats:
    """Return the log light without tissue, (h, w).

    The fit starts from the mean light. If tissue covers most of the field, it ends in the tissue.
    A fit that starts from the brightest light is then much higher, and nearer to the light of the
    smooth parts of the field; that one is returned. If neither describes the smooth parts, a shadow
    may cover a part of the field. A fit with a shadow is returned if it describes them better.
    """
    log_light, texture, field = coarse.log_light, coarse.texture, coarse.field
    blocks = measure_blocks(log_light, texture, field)
    usual = fit_light_surface(blocks)
    smooth = texture < _FLOOR_IN_SMOOTHEST * quantiles(texture[::4, ::4], _SMOOTHEST)[0]
    smooth &= field
    explained = _explained(log_light, usual, smooth)
    if explained > _WELL_EXPLAINED:
        return usual
    highest = fit_light_surface(blocks, from_above=True)
    if covered_share(highest - usual > _ABOVE) > _MIN_ABOVE_SHARE:
        explained_from_above = _explained(log_light, highest, smooth)
        if explained_from_above > explained or (
            explained_from_above > _MIN_EXPLAINED
            and covered_share((log_light - usual > _BRIGHTER)[field]) > _MIN_BRIGHTER_SHARE
        ):
            usual, explained = highest, explained_from_above
    if explained > _POORLY_EXPLAINED:
        return usual
    shadowed = fit_shadowed_light(log_light, smooth)
    least = explained + _SHADOW_GAIN * (1 - explained)
    if shadowed is None or _explained(log_light, shadowed, smooth) < least:
        return usual
    return shadowed


def _explained(log_light: Floats, surface: Floats, smooth: Bools) -> float:
    """Return the share of the smooth pixels, (h, w), whose light a surface describes."""
    counted = smooth[::2, ::2]
    difference = log_light[::2, ::2] - surface[::2, ::2]
    near = np.abs(difference, out=difference) < _FITTED
    near &= counted
    return np.count_nonzero(near) / np.count_nonzero(counted) if counted.any() else 1.0


def with_surface(coarse: CoarsePlane, surface: Floats) -> CoarsePlane:
    """Return the reduced plane with its darkness relative to a surface, (h, w), and its dark limit.

    The limit depends on the noise of the darkness.
    """
    darkness = surface - coarse.log_light
    cv2.GaussianBlur(darkness, (0, 0), 1.0, dst=darkness)
    field = coarse.field[::4, ::4]
    # Tissue is dark and may cover half of the field, so the noise is read from the brighter part:
    # these quantiles of a normal distribution differ by 1.03 and 0.47 SD.
    sample = darkness[::4, ::4][field]
    lowest, low, lower, high = quantiles(sample, 0.05, 0.1, 0.12, 0.4)
    noise, brightest = (high - low) / 1.03, (lower - lowest) / 0.47
    if noise > _TISSUE_IN_NOISE * brightest:  # tissue covers most of the field
        noise = brightest
    return replace(
        coarse,
        surface=surface,
        darkness=darkness,
        dark_limit=max(_DARK_LIMIT_IN_NOISE * noise, MIN_DARKNESS),
    )


def _texture_limit(texture: Floats, field: Bools) -> float:
    """Return the limit of the texture, (h, w), from that of the smoother part of the field."""
    smoothest, usual = quantiles(texture[::4, ::4][field[::4, ::4]], _SMOOTHEST, 0.3)
    floor = min(usual, _FLOOR_IN_SMOOTHEST * smoothest)
    return min(max(4 * floor, MIN_TEXTURE_LIMIT), MAX_TEXTURE_LIMIT)


def _outside_well(coarse: CoarsePlane) -> Bools:
    """Return the mask, (h, w), of the well's wall and everything outside it.

    The wall is an object that encloses more than a fifth of the image, and is darker than the light
    inside it. Without a wall the mask is empty.
    """
    objects = close_mask(coarse.differs, 2)
    least = objects.size / 5
    nothing = np.zeros(objects.shape, dtype=bool)
    if enclosed_px(objects) <= least:
        return nothing
    enclosed = fill_holes(objects) & ~objects
    labels, area = label_openings(enclosed)
    if area.max() <= least:
        return nothing
    inside = fill_holes(labels == int(np.flatnonzero(area > least)[0]))
    wall = dilate_mask(inside, _WALL_REACH_PX) & ~inside
    darkest = quantiles(coarse.log_light[wall], 0.2)[0] if wall.any() else np.inf
    darker = quantiles(coarse.log_light[inside], 0.5)[0] - darkest
    if darker < _MIN_WALL_DARKNESS:  # the edge of tissue that covers most of the field
        return nothing
    return ~erode_mask(inside, _WALL_MARGIN_PX)


def _local_contrast(log_light: Floats, sigmas_px: tuple[float, float], side_px: int) -> Floats:
    """Return the local standard deviation, (h, w), of the details between two Gaussian filters.

    The deviation is that in a square around each pixel.
    """
    finer, coarser = (cv2.GaussianBlur(log_light, (0, 0), sigma_px) for sigma_px in sigmas_px)
    return _deviation(finer - coarser, side_px)


def _deviation(detail: Floats, side_px: int, step_px: int = 1) -> Floats:
    """Return the root mean square of details in a square around each pixel or some of them.

    ``detail`` is (h, w), and is overwritten. The result has every ``step_px``-th row and column.
    """
    np.multiply(detail, detail, out=detail)
    mean_square = cv2.blur(detail, (side_px, side_px), dst=detail)[::step_px, ::step_px]
    # The running sums of the blur are rounded, and may be slightly below zero.
    positive = np.maximum(mean_square, np.float32(0))
    return np.asarray(np.sqrt(positive, out=positive), np.float32)


def _unevenness(smooth: Floats) -> tuple[float, float]:
    """Return the contrast of details of 4 to 12 pixels that 5 % and 30 % of an image are below.

    ``smooth`` is the smoothed log light, (h, w).
    """
    # Half of the resolution is enough for a wide filter.
    half = cv2.resize(smooth, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(half, (0, 0), _WIDE_PX / 2)
    wide = cv2.resize(wide, smooth.shape[::-1], interpolation=cv2.INTER_LINEAR)
    smoothest, usual = quantiles(_deviation(smooth - wide, 9, 2), _SMOOTHEST, 0.3)
    return smoothest, usual


def steepest_nearby(slope: Floats, side_px: int) -> Floats:
    """Return the largest slope, (h, w), in a square of ``side_px`` around each pixel."""
    return np.asarray(cv2.dilate(slope, np.ones((side_px, side_px), np.uint8)), np.float32)


def _slope(smooth: Floats) -> Floats:
    """Return the magnitude of the gradient, (h, w), of the smoothed log light, per pixel."""
    return np.asarray(
        cv2.magnitude(
            cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8),
            cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8),
        ),
        np.float32,
    )


def _reduce_plane(plane: npt.NDArray[np.uint16]) -> Floats:
    """Return a plane, (H, W), resampled so that its longer side has 384 pixels."""
    scale = SIDE_PX / max(plane.shape)
    height, width = (max(round(length * scale), 1) for length in plane.shape)
    return np.asarray(
        cv2.resize(
            plane, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        ),
        np.float32,
    )
