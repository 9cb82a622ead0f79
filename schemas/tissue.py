"""The segmentation of a well image: the outline of the tissue, debris and background."""

from dataclasses import dataclass
from enum import StrEnum

from schemas.arrays import BoolArray, Float32Array


class Unsure(StrEnum):
    """Reason to doubt the outline of the tissue; it does not leave a well out of a ranking.

    The outline is still the best estimate, except with ``no_background``: there is no outline then,
    the image has no measures, and its well is left out where wells are compared by measures.
    """

    FAINT = "faint"
    """The tissue hardly differs from the background."""
    BLURRED = "blurred"
    """The outline is out of focus."""
    CUT = "cut"
    """The tissue touches the border of the image, so sizes are lower bounds."""
    OTHER_OBJECT = "other_object"
    """An object of similar size is in the field and was left out."""
    UNEVEN = "uneven"
    """The illumination varies as much as tissue would."""
    BRIGHT = "bright"
    """The tissue is brighter than its ground, as in dark field or phase contrast."""
    NO_BACKGROUND = "no_background"
    """No background is in view, so that the image is refused."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Masks of the tissue (the body) and debris of one plane, and its intensity without tissue.

    The body of an empty well has no pixels.
    """

    body: BoolArray
    """(H, W): pixels of the tissue, all its pieces."""
    debris: BoolArray
    """(H, W): pixels of loose material outside the body."""
    background: Float32Array
    """(h, w) with h ≤ H and w ≤ W: intensity without tissue, in the unit of the plane. It must be
    enlarged to (H, W) for use.
    """
    unsure: tuple[Unsure, ...] = ()
    """Reasons to doubt the outline."""

    @property
    def is_empty(self) -> bool:
        """True if the plane contains no tissue."""
        return not self.body.any()

    @property
    def is_refused(self) -> bool:
        """True if the tissue cannot be outlined; the plane may contain tissue."""
        return Unsure.NO_BACKGROUND in self.unsure and self.is_empty
