"""Move the tissue of a well into the middle of the field."""

from dataclasses import dataclass, field, replace
from math import hypot

from acquisition.microscope.plate_plan import WellPosition
from acquisition.ports import Microscope, Pixels
from acquisition.quality import find_tissue
from schemas.errors import MicroscopeError

CENTRED_DISTANCE = 0.1  # field widths; tissue nearer to the middle needs no centring


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


def centre_tissue(scope: Microscope, position: WellPosition, z_um: float) -> WellPosition:
    """Move the stage until the tissue is in the middle of the field; return its position.

    A move that brings the tissue no nearer is undone. The opposite direction is tried, too: the
    camera may be mirrored without an entry in the hardware configuration.

    Parameters
    ----------
    position
        The position at which the stage is.
    z_um
        The focus height in µm.
    """
    offset = _offset_here(scope, z_um)
    for sign in (1, 1, -1, -1):
        if offset is None or (offset.border_contact == 0 and offset.distance <= CENTRED_DISTANCE):
            break
        dx_um, dy_um = scope.format.stage_um(*offset.direction)
        target = replace(
            position, x_um=position.x_um + sign * dx_um, y_um=position.y_um + sign * dy_um
        )
        try:
            scope.move_to(target.x_um, target.y_um)
        except MicroscopeError:  # beyond the stage limits; the well is imaged where it is
            continue
        new_offset = _offset_here(scope, z_um)
        if new_offset is not None and new_offset < offset:
            position, offset = target, new_offset
    scope.move_to(position.x_um, position.y_um)
    return position


def _offset_here(scope: Microscope, z_um: float) -> TissueOffset | None:
    """Return the offset of the tissue in a frame taken here, or None without tissue."""
    return find_tissue_offset(scope.stack([z_um])[0].pixels)
