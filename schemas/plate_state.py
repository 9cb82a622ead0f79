"""States of the current run of a plate."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PlateState(StrEnum):
    """The progress of the current run of a plate."""

    COLLECTING = "collecting"
    """There is no final ranking, and a ranking uses every image so far, or no image has arrived."""
    DUE = "due"
    """There is no final ranking, and images of a day are not in the ranking of that day."""
    FINAL = "final"
    """There is a final ranking, and more work is left, such as a correction or a missing file."""
    CLOSED = "closed"
    """There is a final ranking, and without a change of its inputs nothing more happens."""


@dataclass(frozen=True)
class StoredPlateState:
    """A state of a plate, with everything that decides whether it is still valid."""

    state: PlateState
    run: int
    changes: int
    """The number of changes of the plate before the state was found; the state is valid for it."""
    basis: str
    """Digest of the settings and the version by which the state was found."""
    at: datetime
