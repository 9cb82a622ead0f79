"""Journal of the files that are being read or processed, for the process after a crash."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from schemas.portable_files import replace_file
from schemas.well_image import FileVersion

log = structlog.get_logger()

LONGEST = 1000
"""Number of lines after which the file is written again with the present images only."""

Files = tuple[FileVersion, ...]


@dataclass(frozen=True)
class InFlightImage:
    """The files of one well image that is being read or processed."""

    plate: str
    well: str
    files: Files


class InFlightJournal:
    """The well images that are being read or processed, in a small file.

    Each line of the file is the start or the end of one image, as JSON. The file is not synced to
    disk: it survives the end of the process, and after a power cut an older state is harmless. If
    it cannot be written, the service works without it. Any thread may call it.

    At the end of a ``with`` block the journal is emptied, unless an exception ends the block.

    Parameters
    ----------
    path
        The file; None keeps no journal.

    Attributes
    ----------
    suspects : tuple of InFlightImage
        The well images that were in flight when the last process ended by a crash; one of them may
        have caused it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.suspects = _read(path)
        self._images = {image.files: image for image in self.suspects}
        self._lines = LONGEST  # of the file; it is written again by the first call
        self._is_written = True
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Record that the process ends as intended, unless an exception ends it."""
        if error_type is None:
            with self._lock:
                self._images.clear()
                self._write_all()

    def add(self, plate: str, well: str, files: Sequence[FileVersion]) -> None:
        """Record that the reading of a well image starts."""
        with self._lock:
            image = self._images[tuple(files)] = InFlightImage(plate, well, tuple(files))
            self._append(image, is_in_flight=True)

    def remove(self, files: Sequence[FileVersion]) -> None:
        """Record that a well image is neither read nor processed any more."""
        with self._lock:
            if image := self._images.pop(tuple(files), None):
                self._append(image, is_in_flight=False)

    def _append(self, image: InFlightImage, *, is_in_flight: bool) -> None:
        """Add a line to the file; ten times as fast as to write and rename a new file."""
        if self._lines >= LONGEST or not self._is_written:
            self._write_all()
        elif self._path is not None:
            with self._noting_errors(), self._path.open("ab", buffering=0) as file:
                file.write(_line_of(image, is_in_flight=is_in_flight))
                self._lines += 1

    def _write_all(self) -> None:
        """Write a new file with the present images, and rename it into place."""
        if self._path is None:
            return
        temporary = self._path.with_name(f"{self._path.name}.part")
        images = self._images.values()
        with self._noting_errors():
            temporary.write_bytes(b"".join(_line_of(each, is_in_flight=True) for each in images))
            replace_file(temporary, self._path)
            self._lines = len(images)

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """Log the first of several failures to write the file."""
        try:
            yield
        except OSError as error:
            if self._is_written:
                log.warning("in_flight.not_written", path=str(self._path), reason=error.strerror)
            self._is_written = False
        else:
            self._is_written = True


def _line_of(image: InFlightImage, *, is_in_flight: bool) -> bytes:
    """Return the line of an image; ``dataclasses.asdict`` takes ten times as long."""
    files = [vars(file) for file in image.files]
    fields = {"plate": image.plate, "well": image.well, "files": files}
    return json.dumps({**fields, "in_flight": is_in_flight}).encode("ascii") + b"\n"


def _read(path: Path | None) -> tuple[InFlightImage, ...]:
    """Return the images in the journal at a path, without those in damaged lines."""
    images: dict[Files, InFlightImage] = {}
    with suppress(OSError):
        for line in path.read_bytes().splitlines() if path else ():
            with suppress(ValueError, TypeError, KeyError):
                entry = json.loads(line)
                files = tuple(FileVersion(**file) for file in entry["files"])
                images[files] = InFlightImage(entry["plate"], entry["well"], files)
                if not entry["in_flight"]:
                    del images[files]
    return tuple(images.values())
