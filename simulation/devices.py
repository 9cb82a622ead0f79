"""The virtual laboratory as devices behind a real MMCore, which cannot tell them from others.

Lines of an MMConfig load them, ``#py pyDevice,Camera,simulation.devices,VirtualCamera``, and each needs ``World``, the laboratory's folder, before
it starts (:mod:`simulation.world`). Those of one folder and process see each other: the camera sees what lies where the stage stands at that moment.
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

_STAGE_SPEED_MM_S, _FOCUS_SPEED_MM_S = 1000.0, 50.0  # faster than real ones, which have ten and one


class Drive:
    """What moves along its axes at a steady speed."""

    def __init__(self, *at_um: float) -> None:
        self._from = self._to = at_um
        self._started_s = self._takes_s = 0.0

    def go(self, to_um: tuple[float, ...], speed_mm_s: float) -> None:
        """Start from where it stands now."""
        self._from = self.where()
        self._to, self._started_s = to_um, time.monotonic()
        self._takes_s = math.dist(self._from, to_um) / (1000 * speed_mm_s)

    def stop(self) -> None:
        """Stay where it stands now."""
        self._from = self._to = self.where()
        self._takes_s = 0.0

    @property
    def moves(self) -> bool:
        """Whether it is still on its way."""
        return time.monotonic() < self._started_s + self._takes_s

    def where(self) -> tuple[float, ...]:
        """Return where it stands now, in µm."""
        if not self.moves:
            return self._to
        done = (time.monotonic() - self._started_s) / self._takes_s
        return tuple(
            start + done * (end - start) for start, end in zip(self._from, self._to, strict=True)
        )


@dataclass
class _Stand:
    """What the devices of one world share."""

    world: World
    stage: Drive = field(default_factory=lambda: Drive(*A1_UM))
    focus: Drive = field(default_factory=lambda: Drive(FOCUS_Z_UM))
    intensity: float = 1.0  # of the lamp, 0 … 1


@cache
def _stand_at(folder: Path) -> _Stand:
    return _Stand(World.load(folder, clock=lambda: datetime.now(UTC)))


class _InWorld:
    """What every virtual device has: the folder it lives in."""

    _stand: _Stand | None = None

    def _register_world(self) -> None:
        self.register_property(  # type: ignore[attr-defined]  # a method of the device class
            name="World",
            default_value="",
            getter=_InWorld._folder,
            setter=_InWorld._enter,
            is_pre_init=True,
            property_type=str,
        )

    def _folder(self) -> str:
        return "" if self._stand is None else str(self._stand.world.folder)

    def _enter(self, folder: str) -> None:
        self._stand = _stand_at(Path(folder).resolve())

    @property
    def stand(self) -> _Stand:
        """The world that was entered."""
        if self._stand is None:
            raise RuntimeError(
                f"{type(self).__name__} has no World; expected a line such as #py Property,LABEL,World,FOLDER before it starts"
            )
        return self._stand


class VirtualCamera(_InWorld, SimpleCameraDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """Sees what lies under the objective; its frames are stamped with the moment in the plate's life."""

    def __init__(self) -> None:
        super().__init__()
        self._register_world()
        self._exposure_ms = FULL_EXPOSURE_MS
        self._taken_at: datetime | None = None
        self.register_property(
            name="FrameTime", getter=VirtualCamera._frame_time, property_type=str
        )

    def initialize(self) -> None:
        """Refuse to start in no world."""
        _ = self.stand

    def get_exposure(self) -> float:
        """Return the exposure in ms."""
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure in ms."""
        if not 0 < exposure < math.inf:
            raise ValueError(f"an exposure of {exposure} ms; expected more than 0")
        self._exposure_ms = exposure

    def sensor_shape(self) -> tuple[int, int]:
        """Return height and width in pixels."""
        size = self.stand.world.file.size_px
        return size, size

    def dtype(self) -> npt.DTypeLike:
        """Return the type of a pixel."""
        return np.uint16

    def snap(self, buffer: npt.NDArray[np.uint16]) -> Mapping[str, Any]:
        """Take a picture of wherever the stage stands, moving or not, in the light there is."""
        stand = self.stand
        (x, y), (z,) = stand.stage.where(), stand.focus.where()
        self._taken_at = stand.world.now()
        buffer[:] = stand.world.look(
            x,
            y,
            z,
            lamp=stand.intensity if stand.world.lamp_is_on else 0.0,
            exposure_ms=self._exposure_ms,
        )
        return {"Time": self._frame_time()}

    def _frame_time(self) -> str:
        """Return when the last frame was taken, or now."""
        return (self._taken_at or self.stand.world.now()).isoformat(timespec="milliseconds")


class VirtualStage(_InWorld, XYStageDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """Moves the plate, and needs a moment for it."""

    def __init__(self) -> None:
        super().__init__()
        self._register_world()
        self.register_property(
            name="Speed_mm_s", default_value=_STAGE_SPEED_MM_S, limits=(0.01, 1e6)
        )

    def set_position_um(self, x: float, y: float) -> None:
        """Start to move."""
        for name, value, (low, high) in zip("xy", (x, y), STAGE_TRAVEL_UM, strict=True):
            if not low <= value <= high:
                raise ValueError(
                    f"the stage cannot reach {name} = {value:.1f} µm; expected {low:g} to {high:g}"
                )
        self.stand.stage.go((x, y), float(self.get_property_value("Speed_mm_s")))

    def get_position_um(self) -> tuple[float, float]:
        """Return where the stage stands."""
        x, y = self.stand.stage.where()
        return x, y

    def busy(self) -> bool:
        """Whether it still moves."""
        return self.stand.stage.moves

    def home(self) -> None:
        """Go to where A1 is under the objective."""
        self.set_position_um(*A1_UM)

    def stop(self) -> None:
        """Stand still."""
        self.stand.stage.stop()

    def set_origin_x(self) -> None:
        """Refuse: the coordinates are the stage's own."""
        raise NotImplementedError("the virtual stage has fixed coordinates")

    def set_origin_y(self) -> None:
        """Refuse, as :meth:`set_origin_x`."""
        self.set_origin_x()


class VirtualFocus(_InWorld, StageDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """Moves the objective up and down."""

    def __init__(self) -> None:
        super().__init__()
        self._register_world()
        self.register_property(
            name="Speed_mm_s", default_value=_FOCUS_SPEED_MM_S, limits=(0.001, 1e6)
        )

    def set_position_um(self, val: float) -> None:
        """Start to move."""
        low, high = FOCUS_TRAVEL_UM
        if not low <= val <= high:
            raise ValueError(
                f"the focus drive cannot reach {val:.1f} µm; expected {low:g} to {high:g}"
            )
        self.stand.focus.go((val,), float(self.get_property_value("Speed_mm_s")))

    def get_position_um(self) -> float:
        """Return where the objective stands."""
        return self.stand.focus.where()[0]

    def busy(self) -> bool:
        """Whether it still moves."""
        return self.stand.focus.moves

    def home(self) -> None:
        """Go to where plates are in focus, more or less."""
        self.set_position_um(FOCUS_Z_UM)

    def stop(self) -> None:
        """Stand still."""
        self.stand.focus.stop()

    def set_origin(self) -> None:
        """Refuse: the coordinates are the drive's own."""
        raise NotImplementedError("the virtual focus drive has fixed coordinates")


class VirtualLamp(_InWorld, ShutterDevice):  # type: ignore[misc]  # pymmcore-plus is not typed here
    """The lamp, which stays on when its process dies."""

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
        return 100 * self.stand.intensity

    def _set_intensity(self, percent: float) -> None:
        self.stand.intensity = percent / 100

    def get_open(self) -> bool:
        """Whether it burns."""
        return self.stand.world.lamp_is_on

    def set_open(self, open: bool) -> None:  # noqa: A002, FBT001 - pymmcore-plus's signature
        """Switch it."""
        self.stand.world.switch_lamp(on=open)
