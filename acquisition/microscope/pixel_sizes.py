"""Read the scales that a loaded hardware configuration states for the camera's present frames.

Micro-Manager uses the first pixel size, by name, whose properties have their values now, and
multiplies it by the camera's binning and by the inverse of the magnification. It compares it with
nothing else. The functions here return every scale that contradicts it, too.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from pymmcore import CMMCore
from pymmcore_plus import CMMCorePlus

from schemas.scale import FileScale

BINNING = "Binning"
"""The property of a camera for the number of sensor pixels along one side of an image pixel."""

_UNSET_AFFINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # of a pixel size without an affine transform


@dataclass(frozen=True)
class PixelSizeReading:
    """The scales that a hardware configuration states for the frames of the camera now."""

    scales: tuple[FileScale, ...]
    """The scale that Micro-Manager reports, then others of the same file. Empty: none applies."""
    pixel_sizes: tuple[str, ...]
    """The names of all pixel sizes in the hardware configuration."""
    binning: float


def read_pixel_sizes(core: CMMCorePlus) -> PixelSizeReading:
    """Return the PixelSizeReading of a core with its present objective, binning and magnification.

    Parameters
    ----------
    core
        A core of Micro-Manager with a loaded hardware configuration.
    """
    names = tuple(core.getAvailablePixelSizeConfigs())
    binning = _binning(core)
    applied = core.getCurrentPixelSizeConfig()
    if not applied or not core.getPixelSizeUmByID(applied):
        return PixelSizeReading((), names, binning)
    factor = binning / core.getMagnificationFactor()
    reported = FileScale(core.getPixelSizeUm(), f"pixel size {applied}{_factors(core, binning)}")
    others = [
        *_scale_of_affine(core, applied, factor),
        *_scales_of_other_names(core, applied, factor),
        *_scale_without_binning(core, applied, factor, binning),
    ]
    return PixelSizeReading((reported, *others), names, binning)


def _binning(core: CMMCorePlus) -> float:
    """Return the binning of the camera; 1 if the camera has no such property."""
    camera = core.getCameraDevice()
    if camera and core.hasProperty(camera, BINNING):
        with suppress(ValueError):  # some cameras have names of binnings, such as 2x2
            return float(str(core.getProperty(camera, BINNING)).partition("x")[0])
    return 1.0


def _factors(core: CMMCorePlus, binning: float) -> str:
    """Return the binning and magnification that Micro-Manager applied, as text."""
    magnification = core.getMagnificationFactor()
    with_magnification = f", magnification {magnification:g}" if magnification != 1 else ""
    return f", binning {binning:g}{with_magnification}"


def _scale_of_affine(core: CMMCorePlus, name: str, factor: float) -> Iterator[FileScale]:
    """Yield the scale of the affine transform of a pixel size, if the file has one.

    Of its two axes, the one with the larger deviation from the pixel size is used.
    """
    affine = tuple(core.getPixelSizeAffineByID(name))
    if affine == _UNSET_AFFINE or not any(affine):
        return
    axes = np.linalg.svd(np.array([affine[0:2], affine[3:5]]), compute_uv=False)
    nominal = core.getPixelSizeUmByID(name)
    furthest = max(axes, key=lambda axis: abs(math.log(max(axis, 1e-9) / nominal)))
    yield FileScale(float(furthest) * factor, f"affine transform of {name}")


def _scales_of_other_names(core: CMMCorePlus, applied: str, factor: float) -> Iterator[FileScale]:
    """Yield the scale of each further pixel size whose properties have their values now."""
    for name in core.getAvailablePixelSizeConfigs():
        if name != applied and all(_has_value(core, *each) for each in _properties(core, name)):
            yield FileScale(core.getPixelSizeUmByID(name) * factor, f"pixel size {name}")


def _scale_without_binning(
    core: CMMCorePlus, name: str, factor: float, binning: float
) -> Iterator[FileScale]:
    """Yield the scale of a pixel size as written, if it holds for one binning above 1 only.

    Such a value was probably measured with that binning. Micro-Manager multiplies it once more.
    """
    camera = core.getCameraDevice()
    depends = any(each[:2] == (camera, BINNING) for each in _properties(core, name))
    if depends and binning != 1:
        um_per_px = core.getPixelSizeUmByID(name) * factor / binning
        yield FileScale(um_per_px, f"pixel size {name}, if it was measured at binning {binning:g}")


def _properties(core: CMMCorePlus, name: str) -> Sequence[tuple[str, str, str]]:
    """Return the device, property and value of each condition of a pixel size."""
    return [tuple(each) for each in core.getPixelSizeConfigData(name)]


def _has_value(core: CMMCorePlus, device: str, name: str, value: str) -> bool:
    """Return whether a property has a value, as Micro-Manager's own core compares it."""
    try:
        return bool(CMMCore.getProperty(core, device, name) == value)
    except Exception:  # noqa: BLE001 - drivers raise any type; such a pixel size does not apply
        return False
