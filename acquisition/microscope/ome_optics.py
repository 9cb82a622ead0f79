"""The optical path of a visit as OME elements: instrument, objective, camera and channel.

An unknown part is left out.
"""

from typing import Any

from ome_types import model as ome

from acquisition.ports import OpticalPath

_BINNINGS = {"1": "1x1", "2": "2x2", "4": "4x4", "8": "8x8"}


def instrument_of(path: OpticalPath) -> ome.Instrument:
    """Return the instrument of an optical path: stand, camera and objective."""
    return ome.Instrument(
        id="Instrument:0",
        microscope=ome.Microscope(type=path.stand) if path.stand else None,
        detectors=[
            ome.Detector(
                id="Detector:0",
                model=path.camera_model or None,
                serial_number=path.camera_id or None,
            )
        ],
        objectives=[ome.Objective(id="Objective:0", model=path.objective)]
        if path.objective
        else [],
    )


def objective_settings_of(path: OpticalPath) -> ome.ObjectiveSettings | None:
    """Return the reference of an image to its objective; None if the objective is unknown."""
    return ome.ObjectiveSettings(id="Objective:0") if path.objective else None


def channel_of(path: OpticalPath) -> ome.Channel:
    """Return the channel of an optical path, with the binning of the camera."""
    stated: dict[str, Any] = {
        "name": path.channel,
        "contrast_method": path.contrast_method,
        "illumination_type": path.illumination,
    }
    binning = path.binning and _BINNINGS.get(path.binning.lower().split("x")[0], "Other")
    if binning and path.binning.lower() not in (binning[0], binning):
        binning = "Other"  # such as 1x2
    return ome.Channel(
        id="Channel:0",
        samples_per_pixel=1,
        detector_settings=ome.DetectorSettings(id="Detector:0", binning=binning or None),
        **{key: value for key, value in stated.items() if value},
    )


def annotations_of(path: OpticalPath) -> dict[str, str]:
    """Return the parts of an optical path that OME has no element for, by name."""
    return {
        "preset": path.preset,
        "pixel_size_config": path.pixel_size,
        "camera_label": path.camera,
        "camera_device": path.camera_device,
        "camera_binning": path.binning,
    }
