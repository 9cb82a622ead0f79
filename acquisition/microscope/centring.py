"""How far tissue lies off the middle of the field, so that the stage can be moved there."""

from dataclasses import dataclass, field
from math import hypot

from acquisition.ports import Pixels
from acquisition.quality import find_tissue


@dataclass(frozen=True, order=True)
class OffCentre:
    """Smaller is better: first what is cut off, then the distance."""

    contact: float  # share of the field's border that tissue covers
    distance: float  # of its middle from the field's, in widths of the field
    towards: tuple[float, float] = field(
        compare=False
    )  # right and down, in widths and heights of the field


def off_centre(pixels: Pixels) -> OffCentre | None:
    """Judge one frame, (H, W); None where no tissue is seen."""
    tissue = find_tissue(pixels)
    if not tissue:
        return None
    body = max(tissue, key=lambda region: region.signal)
    return OffCentre(sum(region.contact for region in tissue), hypot(*body.centre), body.centre)
