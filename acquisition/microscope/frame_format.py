"""Read the format of a camera's frames from Micro-Manager's core."""

from pymmcore import CMMCore

from acquisition.microscope.micromanager_config import stage_per_pixel
from acquisition.microscope.pixel_sizes import PixelSizeReading
from acquisition.microscope.scale_check import decide_microscope_scale
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import FrameFormat


def read_frame_format(
    core: CMMCore, settings: MicroscopeSettings, pixel_sizes: PixelSizeReading
) -> FrameFormat:
    """Return the format of the frames with the present objective, binning and magnification.

    Parameters
    ----------
    pixel_sizes
        The scales that the hardware configuration states now.

    Raises
    ------
    ScaleError
        If there is no scale, or two scales contradict each other.
    """
    um_per_px = decide_microscope_scale(settings, pixel_sizes)
    return FrameFormat(
        width_px=core.getImageWidth(),
        height_px=core.getImageHeight(),
        bits=core.getImageBitDepth(),
        um_per_px=um_per_px,
        to_stage=stage_per_pixel(core.getPixelSizeAffine(), um_per_px),
    )
