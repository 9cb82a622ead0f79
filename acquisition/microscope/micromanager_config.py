"""Load a hardware configuration into Micro-Manager's core and check that it is complete."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pymmcore import CMMCore
from pymmcore_plus import CMMCorePlus, DeviceType, configure_logging
from pymmcore_plus.experimental.unicore import UniMMCore

from acquisition.microscope.settings import Focusing, MicroscopeSettings
from schemas.errors import ConfigError

MAX_BITS = 16
"""The largest number of bits of a pixel that the archive stores."""

_PYTHON_DEVICES = "#py "  # starts the lines of a configuration that name devices written in Python
_SECTION = "source.micromanager"

configure_logging(file=None, stderr_level="CRITICAL")  # its messages are also in our own errors

Problems = Iterator[tuple[str, str]]  # file or configuration key, problem


def load_core(settings: MicroscopeSettings) -> CMMCorePlus:
    """Return a core of Micro-Manager with the hardware configuration of the settings loaded.

    Raises
    ------
    ConfigError
        If the file is missing, is no configuration, or names a device that cannot be loaded.
    """
    path = settings.config
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{_SECTION}.config",
            f"{path} cannot be read: {error.strerror}; expected the microscope's MMConfig file",
        ) from error
    if settings.adapters is not None and not any(settings.adapters.glob("*mmgr_dal_*")):
        raise ConfigError(
            f"{_SECTION}.adapters",
            f"{settings.adapters} contains no device adapter (…mmgr_dal_…); "
            "expected Micro-Manager's folder",
        )
    has_python_devices = any(line.startswith(_PYTHON_DEVICES) for line in text.splitlines())
    core = UniMMCore() if has_python_devices else CMMCorePlus()
    if settings.adapters is not None:
        core.setDeviceAdapterSearchPaths([str(settings.adapters)])
    core.setTimeoutMs(round(1000 * settings.timeout_s))
    try:
        core.loadSystemConfiguration(str(path))
    except Exception as error:  # device drivers and the parser raise any type
        unload_core(core)
        raise ConfigError(path, f"cannot be loaded: {_cause(core, str(error))}") from error
    if not _names_role(text, "AutoFocus"):
        core.setAutoFocusDevice("")  # the core selects the last loaded one by itself
    return core


def unused_autofocus_devices(core: CMMCorePlus) -> list[str]:
    """Return the labels of the loaded autofocus devices that the core does not use."""
    used = core.getAutoFocusDevice()
    return [label for label in core.getLoadedDevicesOfType(DeviceType.AutoFocus) if label != used]


def _names_role(text: str, role: str) -> bool:
    """Return whether a configuration names the device of a role, such as ``AutoFocus``.

    It does so in a line ``Property,Core,ROLE,LABEL`` or in the preset ``System``, ``Startup``,
    which the core applies after loading.
    """
    for line in text.splitlines():
        match line.removeprefix(_PYTHON_DEVICES).strip().split(","):
            case ["Property", "Core", name, label, *_] | [
                "ConfigGroup",
                "System",
                "Startup",
                "Core",
                name,
                label,
                *_,
            ] if name == role and label:
                return True
            case _:
                continue
    return False


def unload_core(core: CMMCorePlus) -> None:
    """Unload all devices of a core and end its callback thread.

    The thread would abort the process at its end.
    """
    with suppress(Exception):  # an error of one device must not keep the thread alive
        core.unloadAllDevices()
    with suppress(Exception):
        CMMCore.registerCallback(core, None)


def check_core(core: CMMCorePlus, settings: MicroscopeSettings) -> None:
    """Raise ConfigError with all problems of a loaded core under given settings, if any."""
    problems = [
        *_missing_devices(core, settings),
        *_ambiguous_devices(core, settings),
        *_camera_problems(core, settings),
        *_channel_problems(core, settings),
    ]
    if problems:
        raise ConfigError(*problems[0], more=tuple(problems[1:]))


def stage_per_pixel(
    affine: Sequence[float], um_per_px: float
) -> tuple[float, float, float, float] | None:
    """Return the stage movement in µm for a pixel right and a pixel down, from an affine, or None.

    Parameters
    ----------
    affine
        The six values of the pixel size's affine matrix, as Micro-Manager orders them.
    um_per_px
        The scale of the frames.

    Returns
    -------
    movement
        x and y for a pixel to the right, x and y for a pixel down. None if the matrix has another
        scale: Micro-Manager's own default has the scale 1.
    """
    x_right, x_down, _, y_right, y_down, _ = affine
    is_of_scale = math.isclose(abs(x_right * y_down - x_down * y_right), um_per_px**2, rel_tol=0.2)
    return (x_right, y_right, x_down, y_down) if is_of_scale else None


def _cause(core: CMMCorePlus, message: str) -> str:
    """Return an error message of the core, with advice for known causes."""
    text = " ".join(message.split())
    if "Incompatible device interface version" in text:
        text += (
            f"; expected adapters for {core.getAPIVersionInfo()}, the interface of this pymmcore: "
            "install the Micro-Manager of that version (mmcore install), "
            "or the pymmcore whose version ends in the number of the adapters"
        )
    elif (
        "Failed to load device adapter" in text or "not a known Micro-manager DeviceAdapter" in text
    ):
        where = ", ".join(core.getDeviceAdapterSearchPaths()) or "nowhere"
        text += (
            f"; expected the adapter in {where} "
            "(source.micromanager.adapters names Micro-Manager's folder)"
        )
    return text


def _ambiguous_devices(core: CMMCorePlus, settings: MicroscopeSettings) -> Problems:
    """Yield a problem for each role that the configuration does not name, with several devices.

    The core selects one of them by itself, which may be another lamp or stage than the plate's.
    """
    text = settings.config.read_text(encoding="utf-8", errors="replace")
    kinds = {
        "Camera": DeviceType.Camera,
        "XYStage": DeviceType.XYStage,
        "Focus": DeviceType.Stage,
        "Shutter": DeviceType.Shutter,
    }
    for role, kind in kinds.items():
        labels = core.getLoadedDevicesOfType(kind)
        if len(labels) > 1 and not _names_role(text, role):
            expected = f"expected a line Property,Core,{role},LABEL with one of them"
            yield str(settings.config), f"names no {role} and loads {', '.join(labels)}; {expected}"


def _missing_devices(core: CMMCorePlus, settings: MicroscopeSettings) -> Problems:
    """Yield a problem for each role without a device, such as Camera."""
    roles = {
        "Camera": (core.getCameraDevice(), "a camera"),
        "XYStage": (core.getXYStageDevice(), "a stage for x and y"),
        "Focus": (core.getFocusDevice(), "a focus drive"),
        "Shutter": (
            core.getShutterDevice(),
            "the lamp's shutter, so that the lamp can be switched off",
        ),
    }
    loaded = ", ".join(label for label in core.getLoadedDevices() if label != "Core") or "none"
    for role, (label, device) in roles.items():
        if not label:
            expected = f"expected a line Property,Core,{role},LABEL with {device}"
            yield str(settings.config), f"names no {role} (loaded devices: {loaded}); {expected}"
    if settings.focusing is Focusing.HARDWARE and not core.getAutoFocusDevice():
        expected = "expected a line Property,Core,AutoFocus,LABEL, or software"
        loaded = ", ".join(unused_autofocus_devices(core)) or "none"
        problem = f"is hardware, and {settings.config} names no AutoFocus (loaded: {loaded})"
        yield f"{_SECTION}.focusing", f"{problem}; {expected}"


def _camera_problems(core: CMMCorePlus, settings: MicroscopeSettings) -> Problems:
    """Yield the problems of the camera: colour components, bits."""
    if not core.getCameraDevice():
        return
    if (components := core.getNumberOfComponents()) != 1:
        yield (
            str(settings.config),
            f"its camera returns {components} components per pixel; expected grey images",
        )
    elif (bits := core.getImageBitDepth()) > MAX_BITS:
        expected = f"expected at most {MAX_BITS} (set the camera's pixel type)"
        yield str(settings.config), f"its camera has {bits} bits per pixel; {expected}"


def _channel_problems(core: CMMCorePlus, settings: MicroscopeSettings) -> Problems:
    """Yield a problem for each preset of a channel that is missing or that bright field keeps.

    Bright field keeps a property of another channel if its own preset does not set the property.
    It would then be taken with the filter, gain or lamp of that channel.
    """
    named = {f"{_SECTION}.channel": settings.channel} if settings.channel else {}
    named |= {f"{_SECTION}.channels, {each.name}": each.preset for each in settings.channels}
    known = {name: core.getAvailableConfigs(name) for name in core.getAvailableConfigGroups()}
    missing = {
        key: preset
        for key, preset in named.items()
        if preset.partition(":")[2] not in known.get(preset.partition(":")[0], ())
    }
    channels = [f"{name}:{each}" for name, presets in known.items() for each in presets]
    for key, preset in missing.items():
        yield key, f"is {preset!r}; expected one of {', '.join(channels) or 'none'}"
    if missing or not settings.channel:
        return
    restored = _properties_of(core, settings.channel)
    for channel in settings.channels:
        kept = sorted(_properties_of(core, channel.preset).keys() - restored.keys())
        if kept:
            properties = ", ".join(f"{device}-{name}" for device, name in kept)
            expected = "expected a preset of bright field that sets them too, or bright field is"
            problem = f"is {settings.channel!r}, which does not set {properties}"
            effect = f"taken with the values of {channel.preset!r}"
            yield f"{_SECTION}.channel", f"{problem}; {expected} {effect}"


def _properties_of(core: CMMCorePlus, preset: str) -> dict[tuple[str, str], str]:
    """Return the values that a preset, GROUP:PRESET, sets, by device and property."""
    group, _, name = preset.partition(":")
    return {(device, key): str(value) for device, key, value in core.getConfigData(group, name)}


def shutters_of(core: CMMCorePlus, settings: MicroscopeSettings) -> tuple[str, ...]:
    """Return the labels of the core's shutter and of the shutters that the channels select."""
    presets = [each for each in (settings.channel, *(c.preset for c in settings.channels)) if each]
    selected = [_properties_of(core, preset).get(("Core", "Shutter"), "") for preset in presets]
    return tuple(dict.fromkeys(each for each in (core.getShutterDevice(), *selected) if each))
