"""The error that stops the imaging of a plate before all wells are imaged, with its reason."""

from enum import StrEnum

from schemas.errors import MicroscopeError


class StopReason(StrEnum):
    """The reason for which the imaging of a plate is stopped."""

    NO_LIGHT = "no_light"  # the lamp or the shutter failed
    NO_TISSUE = "no_tissue"  # no plate, or another plate
    WRONG_PLACE = "wrong_place"  # the stage lost steps


class DayStoppedError(MicroscopeError):
    """A fault concerns all wells of a plate; further images would be worthless or misleading."""

    def __init__(self, reason: StopReason, where: object, problem: str) -> None:
        super().__init__(where, problem)
        self.reason = reason
