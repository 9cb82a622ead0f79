"""The state of a virtual microscope as files: its plates, the plate on the stage, the lamp.

::

    world.toml       plates and optics (:class:`WorldFile`)
    on_stage.json    {"plate": ID, "day": N}, written by the plate loader; no file: no plate
    lamp             "on" or "off"; as with a real lamp, the state survives the process
    clock/           the real time at which each culture day of each plate began
"""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acquisition.durable_files import write_durably
from schemas.errors import ConfigError, MicroscopeError
from schemas.plate_map import Group
from schemas.well import PLATE_SHAPES, well_at
from simulation.kinds import Layout, Mechanism, OpticsName
from simulation.microscope import VirtualMicroscope
from simulation.optics import (
    Transmission,
    compute_transmission,
    expose_camera,
    illumination,
    transmitted_light,
)
from simulation.plate import (
    VirtualPlate,
    WellPlan,
    plan_plate,
    select_wells,
)
from simulation.scene import Floats, draw_scene
from simulation.tissue import FIELD_UM, simulate_tissue

A1_UM = (12_000.0, 75_000.0)
"""Stage x and y with the middle of A1 under the objective; y falls from row to row."""

SPACING_UM = 9000.0  # between neighbouring wells
STAGE_TRAVEL_UM = ((0.0, 125_000.0), (0.0, 85_000.0))  # x and y
FOCUS_TRAVEL_UM = (0.0, 10_000.0)
FOCUS_Z_UM = 3000.0  # focus height in the middle of a plate
FULL_EXPOSURE_MS = 10.0  # the exposure for which the optics are defined
WHITE = 65535  # largest count of the camera, which has 16 bits
_ROWS, _COLUMNS = PLATE_SHAPES[96]
_WELL_RADIUS_UM = 3200.0
_WALL_BLUR_UM = 60.0
_WALL_TRANSMISSION = 0.03  # share of the light that passes the wall of a well
_MAX_DAILY_SHIFT_UM = 10.0  # of the focus height: a plate is never put down twice in the same way
_NOISE_MARGIN_PX = 256
_FIRST_WELL_AFTER = timedelta(minutes=90)  # after the hour of seeding
_LAMP_STREAM, _FOCUS_STREAM, _DAY_STREAM = 1, 2, 3  # of random numbers


class WorldFile(BaseModel):
    """The content of ``world.toml``: plates, optics and focus errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=1, ge=0)
    plates: int = Field(default=1, ge=1, le=99)
    wells: int = Field(default=60, ge=12, le=60)  # per plate; fewer wells leave out treatments
    size_px: int = Field(default=512, ge=64, le=4096)  # of a frame, which is square
    mechanism: Mechanism | None = None
    layout: Layout = Layout.SCREEN
    optics: OpticsName = OpticsName.DEFAULT
    # The focus height of each well deviates by up to this much from the plane of the plate.
    focus_error_um: float = Field(default=30.0, ge=0, le=1000)
    # Rise of the focus height: first to last column, last to first row.
    tilt_um: tuple[float, float] = (30.0, -20.0)
    # The camera has a clock of its own, which shows a time in the life of the plate. False: the
    # computer's clock.
    own_clock: bool = True

    def toml(self) -> str:
        """Return the text of ``world.toml``."""
        given = self.model_dump(mode="json", exclude_none=True)
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())


@dataclass(frozen=True)
class StagedPlate:
    """The plate on the stage, and its culture day."""

    scope: VirtualMicroscope
    day: int


@dataclass(frozen=True, eq=False)
class _WellField:
    """The field with the middle of a well under the objective; maps (H, W)."""

    transmission: Transmission
    light: Floats


class World:
    """Virtual plates and one virtual microscope, for one thread.

    Parameters
    ----------
    folder
        The folder of the state files.
    clock
        Returns the current time with a time zone.
    """

    def __init__(self, folder: Path, file: WorldFile, clock: Callable[[], datetime]) -> None:
        self.folder = folder
        self.file = file
        self._clock = clock
        self._fields = lru_cache(maxsize=4)(self._render_field)
        self._rng = np.random.default_rng([file.seed, _LAMP_STREAM])

    @classmethod
    def load(cls, folder: Path, clock: Callable[[], datetime]) -> Self:
        """Return the world whose files are in a folder, with a clock that returns the real time.

        Raises
        ------
        ConfigError
            If ``world.toml`` is missing or invalid.
        """
        path = folder / "world.toml"
        try:
            return cls(
                folder,
                WorldFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))),
                clock,
            )
        except OSError as error:
            raise ConfigError(
                path,
                f"cannot be read: {error.strerror}; expected a virtual microscope, "
                "as spherorank simulate --microscope writes it",
            ) from error
        except (ValidationError, ValueError) as error:
            raise ConfigError(
                path, f"is not a virtual microscope: {' '.join(str(error).split())}"
            ) from error

    @cached_property
    def scopes(self) -> dict[str, VirtualMicroscope]:
        """The microscope of each plate, by plate id."""
        plates = (
            plan_plate(
                self.file.seed, number, mechanism=self.file.mechanism, layout=self.file.layout
            )
            for number in range(1, self.file.plates + 1)
        )
        scopes = (
            VirtualMicroscope(
                select_wells(plate, self.file.wells), self.file.size_px, self.file.optics
            )
            for plate in plates
        )
        return {scope.plate.name: scope for scope in scopes}

    @property
    def um_per_px(self) -> float:
        """The scale of every frame."""
        return FIELD_UM / self.file.size_px

    def place_plate(self, plate: str, day: int) -> None:
        """Put a plate (id) on the stage as it is on one culture day.

        Raises
        ------
        ConfigError
            If there is no such plate or day.
        OutputError
            If the file cannot be written.
        """
        if plate not in self.scopes or day < 1:
            plates = ", ".join(self.scopes)
            raise ConfigError(
                self.folder,
                f"has no {plate!r} on day {day}; expected one of {plates} on day 1 or later",
            )
        write_durably(
            self.folder / "on_stage.json", json.dumps({"plate": plate, "day": day}).encode()
        )
        self.virtual_time()  # the day begins

    def remove_plate(self) -> None:
        """Remove the plate from the stage, if there is one."""
        (self.folder / "on_stage.json").unlink(missing_ok=True)

    def staged_plate(self) -> StagedPlate | None:
        """Return the plate on the stage, or None if the stage is empty.

        Raises
        ------
        MicroscopeError
            If ``on_stage.json`` is invalid or names an unknown plate.
        """
        path = self.folder / "on_stage.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return StagedPlate(self.scopes[content["plate"]], max(1, int(content["day"])))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            plates = ", ".join(self.scopes)
            expected = f'expected {{"plate": ID, "day": N}} with one of {plates}'
            raise MicroscopeError(path, f"is not understood ({error!r}); {expected}") from error

    @property
    def is_lamp_on(self) -> bool:
        """True if the lamp is on; it is off in a new world."""
        try:
            return (self.folder / "lamp").read_text(encoding="utf-8").strip() == "on"
        except FileNotFoundError:
            return False

    def switch_lamp(self, *, on: bool) -> None:
        """Switch the lamp on or off."""
        (self.folder / "lamp").write_text("on\n" if on else "off\n", encoding="utf-8")

    def virtual_time(self) -> datetime:
        """Return the time in the life of the plate that is or was last on the stage.

        A culture day begins 90 minutes after the hour of seeding, when the plate is first on the
        stage on that day. From then on, it runs as fast as the real clock. Before the first plate,
        and in a world without a clock of its own, it is the real time.
        """
        now, mark = self._clock(), self._clock_mark()
        if mark is None or not self.file.own_clock:
            return now
        plate, _, day = mark.name.rpartition("-day")
        began = datetime.fromisoformat(mark.read_text(encoding="utf-8"))
        seeded_at = self.scopes[plate].plate.seeded_at
        return seeded_at + timedelta(days=int(day) - 1) + _FIRST_WELL_AFTER + (now - began)

    def _clock_mark(self) -> Path | None:
        """Return the file with the real time at which the day of the last plate began.

        The file is written when the plate is first on the stage on that day. None before the first
        plate.
        """
        staged, last = self.staged_plate(), self.folder / "clock" / "last"
        if staged is not None:
            mark = last.with_name(f"{staged.scope.plate.name}-day{staged.day:02d}")
            if not mark.exists():
                write_durably(mark, self._clock().isoformat().encode())
            if not last.exists() or last.read_text(encoding="utf-8") != mark.name:
                write_durably(last, mark.name.encode())
        return last.with_name(last.read_text(encoding="utf-8")) if last.exists() else None

    def focus_height_um(self, plan: WellPlan) -> float:
        """Return the focus height in µm of a planned well of the plate on the stage."""
        staged = self.staged_plate()
        plate, day = (0, 0) if staged is None else (staged.scope.plate.index, staged.day)
        error = (
            np.random.default_rng([self.file.seed, _FOCUS_STREAM, plate, plan.key]).uniform(-1, 1)
            * self.file.focus_error_um
        )
        shift = (
            np.random.default_rng([self.file.seed, _DAY_STREAM, plate, day]).uniform(-1, 1)
            * _MAX_DAILY_SHIFT_UM
        )
        along = self.file.tilt_um[0] * ((plan.column - 1) / (_COLUMNS - 1) - 0.5)
        up = self.file.tilt_um[1] * (0.5 - (plan.row - 1) / (_ROWS - 1))
        return float(FOCUS_Z_UM + along + up + shift + error)

    def render_frame(
        self, x_um: float, y_um: float, z_um: float, *, lamp: float, exposure_ms: float
    ) -> npt.NDArray[np.uint16]:
        """Return the frame, (H, W) uint16, at (x, y, z) in µm for a lamp brightness and exposure.

        Parameters
        ----------
        lamp
            Brightness of the lamp, from 0 (off) to 1.
        """
        staged = self.staged_plate()
        scope = next(iter(self.scopes.values())) if staged is None else staged.scope
        conditions = replace(scope.conditions, white=WHITE)
        plan, offset_um = _nearest_well(scope.plate, x_um, y_um)
        size = self.file.size_px
        if staged is None:
            light: Floats = np.full((size, size), conditions.light, np.float32)
        else:
            field = self._fields(scope.plate.name, plan, staged.day)
            transmitted = transmitted_light(
                _shift(field.transmission, offset_um, self.um_per_px),
                conditions.optics,
                z_um - self.focus_height_um(plan),
            )
            light = transmitted * field.light * _wall_mask(offset_um, size, self.um_per_px)
        light *= np.float32(lamp * exposure_ms / FULL_EXPOSURE_MS * self._rng.normal(1, 0.005))
        top, left = self._rng.integers(0, _NOISE_MARGIN_PX, 2)
        return expose_camera(light, conditions, self._noise[top : top + size, left : left + size])

    @cached_property
    def _noise(self) -> Floats:
        """Camera noise, larger than a frame; each frame uses a random part of it."""
        side = self.file.size_px + _NOISE_MARGIN_PX
        return np.random.default_rng(self.file.seed).standard_normal((side, side), dtype=np.float32)

    def _render_field(self, plate: str, plan: WellPlan, day: int) -> _WellField:
        """Return the field of a well of a plate (id) on one culture day."""
        scope = self.scopes[plate]
        conditions = scope.conditions
        tissue = simulate_tissue(scope.plate, plan, day, scope.cell_line)
        scene = draw_scene(replace(tissue, present=plan.group is not Group.BLANK), scope.size_px)
        return _WellField(
            compute_transmission(scene, scope.plate, plan, conditions),
            illumination(scope.plate, plan, conditions, scope.size_px, 1.0),
        )


def _nearest_well(
    plate: VirtualPlate, x_um: float, y_um: float
) -> tuple[WellPlan, tuple[float, float]]:
    """Return the well nearest to a stage position, and the offset from its middle in µm.

    The well is blank if the plate's plan does not contain it.
    """
    column = int(np.clip(round((x_um - A1_UM[0]) / SPACING_UM), 0, _COLUMNS - 1))
    row = int(np.clip(round((A1_UM[1] - y_um) / SPACING_UM), 0, _ROWS - 1))
    offset_um = (x_um - A1_UM[0] - SPACING_UM * column, y_um - A1_UM[1] + SPACING_UM * row)
    for plan in plate.wells:
        if (plan.row, plan.column) == (row + 1, column + 1):
            return plan, offset_um
    blank = WellPlan(
        well_at(row + 1, column + 1),
        row + 1,
        column + 1,
        Group.BLANK,
        "",
        None,
        0.0,
        1.0,
        darkens=False,
    )
    return blank, offset_um


def _shift(field: Transmission, offset_um: tuple[float, float], um_per_px: float) -> Transmission:
    """Return the field with the stage off the middle of the well by an offset in µm.

    In the image, +x is to the right and +y is up. The well is empty outside the original field.
    """
    right, down = (round(-offset_um[0] / um_per_px), round(offset_um[1] / um_per_px))
    if right == down == 0:
        return field
    translation = np.array([[1, 0, right], [0, 1, down]], np.float32)

    def translate(image: Floats, outside: float) -> Floats:
        shape = (image.shape[1], image.shape[0])
        return np.asarray(
            cv2.warpAffine(
                image,
                translation,
                shape,
                flags=cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=outside,
            ),
            np.float32,
        )

    return Transmission(
        translate(field.in_focus, 1.0),
        translate(field.curvature, 0.0),
        translate(field.floor, 0.0),
        field.um_per_px,
    )


def _wall_mask(offset_um: tuple[float, float], size: int, um_per_px: float) -> Floats:
    """Return the share of the light that the wall of the well transmits, 1 inside the well.

    The shape is (size, size), or (1, 1) if the wall is outside the field.
    """
    if np.hypot(*offset_um) + FIELD_UM < _WELL_RADIUS_UM:
        return np.ones((1, 1), np.float32)
    axis = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * np.float32(um_per_px)
    x, y = axis[None, :] + np.float32(offset_um[0]), np.float32(offset_um[1]) - axis[:, None]
    inside = np.clip((_WELL_RADIUS_UM - np.hypot(x, y)) / _WALL_BLUR_UM + 0.5, 0, 1)
    return np.asarray(_WALL_TRANSMISSION + (1 - _WALL_TRANSMISSION) * inside, np.float32)
