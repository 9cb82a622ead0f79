"""Read the channels and fields of an ``MDASequence`` of useq-schema, and write them."""

import re
from collections.abc import Collection
from dataclasses import dataclass

import useq
from pydantic import ValidationError

from acquisition.channels import Channel
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.microscope.useq_settings import MappedSettings, Problems, is_same
from schemas.errors import ConfigError

_SECTION = "source.micromanager"
_MOST_FIELDS, _OVERLAPS = 20, (0.02, 0.5)  # of the configuration
_COMPARED = ("exposure_ms", "offset_um", "planes", "plane_step_um")
_FIELDS_OF = {
    "exposure_ms": "exposure",
    "offset_um": "z_offset",
    "planes": "do_stack",
    "plane_step_um": "do_stack",
}


@dataclass(frozen=True)
class ChannelReader:
    """Reads the channels of a sequence for the settings of a configuration.

    Parameters
    ----------
    given
        The names of the settings that the configuration sets itself.
    """

    settings: MicroscopeSettings
    given: Collection[str]

    def read(self, sequence: useq.MDASequence, mapped: MappedSettings) -> Problems:
        """Add bright field and the further channels; yield fields that cannot be carried out.

        Bright field is the channel of the configuration, else the first one.
        """
        presets = [f"{each.group}:{each.config}" for each in sequence.channels]
        bright = 0
        if "channel" in self.given and self.settings.channel in presets:
            bright = presets.index(self.settings.channel)
        further: list[tuple[str, Channel]] = []
        for number, channel in enumerate(sequence.channels):
            where = f"channels.{number}"
            if channel.acquire_every != 1:
                yield f"{where}.acquire_every", f"is {channel.acquire_every}; expected 1"
            if channel.camera is not None:
                expected = "expected none, the configured camera"
                yield f"{where}.camera", f"is {channel.camera}; {expected}"
            if presets.index(presets[number]) < number:
                yield where, f"is {presets[number]}, a second time; expected each channel once"
            elif number == bright:
                yield from _bright_field(sequence, channel, where, mapped)
            else:
                try:
                    further.append((where, _further_channel(channel, presets[number], mapped)))
                except ValidationError as error:
                    (first, *_) = error.errors()
                    field = _FIELDS_OF.get(str(first["loc"][0]), str(first["loc"][0]))
                    yield f"{where}.{field}", f"cannot be carried out: {first['msg']}"
            has_middle = int(mapped.values.get("planes", 1)) % 2 == 1
            if number != bright and not channel.do_stack and not has_middle:
                expected = "expected an odd number of planes, or true"
                yield f"{where}.do_stack", f"is false without a middle plane; {expected}"
        if further:
            yield from self._compare(further, mapped)

    def _compare(self, further: list[tuple[str, Channel]], mapped: MappedSettings) -> Problems:
        """Add the further channels; yield those that contradict the configuration."""
        if "channels" not in self.given:
            mapped.set("channels", tuple(channel for _, channel in further), "channels")
            return
        of_section = {channel.preset: channel for channel in self.settings.channels}
        for where, channel in further:
            present = of_section.get(channel.preset)
            if present is None:
                expected = f"expected one of {', '.join(of_section)}, or no such key"
                yield where, f"is {channel.preset}, and {_SECTION}.channels has none; {expected}"
                continue
            for name in _COMPARED:
                one, other = getattr(channel, name), getattr(present, name)
                is_single = name == "plane_step_um" and channel.planes == 1
                if not is_single and not is_same(one, other):
                    yield (
                        f"{where}.{_FIELDS_OF[name]}",
                        (
                            f"gives {name} = {one}, and {_SECTION}.channels has {other} for "
                            f"{present.name}; expected equal values"
                        ),
                    )


def _bright_field(
    sequence: useq.MDASequence, channel: useq.Channel, where: str, mapped: MappedSettings
) -> Problems:
    """Add the preset and exposure of bright field; yield fields that only others may have."""
    if not channel.do_stack and sequence.z_plan is not None:
        yield f"{where}.do_stack", "is false; expected all planes of bright field"
    if channel.z_offset:
        yield f"{where}.z_offset", f"is {channel.z_offset}; expected 0 for bright field"
    mapped.set("channel", f"{channel.group}:{channel.config}", f"{where}.config")
    if channel.exposure is not None:
        mapped.set("exposure_ms", float(channel.exposure), f"{where}.exposure")


def _further_channel(channel: useq.Channel, preset: str, mapped: MappedSettings) -> Channel:
    """Return a further channel, named like its preset; ValidationError if it is impossible."""
    planes = int(mapped.values.get("planes", 1)) if channel.do_stack else 1
    steps = {"plane_step_um": mapped.values["plane_step_um"]} if planes > 1 else {}
    return Channel(
        name=re.sub(r"[^A-Za-z0-9]+", "-", channel.config).strip("-"),
        preset=preset,
        exposure_ms=channel.exposure,
        offset_um=channel.z_offset,
        planes=planes,
        **steps,
    )


def read_fields(sequence: useq.MDASequence, mapped: MappedSettings) -> Problems:
    """Add the fields of each well; yield a grid that cannot be carried out."""
    grids: list[tuple[str, object]] = []
    if sequence.grid_plan is not None:
        grids.append(("grid_plan", sequence.grid_plan))
    plate = sequence.stage_positions
    if isinstance(plate, useq.WellPlatePlan) and plate.well_points_plan != useq.RelativePosition():
        grids.append(("stage_positions.well_points_plan", plate.well_points_plan))
    if len(grids) > 1:
        yield "grid_plan", f"is set besides {grids[1][0]}; expected one of them"
    for where, grid in grids[:1]:
        yield from _grid(where, grid, mapped)


def _grid(where: str, grid: object, mapped: MappedSettings) -> Problems:
    """Add the columns, rows and overlap of a grid around the middle of a well."""
    if not isinstance(grid, useq.GridRowsColumns):
        expected = "expected rows and columns of a grid around the middle of the well, or none"
        yield where, f"is a {type(grid).__name__}; {expected}"
        return
    if str(grid.relative_to.value) != "center":
        yield f"{where}.relative_to", f"is {grid.relative_to.value}; expected center"
    if str(grid.mode.value) != "row_wise_snake":
        yield f"{where}.mode", f"is {grid.mode.value}; expected row_wise_snake"
    for name in ("fov_width", "fov_height"):
        if getattr(grid, name) is not None:
            expected = "expected none: the field is that of the camera"
            yield f"{where}.{name}", f"is {getattr(grid, name)}; {expected}"
    if max(grid.rows, grid.columns) > _MOST_FIELDS:
        expected = f"expected {_MOST_FIELDS} at most"
        yield where, f"has {grid.columns} × {grid.rows} fields; {expected}"
    mapped.set("fields", (grid.columns, grid.rows), where)
    if grid.rows == grid.columns == 1:
        return
    across, down = (each / 100 for each in grid.overlap)
    lowest, highest = _OVERLAPS
    if not is_same(across, down) or not lowest <= across <= highest:
        yield (
            f"{where}.overlap",
            (
                f"is {100 * across:g} and {100 * down:g} %; expected equal overlaps of "
                f"{100 * lowest:g} to {100 * highest:g} %"
            ),
        )
    mapped.set("fields_overlap", across, f"{where}.overlap")


def written_channels(settings: MicroscopeSettings) -> tuple[useq.Channel, ...]:
    """Return the channels of a microscope as those of a sequence, bright field first.

    Raises
    ------
    ConfigError
        If the planes of a channel differ from those of bright field: a sequence has one z plan.
    """
    if not settings.channel:
        return ()
    bright = _written(settings.channel, exposure=settings.exposure_ms)
    return (bright, *(_written_further(channel, settings) for channel in settings.channels))


def _written_further(channel: Channel, settings: MicroscopeSettings) -> useq.Channel:
    """Return a further channel; ConfigError if a sequence cannot have its planes."""
    is_stack = channel.planes > 1
    same = channel.planes == settings.planes and is_same(
        channel.plane_step_um, settings.plane_step_um
    )
    has_middle = settings.planes % 2 == 1
    if (is_stack and not same) or (not is_stack and not has_middle):
        raise ConfigError(
            f"{_SECTION}.channels, {channel.name}",
            f"has {channel.planes} planes, {channel.plane_step_um:g} µm apart, which a plan of "
            f"useq-schema cannot contain; expected {settings.planes} planes "
            f"{settings.plane_step_um:g} µm apart, as in bright field"
            + (", or one plane" if has_middle else ""),
        )
    return _written(
        channel.preset,
        exposure=channel.exposure_ms,
        z_offset=channel.offset_um,
        do_stack=is_stack or settings.planes == 1,
    )


def _written(preset: str, **fields: float) -> useq.Channel:
    """Return a channel of a sequence from ``GROUP:PRESET`` and its other fields."""
    group, _, config = preset.partition(":")
    return useq.Channel(group=group, config=config, **fields)


def written_fields(settings: MicroscopeSettings) -> useq.GridRowsColumns | None:
    """Return the fields of a well as the grid of a sequence; None for one field."""
    columns, rows = settings.fields
    if columns == rows == 1:
        return None
    return useq.GridRowsColumns(rows=rows, columns=columns, overlap=100 * settings.fields_overlap)
