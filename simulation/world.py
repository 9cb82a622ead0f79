"""The virtual laboratory, kept as files: its plates, which of them lies under the microscope on which day, and whether the lamp is on.

::

    world.toml       what there is (:class:`WorldFile`)
    on_stage.json    {"plate": ID, "day": N}, written by whoever presents a plate or turns the day; no file: the stage is empty
    lamp             on or off; as a lamp does, it outlives the process that switched it
    clock/           when each plate's day began, by the real clock
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
    fewer_wells,
    plan_plate,
)
from simulation.scene import Floats, draw_scene
from simulation.tissue import FIELD_UM, simulate_tissue

A1_UM = (
    12_000.0,
    75_000.0,
)  # where the stage stands with the middle of A1 under the objective; y falls down the rows
SPACING_UM = 9000.0
STAGE_TRAVEL_UM = ((0.0, 125_000.0), (0.0, 85_000.0))  # x and y
FOCUS_TRAVEL_UM = (0.0, 10_000.0)
FOCUS_Z_UM = 3000.0  # of the middle of an even plate
FULL_EXPOSURE_MS = 10.0  # gives the light that the optics are described with
WHITE = 65535  # of this camera, which counts in 16 bits
_ROWS, _COLUMNS = PLATE_SHAPES[96]
_WELL_RADIUS_UM = 3200.0
_WALL_BLUR_UM = 60.0
_WALL_PASSES = 0.03  # of the light
_SHIFT_FROM_DAY_TO_DAY_UM = 10.0  # a plate is never put down twice in the same way
_NOISE_MARGIN_PX = 256
_FIRST_WELL_AFTER = timedelta(minutes=90)  # of the hour of seeding
_LAMP_STREAM, _FOCUS_STREAM, _DAY_STREAM = 1, 2, 3


class WorldFile(BaseModel):
    """The content of ``world.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=1, ge=0)
    plates: int = Field(default=1, ge=1, le=99)
    wells: int = Field(default=60, ge=12, le=60)  # of a plate; whole treatments are left out
    size_px: int = Field(default=512, ge=64, le=4096)
    mechanism: Mechanism | None = None
    layout: Layout = Layout.SCREEN
    optics: OpticsName = OpticsName.DEFAULT
    focus_error_um: float = Field(
        default=30.0, ge=0, le=1000
    )  # each well's focus lies up to this far above or below the plate's plane
    tilt_um: tuple[float, float] = (
        30.0,
        -20.0,
    )  # how much higher focus lies at the last column than at the first, and at the first row than at the last

    def toml(self) -> str:
        """Return the text of the file."""
        given = self.model_dump(mode="json", exclude_none=True)
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())


@dataclass(frozen=True)
class OnStage:
    """The plate under the microscope."""

    scope: VirtualMicroscope
    day: int


@dataclass(frozen=True, eq=False)
class _Field:
    """What is seen with the middle of a well under the objective; maps (H, W)."""

    seen: Transmission
    light: Floats


class World:
    """A virtual laboratory with one microscope. Not for several threads."""

    def __init__(self, folder: Path, file: WorldFile, clock: Callable[[], datetime]) -> None:
        self.folder = folder
        self.file = file
        self._clock = clock
        self._fields = lru_cache(maxsize=4)(self._draw)
        self._rng = np.random.default_rng([file.seed, _LAMP_STREAM])

    @classmethod
    def load(cls, folder: Path, clock: Callable[[], datetime]) -> Self:
        """Open a laboratory; ``clock`` says now, with its zone.

        Raises
        ------
        ConfigError
            If there is none or its file is wrong.
        """
        path = folder / "world.toml"
        try:
            return cls(folder, WorldFile.model_validate(tomllib.loads(path.read_text())), clock)
        except OSError as error:
            raise ConfigError(
                path,
                f"cannot be read: {error.strerror}; expected a virtual laboratory, as spherorank simulate --microscope makes it",
            ) from error
        except (ValidationError, ValueError) as error:
            raise ConfigError(
                path, f"is not a virtual laboratory: {' '.join(str(error).split())}"
            ) from error

    @cached_property
    def scopes(self) -> dict[str, VirtualMicroscope]:
        """The plates there are, by name, each with its microscope."""
        plates = (
            plan_plate(
                self.file.seed, number, mechanism=self.file.mechanism, layout=self.file.layout
            )
            for number in range(1, self.file.plates + 1)
        )
        scopes = (
            VirtualMicroscope(
                fewer_wells(plate, self.file.wells), self.file.size_px, self.file.optics
            )
            for plate in plates
        )
        return {scope.plate.name: scope for scope in scopes}

    @property
    def um_per_px(self) -> float:
        """The scale of every frame."""
        return FIELD_UM / self.file.size_px

    def present(self, plate: str, day: int) -> None:
        """Lay a plate under the microscope on one of its days.

        Raises
        ------
        ConfigError
            If there is no such plate or day.
        OutputError
            If the disk is full.
        """
        if plate not in self.scopes or day < 1:
            raise ConfigError(
                self.folder,
                f"has no {plate!r} on day {day}; expected one of {', '.join(self.scopes)} on day 1 or later",
            )
        write_durably(
            self.folder / "on_stage.json", json.dumps({"plate": plate, "day": day}).encode()
        )

    def take_away(self) -> None:
        """Leave the stage empty."""
        (self.folder / "on_stage.json").unlink(missing_ok=True)

    def on_stage(self) -> OnStage | None:
        """Return the plate under the microscope.

        Raises
        ------
        MicroscopeError
            If the file that says so is damaged or names a plate that is not there.
        """
        path = self.folder / "on_stage.json"
        try:
            told = json.loads(path.read_text())
            return OnStage(self.scopes[told["plate"]], max(1, int(told["day"])))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            what = f'is not understood ({error!r}); expected {{"plate": ID, "day": N}} with one of {", ".join(self.scopes)}'
            raise MicroscopeError(path, what) from error

    @property
    def lamp_is_on(self) -> bool:
        """Whether the lamp burns; a laboratory begins with it off."""
        try:
            return (self.folder / "lamp").read_text().strip() == "on"
        except FileNotFoundError:
            return False

    def switch_lamp(self, *, on: bool) -> None:
        """Switch the lamp."""
        (self.folder / "lamp").write_text("on\n" if on else "off\n")

    def now(self) -> datetime:
        """Return the moment in the life of the plate under the microscope; with none there, that of the real clock.

        A plate's day begins when it is first presented on it, 90 minutes after the hour of seeding, and goes on as the real clock does.
        """
        stage, now = self.on_stage(), self._clock()
        if stage is None:
            return now
        plate = stage.scope.plate
        mark = self.folder / "clock" / f"{plate.name}-day{stage.day:02d}"
        if not mark.exists():
            write_durably(mark, now.isoformat().encode())
        began = datetime.fromisoformat(mark.read_text())
        return plate.seeded_at + timedelta(days=stage.day - 1) + _FIRST_WELL_AFTER + (now - began)

    def focus_um(self, plan: WellPlan) -> float:
        """Return the height at which the tissue of a well is in focus, with the plate and on the day that is on the stage."""
        stage = self.on_stage()
        plate, day = (0, 0) if stage is None else (stage.scope.plate.index, stage.day)
        error = (
            np.random.default_rng([self.file.seed, _FOCUS_STREAM, plate, plan.key]).uniform(-1, 1)
            * self.file.focus_error_um
        )
        put_down = (
            np.random.default_rng([self.file.seed, _DAY_STREAM, plate, day]).uniform(-1, 1)
            * _SHIFT_FROM_DAY_TO_DAY_UM
        )
        along = self.file.tilt_um[0] * ((plan.column - 1) / (_COLUMNS - 1) - 0.5)
        up = self.file.tilt_um[1] * (0.5 - (plan.row - 1) / (_ROWS - 1))
        return float(FOCUS_Z_UM + along + up + put_down + error)

    def look(
        self, x_um: float, y_um: float, z_um: float, *, lamp: float, exposure_ms: float
    ) -> npt.NDArray[np.uint16]:
        """Return (H, W): a frame with the stage here; ``lamp`` is 0 when dark, 1 when full on."""
        stage = self.on_stage()
        scope = next(iter(self.scopes.values())) if stage is None else stage.scope
        conditions = replace(scope.conditions, white=WHITE)
        plan, off_um = _nearest_well(scope.plate, x_um, y_um)
        size = self.file.size_px
        if stage is None:
            arriving: Floats = np.full((size, size), conditions.light, np.float32)
        else:
            field = self._fields(scope.plate.name, plan, stage.day)
            seen = transmitted_light(
                _moved(field.seen, off_um, self.um_per_px),
                conditions.optics,
                z_um - self.focus_um(plan),
            )
            arriving = seen * field.light * _within_wall(off_um, size, self.um_per_px)
        arriving *= np.float32(lamp * exposure_ms / FULL_EXPOSURE_MS * self._rng.normal(1, 0.005))
        top, left = self._rng.integers(0, _NOISE_MARGIN_PX, 2)
        return expose_camera(
            arriving, conditions, self._noise[top : top + size, left : left + size]
        )

    @cached_property
    def _noise(self) -> Floats:
        """A frame of noise somewhat larger than the camera's, of which each look sees another part."""
        side = self.file.size_px + _NOISE_MARGIN_PX
        return np.random.default_rng(self.file.seed).standard_normal((side, side), dtype=np.float32)

    def _draw(self, plate: str, plan: WellPlan, day: int) -> _Field:
        scope = self.scopes[plate]
        conditions = scope.conditions
        tissue = simulate_tissue(scope.plate, plan, day, scope.cell_line)
        scene = draw_scene(replace(tissue, present=plan.group is not Group.BLANK), scope.size_px)
        return _Field(
            compute_transmission(scene, scope.plate, plan, conditions),
            illumination(scope.plate, plan, conditions, scope.size_px, 1.0),
        )


def _nearest_well(
    plate: VirtualPlate, x_um: float, y_um: float
) -> tuple[WellPlan, tuple[float, float]]:
    """Return the well nearest to the objective, and how far off its middle the stage stands."""
    column = int(np.clip(round((x_um - A1_UM[0]) / SPACING_UM), 0, _COLUMNS - 1))
    row = int(np.clip(round((A1_UM[1] - y_um) / SPACING_UM), 0, _ROWS - 1))
    off_um = (x_um - A1_UM[0] - SPACING_UM * column, y_um - A1_UM[1] + SPACING_UM * row)
    for plan in plate.wells:
        if (plan.row, plan.column) == (row + 1, column + 1):
            return plan, off_um
    return WellPlan(
        well_at(row + 1, column + 1),
        row + 1,
        column + 1,
        Group.BLANK,
        "",
        None,
        0.0,
        1.0,
        darkens=False,
    ), off_um


def _moved(seen: Transmission, off_um: tuple[float, float], um_per_px: float) -> Transmission:
    """Return what is seen with the stage off the middle; beyond what was drawn the well is empty. To the right in the image is +x, upwards +y."""
    right, down = (round(-off_um[0] / um_per_px), round(off_um[1] / um_per_px))
    if right == down == 0:
        return seen
    placing = np.array([[1, 0, right], [0, 1, down]], np.float32)

    def move(field: Floats, beyond: float) -> Floats:
        shape = (field.shape[1], field.shape[0])
        return np.asarray(
            cv2.warpAffine(
                field,
                placing,
                shape,
                flags=cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=beyond,
            ),
            np.float32,
        )

    return Transmission(move(seen.through, 1.0), move(seen.curvature, 0.0), move(seen.floor, 0.0))


def _within_wall(off_um: tuple[float, float], size: int, um_per_px: float) -> Floats:
    """Return (size, size), or (1, 1) where no wall is in sight: the share of the light that the wall of the well lets pass, 1 inside."""
    if np.hypot(*off_um) + FIELD_UM < _WELL_RADIUS_UM:
        return np.ones((1, 1), np.float32)
    axis = (np.arange(size, dtype=np.float32) - (size - 1) / 2) * np.float32(um_per_px)
    x, y = axis[None, :] + np.float32(off_um[0]), np.float32(off_um[1]) - axis[:, None]
    inside = np.clip((_WELL_RADIUS_UM - np.hypot(x, y)) / _WALL_BLUR_UM + 0.5, 0, 1)
    return np.asarray(_WALL_PASSES + (1 - _WALL_PASSES) * inside, np.float32)
