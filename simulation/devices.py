"""Virtual devices written in Python that Micro-Manager's core drives like real ones.

Lines of an MMConfig file load them, such as
``#py pyDevice,Camera,simulation.devices,VirtualCamera``. Each device needs the property ``World``,
the folder of a :class:`simulation.world.World`, before it is initialised. Devices with the same
folder in one process share their state: the camera takes the field under the objective.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pymmcore_plus.experimental.unicore import (
    ShutterDevice,
    SimpleCameraDevice,
    StageDevice,
    XYStageDevice,
)

from simulation.world import (
    A1_UM,
    FOCUS_TRAVEL_UM,
    FOCUS_Z_UM,
    FULL_EXPOSURE_MS,
    STAGE_TRAVEL_UM,
    World,
)

_STAGE_SPEED_MM_S, _FOCUS_SPEED_MM_S = 1000.0, 50.0  # real ones: about 10 and 1


class Drive:
    """A motor that moves along one or more axes at constant speed.

    Parameters
    ----------
    position_um
        The position at the start, one value per axis.
    """

    def __init__(self, *position_um: float) -> None:
        self._start_um = self._target_um = position_um
        self._started_s = self._duration_s = 0.0

    def move_to(self, target_um: tuple[float, ...], speed_mm_s: float) -> None:
        """Start to move to a position in µm, one value per axis, at a speed in mm/s."""
        self._start_um = self.position_um()
        self._target_um, self._started_s = target_um, time.monotonic()
        self._duration_s = math.dist(self._start_um, target_um) / (1000 * speed_mm_s)

    def stop(self) -> None:
        """Stop at the present position."""
        self._start_um = self._target_um = self.position_um()
        self._duration_s = 0.0

    @property
    def is_moving(self) -> bool:
        """True until the target position is reached."""
        return time.monotonic() < self._started_s + self._duration_s

    def position_um(self) -> tuple[float, ...]:
        """Return the present position in µm, one value per axis."""
        if not self.is_moving:
            return self._target_um
        done = (time.monotonic() - self._started_s) / self._duration_s
        return tuple(
            start + done * (end - start)
            for start, end in zip(self._start_um, self._target_um, strict=True)
        )


@dataclass
class _Bench:
    """The state shared by the devices of one world."""

    world: World
    stage: Drive = field(default_factory=lambda: Drive(*A1_UM))
    focus: Drive = field(default_factory=lambda: Drive(FOCUS_Z_UM))
    intensity: float = 1.0  # of the lamp, from 0 to 1


@cache
def _bench_of(folder: Path) -> _Bench:
    """Return the state of the devices whose world is in a folder."""
    return _Bench(World.load(folder, clock=lambda: datetime.now(UTC)))


class _WorldDevice:
    """A mixin with the property ``World``, which every virtual device has."""

    _bench: _Bench | None = None

    def _register_world(self) -> None:
        """Declare the property ``World`` to Micro-Manager's core."""
        self.register_property(  # type: ignore[attr-defined]  # a method of the device class
            name="World",
            default_value="",
            getter=_WorldDevice._folder,
            setter=_WorldDevice._set_folder,
            is_pre_init=True,
            property_type=str,
        )

    def _folder(self) -> str:
        """Return the folder of the world, or an empty text before it is set."""
        return "" if self._bench is None else str(self._bench.world.folder)

    def _set_folder(self, folder: str) -> None:
        """Set the folder of the world."""
        self._bench = _bench_of(Path(folder).resolve())

    @property
    def bench(self) -> _Bench:
        """The shared state; RuntimeError if the property ``World`` is not set."""
        if self._bench is None:
            raise RuntimeError(
                f"{type(self).__name__} has no World; "
                "expected a line such as #py Property,LABEL,World,FOLDER before it starts"
            )
        return self._bench


class VirtualCamera(_WorldDevice, SimpleCameraDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """A camera that takes the field under the objective.

    The property ``FrameTime`` is the time of the last frame in the life of the plate, and the
    property ``PresentTime`` is the present time in its life.
    """

    def __init__(self) -> None:
        super().__init__()
        self._register_world()
        self._exposure_ms = FULL_EXPOSURE_MS
        self._taken_at: datetime | None = None
        self.register_property(
            name="FrameTime", getter=VirtualCamera._frame_time, property_type=str
        )
        self.register_property(
            name="PresentTime", getter=VirtualCamera._present_time, property_type=str
        )

    def initialize(self) -> None:
        """Raise RuntimeError unless the property ``World`` is set."""
        _ = self.bench

    def get_exposure(self) -> float:
        """Return the exposure in ms."""
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure in ms."""
        if not 0 < exposure < math.inf:
            raise ValueError(f"an exposure of {exposure} ms; expected more than 0")
        self._exposure_ms = exposure

    def sensor_shape(self) -> tuple[int, int]:
        """Return the sensor's (height, width) in pixels."""
        size = self.bench.world.file.size_px
        return size, size

    def dtype(self) -> npt.DTypeLike:
        """Return the data type of a pixel."""
        return np.uint16

    def snap(self, buffer: npt.NDArray[np.uint16]) -> Mapping[str, Any]:
        """Write a frame into a uint16 buffer, (H, W), and return its metadata.

        It also works while the stage moves or the lamp is off.
        """
        bench = self.bench
        (x, y), (z,) = bench.stage.position_um(), bench.focus.position_um()
        self._taken_at = bench.world.virtual_time()
        lamp = bench.intensity if bench.world.is_lamp_on else 0.0
        buffer[:] = bench.world.render_frame(x, y, z, lamp=lamp, exposure_ms=self._exposure_ms)
        return {"Time": self._frame_time()}

    def _frame_time(self) -> str:
        """Return the time of the last frame, or the present time before the first one."""
        return _time_text(self._taken_at or self.bench.world.virtual_time())

    def _present_time(self) -> str:
        """Return the present time in the life of the plate."""
        return _time_text(self.bench.world.virtual_time())


def _time_text(time: datetime) -> str:
    """Return a time as ISO 8601 with milliseconds."""
    return time.isoformat(timespec="milliseconds")


class VirtualStage(_WorldDevice, XYStageDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """A stage that moves the plate at a limited speed."""

    def __init__(self) -> None:
        super().__init__()
        self._register_world()
        self.register_property(
            name="Speed_mm_s", default_value=_STAGE_SPEED_MM_S, limits=(0.01, 1e6)
        )

    def set_position_um(self, x: float, y: float) -> None:
        """Start to move to (x, y) in µm; ValueError if it is out of reach."""
        for name, value, (low, high) in zip("xy", (x, y), STAGE_TRAVEL_UM, strict=True):
            if not low <= value <= high:
                raise ValueError(
                    f"the stage cannot reach {name} = {value:.1f} µm; expected {low:g} to {high:g}"
                )
        self.bench.stage.move_to((x, y), float(self.get_property_value("Speed_mm_s")))

    def get_position_um(self) -> tuple[float, float]:
        """Return the position (x, y) of the stage in µm."""
        x, y = self.bench.stage.position_um()
        return x, y

    def busy(self) -> bool:
        """Return whether the stage moves."""
        return self.bench.stage.is_moving

    def home(self) -> None:
        """Move to well A1."""
        self.set_position_um(*A1_UM)

    def stop(self) -> None:
        """Stop moving."""
        self.bench.stage.stop()

    def set_origin_x(self) -> None:
        """Raise NotImplementedError: the coordinates are fixed."""
        raise NotImplementedError("the virtual stage has fixed coordinates")

    def set_origin_y(self) -> None:
        """Raise NotImplementedError: the coordinates are fixed."""
        self.set_origin_x()


class VirtualFocus(_WorldDevice, StageDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """A focus drive that moves the objective at a limited speed."""

    def __init__(self) -> None:
        super().__init__()
        self._register_world()
        self.register_property(
            name="Speed_mm_s", default_value=_FOCUS_SPEED_MM_S, limits=(0.001, 1e6)
        )

    def set_position_um(self, val: float) -> None:
        """Start to move to a height in µm; ValueError if it is out of reach."""
        low, high = FOCUS_TRAVEL_UM
        if not low <= val <= high:
            raise ValueError(
                f"the focus drive cannot reach {val:.1f} µm; expected {low:g} to {high:g}"
            )
        self.bench.focus.move_to((val,), float(self.get_property_value("Speed_mm_s")))

    def get_position_um(self) -> float:
        """Return the height of the objective in µm."""
        return self.bench.focus.position_um()[0]

    def busy(self) -> bool:
        """Return whether the objective moves."""
        return self.bench.focus.is_moving

    def home(self) -> None:
        """Move to the usual focus height."""
        self.set_position_um(FOCUS_Z_UM)

    def stop(self) -> None:
        """Stop moving."""
        self.bench.focus.stop()

    def set_origin(self) -> None:
        """Raise NotImplementedError: the coordinates are fixed."""
        raise NotImplementedError("the virtual focus drive has fixed coordinates")


class VirtualLamp(_WorldDevice, ShutterDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """A lamp that stays on when its process ends, as a real one does."""

    def __init__(self) -> None:
        super().__init__()
        self._register_world()
        self.register_property(
            name="Intensity_percent",
            getter=VirtualLamp._intensity,
            setter=VirtualLamp._set_intensity,
            limits=(0.0, 100.0),
            property_type=float,
        )

    def _intensity(self) -> float:
        """Return the brightness of the lamp in percent."""
        return 100 * self.bench.intensity

    def _set_intensity(self, percent: float) -> None:
        """Set the brightness of the lamp in percent."""
        self.bench.intensity = percent / 100

    def get_open(self) -> bool:
        """Return whether the lamp is on."""
        return self.bench.world.is_lamp_on

    def set_open(self, open: bool) -> None:  # noqa: A002, FBT001 - pymmcore-plus's signature
        """Switch the lamp on or off."""
        self.bench.world.switch_lamp(on=open)
