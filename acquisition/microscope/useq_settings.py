"""Read the parts of an ``MDASequence`` of useq-schema as settings of the microscope.

Each part adds the settings that it gives, and yields the fields that cannot be carried out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import useq

from acquisition.microscope.settings import Focusing
from schemas.well import PLATE_SHAPES, is_well, parse_well, well_at

SAME_VALUE = 1e-6
"""Largest difference of two numbers that are the same setting, absolute and relative."""

Problems = Iterator[tuple[str, str]]  # field of the plan, problem


@dataclass
class MappedSettings:
    """Settings that a plan gives, with the field of the plan that gives each."""

    values: dict[str, Any] = field(default_factory=dict)  # by name of the setting
    fields: dict[str, str] = field(default_factory=dict)  # by name of the setting

    def set(self, name: str, value: object, of_field: str) -> None:
        """Add the value of a setting, which a field of the plan gives."""
        self.values[name], self.fields[name] = value, of_field


def read_plate(sequence: useq.MDASequence, mapped: MappedSettings) -> Problems:
    """Add the plate and the wells of the stage positions; yield each field without a setting."""
    plan = sequence.stage_positions
    if not isinstance(plan, useq.WellPlatePlan):
        yield from _listed_wells(plan, mapped)
        return
    rows, columns = plan.plate.rows, plan.plate.columns
    wells = next((wells for wells, shape in PLATE_SHAPES.items() if shape == (rows, columns)), None)
    where = "stage_positions."
    if wells is None:
        yield (
            f"{where}plate",
            f"has {rows} × {columns} wells; expected one of {', '.join(map(str, PLATE_SHAPES))}",
        )
        return
    across_mm, down_mm = plan.plate.well_spacing
    if not is_same(across_mm, down_mm):
        yield f"{where}plate.well_spacing", f"is {across_mm} × {down_mm} mm; expected equal ones"
    chosen = [well_at(int(row) + 1, int(column) + 1) for row, column in plan.selected_well_indices]
    if plan.selected_wells is None or not chosen:
        yield f"{where}selected_wells", "selects no well; expected the wells to image"
    if len(set(chosen)) < len(chosen):
        yield f"{where}selected_wells", "selects a well twice; expected each well once"
    standard_mm = useq.WellPlate.from_str(f"{wells}-well").well_spacing[0]
    spacing_um = None if is_same(across_mm, standard_mm) else across_mm * 1000
    mapped.set("plate", wells, f"{where}plate")
    mapped.set("spacing_um", spacing_um, f"{where}plate.well_spacing")
    mapped.set("a1_um", tuple(map(float, plan.a1_center_xy)), f"{where}a1_center_xy")
    mapped.set("rotation_deg", float(plan.rotation or 0.0), f"{where}rotation")
    mapped.set("plan_wells", tuple(chosen), f"{where}selected_wells")


def _listed_wells(positions: tuple[useq.Position, ...], mapped: MappedSettings) -> Problems:
    """Add the wells of listed positions, which are named by them; yield other positions."""
    wells: list[str] = []
    for number, position in enumerate(positions):
        where = f"stage_positions.{number}"
        if position.name is None or not is_well(position.name):
            yield f"{where}.name", f"is {position.name!r}; expected the name of a well, such as B02"
            continue
        if parse_well(position.name) in wells:
            yield f"{where}.name", f"is {position.name}, a second time; expected each well once"
        wells.append(parse_well(position.name))
        if position.x is None or position.y is None:
            yield where, "has no x or no y; expected both in µm"
        for name in ("sequence", "properties"):
            if getattr(position, name):
                yield f"{where}.{name}", "cannot be carried out; expected none"
    heights = {position.z for position in positions}
    if len(heights) > 1:
        listed = ", ".join(map(str, sorted(heights, key=str)))
        yield "stage_positions.z", f"has several heights ({listed}); expected one for all wells"
    elif heights - {None}:
        mapped.set("focus_z_um", float(heights.pop() or 0.0), "stage_positions.z")
    mapped.set("plan_wells", tuple(wells), "stage_positions")


def read_planes(sequence: useq.MDASequence, mapped: MappedSettings) -> Problems:
    """Add the number and distance of the planes; yield a z plan of another kind."""
    plan = sequence.z_plan
    offsets = [0.0] if plan is None else [each + 0.0 for each in plan]  # no minus zero
    steps = [high - low for low, high in pairwise(offsets)]
    if plan is not None and not plan.is_relative:
        expected = "expected heights relative to the focus, such as range and step"
        yield "z_plan", f"has absolute heights; {expected}"
    elif not is_same(sum(offsets), 0.0):
        yield "z_plan", f"has planes at {offsets} µm; expected as many below the focus as above it"
    elif steps and (min(steps) <= 0 or not all(is_same(step, steps[0]) for step in steps)):
        yield "z_plan", f"has planes at {offsets} µm; expected rising heights at equal distances"
    else:
        mapped.set("planes", len(offsets), "z_plan")
        if steps:
            mapped.set("plane_step_um", float(steps[0]), "z_plan.step")


def read_autofocus(sequence: useq.MDASequence, mapped: MappedSettings) -> Problems:
    """Add the hardware autofocus; yield a plan that does not run once in each well."""
    plan = sequence.autofocus_plan
    if plan is None:
        return
    if plan.axes != ("p",):
        yield "autofocus_plan.axes", f"is {plan.axes}; expected p: once in each well"
    if plan.autofocus_motor_offset:
        yield "autofocus_plan.autofocus_motor_offset", "is set; expected none"
    if plan.autofocus_device_name:
        expected = "expected none, the autofocus device of the hardware configuration"
        yield "autofocus_plan.autofocus_device_name", f"is set; {expected}"
    mapped.set("focusing", Focusing.HARDWARE, "autofocus_plan")


def read_rest(sequence: useq.MDASequence, _mapped: MappedSettings) -> Problems:
    """Yield the fields of a sequence that have no setting: times, set-up, order, shutter."""
    if sequence.time_plan is not None and len(list(islice(sequence.time_plan, 2))) > 1:
        expected = (
            "expected one time point: the keys source.micromanager.acquire_at and acquire_days "
            "plan the days"
        )
        yield (
            "time_plan",
            f"has several time points ({type(sequence.time_plan).__name__}); {expected}",
        )
    if sequence.setup is not None:
        yield "setup", "cannot be carried out; expected none (use a System preset for the start-up)"
    order = [axis for axis in sequence.axis_order if axis in "pgcz"]
    if order[0] != "p" or order[-1] != "z":
        yield (
            "axis_order",
            f"is {''.join(sequence.axis_order)}; expected one well after the other, with z last",
        )
    if wrong := [axis for axis in sequence.keep_shutter_open_across if axis not in "zc"]:
        yield "keep_shutter_open_across", f"has {', '.join(wrong)}; expected z: lamp off in moves"


def is_same(one: object, other: object) -> bool:
    """Return whether two values of a setting are equal; numbers differ by rounding only."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=SAME_VALUE, abs_tol=SAME_VALUE)
    return one == other
