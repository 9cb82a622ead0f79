"""Refuse positions of the stage and heights of the focus drive outside the configured limits."""

from collections.abc import Sequence
from dataclasses import dataclass

from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import MicroscopeError


@dataclass(frozen=True)
class TravelLimits:
    """The limits of a stage and a focus drive, which have these labels."""

    settings: MicroscopeSettings
    stage: str
    focus_drive: str

    def check_stage(self, x_um: float, y_um: float) -> None:
        """Raise MicroscopeError if a position in µm is outside the limits of the stage."""
        if (limits := self.settings.stage_limits_um) and not (
            limits[0] <= x_um <= limits[2] and limits[1] <= y_um <= limits[3]
        ):
            raise MicroscopeError(
                f"stage {self.stage}",
                f"cannot go to ({x_um:.1f}, {y_um:.1f}) µm; "
                f"expected a position within stage_limits_um = {limits}",
            )

    def check_heights(self, z_um: Sequence[float]) -> None:
        """Raise MicroscopeError if a height in µm is outside the limits of the focus drive."""
        if (limits := self.settings.z_limits_um) and (
            outside := [z for z in z_um if not limits[0] <= z <= limits[1]]
        ):
            heights = ", ".join(f"{z:.1f}" for z in outside)
            raise MicroscopeError(
                f"focus drive {self.focus_drive}",
                f"cannot go to {heights} µm; expected heights within z_limits_um = {limits}",
            )
