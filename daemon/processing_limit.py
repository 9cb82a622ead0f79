"""End the process if any image is processed for too long, so that a supervisor starts it again.

The image is in the journal of images in flight. The next start examines it in a child process.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog

from schemas.exit_codes import ExitCode
from schemas.well_image import FileVersion

log = structlog.get_logger()

STDERR_FD = 2
LAST_RESORT_S = 10.0
"""Time after which the process ends without a log line: native code lets no Python code run."""
CHECK_S = 1.0
"""Longest interval of the checks."""


class ProcessingLimit:
    """The longest processing of one well image; several threads may process one each.

    One thread checks all images. A thread for each image would have to wait for the lock of the
    interpreter at each start.

    Parameters
    ----------
    limit_s
        Time after which the process ends with the exit code of a stall.
    last_resort_s
        Further time, after which a thread that needs no Python ends the process with code 1.
    """

    def __init__(self, limit_s: float, last_resort_s: float = LAST_RESORT_S) -> None:
        self._limit_s = limit_s
        self._last_resort_s = last_resort_s
        self._images: dict[object, tuple[float, Sequence[FileVersion]]] = {}  # end in s, files
        self._changes = threading.Condition()
        self._is_armed = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def of(self, files: Sequence[FileVersion]) -> Iterator[None]:
        """Context manager in which one well image is processed, given its files."""
        image = object()
        with self._changes:
            self._images[image] = time.monotonic() + self._limit_s, files
            if not self._is_armed:
                self._arm()
        try:
            yield
        finally:
            with self._changes:
                del self._images[image]

    def _arm(self) -> None:
        """Set the last resort, and let the thread check the images."""
        self._set_last_resort()
        self._is_armed = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._check, name="limit", daemon=True)
            self._thread.start()
        self._changes.notify()

    def _set_last_resort(self) -> None:
        """End the process unless this is called again in time, as long as Python code can run."""
        limit_s = self._limit_s + self._last_resort_s
        faulthandler.dump_traceback_later(limit_s, exit=True, file=STDERR_FD)

    def _check(self) -> None:
        """End the process if an image is processed for too long; wait while there is no image."""
        interval_s = min(CHECK_S, self._limit_s / 3)
        while True:
            time.sleep(interval_s)
            with self._changes:
                if not self._images:
                    faulthandler.cancel_dump_traceback_later()
                    self._is_armed = False
                    self._changes.wait_for(lambda: self._is_armed)
                    continue
                end_s, files = min(self._images.values(), key=lambda each: each[0])
                self._set_last_resort()
            if time.monotonic() > end_s:
                self._end_process([file.path for file in files])

    def _end_process(self, paths: list[str]) -> None:
        log.error(
            "image.hangs",
            files=paths,
            limit_s=self._limit_s,
            then="the process ends; the next start examines the image in a child process",
        )
        os._exit(ExitCode.STALLED)
