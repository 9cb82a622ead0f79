"""Receive file events of the operating system: an event starts a listing early.

A close event also signals that a version of a file is complete. Without events nothing is lost but
time, because the folder is also listed at regular intervals.
"""

import threading
from collections.abc import Callable
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

    def drain(self) -> tuple[bool, set[FileVersion]]:
        """Return and clear the events since the last call: if any came, and completed versions.

        Returns
        -------
        bool
            Whether there was any event.
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
        self._any_event = False
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

    def drain(self) -> tuple[bool, set[FileVersion]]:
        """Return whether any event came since the last call, and the closed or renamed versions."""
        with self._lock:
            any_event, closed = self._any_event, self._closed
            self._any_event, self._closed = False, set()
        return any_event, closed

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
        closed = None
        if isinstance(event, FileClosedEvent | FileMovedEvent):
            path = Path(str(event.dest_path or event.src_path))
            try:
                status = path.stat()
                closed = FileVersion.of(path.relative_to(self._root).as_posix(), status)
            except (OSError, ValueError):  # deleted already, or moved out of the folder
                closed = None
        with self._lock:
            self._any_event = True
            if closed is not None:
                self._closed.add(closed)
        self._wake()
