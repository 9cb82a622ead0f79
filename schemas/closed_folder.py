"""A folder of the drop folder with the files of closed plates only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClosedFolder:
    """A folder whose files all have an outcome, and whose plates are closed."""

    path: str
    """Relative to the drop folder."""
    fingerprint: str
    """SHA-256 of the path, size and time of every file, and of the settings of the source."""
    plates: frozenset[str]
    """The ids of the plates with an image or a plate map in it."""
