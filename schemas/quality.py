"""Quality measurements and flags of a well image."""

from enum import StrEnum

from schemas.frozen_model import FrozenModel


class Flag(StrEnum):
    """Reason to inspect a well image; rankings contain the flags of their wells."""

    BLURRED = "blurred"
    SATURATED = "saturated"
    EMPTY = "empty"
    CUT = "cut"
    """Tissue touches the border of the image."""
    CROWDED = "crowded"
    """Many bodies of tissue, none of which stands out: organoids, or tissue in many pieces."""
    DARK_PLANE = "dark_plane"
    """One focal plane is much darker than the others: the lamp or shutter failed."""
    PLANES_MISSING = "planes_missing"
    DAY_DISAGREES = "day_disagrees"
    """The day in the name differs from the day on which the image was taken."""
    NEAR_MIDNIGHT = "near_midnight"
    """The plate was imaged across midnight, so that its wells may have two culture days."""
    SCALE_DISAGREES = "scale_disagrees"
    """The scales of plate map and files, or of the plate's images, contradict each other."""


FLAGS_OF_FILES = frozenset(
    {Flag.PLANES_MISSING, Flag.DAY_DISAGREES, Flag.NEAR_MIDNIGHT, Flag.SCALE_DISAGREES}
)
"""Flags that follow from names, times and metadata of files; all others follow from pixels."""


class Quality(FrozenModel):
    """Measurements on the original planes of a well image, and the flags that follow from them."""

    focus: tuple[float, ...]
    """Focus measure of each plane; larger = sharper; comparable within one plate."""
    sharpest_plane: int
    """Index of the sharpest plane, from 0."""
    saturated_fraction: float
    """Fraction of saturated pixels in the sharpest plane, 0…1."""
    tissue_fraction: float
    """Approximate fraction of the field that differs from the background, 0…1."""
    border_fraction: float
    """Fraction of the image border that tissue covers, 0…1."""
    flags: tuple[Flag, ...] = ()
    """Reasons to inspect the image."""
