"""Settings of ``spherorank quantify-fluorescence``, which are read from a TOML file."""

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from inference.fluorescence.stain_signal import Projection
from inference.fluorescence.viability import ViabilityFrom
from schemas.errors import ConfigError
from schemas.frozen_model import FrozenModel


class Stain(StrEnum):
    """Cells or parts of cells that a stain marks."""

    LIVE = "live"
    DEAD = "dead"
    NUCLEI = "nuclei"


class StainSettings(FrozenModel):
    """Settings of one stain."""

    channel: str = Field(min_length=1)
    """Name of its channel in the file names."""
    bleed_from: dict[Stain, float] = Field(default={})
    """Share of the signal of other stains that reaches this channel, 0…1, by stain."""


class FluorescenceSettings(FrozenModel):
    """Settings of one set of fluorescence images."""

    pattern: str = "{well}_{channel}.tif"
    """Pattern of the file names, with ``{well}``, ``{channel}`` and, if each plane is a file,
    ``{plane}``. The pages of a file are planes of a z-stack.
    """
    projection: Projection
    """Way in which the planes of a z-stack become one plane."""
    viability: ViabilityFrom
    """Signal that viability is computed from."""
    dead_weight: float | None = Field(default=None, gt=0)
    """Signal of the live stain of a live cell, divided by that of the dead stain of a dead cell;
    without it, it is estimated from the nuclear stain.
    """
    um_per_px: float | None = Field(default=None, gt=0)
    """Scale of all images in µm per pixel; without it, areas are in pixels."""
    stains: dict[Stain, StainSettings]
    """Settings by stain."""

    @model_validator(mode="after")
    def _has_the_stains_that_it_uses(self) -> Self:
        if Stain.LIVE not in self.stains:
            raise ValueError("stains has no live; expected a section [stains.live]")
        if self.viability is ViabilityFrom.LIVE_SHARE and Stain.DEAD not in self.stains:
            raise ValueError("stains has no dead; expected [stains.dead] for viability live_share")
        if (
            self.viability is ViabilityFrom.LIVE_SHARE
            and self.dead_weight is None
            and Stain.NUCLEI not in self.stains
        ):
            raise ValueError(
                "stains has no nuclei; expected [stains.nuclei] or dead_weight for viability "
                "live_share"
            )
        channels = [each.channel for each in self.stains.values()]
        if len(set(channels)) < len(channels):
            raise ValueError(f"two stains have one channel ({', '.join(channels)}); expected two")
        for name, stain in self.stains.items():
            wrong = {
                other: share
                for other, share in stain.bleed_from.items()
                if other == name or other not in self.stains or not 0 <= share < 1
            }
            if wrong:
                raise ValueError(
                    f"stains.{name}.bleed_from is {wrong}; expected other stains with 0 to 1"
                )
        return self


def load_settings(path: Path) -> FluorescenceSettings:
    """Return the FluorescenceSettings in a TOML file.

    Raises
    ------
    ConfigError
        If the file cannot be read or a setting is wrong.
    """
    try:
        return FluorescenceSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}"
            for each in error.errors()
        )
        raise ConfigError(path, f"has wrong settings: {problems}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise ConfigError(path, f"is not TOML: {error}") from error
