"""Read a plan of useq-schema (``MDASequence`` or ``WellPlatePlan``) as settings, and write one.

A plan is read completely or not at all: an error names each field that this microscope control
cannot carry out. No field is ignored.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import useq
import yaml
from pydantic import BaseModel, ValidationError

from acquisition.durable_files import write_durably
from acquisition.microscope.plate_plan import plan_positions, well_plate_plan
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.microscope.well_order import Place
from schemas.errors import ConfigError
from schemas.well import PLATE_SHAPES, is_well, parse_well, well_at

POSITION_TOLERANCE_UM = 25.0
"""Largest distance of a listed position from the place of its well."""
SAME_VALUE = 1e-6
"""Largest difference of two numbers that are the same setting, absolute and relative."""

_YAML = (".yaml", ".yml")
_IGNORED = {"MDASequence": {"uid", "metadata"}, "WellPlatePlan": set[str]()}
"""Fields without an instruction that are no fields of the models."""
_SYNONYMS = {"row", "col"}  # of grid_row and grid_col in a position
_SECTION = "source.micromanager"

Problems = Iterator[tuple[str, str]]  # field of the plan, problem


@dataclass
class _Mapped:
    """Settings that a plan gives, with the field of the plan that gives each."""

    values: dict[str, Any] = field(default_factory=dict)  # by name of the setting
    fields: dict[str, str] = field(default_factory=dict)  # by name of the setting

    def set(self, name: str, value: object, of_field: str) -> None:
        """Add the value of a setting, which a field of the plan gives."""
        self.values[name], self.fields[name] = value, of_field


@dataclass(frozen=True)
class UseqPlan:
    """A plan as read from a file."""

    path: Path
    sequence: useq.MDASequence
    is_plate_only: bool  # the file is a WellPlatePlan, without planes and channels


def read_plan(path: Path) -> UseqPlan:
    """Return the UseqPlan of a YAML or JSON file with an ``MDASequence`` or ``WellPlatePlan``.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no such plan, or has a field that useq-schema does not know.
    """
    content = _load(path)
    is_plate_only = "a1_center_xy" in content
    model = useq.WellPlatePlan if is_plate_only else useq.MDASequence
    try:
        if isinstance(content.get("stage_positions"), dict):  # its errors name the field
            useq.WellPlatePlan.model_validate(content["stage_positions"])
        plan = model.model_validate(content)
    except (ValidationError, ValueError, TypeError) as error:
        raise ConfigError(
            path, f"is no {model.__name__} of useq-schema: {_describe(error)}"
        ) from error
    if unknown := list(_unknown_fields(_load(path), plan, "")):
        raise ConfigError(
            path, f"has {', '.join(unknown)}; expected fields of {model.__name__} in useq-schema"
        )
    sequence = (
        plan if isinstance(plan, useq.MDASequence) else useq.MDASequence(stage_positions=plan)
    )
    return UseqPlan(path, sequence, is_plate_only)


def settings_of_plan(
    settings: MicroscopeSettings, plan: UseqPlan, given: Collection[str]
) -> MicroscopeSettings:
    """Return the settings of a microscope with the plate, wells, planes and channel of a plan.

    Parameters
    ----------
    given
        The names of the settings that the configuration sets itself. The plan must not contradict
        them.

    Raises
    ------
    ConfigError
        If the plan contains anything that cannot be carried out, or contradicts a given setting.
        All such fields are listed.
    """
    sequence = plan.sequence
    problems: list[tuple[str, str]] = []
    mapped = _Mapped()
    parts: list[Callable[[useq.MDASequence, _Mapped], Problems]] = [_plate]
    if not plan.is_plate_only:
        parts += [_planes, _channels, _fields, _autofocus, _rest]
    for part in parts:
        problems += part(sequence, mapped)
    for name, value in mapped.values.items():
        present = getattr(settings, name)
        if name in given and not _is_same(present, value):
            key = "source.planes" if name == "planes" else f"{_SECTION}.{name}"
            expected = "expected equal values, or no such key"
            problems.append(
                (mapped.fields[name], f"is {value}, and {key} is {present}; {expected}")
            )
    if "well_order" in given and mapped.values.get("plan_wells"):
        expected = f"expected no key {_SECTION}.well_order"
        problems.append(("stage_positions", f"has an order of its own; {expected}"))
    if problems:
        prefix = "stage_positions." if plan.is_plate_only else ""
        (first, problem), *more = (
            (f"{plan.path}, {place.removeprefix(prefix)}", text) for place, text in problems
        )
        raise ConfigError(first, problem, tuple(more))
    planned = replace(settings, **mapped.values)
    _check_listed_positions(planned, plan)
    return planned


def export_plan(settings: MicroscopeSettings, places: list[Place], plate: str) -> useq.MDASequence:
    """Return the MDASequence of a plate (id) with given wells, as this control images it.

    Parameters
    ----------
    places
        Row and column of each well, counted from 1, in the order of visits.
    """
    group, _, preset = settings.channel.partition(":")
    channel = useq.Channel(group=group, config=preset, exposure=settings.exposure_ms)
    around_um = (settings.planes - 1) * settings.plane_step_um
    return useq.MDASequence(
        stage_positions=well_plate_plan(settings, places),
        channels=(channel,) if settings.channel else (),
        z_plan=useq.ZRangeAround(range=around_um, step=settings.plane_step_um)
        if settings.planes > 1
        else None,
        autofocus_plan=useq.AxesBasedAF(axes=("p",))
        if settings.focusing is Focusing.HARDWARE
        else None,
        keep_shutter_open_across=("z",),
        metadata={"plate": plate, "exposure_ms": settings.exposure_ms},
    )


def write_plan(path: Path, sequence: useq.MDASequence) -> None:
    """Write a sequence to a YAML or JSON file; ConfigError if the name has another ending."""
    if path.suffix.lower() in _YAML:
        text = str(sequence.yaml())
    elif path.suffix.lower() == ".json":
        text = sequence.model_dump_json(exclude_unset=True, indent=2)
    else:
        raise ConfigError(path, "expected a name that ends in .yaml, .yml or .json")
    write_durably(path, text.encode())


def _describe(error: Exception) -> str:
    """Return the problems of an invalid plan with their fields, in one line."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    found = (
        f"{'.'.join(map(str, each['loc'])) or 'the plan'}: {each['msg']}" for each in error.errors()
    )
    return " ".join("; ".join(found).split())


def _load(path: Path) -> dict[str, Any]:
    """Return the content of a YAML or JSON file; ConfigError if it is no table of fields."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text) if path.suffix.lower() in _YAML else json.loads(text)
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}; expected a plan") from error
    except (ValueError, yaml.YAMLError) as error:
        problem = f"is neither YAML nor JSON by its ending: {' '.join(str(error).split())}"
        raise ConfigError(path, problem) from error
    if not isinstance(content, dict):
        raise ConfigError(path, "has no fields; expected an MDASequence or WellPlatePlan")
    return content


def _unknown_fields(raw: object, model: object, where: str) -> Iterator[str]:
    """Yield the path of each field in raw data that its useq-schema model does not have."""
    if isinstance(raw, Mapping) and isinstance(model, BaseModel):
        known = {*type(model).model_fields, *_IGNORED.get(type(model).__name__, ())}
        for key, value in raw.items():
            if key in known:
                yield from _unknown_fields(value, getattr(model, key, None), f"{where}{key}.")
            elif not (key in _SYNONYMS and "grid_row" in known):
                yield f"{where}{key}"
    elif isinstance(raw, list) and isinstance(model, list | tuple):
        for number, (each, of_model) in enumerate(zip(raw, model, strict=False)):
            yield from _unknown_fields(each, of_model, f"{where}{number}.")


def _plate(sequence: useq.MDASequence, mapped: _Mapped) -> Problems:
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
    if not _is_same(across_mm, down_mm):
        yield f"{where}plate.well_spacing", f"is {across_mm} × {down_mm} mm; expected equal ones"
    if plan.well_points_plan != useq.RelativePosition():
        yield f"{where}well_points_plan", _no_fields(plan.well_points_plan)
    chosen = [well_at(int(row) + 1, int(column) + 1) for row, column in plan.selected_well_indices]
    if plan.selected_wells is None or not chosen:
        yield f"{where}selected_wells", "selects no well; expected the wells to image"
    if len(set(chosen)) < len(chosen):
        yield f"{where}selected_wells", "selects a well twice; expected each well once"
    standard_mm = useq.WellPlate.from_str(f"{wells}-well").well_spacing[0]
    spacing_um = None if _is_same(across_mm, standard_mm) else across_mm * 1000
    mapped.set("plate", wells, f"{where}plate")
    mapped.set("spacing_um", spacing_um, f"{where}plate.well_spacing")
    mapped.set("a1_um", tuple(map(float, plan.a1_center_xy)), f"{where}a1_center_xy")
    mapped.set("rotation_deg", float(plan.rotation or 0.0), f"{where}rotation")
    mapped.set("plan_wells", tuple(chosen), f"{where}selected_wells")


def _listed_wells(positions: tuple[useq.Position, ...], mapped: _Mapped) -> Problems:
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


def _check_listed_positions(settings: MicroscopeSettings, plan: UseqPlan) -> None:
    """Raise ConfigError if a listed position is not the place of the well of its name."""
    listed = plan.sequence.stage_positions
    if isinstance(listed, useq.WellPlatePlan) or not listed:
        return
    places = {each.well: each for each in plan_positions(settings, settings.plan_wells)}
    for number, position in enumerate(listed):
        place = places[parse_well(position.name or "")]  # every name is a well
        x_um, y_um = position.x or 0.0, position.y or 0.0  # neither is None
        if math.dist((x_um, y_um), (place.x_um, place.y_um)) > POSITION_TOLERANCE_UM:
            raise ConfigError(
                f"{plan.path}, stage_positions.{number}",
                f"is {place.well} at ({x_um:g}, {y_um:g}) µm; expected "
                f"({place.x_um:.1f}, {place.y_um:.1f}) µm, where a1_um, spacing_um and "
                "rotation_deg put this well (spherorank acquire calibrate fits them)",
            )


def _planes(sequence: useq.MDASequence, mapped: _Mapped) -> Problems:
    """Add the number and distance of the planes; yield a z plan of another kind."""
    plan = sequence.z_plan
    offsets = [0.0] if plan is None else [each + 0.0 for each in plan]  # no minus zero
    steps = [high - low for low, high in pairwise(offsets)]
    if plan is not None and not plan.is_relative:
        expected = "expected heights relative to the focus, such as range and step"
        yield "z_plan", f"has absolute heights; {expected}"
    elif not _is_same(sum(offsets), 0.0):
        yield "z_plan", f"has planes at {offsets} µm; expected as many below the focus as above it"
    elif steps and (min(steps) <= 0 or not all(_is_same(step, steps[0]) for step in steps)):
        yield "z_plan", f"has planes at {offsets} µm; expected rising heights at equal distances"
    else:
        mapped.set("planes", len(offsets), "z_plan")
        if steps:
            mapped.set("plane_step_um", float(steps[0]), "z_plan.step")


def _channels(sequence: useq.MDASequence, mapped: _Mapped) -> Problems:
    """Add the channel and its exposure; yield further channels and their other fields.

    Further channels are to be mapped here.
    """
    for number, channel in enumerate(sequence.channels):
        where = f"channels.{number}"
        if number:
            yield where, f"is {channel.config}; expected one channel, that of bright field"
            continue
        if not channel.do_stack and sequence.z_plan is not None:
            yield f"{where}.do_stack", "is false; expected all planes of the channel"
        if channel.z_offset:
            yield f"{where}.z_offset", f"is {channel.z_offset}; expected 0"
        if channel.acquire_every != 1:
            yield f"{where}.acquire_every", f"is {channel.acquire_every}; expected 1"
        if channel.camera is not None:
            yield f"{where}.camera", f"is {channel.camera}; expected none, the configured camera"
        mapped.set("channel", f"{channel.group}:{channel.config}", f"{where}.config")
        if channel.exposure is not None:
            mapped.set("exposure_ms", float(channel.exposure), f"{where}.exposure")


def _fields(sequence: useq.MDASequence, _mapped: _Mapped) -> Problems:
    """Yield a grid of several fields in each well. Such grids are to be mapped here."""
    if sequence.grid_plan is not None:
        yield "grid_plan", _no_fields(sequence.grid_plan)


def _no_fields(plan: object) -> str:
    """Return the problem of a plan of several fields, or of one beside the middle of the well."""
    return f"is a {type(plan).__name__}; expected none: one field in the middle of each well"


def _autofocus(sequence: useq.MDASequence, mapped: _Mapped) -> Problems:
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


def _rest(sequence: useq.MDASequence, _mapped: _Mapped) -> Problems:
    """Yield the fields of a sequence that have no setting: times, set-up, order, shutter."""
    if sequence.time_plan is not None:
        expected = "expected none: acquire_at and acquire_days plan the times"
        yield "time_plan", f"is a {type(sequence.time_plan).__name__}; {expected}"
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


def _is_same(one: object, other: object) -> bool:
    """Return whether two values of a setting are equal; numbers differ by rounding only."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=SAME_VALUE, abs_tol=SAME_VALUE)
    return one == other
