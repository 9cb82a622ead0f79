"""A microscope that Micro-Manager drives, through pymmcore-plus; nothing else here knows that either exists.

pymmcore-plus's own engine logs a warning when a device fails and takes the picture all the same, wherever the stage then stands. Here every
failure ends the stack: a well must never get the picture of its neighbour.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import numpy as np
from pymmcore import CMMCore
from pymmcore_plus import CMMCorePlus, configure_logging
from pymmcore_plus.experimental.unicore import UniMMCore
from pymmcore_plus.mda import MDAEngine
from useq import MDAEvent

from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.ports import Frame, FrameFormat
from schemas.errors import ConfigError, MicroscopeError

STAGE_TOLERANCE_UM = (
    25.0  # a fiftieth of a field; beyond it the stage does not stand where it was sent
)
Z_TOLERANCE_UM = 5.0
MOST_BITS = 16  # of a pixel, in the archive
FRAME_TIME = "FrameTime"  # a property of cameras that stamp their frames: ISO 8601 with its zone
_PYTHON_DEVICES = "#py "  # starts the lines of a configuration that name devices written in Python
_KEY = "source.micromanager"

configure_logging(file=None, stderr_level="CRITICAL")  # what it would print, our own errors say


class _StrictEngine(MDAEngine):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """Takes frames one by one, and lets every failure out; a triggered sequence would tell neither where each was taken nor what failed."""

    def setup_single_event(self, event: MDAEvent) -> None:
        self.mmcore.setExposure(event.exposure)
        self.mmcore.setPosition(event.z_pos)

    def exec_single_event(self, event: MDAEvent) -> Iterator[tuple[Any, MDAEvent, Any]]:
        self.mmcore.snapImage()
        yield self.mmcore.getImage(), event, self.get_frame_metadata(event)


class MicroManager:
    """An :class:`acquisition.ports.Microscope`.

    Parameters
    ----------
    settings
        Which configuration to load, and how to use it.
    clock
        Now, with its zone; asked for each frame of a camera without a ``FrameTime`` of its own.

    Raises
    ------
    ConfigError
        With everything that the configuration lacks.
    """

    def __init__(self, settings: MicroscopeSettings, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clock = clock
        self._core = _load(settings)
        try:
            if problems := list(_lacking(self._core, settings)):
                raise ConfigError(*problems[0], more=tuple(problems[1:]))  # noqa: TRY301 - the core has to be closed
            self.lamp_off()  # a crash may have left it on
            self._set_channel()  # may set the camera, too
            self.lamp_off()  # of the channel, which may name another shutter
            self._format = FrameFormat(
                width_px=self._core.getImageWidth(),
                height_px=self._core.getImageHeight(),
                bits=self._core.getImageBitDepth(),
                um_per_px=settings.um_per_px or self._core.getPixelSizeUm(),
                to_stage=_to_stage(
                    self._core.getPixelSizeAffine(),
                    settings.um_per_px or self._core.getPixelSizeUm(),
                ),
            )
            self._core.setAutoShutter(False)
            self._core.register_mda_engine(
                _StrictEngine(
                    self._core, use_hardware_sequencing=False, restore_initial_state=False
                )
            )
        except BaseException:
            self.close()
            raise

    @property
    def format(self) -> FrameFormat:
        """What every frame is like."""
        return self._format

    @property
    def has_autofocus(self) -> bool:
        """Whether the configuration names an autofocus."""
        return bool(self._core.getAutoFocusDevice())

    def move_to(self, x_um: float, y_um: float) -> None:
        """Move the stage and return when it stands there; raises :class:`MicroscopeError`."""
        stage = self._core.getXYStageDevice()
        if (limits := self._settings.stage_limits_um) and not (
            limits[0] <= x_um <= limits[2] and limits[1] <= y_um <= limits[3]
        ):
            raise MicroscopeError(
                f"stage {stage}",
                f"was to go to ({x_um:.1f}, {y_um:.1f}) µm; expected a place within stage_limits_um = {limits}",
            )
        with _translated(f"stage {stage}"):
            self._core.setXYPosition(x_um, y_um)
            self._core.waitForDevice(stage)
            x, y = self._core.getXYPosition()
        if not math.hypot(x - x_um, y - y_um) <= STAGE_TOLERANCE_UM:
            raise MicroscopeError(
                f"stage {stage}",
                f"stands at ({x:.1f}, {y:.1f}) µm; expected ({x_um:.1f}, {y_um:.1f}), where it was sent",
            )

    def autofocus(self, near_z_um: float) -> float:
        """Let the hardware find focus and return where; raises :class:`MicroscopeError`."""
        with _translated(f"autofocus {self._core.getAutoFocusDevice()}"):
            self._check_heights([near_z_um])
            self._core.setPosition(near_z_um)
            self._core.waitForDevice(self._core.getFocusDevice())
            with self._lit():
                self._core.fullFocus()
                self._core.waitForSystem()
            found_um = float(self._core.getPosition())
            self._check_heights([found_um])
        return found_um

    def stack(self, z_um: Sequence[float]) -> list[Frame]:
        """Return one frame at each height, lit only meanwhile; raises :class:`MicroscopeError`."""
        self._check_heights(z_um)
        frames: list[Frame] = []

        def keep(image: np.ndarray, _event: MDAEvent, meta: dict[str, Any]) -> None:
            frames.append(self._frame(image, meta))

        events = [
            MDAEvent(
                index={"z": number},
                z_pos=z,
                exposure=self._settings.exposure_ms,
                keep_shutter_open=True,
            )
            for number, z in enumerate(z_um)
        ]
        camera = f"camera {self._core.getCameraDevice()}"
        self._core.mda.events.frameReady.connect(keep)
        try:
            with _translated(camera), self._lit():
                self._core.mda.run(events)
        finally:
            self._core.mda.events.frameReady.disconnect(keep)
        if len(frames) != len(z_um):
            raise MicroscopeError(camera, f"gave {len(frames)} frames; expected {len(z_um)}")
        for frame, wanted in zip(frames, z_um, strict=True):
            if not abs(frame.z_um - wanted) <= Z_TOLERANCE_UM:
                raise MicroscopeError(
                    f"focus drive {self._core.getFocusDevice()}",
                    f"stands at {frame.z_um:.1f} µm; expected {wanted:.1f}, where it was sent",
                )
        return frames

    def lamp_off(self) -> None:
        """Close the shutter; from any thread. Raises :class:`MicroscopeError`."""
        if shutter := self._core.getShutterDevice():
            with _translated(f"shutter {shutter}, so that the lamp may be on"):
                self._core.setShutterOpen(False)

    def close(self) -> None:
        """Close the shutter and unload the devices."""
        with suppress(Exception):  # whatever a device still says, the others are let go
            self.lamp_off()
        _end(self._core)

    def devices(self) -> list[tuple[str, str, str, str]]:
        """Return label, kind, library and name of each device of the configuration."""
        core = self._core
        return [
            (
                label,
                core.getDeviceType(label).name,
                core.getDeviceLibrary(label),
                core.getDeviceName(label),
            )
            for label in core.getLoadedDevices()
        ]

    def presets(self) -> dict[str, tuple[str, ...]]:
        """Return the presets of each group of the configuration; one of them is the channel."""
        return {
            group: tuple(self._core.getAvailableConfigs(group))
            for group in self._core.getAvailableConfigGroups()
        }

    def position(self) -> tuple[float, float, float]:
        """Return x, y and z in µm."""
        with _translated("stage"):
            return (*self._core.getXYPosition(), self._core.getPosition())

    def _check_heights(self, z_um: Sequence[float]) -> None:
        if (limits := self._settings.z_limits_um) and (
            outside := [z for z in z_um if not limits[0] <= z <= limits[1]]
        ):
            heights = ", ".join(f"{z:.1f}" for z in outside)
            raise MicroscopeError(
                f"focus drive {self._core.getFocusDevice()}",
                f"was to go to {heights} µm; expected heights within z_limits_um = {limits}",
            )

    @contextmanager
    def _lit(self) -> Iterator[None]:
        """Keep the shutter open for as long as this lasts, however it ends."""
        try:
            self._core.setShutterOpen(True)
            self._core.waitForDevice(self._core.getShutterDevice())
            yield
        finally:
            self.lamp_off()

    def _frame(self, image: np.ndarray, meta: dict[str, Any]) -> Frame:
        camera, where = self._core.getCameraDevice(), meta["position"]
        stamped = self._core.hasProperty(camera, FRAME_TIME)
        return Frame(
            pixels=np.array(image),
            x_um=float(where["x"]),
            y_um=float(where["y"]),
            z_um=float(where["z"]),
            exposure_ms=float(meta["exposure_ms"]),  # as the camera rounds it
            taken_at=datetime.fromisoformat(self._core.getProperty(camera, FRAME_TIME))
            if stamped
            else self._clock(),
        )

    def _set_channel(self) -> None:
        if self._settings.channel:
            group, _, preset = self._settings.channel.partition(":")
            with _translated(f"channel {self._settings.channel}"):
                self._core.setConfig(group, preset)
                self._core.waitForConfig(group, preset)


def _load(settings: MicroscopeSettings) -> CMMCorePlus:
    """Open a core with the configuration loaded.

    Raises
    ------
    ConfigError
        If the file is missing, is no configuration, or names what cannot be loaded.
    """
    path = settings.config
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{_KEY}.config",
            f"{path} cannot be read: {error.strerror}; expected the microscope's MMConfig file",
        ) from error
    if settings.adapters is not None and not any(settings.adapters.glob("*mmgr_dal_*")):
        raise ConfigError(
            f"{_KEY}.adapters",
            f"{settings.adapters} holds no device adapter (…mmgr_dal_…); expected Micro-Manager's folder",
        )
    core = (
        UniMMCore()
        if any(line.startswith(_PYTHON_DEVICES) for line in text.splitlines())
        else CMMCorePlus()
    )
    if settings.adapters is not None:
        core.setDeviceAdapterSearchPaths([str(settings.adapters)])
    core.setTimeoutMs(round(1000 * settings.timeout_s))
    try:
        core.loadSystemConfiguration(str(path))
    except (
        Exception
    ) as error:  # whatever a device driver or the parser raises: the configuration does not load
        _end(core)
        raise ConfigError(path, f"cannot be loaded: {_cause(core, str(error))}") from error
    return core


def _end(core: CMMCorePlus) -> None:
    """Unload the devices, and end the thread that tells of them: it would abort the process at its end."""
    with suppress(Exception):  # whatever a device still says
        core.unloadAllDevices()
    with suppress(Exception):
        CMMCore.registerCallback(core, None)


def _cause(core: CMMCorePlus, said: str) -> str:
    """Return the core's own words, and what to do where they are known."""
    text = " ".join(said.split())
    if "Incompatible device interface version" in text:
        text += (
            f"; expected adapters for {core.getAPIVersionInfo()}, which this pymmcore has: "
            "take the Micro-Manager of that version (mmcore install), or the pymmcore whose version ends in the adapters' number"
        )
    elif (
        "Failed to load device adapter" in text or "not a known Micro-manager DeviceAdapter" in text
    ):
        where = ", ".join(core.getDeviceAdapterSearchPaths()) or "nowhere"
        text += f"; expected the adapter in {where} (source.micromanager.adapters names Micro-Manager's folder)"
    return text


def _to_stage(
    affine: Sequence[float], um_per_px: float
) -> tuple[float, float, float, float] | None:
    """Return the stage's way for a pixel to the right and for one down; None for a matrix that is not the pixel size's, as the core's own 1."""
    x_right, x_down, _, y_right, y_down, _ = affine
    is_of_scale = math.isclose(abs(x_right * y_down - x_down * y_right), um_per_px**2, rel_tol=0.2)
    return (x_right, y_right, x_down, y_down) if is_of_scale else None


def _lacking(core: CMMCorePlus, settings: MicroscopeSettings) -> Iterator[tuple[str, str]]:
    """Yield what the configuration lacks, each with what was expected."""
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
    for role, (label, what) in roles.items():
        if not label:
            yield (
                str(settings.config),
                f"names no {role} (loaded are {loaded}); expected a line Property,Core,{role},LABEL with {what}",
            )
    if settings.focusing is Focusing.HARDWARE and not core.getAutoFocusDevice():
        yield (
            f"{_KEY}.focusing",
            f"is hardware, and {settings.config} names no AutoFocus; expected a line Property,Core,AutoFocus,LABEL, or software",
        )
    if core.getCameraDevice():
        if not (settings.um_per_px or core.getPixelSizeUm()):
            yield (
                str(settings.config),
                f"has no pixel size; expected a ConfigPixelSize that fits, or {_KEY}.um_per_px",
            )
        if (components := core.getNumberOfComponents()) != 1:
            yield (
                str(settings.config),
                f"its camera gives {components} components a pixel; expected grey images",
            )
        elif (bits := core.getImageBitDepth()) > MOST_BITS:
            yield (
                str(settings.config),
                f"its camera counts in {bits} bits; expected at most {MOST_BITS} (the camera's pixel type sets it)",
            )
    if settings.channel:
        group, _, preset = settings.channel.partition(":")
        known = {name: core.getAvailableConfigs(name) for name in core.getAvailableConfigGroups()}
        if preset not in known.get(group, ()):
            listed = (
                ", ".join(f"{name}:{each}" for name, presets in known.items() for each in presets)
                or "none"
            )
            yield f"{_KEY}.channel", f"is {settings.channel!r}; expected one of {listed}"


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn whatever a device driver raises into our own error."""
    try:
        yield
    except MicroscopeError:
        raise
    except Exception as error:  # a driver, a Python device and the core each raise what they like
        raise MicroscopeError(what, " ".join(str(error).split()) or type(error).__name__) from error
