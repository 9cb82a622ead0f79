"""End the process if any image is processed for too long, so that a supervisor starts it again.

The image is in the journal of images in flight. The next start examines it in a child process.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from schemas.exit_codes import ExitCode
from schemas.well_image import FileVersion

log = structlog.get_logger()

STDERR_FD = 2
LAST_RESORT_S = 10.0
"""Time after which the process ends without a log line: native code lets no Python code run."""


@dataclass(frozen=True)
class ProcessingLimit:
    """The longest processing of one well image; several threads may process one each.

    Parameters
    ----------
    limit_s
        Time after which the process ends with the exit code of a stall.
    last_resort_s
        Further time, after which a thread that needs no Python ends the process with code 1.
    """

    limit_s: float
    last_resort_s: float = LAST_RESORT_S
    _ends_s: dict[threading.Timer, float] = field(default_factory=dict)  # the last resorts
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def of(self, files: Sequence[FileVersion]) -> Iterator[None]:
        """Context manager in which one well image is processed, given its files."""
        timer = threading.Timer(self.limit_s, self._end_process, [[file.path for file in files]])
        timer.daemon = True
        timer.start()
        with self._lock:
            self._ends_s[timer] = time.monotonic() + self.limit_s + self.last_resort_s
            self._set_last_resort()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                del self._ends_s[timer]
                self._set_last_resort()

    def _set_last_resort(self) -> None:
        """End the process at the earliest last resort; a process has only one such timer."""
        if not self._ends_s:
            faulthandler.cancel_dump_traceback_later()
            return
        left_s = max(min(self._ends_s.values()) - time.monotonic(), 0.001)
        faulthandler.dump_traceback_later(left_s, exit=True, file=STDERR_FD)

    def _end_process(self, paths: list[str]) -> None:
        log.error(
            "image.hangs",
            files=paths,
            limit_s=self.limit_s,
            then="the process ends; the next start examines the image in a child process",
        )
        os._exit(ExitCode.STALLED)
