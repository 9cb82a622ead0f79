"""Drive a microscope through Micro-Manager's core and pymmcore-plus.

If a device fails, pymmcore-plus's own engine logs a warning and takes the frame at the present
position of the stage. Here every failure ends the stack: a well must never get the image of its
neighbour.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from useq import MDAEvent

from acquisition.channels import Channel
from acquisition.microscope.camera_clock import frame_time, present_time
from acquisition.microscope.device_errors import as_microscope_error
from acquisition.microscope.frame_format import read_frame_format
from acquisition.microscope.micromanager_config import (
    check_core,
    load_core,
    shutters_of,
    unload_core,
    unused_autofocus_devices,
)
from acquisition.microscope.optical_path import read_optical_path
from acquisition.microscope.pixel_sizes import read_pixel_sizes
from acquisition.microscope.scale_check import (
    check_same_format,
    check_same_pixel_size,
)
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.microscope.settled_moves import wait_until_settled
from acquisition.microscope.strict_engine import StrictEngine
from acquisition.microscope.travel_limits import TravelLimits
from acquisition.ports import (
    BeginStep,
    Frame,
    FrameFormat,
    OpticalPath,
    ignore_step,
)
from schemas.errors import MicroscopeError

STAGE_TOLERANCE_UM = 25.0  # largest error of the stage position: a fiftieth of a field
Z_TOLERANCE_UM = 5.0  # largest error of a plane's height


class MicroManager:
    """A microscope driven by Micro-Manager; implements :class:`acquisition.ports.Microscope`.

    Parameters
    ----------
    settings
        The hardware configuration and the settings of the microscope.
    clock
        Returns the current time with a time zone. It gives the time of a frame if the camera has no
        property ``FrameTime``.
    begin_step
        Is called before each step of a device, so that a watchdog knows its expected time.

    Raises
    ------
    ConfigError
        If the hardware configuration cannot be loaded or is incomplete; all problems are listed.
    """

    def __init__(
        self,
        settings: MicroscopeSettings,
        clock: Callable[[], datetime],
        begin_step: BeginStep = ignore_step,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._begin_step = begin_step
        self._core = load_core(settings)
        self._preset = ""  # the selected one; empty: none or unknown
        self._pixel_size_um: float | None = None  # by the hardware configuration, in bright field
        self._shutters: tuple[str, ...] = ()
        try:
            check_core(self._core, settings)
            self._shutters = shutters_of(self._core, settings)
            self.lamp_off()  # a crash may have left it on
            self._select(None)
            self._pixel_size_um = self._core.getPixelSizeUm()
            self._pixel_sizes = read_pixel_sizes(self._core)
            self._format = read_frame_format(self._core, settings, self._pixel_sizes)
            self._core.setAutoShutter(False)
            self._core.register_mda_engine(StrictEngine(self._core, self._move_focus, begin_step))
        except BaseException:
            self.close()
            raise

    @property
    def format(self) -> FrameFormat:
        """The size, bits and scale of every frame."""
        return self._format

    def check_unchanged(self) -> None:
        """Raise ScaleError if the frames have another size, bits or scale than at the start.

        The objective or the binning may have been changed. It is also raised if the scales of
        the present objective and binning contradict each other.

        Raises
        ------
        MicroscopeError
            If a device does not answer.
        """
        self._select(None)
        with as_microscope_error("pixel size"):
            pixel_sizes = read_pixel_sizes(self._core)
            now = read_frame_format(self._core, self._settings, pixel_sizes)
        check_same_pixel_size(self._pixel_sizes, pixel_sizes)
        check_same_format(self._format, now)

    @property
    def has_autofocus(self) -> bool:
        """True if the hardware configuration names an autofocus device."""
        return bool(self._core.getAutoFocusDevice())

    @property
    def unused_autofocus(self) -> list[str]:
        """The labels of the loaded autofocus devices that the hardware configuration does not name.

        They are not used.
        """
        return unused_autofocus_devices(self._core)

    def own_time(self) -> datetime | None:
        """Return the time of the camera's property ``PresentTime``; None if it has none.

        Raises
        ------
        MicroscopeError
            If the camera fails.
        """
        return present_time(self._core)

    def move_to(self, x_um: float, y_um: float) -> None:
        """Move the stage to (x, y) in µm and return when it has arrived.

        Raises
        ------
        MicroscopeError
            If the position is outside the stage limits, or the stage fails or does not arrive.
        """
        stage = self._core.getXYStageDevice()
        self._limits.check_stage(x_um, y_um)
        with as_microscope_error(f"stage {stage}"):
            self._begin_move(f"stage {stage}", f"({x_um:.0f}, {y_um:.0f}) µm")
            self._core.setXYPosition(x_um, y_um)
            self._settle(f"stage {stage}", stage)
            x, y = self._core.getXYPosition()
        if not math.hypot(x - x_um, y - y_um) <= STAGE_TOLERANCE_UM:
            raise MicroscopeError(
                f"stage {stage}",
                f"is at ({x:.1f}, {y:.1f}) µm; "
                f"expected the target position ({x_um:.1f}, {y_um:.1f}) µm",
            )

    def autofocus(self, near_z_um: float) -> float:
        """Run the autofocus device from a height in µm and return the focus height in µm.

        A continuous focus lock is switched off at the end.

        Raises
        ------
        MicroscopeError
            If the device fails, or a height is outside the limits of the focus drive.
        """
        self._select(None)
        device, drive = self._core.getAutoFocusDevice(), self._core.getFocusDevice()
        with as_microscope_error(f"autofocus {device}"):
            self._limits.check_heights([near_z_um])
            self._move_focus(near_z_um)
            with self._lamp_on():
                self._begin_step(
                    f"autofocus {device}: search from {near_z_um:.1f} µm", self._settings.timeout_s
                )
                self._core.fullFocus()
                self._core.waitForSystem()
                self._release_focus_lock()
                self._settle(f"focus drive {drive}", drive)
            found_um = float(self._core.getPosition())
            self._limits.check_heights([found_um])
        return found_um

    def stack(self, z_um: Sequence[float], channel: Channel | None = None) -> list[Frame]:
        """Return one frame at each height in µm; the lamp is on only in the meantime.

        Parameters
        ----------
        z_um
            The heights.
        channel
            The channel to image; None: bright field.

        Raises
        ------
        MicroscopeError
            If a device fails, a frame is missing, or a frame was taken at another height.
        """
        self._limits.check_heights(z_um)
        self._select(channel)
        optical_path = read_optical_path(self._core, self._settings, channel)
        frames: list[Frame] = []

        def add_frame(image: np.ndarray, _event: MDAEvent, metadata: dict[str, Any]) -> None:
            frames.append(self._frame(image, metadata, optical_path))

        events = [
            MDAEvent(
                index={"z": number},
                z_pos=z,
                exposure=(channel or self._settings).exposure_ms,
                keep_shutter_open=True,
                metadata={"planes": len(z_um)},
            )
            for number, z in enumerate(z_um)
        ]
        camera = f"camera {self._core.getCameraDevice()}"
        # The camera is busy for the whole exposure.
        timeout_s = self._settings.timeout_s + (channel or self._settings).exposure_ms / 1000
        self._core.setTimeoutMs(round(1000 * timeout_s))
        self._release_focus_lock()
        self._core.mda.events.frameReady.connect(add_frame)
        try:
            with as_microscope_error(camera), self._lamp_on():
                self._core.mda.run(events)
        finally:
            self._core.mda.events.frameReady.disconnect(add_frame)
        if len(frames) != len(z_um):
            raise MicroscopeError(camera, f"returned {len(frames)} frames; expected {len(z_um)}")
        for frame, expected in zip(frames, z_um, strict=True):
            if not abs(frame.z_um - expected) <= Z_TOLERANCE_UM:
                raise MicroscopeError(
                    f"focus drive {self._core.getFocusDevice()}",
                    f"is at {frame.z_um:.1f} µm; expected the target height {expected:.1f} µm",
                )
        return frames

    def dark_frame(self) -> Frame:
        """Return one frame at the present position, taken with the lamp off."""
        self._select(None)
        camera, exposure_s = self._core.getCameraDevice(), self._settings.exposure_ms / 1000
        self._core.setTimeoutMs(round(1000 * (self._settings.timeout_s + exposure_s)))
        with as_microscope_error(f"camera {camera}"):
            self.lamp_off()
            self._begin_step(
                f"camera {camera}: exposure of {exposure_s:g} s in the dark", exposure_s
            )
            x_um, y_um = self._core.getXYPosition()
            z_um, taken_at = float(self._core.getPosition()), self._clock()
            self._core.setExposure(self._settings.exposure_ms)
            self._core.snapImage()
            image = np.array(self._core.getImage())
        return Frame(image, x_um, y_um, z_um, self._settings.exposure_ms, taken_at)

    def home(self) -> None:
        """Home the stage; raise MicroscopeError if it fails or cannot be homed."""
        stage = self._core.getXYStageDevice()
        with as_microscope_error(f"stage {stage}"):
            self._begin_step(f"stage {stage}: home", self._settings.timeout_s)
            self._core.home(stage)
            self._core.waitForDevice(stage)

    def lamp_off(self) -> None:
        """Close every shutter that a channel uses; safe from any thread.

        Raises
        ------
        MicroscopeError
            If a shutter fails; the others are closed all the same.
        """
        problems: list[MicroscopeError] = []
        for shutter in dict.fromkeys((self._core.getShutterDevice(), *self._shutters)):
            try:
                with as_microscope_error(f"shutter {shutter} (the lamp may be on)"):
                    if shutter:
                        self._core.setShutterOpen(shutter, False)
            except MicroscopeError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def close(self) -> None:
        """Close the shutter and unload all devices."""
        with suppress(Exception):  # a failing shutter must not keep the other devices loaded
            self.lamp_off()
        unload_core(self._core)

    def devices(self) -> list[tuple[str, str, str, str]]:
        """Return label, type, library and name of each device of the hardware configuration."""
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
        """Return the preset names of each group of the hardware configuration, by group name."""
        return {
            group: tuple(self._core.getAvailableConfigs(group))
            for group in self._core.getAvailableConfigGroups()
        }

    def position(self) -> tuple[float, float, float]:
        """Return the position of the stage and the focus drive: x, y and z in µm."""
        with as_microscope_error("stage"):
            return (*self._core.getXYPosition(), self._core.getPosition())

    @property
    def _limits(self) -> TravelLimits:
        """The limits of the present stage and focus drive."""
        core = self._core
        return TravelLimits(self._settings, core.getXYStageDevice(), core.getFocusDevice())

    @contextmanager
    def _lamp_on(self) -> Iterator[None]:
        """Open the shutter for the duration of a block; close it also after an error."""
        shutter = self._core.getShutterDevice()
        self._begin_step(f"shutter {shutter}: open", self._settings.timeout_s)
        try:
            self._core.setShutterOpen(True)
            self._core.waitForDevice(shutter)
            yield
        finally:
            self.lamp_off()

    def _release_focus_lock(self) -> None:
        """Switch a continuous focus lock off, which would move the drive between planes."""
        with suppress(Exception):  # not every autofocus device has a lock
            if self._core.isContinuousFocusEnabled():
                self._core.enableContinuousFocus(False)

    def _move_focus(self, z_um: float) -> None:
        """Move the focus drive to a height in µm and return when it has arrived."""
        drive = self._core.getFocusDevice()
        self._begin_move(f"focus drive {drive}", f"{z_um:.1f} µm")
        self._core.setPosition(z_um)
        self._settle(f"focus drive {drive}", drive)

    def _begin_move(self, device: str, target: str) -> None:
        """Report that a device begins to move to a target."""
        expected_s = self._settings.timeout_s + self._settings.settle_ms / 1000
        self._begin_step(f"{device}: move to {target}", expected_s)

    def _settle(self, device: str, label: str) -> None:
        """Wait until a moving device has arrived and its oscillation has ended."""
        wait_until_settled(
            device,
            partial(self._core.waitForDevice, label),
            partial(self._core.deviceBusy, label),
            timeout_s=self._settings.timeout_s,
            settle_ms=self._settings.settle_ms,
        )

    def _frame(
        self, image: np.ndarray, metadata: dict[str, Any], optical_path: OpticalPath
    ) -> Frame:
        """Return a frame from the camera's image, the engine's metadata and the optical path."""
        position = metadata["position"]
        return Frame(
            pixels=np.array(image),
            x_um=float(position["x"]),
            y_um=float(position["y"]),
            z_um=float(position["z"]),
            exposure_ms=float(metadata["exposure_ms"]),  # as rounded by the camera
            taken_at=frame_time(self._core) or self._clock(),
            optical_path=optical_path,
        )

    def _select(self, channel: Channel | None) -> None:
        """Apply the preset of a channel, or of bright field, unless it is selected already.

        The preset may also change the camera's settings and select another shutter.
        """
        wanted = channel.preset if channel else self._settings.channel
        if wanted == self._preset:
            return
        self._preset = ""  # unknown if a device fails now
        group, _, preset = wanted.partition(":")
        with as_microscope_error(f"channel {wanted}"):
            self._core.setConfig(group, preset)
            self._core.waitForConfig(group, preset)
        self.lamp_off()
        pixel_size_um = self._core.getPixelSizeUm()
        if self._pixel_size_um not in (None, pixel_size_um):
            raise MicroscopeError(
                f"channel {wanted}",
                f"has a pixel size of {pixel_size_um:g} µm; expected {self._pixel_size_um:g} µm, "
                "the same objective and binning in every channel",
            )
        self._preset = wanted
