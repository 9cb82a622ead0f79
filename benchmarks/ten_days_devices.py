"""Virtual devices of :mod:`benchmarks.ten_days`: a stage that loses steps, and a recording camera.

A lost step is planned in the file ``lost_step.json`` in the folder of the world. The stage reports
its target at every move, wherever it is.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.well import well_at
from simulation.devices import VirtualCamera, VirtualStage
from simulation.world import A1_UM, SPACING_UM

PLANNED, HAPPENED = "lost_step.json", "lost_steps.jsonl"
FRAMES = "frames.csv"  # the time of each frame, and the true place of the stage


def nearest_well(x_um: float, y_um: float) -> str:
    """Return the well that is nearest to a place of the stage; "" outside the plate."""
    column = round((x_um - A1_UM[0]) / SPACING_UM) + 1
    row = round((A1_UM[1] - y_um) / SPACING_UM) + 1
    return well_at(row, column) if row > 0 and column > 0 else ""


class LosingStage(VirtualStage):
    """A stage with the fault that ``lost_step.json`` plans, once on the way to a well.

    With the kind ``stalled`` the stage does not move until another well is the target. With the
    kind ``displaced`` it loses one well spacing of the move, and is displaced until it is homed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._reported_um: tuple[float, float] | None = None
        self._lost_um = (0.0, 0.0)
        self._stalled_at = ""

    def set_position_um(self, x: float, y: float) -> None:
        """Start to move to (x, y) in µm, apart from lost steps."""
        before, well = self.get_position_um(), nearest_well(x, y)
        self._reported_um = (x, y)
        kind = self._begin_fault(well)
        if kind == "displaced":
            self._lost_um = (_limited(before[0] - x), _limited(before[1] - y))
        elif kind == "stalled":
            self._stalled_at = well
        if well == self._stalled_at:
            return
        self._stalled_at = ""
        super().set_position_um(x + self._lost_um[0], y + self._lost_um[1])

    def get_position_um(self) -> tuple[float, float]:
        """Return the target of the last move."""
        return self._reported_um or super().get_position_um()

    def home(self) -> None:
        """Move to well A1, and end every displacement."""
        self._lost_um, self._stalled_at = (0.0, 0.0), ""
        super().home()

    def _begin_fault(self, well: str) -> str:
        """Return the kind of the planned fault if it happens on the way to a well, else ""."""
        planned = self.bench.world.folder / PLANNED
        try:
            fault: dict[str, Any] = json.loads(planned.read_text())
        except FileNotFoundError:
            return ""
        if fault["well"] != well:
            return ""
        planned.unlink()
        place = nearest_well(*self.bench.stage.position_um())
        with (self.bench.world.folder / HAPPENED).open("a") as file:
            file.write(json.dumps({**fault, "from": place}) + "\n")
        return str(fault["kind"])


class RecordingCamera(VirtualCamera):
    """A camera that records the true place of the stage at each frame."""

    def snap(self, buffer: npt.NDArray[np.uint16]) -> Mapping[str, Any]:
        """Write a frame into a uint16 buffer, (H, W), and return its metadata."""
        metadata = super().snap(buffer)
        x_um, y_um = self.bench.stage.position_um()
        with (self.bench.world.folder / FRAMES).open("a", newline="") as file:
            csv.writer(file).writerow([metadata["Time"], f"{x_um:.1f}", f"{y_um:.1f}"])
        return metadata


def true_places(world: Path) -> dict[str, tuple[float, float]]:
    """Return the true place (x, y) of the stage in µm of each frame, by its time.

    ``world`` is the folder of the world.
    """
    with (world / FRAMES).open(newline="") as file:
        return {time: (float(x), float(y)) for time, x, y in csv.reader(file)}


def _limited(lost_um: float) -> float:
    """Return the part of a move in µm that is lost: one well spacing, or 0 within a well."""
    return SPACING_UM * max(-1, min(1, round(lost_um / SPACING_UM)))
