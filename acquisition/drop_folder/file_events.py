"""Receive file events of the operating system: an event starts a listing early.

A close event also signals that a version of a file is complete. Without events nothing is lost but
time, because the folder is also listed at regular intervals.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from schemas.well_image import FileVersion

log = structlog.get_logger()


class FileEvents(Protocol):
    """A watch on a folder that collects its file events."""

    def start(self, root: Path, wake: Callable[[], None]) -> None:
        """Watch a folder and call ``wake`` from another thread at each event.

        A folder that was watched before is watched no longer.
        """
        ...

    def drain(self) -> tuple[set[str], set[FileVersion]]:
        """Return and clear the events since the last call: their paths, and completed versions.

        Returns
        -------
        set of str
            The path below the folder of each file or folder with an event.
        set of FileVersion
            The versions of files that were closed by their writer or renamed into place.
        """
        ...

    def stop(self) -> None:
        """Stop watching. Safe to call twice."""
        ...


class WatchdogEvents(FileSystemEventHandler):
    """File events of the operating system, by the library watchdog.

    If they are not available (network shares, too many watches), a warning is logged.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._closed: set[FileVersion] = set()
        self._observer: BaseObserver | None = None
        self._root = Path()
        self._wake: Callable[[], None] = lambda: None

    def start(self, root: Path, wake: Callable[[], None]) -> None:
        """Watch a folder and call ``wake`` from the observer thread at each event."""
        self.stop()
        self._root, self._wake = root, wake
        try:
            self._observer = Observer()
            # Reading a file also causes open and close events, which have to be filtered out.
            kinds = [
                FileClosedEvent,
                FileCreatedEvent,
                FileMovedEvent,
                DirCreatedEvent,
                DirMovedEvent,
            ]
            self._observer.schedule(self, root, recursive=True, event_filter=kinds)
            self._observer.start()
        except OSError as error:
            self.stop()
            log.warning(
                "source.events_unavailable",
                path=str(root),
                reason=str(error),
                instead="the listing alone",
            )

    def drain(self) -> tuple[set[str], set[FileVersion]]:
        """Return the paths of the events since the last call, and the completed versions."""
        with self._lock:
            paths, closed = self._paths, self._closed
            self._paths, self._closed = set(), set()
        return paths, closed

    def stop(self) -> None:
        """Stop watching. Safe to call twice."""
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Record an event, on the observer thread.

        For a closed file its present version is recorded. If the file changes later, the record is
        about an earlier version and has no effect.
        """
        path = Path(str(event.dest_path or event.src_path))
        closed = None
        with suppress(OSError, ValueError):  # deleted already, or moved out of the folder
            relative = path.relative_to(self._root).as_posix()
            if isinstance(event, FileClosedEvent | FileMovedEvent):
                closed = FileVersion.of(relative, path.stat())
        with self._lock:
            self._paths.update(
                Path(str(each)).relative_to(self._root).as_posix()
                for each in (event.src_path, event.dest_path)
                if each and Path(str(each)).is_relative_to(self._root)
            )
            self._paths.add("")  # also of an event without a path below the folder
            if closed is not None:
                self._closed.add(closed)
        self._wake()
