"""Read the times of a camera that has a clock of its own."""

from datetime import datetime

from pymmcore import CMMCore

from acquisition.microscope.device_errors import as_microscope_error

FRAME_TIME = "FrameTime"
"""A property of cameras that know the time of the last frame: ISO 8601 with a time zone."""
PRESENT_TIME = "PresentTime"
"""A property of simulated cameras with a clock of their own: ISO 8601 with a time zone."""


def present_time(core: CMMCore) -> datetime | None:
    """Return the present time of the camera's clock; None without one.

    Raises
    ------
    MicroscopeError
        If the camera fails.
    """
    return _time_of(core, PRESENT_TIME)


def frame_time(core: CMMCore) -> datetime | None:
    """Return the time of the last frame by the camera's clock; None if it does not know it.

    Raises
    ------
    MicroscopeError
        If the camera fails.
    """
    return _time_of(core, FRAME_TIME)


def _time_of(core: CMMCore, name: str) -> datetime | None:
    """Return the time in a property of the camera; None without this property."""
    camera = core.getCameraDevice()
    with as_microscope_error(f"camera {camera}"):
        if not core.hasProperty(camera, name):
            return None
        return datetime.fromisoformat(core.getProperty(camera, name))
