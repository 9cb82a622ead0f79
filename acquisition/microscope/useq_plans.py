"""Read a plan of useq-schema (``MDASequence`` or ``WellPlatePlan``) as settings, and write one.

A plan is read completely or not at all: an error names each field that this microscope control
cannot carry out. No field is ignored.
"""

import json
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import useq
import yaml
from pydantic import BaseModel, ValidationError

from acquisition.durable_files import write_durably
from acquisition.microscope.plate_plan import plan_positions, well_plate_plan
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.microscope.useq_channels import (
    ChannelReader,
    read_fields,
    written_channels,
    written_fields,
)
from acquisition.microscope.useq_settings import (
    MappedSettings,
    Problems,
    is_same,
    read_autofocus,
    read_planes,
    read_plate,
    read_rest,
)
from acquisition.microscope.well_order import Place
from schemas.errors import ConfigError
from schemas.well import parse_well

POSITION_TOLERANCE_UM = 25.0
"""Largest distance of a listed position from the place of its well."""
_YAML = (".yaml", ".yml")
_IGNORED = {"MDASequence": {"uid", "metadata"}, "WellPlatePlan": set[str]()}
"""Fields without an instruction that are no fields of the models."""
_SYNONYMS = {"row", "col"}  # of grid_row and grid_col in a position
_SECTION = "source.micromanager"


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
        with warnings.catch_warnings():  # useq-schema warns of fields that are refused later
            warnings.simplefilter("ignore", UserWarning)
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
    mapped = MappedSettings()
    parts: list[Callable[[useq.MDASequence, MappedSettings], Problems]] = [read_plate]
    if not plan.is_plate_only:
        channels = ChannelReader(settings, given)
        parts += [read_planes, channels.read, read_autofocus, read_rest]
    parts.append(read_fields)
    for part in parts:
        problems += part(sequence, mapped)
    for name, value in mapped.values.items():
        present = getattr(settings, name)
        if name in given and not is_same(present, value):
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

    Raises
    ------
    ConfigError
        If the planes of a channel differ from those of bright field.
    """
    around_um = (settings.planes - 1) * settings.plane_step_um
    return useq.MDASequence(
        stage_positions=well_plate_plan(settings, places),
        grid_plan=written_fields(settings),
        channels=written_channels(settings),
        z_plan=useq.ZRangeAround(range=around_um, step=settings.plane_step_um)
        if settings.planes > 1
        else None,
        autofocus_plan=useq.AxesBasedAF(axes=("p",))
        if settings.focusing is Focusing.HARDWARE
        else None,
        axis_order="tpcgz",
        keep_shutter_open_across=("z",),
        metadata={
            "plate": plate,
            "exposure_ms": settings.exposure_ms,
            "channels": [channel.model_dump(mode="json") for channel in settings.channels],
        },
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
