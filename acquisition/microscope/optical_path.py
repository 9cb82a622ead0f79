"""Read the optical path of a frame from Micro-Manager's core: objective, binning, camera, channel.

A part that the hardware configuration, the devices and the settings do not name stays unknown.
"""

from collections.abc import Callable

from pymmcore_plus import CMMCorePlus, DeviceType

from acquisition.channels import Channel
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import OpticalPath


def read_optical_path(
    core: CMMCorePlus, settings: MicroscopeSettings, channel: Channel | None
) -> OpticalPath:
    """Return the present optical path of a core with a channel selected; None: bright field.

    A device that cannot be read makes its part unknown: metadata must not cost an image.
    """
    camera = core.getCameraDevice()
    preset = channel.preset if channel else settings.channel
    described = channel or settings
    return OpticalPath(
        channel=channel.name if channel else preset.partition(":")[2],
        preset=preset,
        contrast_method=described.contrast_method or "",
        illumination=described.illumination or "",
        stand=settings.stand or "",
        objective=_text(lambda: _objective(core)) or settings.objective,
        pixel_size=_text(core.getCurrentPixelSizeConfig),
        camera=camera,
        camera_device=_text(
            lambda: f"{core.getDeviceLibrary(camera)}/{core.getDeviceName(camera)}"
        ),
        camera_model=_property(core, camera, "CameraName"),
        camera_id=_property(core, camera, "CameraID"),
        binning=_property(core, camera, "Binning"),
    )


def _objective(core: CMMCorePlus) -> str:
    """Return the label of the objective: that of the turret on which the pixel size depends.

    It is empty if the pixel size depends on no turret, or on several ones.
    """
    found = {
        core.getProperty(device, name)
        for device, name, _ in core.getPixelSizeConfigData(core.getCurrentPixelSizeConfig())
        if name == "Label" and core.getDeviceType(device) == DeviceType.State
    }
    return str(found.pop()) if len(found) == 1 else ""


def _property(core: CMMCorePlus, device: str, name: str) -> str:
    """Return the value of a device's property as text; empty if the device has none."""
    return _text(lambda: core.getProperty(device, name) if core.hasProperty(device, name) else "")


def _text(read: Callable[[], object]) -> str:
    """Return the result of a function as text; empty if it fails: drivers raise any exception."""
    try:
        return str(read()).strip()
    except Exception:  # noqa: BLE001 - see above
        return ""
