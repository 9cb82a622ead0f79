"""Where the tissue is in a well image, and what was measured of it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class Unsure(StrEnum):
    """A reason to doubt an outline; the outline is the best guess all the same."""

    FAINT = "faint"  # tissue hardly differs from the background
    BLURRED = "blurred"  # the outline is out of focus
    CUT = "cut"  # tissue touches the border of the image: sizes are lower bounds
    CROWDED = "crowded"  # something else of its size is in the field
    UNEVEN = "uneven"  # the light changes as much as tissue would


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The tissue of one plane. An empty well has an empty body, never an area."""

    body: npt.NDArray[np.bool_]  # (H, W): tissue, all its pieces
    debris: npt.NDArray[np.bool_]  # (H, W): loose material outside the body
    background: npt.NDArray[
        np.float32
    ]  # (h, w), h ≤ H and w ≤ W: the light without tissue, in the plane's unit; enlarge it to (H, W) to use it
    unsure: tuple[Unsure, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is no tissue."""
        return not self.body.any()
