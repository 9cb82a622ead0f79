"""What the daemon needs from a source of well images, and a source from the daemon."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from schemas.assay import Assay
from schemas.plate_map import PlateMap
from schemas.well_image import FileVersion, Rejected, SourceStatus, WellImage


class Source(Protocol):
    """Where well images come from. Called from the service's one loop only."""

    def next(self, timeout_s: float) -> WellImage | Rejected | None:
        """Return the next image that is ready or refused, or None when none became ready in ``timeout_s``.

        Each is handed out once until :meth:`done` is called or the source is opened anew.

        Raises
        ------
        SourceGoneError
            While the place the images come from cannot be read; the next call tries again.
        """
        ...

    def done(self, item: WellImage | Rejected) -> None:
        """Take note that the outcome of these file versions is committed: they are never handed out again."""
        ...

    def plate_maps(self) -> dict[str, PlateMap]:
        """Return the valid plate maps known now, by plate id."""
        ...

    def assays(self) -> dict[str, Assay]:
        """Return the valid assays known now, by plate id."""
        ...

    def status(self, now: datetime) -> SourceStatus:
        """Return what waits, what is held and whether the source can be read."""
        ...

    def close(self) -> None:
        """Release threads and handles. Safe to call twice."""
        ...


class FileLedger(Protocol):
    """Which versions of files ended already; kept by the store, asked by the source when it starts."""

    def ended_files(self) -> Iterable[FileVersion]:
        """Return every version of a file that has an outcome."""
        ...
