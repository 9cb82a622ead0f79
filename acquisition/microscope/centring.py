"""Measure how far tissue lies from the middle of the field, so that the stage can centre it."""

from dataclasses import dataclass, field
from math import hypot

from acquisition.ports import Pixels
from acquisition.quality import find_tissue


@dataclass(frozen=True, order=True)
class TissueOffset:
    """The offset of the tissue from the middle of a field.

    Offsets are ordered: less tissue at the border is better, then a smaller distance.
    """

    border_contact: float  # share of the field's border that tissue covers
    distance: float  # of the main tissue from the middle, in field widths
    direction: tuple[float, float] = field(compare=False)  # right and down, in widths and heights


def find_tissue_offset(pixels: Pixels) -> TissueOffset | None:
    """Return the TissueOffset of a frame, (H, W), from its middle, or None without tissue."""
    tissue = find_tissue(pixels)
    if not tissue:
        return None
    body = max(tissue, key=lambda region: region.signal)
    border_contact = sum(region.contact for region in tissue)
    return TissueOffset(border_contact, hypot(*body.centre), body.centre)
