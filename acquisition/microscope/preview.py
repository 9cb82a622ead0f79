"""Previews: the newest frame of a running day, and single frames that an operator asks for."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from acquisition.durable_files import write_durably
from acquisition.microscope.focus import find_focus
from acquisition.microscope.focus_surface import FocusSurface, scan_heights
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.ports import Frame, Microscope
from acquisition.quality import assess

LATEST_FRAME = "latest_frame.png"
"""The newest frame of the running day in the state folder; ``latest_frame.json`` describes it."""

_LATEST_SIDE_PX = 512  # longest side of the newest frame


class LatestFrame(BaseModel):
    """The place and time of the newest frame."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plate: str
    day: int
    well: str
    z_um: float
    written_at: AwareDatetime


@dataclass(frozen=True)
class Preview:
    """A frame as PNG file, and its description as lines of text."""

    png: bytes
    description: tuple[str, ...]


def take_preview(
    scope: Microscope,
    settings: MicroscopeSettings,
    well: str | None,
    surface: FocusSurface | None,
) -> Preview:
    """Take one frame and return its Preview, an 8-bit PNG.

    Parameters
    ----------
    well
        Well to move to first. None: the stage stays where it is.
    surface
        The focus heights known of the plate; the focus is searched near them first. None: the focus
        drive stays where it is.

    Raises
    ------
    SpheroRankError
        If the plate has no such well, or a device fails.
    """
    x_um, y_um, z_um = scope.position()
    if well is not None:
        (position,) = plan_positions(settings, [well])
        x_um, y_um = position.x_um, position.y_um
        scope.move_to(x_um, y_um)
    focus = ""
    if surface is not None and settings.focusing is not Focusing.OFF:
        found_um = _find_focus_height(scope, settings, surface, x_um, y_um)
        predicted_um = surface.predict(x_um, y_um)
        expected_um = settings.focus_z_um if predicted_um is None else predicted_um
        z_um = expected_um if found_um is None else found_um
        focus = ", in focus" if found_um is not None else ", no focus found: the expected height"
    (frame,) = scope.stack([z_um])
    stretched = _stretch(frame.pixels, scope.format.bits)
    quality = assess(stretched[None])
    flags = ", ".join(quality.flags) or "none"
    description = (
        f"x {x_um:.1f}, y {y_um:.1f}, z {z_um:.1f} µm{focus}, {frame.exposure_ms:g} ms",
        (
            f"background {np.median(stretched) / 65535:.0%} of the camera's range, "
            f"saturated {quality.saturated_fraction:.2%}, sharpness {quality.focus[0]:.2f}, "
            f"tissue {quality.tissue_fraction:.0%} of the field, flags: {flags}"
        ),
    )
    return Preview(_png(stretched), description)


def write_latest_frame(
    state: Path, frame: Frame, bits: int, *, plate: str, day: int, well: str, now: datetime
) -> None:
    """Write the newest frame of a running day and its description into the state folder.

    The frame is an 8-bit PNG of at most 512 pixels; each of the two files is either old or new.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    scale = min(_LATEST_SIDE_PX / max(frame.pixels.shape), 1.0)
    small = cv2.resize(frame.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    described = LatestFrame(plate=plate, day=day, well=well, z_um=frame.z_um, written_at=now)
    write_durably(state / LATEST_FRAME, _png(_stretch(small, bits)))
    write_durably(_description_file(state), described.model_dump_json().encode())


def read_latest_frame(state: Path) -> tuple[bytes, LatestFrame] | None:
    """Return the newest frame (PNG) and its LatestFrame from the state folder, or None."""
    try:
        before = _description_file(state).read_bytes()
        while True:
            png = (state / LATEST_FRAME).read_bytes()
            after = _description_file(state).read_bytes()
            if after == before:  # otherwise a new frame was written in the meantime
                return png, LatestFrame.model_validate_json(after)
            before = after
    except (OSError, ValidationError):
        return None


def _find_focus_height(
    scope: Microscope, settings: MicroscopeSettings, surface: FocusSurface, x_um: float, y_um: float
) -> float | None:
    """Return the focus height in µm from a normal or a wide scan; None if no focus is found."""
    for wide in (False, True):
        heights = scan_heights(settings, surface, x_um, y_um, wide=wide)
        frames = scope.stack(heights)
        focus = find_focus([frame.pixels for frame in frames], [frame.z_um for frame in frames])
        if focus.found and not focus.at_edge:
            return focus.z_um
    return None


def _stretch(pixels: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint16]:
    """Return pixels (H, W) with the camera's range of ``bits`` stretched to 16 bits."""
    stretched: npt.NDArray[np.uint16] = np.round(pixels * (65535 / (2**bits - 1))).astype(np.uint16)
    return stretched


def _png(stretched: npt.NDArray[np.uint16]) -> bytes:
    """Return 16-bit pixels (H, W) as an 8-bit PNG file."""
    return cv2.imencode(".png", (stretched >> 8).astype(np.uint8))[1].tobytes()


def _description_file(state: Path) -> Path:
    """Return the file that describes the newest frame."""
    return (state / LATEST_FRAME).with_suffix(".json")
