"""Plan the fields of a well, and find the field with the largest tissue.

The fields form a grid around the middle of the well. Rows and columns of the grid follow the image,
not the stage, so that neighbouring fields overlap under any orientation of the camera.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.settings import FieldsUse, MicroscopeSettings
from acquisition.ports import FrameFormat, Pixels
from acquisition.quality import find_regions, find_tissue
from schemas.errors import ConfigError


@dataclass(frozen=True)
class FieldPosition:
    """The stage position of one field of a well."""

    number: int  # from 1, row by row in the image; 0 if the well has one field
    x_um: float
    y_um: float


def well_fields(
    middle: WellPosition, settings: MicroscopeSettings, frame_format: FrameFormat
) -> tuple[FieldPosition, ...]:
    """Return the fields of a well around a stage position, in serpentine order."""
    columns, rows = settings.fields
    if columns == rows == 1:
        return (FieldPosition(0, middle.x_um, middle.y_um),)
    step = 1 - settings.fields_overlap
    found = []
    for row in range(rows):
        for column in range(columns)[:: -1 if row % 2 else 1]:
            x_um, y_um = frame_format.stage_um(
                (column - (columns - 1) / 2) * step, (row - (rows - 1) / 2) * step
            )
            number = row * columns + column + 1
            found.append(FieldPosition(number, middle.x_um + x_um, middle.y_um + y_um))
    return tuple(found)


def check_fields(
    positions: Iterable[WellPosition], settings: MicroscopeSettings, frame_format: FrameFormat
) -> None:
    """Raise ConfigError with all wells that have a field outside the stage limits."""
    outside = [
        position.well
        for position in positions
        if not all(
            is_reachable(settings, field) for field in well_fields(position, settings, frame_format)
        )
    ]
    if outside:
        columns, rows = settings.fields
        raise ConfigError(
            "source.micromanager.fields",
            f"is {columns} × {rows} fields of {frame_format.width_px}×{frame_format.height_px} "
            f"pixels; expected fields within stage_limits_um = {settings.stage_limits_um}; "
            f"outside are fields of {', '.join(outside)}",
        )


def check_mosaic(settings: MicroscopeSettings, frame_format: FrameFormat, max_pixels: int) -> None:
    """Raise ConfigError if a mosaic may have more pixels than ``source.max_pixels`` allows."""
    columns, rows = settings.fields
    pixels = columns * frame_format.width_px * rows * frame_format.height_px
    if settings.fields_use is FieldsUse.MOSAIC and pixels > max_pixels:
        raise ConfigError(
            "source.max_pixels",
            f"is {max_pixels}; expected at least {pixels}, the pixels of {columns} × {rows} fields "
            "in a mosaic (source.micromanager.fields)",
        )


def is_reachable(settings: MicroscopeSettings, field: FieldPosition) -> bool:
    """Return whether a field lies within the stage limits; without limits it does."""
    if settings.stage_limits_um is None:
        return True
    x_from, y_from, x_to, y_to = settings.stage_limits_um
    return x_from <= field.x_um <= x_to and y_from <= field.y_um <= y_to


def recentred_fields(
    middle: WellPosition,
    before: Sequence[FieldPosition],
    settings: MicroscopeSettings,
    frame_format: FrameFormat,
) -> tuple[FieldPosition, ...]:
    """Return the fields to image after the tissue of a well was moved to the middle of a field.

    This is the field with the tissue in its middle, or a mosaic around it if all of that is within
    the stage limits.

    Parameters
    ----------
    middle
        The stage position with the tissue in the middle of the field.
    before
        The planned fields of the well.
    """
    if settings.fields_use is FieldsUse.LARGEST_TISSUE:
        return (FieldPosition(0, middle.x_um, middle.y_um),)
    fields = well_fields(middle, settings, frame_format)
    return fields if all(is_reachable(settings, field) for field in fields) else tuple(before)


def largest_tissue(planes: Sequence[Pixels]) -> int:
    """Return the index of the plane, (H, W), with the largest tissue: one plane for each field.

    Without tissue in any plane, the plane with the most conspicuous region is returned: it may show
    tissue out of focus.
    """
    areas = [max((each.area for each in find_tissue(plane)), default=0.0) for plane in planes]
    if not any(areas):
        areas = [
            max((each.signal for each in find_regions(plane)), default=0.0) for plane in planes
        ]
    return max(range(len(planes)), key=areas.__getitem__)


def frames_per_well(settings: MicroscopeSettings, planes: Iterable[int]) -> int:
    """Return the number of frames of one field that a visit of a well saves.

    A mosaic has at most as many pixels as its fields.

    Parameters
    ----------
    planes
        The planes of each channel that is taken, bright field among them.
    """
    columns, rows = settings.fields
    copies = 2 if columns * rows > 1 and settings.fields_use is FieldsUse.MOSAIC else 1
    return columns * rows * copies * sum(planes)
