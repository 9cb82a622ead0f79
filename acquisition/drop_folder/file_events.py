"""File events: they only wake the listing early, and tell which version of a file its writer has closed."""

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
    """Tells when something happened in a folder. Without it nothing is lost but time."""

    def start(self, root: Path, wake: Callable[[], None]) -> None:
        """Watch ``root``, anew if it was watched before; ``wake`` is called from another thread."""
        ...

    def drain(self) -> tuple[bool, set[FileVersion]]:
        """Return whether anything happened since the last call, and the versions of files that were closed or renamed into place."""
        ...

    def stop(self) -> None:
        """Stop watching. Safe to call twice."""
        ...


class WatchdogEvents(FileSystemEventHandler):
    """The operating system's events. Where they do not come (network shares, too many watches) one line in the log says so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stirred = False
        self._closed: set[FileVersion] = set()
        self._observer: BaseObserver | None = None
        self._root = Path()
        self._wake: Callable[[], None] = lambda: None

    def start(self, root: Path, wake: Callable[[], None]) -> None:
        """Watch ``root``, anew if it was watched before."""
        self.stop()
        self._root, self._wake = root, wake
        try:
            self._observer = Observer()
            # Without the filter our own reading would wake us: opening and closing for reading are events too.
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
        """Return whether anything happened since the last call, and the versions that were closed or renamed into place."""
        with self._lock:
            stirred, closed = self._stirred, self._closed
            self._stirred, self._closed = False, set()
        return stirred, closed

    def stop(self) -> None:
        """Stop watching."""
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join()
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take note, on the observer's thread. A closed file is noted as it is now: if it changes later, the note is about a version that is gone."""
        closed = None
        if isinstance(event, FileClosedEvent | FileMovedEvent):
            path = Path(str(event.dest_path or event.src_path))
            try:
                status = path.stat()
                closed = FileVersion(
                    path.relative_to(self._root).as_posix(), status.st_size, status.st_mtime_ns
                )
            except (OSError, ValueError):  # gone already, or moved out of the folder
                closed = None
        with self._lock:
            self._stirred = True
            if closed is not None:
                self._closed.add(closed)
        self._wake()
