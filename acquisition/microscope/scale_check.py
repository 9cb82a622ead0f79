"""Decide the scale of a microscope's frames, and compare it with the plate map before imaging.

The rules and the tolerance are those for the scales of files (:mod:`schemas.scale`).
"""

from collections.abc import Iterator
from pathlib import Path

from acquisition.drop_folder.image_reading import read_scale
from acquisition.drop_folder.metadata.image_metadata import CREDIBLE_UM_PER_PX
from acquisition.microscope.pixel_sizes import PixelSizeReading
from acquisition.microscope.settings import MicroscopeScaleFrom, MicroscopeSettings
from acquisition.ports import FrameFormat
from schemas.errors import ScaleError
from schemas.plate_map import PlateMap, ScaleFrom
from schemas.scale import (
    FileScale,
    agree,
    decide_scale,
    format_scale,
)

_KEY = "source.micromanager.um_per_px"
_DECIDE = 'expected um_per_px_from = "file" or "section"'
_UNCHANGED = (
    "expected the objective, binning and camera that the service had at its start "
    "(change them back, or restart the service)"
)
_DECIDE_SECTION = 'expected um_per_px with um_per_px_from = "section"'


def decide_microscope_scale(settings: MicroscopeSettings, reading: PixelSizeReading) -> float:
    """Return the scale of the frames in µm per pixel from the settings and the pixel sizes.

    Raises
    ------
    ScaleError
        If there is no scale, or two scales contradict each other and ``um_per_px_from`` does not
        decide between them.
    """
    own, decided = settings.um_per_px, settings.um_per_px_from
    if decided is not MicroscopeScaleFrom.SECTION and (
        problem := next(_problems(settings, reading), "")
    ):
        raise ScaleError(_KEY, problem)
    um_per_px = reading.scales[0].um_per_px if reading.scales else None
    if own is not None and decided is not MicroscopeScaleFrom.FILE:
        um_per_px = own
    low, high = CREDIBLE_UM_PER_PX
    if um_per_px is None or not low <= um_per_px <= high:
        raise ScaleError(
            _KEY,
            f"the microscope has {format_scale(um_per_px)}; expected {low:g} to {high:g} µm per "
            "pixel (readers of its files ignore other scales)",
        )
    return um_per_px


def check_same_pixel_size(at_start: PixelSizeReading, now: PixelSizeReading) -> None:
    """Raise ScaleError if Micro-Manager reports another pixel size or binning than at the start.

    ``um_per_px`` of the section does not change with the objective, so it is compared separately.
    """
    before, after = (each.scales[0].um_per_px if each.scales else None for each in (at_start, now))
    if agree(before, after) and at_start.binning == now.binning:
        return
    raise ScaleError(
        "the microscope",
        f"has {format_scale(after)} at binning {now.binning:g}, "
        f"and had {format_scale(before)} at binning {at_start.binning:g}; {_UNCHANGED}",
    )


def check_same_format(at_start: FrameFormat, now: FrameFormat) -> None:
    """Raise ScaleError if the frames have another size, bits or scale than at the start."""
    if (at_start.width_px, at_start.height_px, at_start.bits) == (
        now.width_px,
        now.height_px,
        now.bits,
    ) and agree(at_start.um_per_px, now.um_per_px):
        return
    raise ScaleError(
        "the microscope", f"takes {_describe(now)}, and took {_describe(at_start)}; {_UNCHANGED}"
    )


def check_plate_scale(plate_map: PlateMap, frames: FrameFormat, archive: Path) -> None:
    """Raise ScaleError if new images of a plate would contradict its map or its earlier images.

    Parameters
    ----------
    frames
        The format of the camera's frames.
    archive
        The folder of saved images.
    """
    own = FileScale(frames.um_per_px, "microscope")
    if problem := decide_scale(plate_map, (own,)).problem:
        raise ScaleError(f"plate {plate_map.plate}", problem)
    if plate_map.um_per_px is not None or plate_map.um_per_px_from is ScaleFrom.FILE:
        return
    newest = _newest_image(plate_map, archive)
    earlier = read_scale(newest) if newest is not None else None
    if earlier is not None and not agree(earlier.um_per_px, frames.um_per_px):
        raise ScaleError(
            f"plate {plate_map.plate}",
            f"the microscope has {format_scale(frames.um_per_px)}, and its earlier image {newest} "
            f"has {earlier}; expected the earlier objective and binning, "
            'or um_per_px_from = "file" in the plate map',
        )


def _problems(settings: MicroscopeSettings, reading: PixelSizeReading) -> Iterator[str]:
    """Yield the contradictions between the section and the hardware configuration."""
    own, named = settings.um_per_px, ", ".join(reading.pixel_sizes)
    if not reading.scales:
        yield from _problems_without_pixel_size(settings, reading, named)
        return
    first = reading.scales[0]
    for other in reading.scales[1:]:
        if not agree(other.um_per_px, first.um_per_px):
            yield f"{settings.config} says {first} and {other}; {_DECIDE_SECTION}"
    is_decided = settings.um_per_px_from is MicroscopeScaleFrom.FILE
    if own is not None and not is_decided and not agree(own, first.um_per_px):
        yield f"is {own:g}, and {settings.config} says {first}; {_DECIDE}"


def _problems_without_pixel_size(
    settings: MicroscopeSettings, reading: PixelSizeReading, named: str
) -> Iterator[str]:
    """Yield the problems of a configuration of which no pixel size applies."""
    none = f"no pixel size of {settings.config} applies now (defined: {named or 'none'})"
    if settings.um_per_px is None:
        yield f"is not set, and {none}; expected a ConfigPixelSize that applies, or um_per_px"
    elif settings.um_per_px_from is MicroscopeScaleFrom.FILE:
        yield f'is declared wrong by um_per_px_from = "file", and {none}; {_DECIDE_SECTION}'
    elif named:
        yield f"is {settings.um_per_px:g}, and {none}; {_DECIDE_SECTION}"
    elif reading.binning != 1:
        yield (
            f"is {settings.um_per_px:g}, the camera's binning is {reading.binning:g}, and {none}; "
            f'expected um_per_px of the binned pixels with um_per_px_from = "section"'
        )


def _describe(frames: FrameFormat) -> str:
    """Return the size, bits and scale of frames as text."""
    size = f"{frames.width_px}×{frames.height_px} pixels of {frames.bits} bits"
    return f"{size} with {format_scale(frames.um_per_px)}"


def _newest_image(plate_map: PlateMap, archive: Path) -> Path | None:
    """Return the newest archived image of this use of a plate id, or None without one."""
    since_s = plate_map.seeded_at.timestamp()
    images = (archive / plate_map.plate).glob("day*/[!.]*.ome.tif")
    times = {path: path.stat().st_mtime for path in images}
    return max(
        (path for path in times if times[path] >= since_s), key=times.__getitem__, default=None
    )
