"""Journal of the files that are being read or processed, for the process after a crash."""

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from schemas.portable_files import replace_file
from schemas.well_image import FileVersion

log = structlog.get_logger()

Files = tuple[FileVersion, ...]


@dataclass(frozen=True)
class InFlightImage:
    """The files of one well image that is being read or processed."""

    plate: str
    well: str
    files: Files


class InFlightJournal:
    """The well images that are being read or processed, in a small file.

    The file is renamed into place and not synced to disk: it survives the end of the process, and
    after a power cut an older state is harmless. If it cannot be written, the service
    works without it. Any thread may call it.

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
        self._is_written = True
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Record that the process ends as intended, unless an exception ends it."""
        if error_type is None:
            with self._lock:
                self._images.clear()
                self._write()

    def add(self, plate: str, well: str, files: Sequence[FileVersion]) -> None:
        """Record that the reading of a well image starts."""
        with self._lock:
            self._images[tuple(files)] = InFlightImage(plate, well, tuple(files))
            self._write()

    def remove(self, files: Sequence[FileVersion]) -> None:
        """Record that a well image is neither read nor processed any more."""
        with self._lock:
            if self._images.pop(tuple(files), None):
                self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        temporary = self._path.with_name(f"{self._path.name}.part")
        try:
            content = json.dumps([*map(_as_json, self._images.values())])
            temporary.write_text(content, encoding="ascii")
            replace_file(temporary, self._path)
            self._is_written = True
        except OSError as error:
            if self._is_written:
                log.warning("in_flight.not_written", path=str(self._path), reason=error.strerror)
            self._is_written = False


def _as_json(image: InFlightImage) -> dict[str, object]:
    """Return an image as values of JSON; ``dataclasses.asdict`` takes ten times as long."""
    files = [vars(file) for file in image.files]
    return {"plate": image.plate, "well": image.well, "files": files}


def _read(path: Path | None) -> tuple[InFlightImage, ...]:
    """Return the images in the journal at a path; an empty tuple if it is missing or damaged."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        return tuple(
            InFlightImage(
                image["plate"],
                image["well"],
                tuple(FileVersion(**file) for file in image["files"]),
            )
            for image in json.loads(path.read_bytes() if path else "[]")
        )
    return ()
