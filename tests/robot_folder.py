"""A drop folder that a test fills as a robot does; time passes only while the source waits."""

import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from acquisition.drop_folder.in_flight import InFlightJournal
from acquisition.drop_folder.source import DropFolder, DropFolderSettings
from acquisition.ports import ClosedPlates
from schemas.errors import MachineError
from schemas.well_image import FileVersion, Rejected, WellImage
from tests.failing_reads import let_reading_fail

PATTERN = "{plate}/day{day}/{well}_z{plane}.tif"
PLATE_TOML = 'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\num_per_px = 1.36\n'
WELLS_CSV = "well,group,treatment\nB02,untreated,\nB03,screening,gemcitabine:1 uM\n"
SECOND_NS = 10**9
DAY_7_NS = int(datetime(2026, 11, 16, 9, tzinfo=UTC).timestamp()) * SECOND_NS
"""Nanoseconds since 1970 of the morning of culture day 7."""


class ManualClock:
    """A monotonic clock whose time passes only while :meth:`wait` is called."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += max(seconds, 0.001)


class ImmediatePool(Executor):
    """An executor that runs each job in ``submit``, after a function of the test."""

    def __init__(self, before_job: Callable[[], object] = lambda: None) -> None:
        self.before_job = before_job

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as Executor
        self.before_job()
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except MachineError as error:
            future.set_exception(error)
        return future


class ManualEvents:
    """File events that the test sets in ``closed``."""

    def __init__(self) -> None:
        self.closed: set[FileVersion] = set()
        self.starts = 0

    def start(self, root: Path, wake: Callable[[], None]) -> None:  # noqa: ARG002 - part of the port
        self.starts += 1

    def drain(self) -> tuple[set[str], set[FileVersion]]:
        closed, self.closed = self.closed, set()
        return {version.path for version in closed}, closed

    def stop(self) -> None:
        pass


class EndedVersions:
    """The file versions that have an outcome before the source reads them."""

    def __init__(self, *versions: FileVersion) -> None:
        self.versions = versions
        self.read: list[str] = []  # the paths of every call

    def ended_files(self, paths: Iterable[str]) -> list[FileVersion]:
        wanted = dict.fromkeys(paths)
        self.read += wanted
        return [version for version in self.versions if version.path in wanted]


def tiff(seed: int = 0, shape: tuple[int, ...] = (64, 64), **options: Any) -> bytes:  # noqa: ANN401 - options of tifffile
    """Return the bytes of a uint16 TIFF with random pixels of a shape and seed."""
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16),
        photometric="minisblack",
        metadata=None,
        **options,
    )
    return buffer.getvalue()


class RobotFolder:
    """A drop folder with the plate map of plate P1, and the clock and file events of its source."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        self.events = ManualEvents()
        self.progress: Callable[[], None] = lambda: None  # called when the folder has answered
        root.mkdir()
        self.write("P1/P1.plate.toml", PLATE_TOML.encode())
        self.write("P1/P1.wells.csv", WELLS_CSV.encode())

    def open(
        self,
        *ended: FileVersion,
        before_reading: Callable[[], object] = lambda: None,
        in_flight: InFlightJournal | None = None,
        closed: ClosedPlates | None = None,
        **settings: Any,  # noqa: ANN401 - any setting
    ) -> DropFolder:
        """Return a source of this folder that calls ``before_reading`` before it reads a file."""
        return DropFolder(
            DropFolderSettings(**({"path": self.root, "pattern": PATTERN} | settings)),  # type: ignore[arg-type] # mypy mixes the values
            EndedVersions(*ended),
            closed=closed,
            in_flight=in_flight,
            clock=self.clock,
            events=self.events,
            pool=ImmediatePool(before_reading),
            wait=self.clock.wait,
            progress=self.progress,
        )

    def failing_file(self, path: str) -> FileVersion:
        """Create a file whose reading fails with an input/output error, and return its version."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        let_reading_fail(self.root / path)
        return FileVersion.of(path, (self.root / path).stat())

    def write(self, path: str, content: bytes, *, at_ns: int = DAY_7_NS) -> FileVersion:
        """Write a file with a modification time and return its version."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, ns=(at_ns, at_ns))
        return FileVersion(path, len(content), at_ns)

    def well(
        self,
        well: str = "B02",
        day: int = 7,
        planes: tuple[int, ...] = (1, 2, 3),
        *,
        at_ns: int = DAY_7_NS,
    ) -> tuple[FileVersion, ...]:
        """Write one TIFF for each plane of a well of plate P1 and return the file versions."""
        return tuple(
            self.write(
                f"P1/day{day:02d}/{well}_z{plane}.tif",
                tiff(zlib.crc32(f"{well} {day} {plane} {at_ns}".encode())),
                at_ns=at_ns,
            )
            for plane in planes
        )

    def close_event(self, *versions: FileVersion) -> None:
        """Report to the source that the writer has closed these files."""
        self.events.closed |= set(versions)


def results(source: DropFolder, timeout_s: float = 300.0) -> Iterator[WellImage | Rejected]:
    """Yield each well image and refusal of a source until none comes for ``timeout_s``."""
    while (item := source.next(timeout_s)) is not None:
        yield item
        source.done(item)


def images(source: DropFolder, timeout_s: float = 300.0) -> list[WellImage]:
    """Return the well images that come from a source until none comes for ``timeout_s``."""
    return [item for item in results(source, timeout_s) if isinstance(item, WellImage)]


def refusals(source: DropFolder, timeout_s: float = 300.0) -> list[Rejected]:
    """Return the refusals that come from a source until none comes for ``timeout_s``."""
    return [item for item in results(source, timeout_s) if isinstance(item, Rejected)]
