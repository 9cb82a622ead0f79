"""Channels of a microscope besides bright field, and the days on which they are taken.

Bright field is the channel that is ranked. An image of another channel is saved and never ranked.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
)

ContrastMethod = Literal[
    "Brightfield",
    "Phase",
    "DIC",
    "HoffmanModulation",
    "ObliqueIllumination",
    "PolarizedLight",
    "Darkfield",
    "Fluorescence",
    "Other",
]
Illumination = Literal["Transmitted", "Epifluorescence", "Oblique", "NonLinear", "Other"]
Stand = Literal["Upright", "Inverted", "Dissection", "Electrophysiology", "Other"]


def _name(text: str) -> str:
    if not re.fullmatch(r"(?!field\d)[a-z0-9]+(-[a-z0-9]+)*", text, re.IGNORECASE | re.ASCII):
        raise ValueError('letters, digits and single hyphens, and not "field" with a number')
    return text


def _preset(text: str) -> str:
    if not all(text.partition(":")[::2]):
        raise ValueError('"GROUP:PRESET" as the hardware configuration names them')
    return text


def _days(value: object) -> object:
    if isinstance(value, str) and value != "readout":
        raise ValueError('"readout", or a list of culture days such as [7, 10]')
    return value


ChannelName = Annotated[str, Field(max_length=40), AfterValidator(_name)]
"""A name that is part of file names: letters, digits and single hyphens."""


class Channel(BaseModel):
    """A channel besides bright field, such as an end-point stain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ChannelName = Field(description="a name for files and metadata, such as calcein")
    preset: Annotated[str, AfterValidator(_preset)] = Field(
        description='"GROUP:PRESET" as the hardware configuration names them'
    )
    exposure_ms: float = Field(gt=0, le=60_000, description="the exposure in ms")
    offset_um: FiniteFloat = 0.0  # of the middle plane above the focus of bright field
    planes: int = Field(default=1, ge=1, le=200)
    plane_step_um: float = Field(default=45.0, gt=0, le=1e6, allow_inf_nan=False)
    # Culture days on which the channel is taken; None: every day.
    days: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...] | Literal["readout"] | None,
        BeforeValidator(_days),
    ] = None
    contrast_method: ContrastMethod | None = None  # for metadata; None: unknown
    illumination: Illumination | None = None  # for metadata; None: unknown

    def heights(self, focus_um: float) -> list[float]:
        """Return the heights in µm of the planes for a focus height of bright field, rising."""
        return plane_heights(focus_um + self.offset_um, self.planes, self.plane_step_um)

    def is_due(self, day: int, readout_day: int) -> bool:
        """Return whether the channel is taken on a culture day of a plate with this readout day."""
        if self.days is None:
            return True
        return day == readout_day if self.days == "readout" else day in self.days


def plane_heights(middle_um: float, planes: int, step_um: float) -> list[float]:
    """Return the heights in µm of equally spaced planes around a middle height, rising."""
    return [middle_um + (number - (planes - 1) / 2) * step_um for number in range(planes)]


def due_channels(channels: Iterable[Channel], day: int, readout_day: int) -> tuple[Channel, ...]:
    """Return the channels that are taken on a culture day of a plate with this readout day."""
    return tuple(channel for channel in channels if channel.is_due(day, readout_day))


def name_problem(channels: Sequence[Channel]) -> str | None:
    """Return as text which channels have equal names in any case; None if none have."""
    names = [channel.name.casefold() for channel in channels]
    twice = sorted({name for name in names if names.count(name) > 1})
    return f"the channels {', '.join(twice)} only once" if twice else None
