"""What is known about how good a well image is."""

from enum import StrEnum

from schemas.frozen_model import FrozenModel


class Flag(StrEnum):
    """A reason to look twice at a well image; flags travel with it into every ranking."""

    BLURRED = "blurred"
    SATURATED = "saturated"
    EMPTY = "empty"
    CUT = "cut"  # tissue touches the border of the image
    DARK_PLANE = (
        "dark_plane"  # one focal plane is much darker than the others: the lamp or shutter failed
    )
    PLANES_MISSING = "planes_missing"
    DAY_DISAGREES = (
        "day_disagrees"  # the day in the name is not the day of the time the image was taken
    )


class Quality(FrozenModel):
    """Measured on the planes as they came; ``flags`` are the conclusions."""

    focus: tuple[float, ...]
    """one value a plane, larger = sharper; comparable within one plate"""
    sharpest_plane: int
    """index from 0"""
    saturated_fraction: float
    """of the pixels of the sharpest plane, 0…1"""
    tissue_fraction: float
    """rough share of the field that differs from the background, 0…1"""
    border_fraction: float
    """share of the image's border that tissue covers, 0…1"""
    flags: tuple[Flag, ...] = ()
