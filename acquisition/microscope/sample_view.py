"""Decide from frames whether there is tissue, and whether the lamp lights the field."""

from collections.abc import Sequence

import numpy as np

from acquisition.ports import Frame, FrameFormat, Pixels
from acquisition.quality import find_tissue

MIN_LAMP_LIGHT = 0.005
"""Lowest light of a lamp, as a share of the camera's range, above a frame without lamp."""

MAX_UNLIT_LEVEL = 0.05
"""Highest level of a field that may be unlit, as a share of the camera's range.

A brighter field is lit, by a lamp without shutter for example.
"""

MIN_LEVEL_OF_RUN = 0.3
"""Lowest level of a field relative to the other fields of a run, under one lamp."""


def shows_tissue(frames: Sequence[Frame]) -> bool:
    """Return whether any of the frames of one field shows tissue; the edge of a well is none."""
    return any(not region.is_wall for frame in frames for region in find_tissue(frame.pixels))


def light_level(frames: Sequence[Frame], camera: FrameFormat) -> float:
    """Return the level of the brightest of the frames, as a share of the camera's range."""
    return max(_level(frame.pixels, camera) for frame in frames)


def is_unlit(frames: Sequence[Frame], dark_frame: Frame, camera: FrameFormat) -> bool:
    """Return whether the lamp made no difference to the frames of one field.

    Parameters
    ----------
    dark_frame
        A frame of the same field without the lamp.
    camera
        The format of the frames.
    """
    level = light_level(frames, camera)
    lamp_light = level - _level(dark_frame.pixels, camera)
    return level < MAX_UNLIT_LEVEL and lamp_light < MIN_LAMP_LIGHT


def is_repeated(frame: Frame, before: Frame) -> bool:
    """Return whether the camera returned the pixels of the frame before once more.

    Pixels that are all equal are no repetition: a saturated or black frame without noise.
    """
    pixels = frame.pixels
    return np.array_equal(pixels, before.pixels) and int(pixels.min()) != int(pixels.max())


def _level(pixels: Pixels, camera: FrameFormat) -> float:
    """Return the median of a frame as a share of the camera's range."""
    white: int = 2**camera.bits - 1
    return float(np.median(pixels[::4, ::4])) / white
