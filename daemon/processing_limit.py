"""End the process if one image is processed for too long, so that a supervisor starts it again.

The image is in the journal of images in flight. The next start examines it in a child process.
"""

import faulthandler
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from schemas.exit_codes import ExitCode
from schemas.well_image import FileVersion

log = structlog.get_logger()

STDERR_FD = 2
LAST_RESORT_S = 10.0
"""Time after which the process ends without a log line: native code lets no Python code run."""


@dataclass(frozen=True)
class ProcessingLimit:
    """The longest processing of one well image.

    Parameters
    ----------
    limit_s
        Time after which the process ends with the exit code of a stall.
    last_resort_s
        Further time, after which a thread that needs no Python ends the process with code 1.
    """

    limit_s: float
    last_resort_s: float = LAST_RESORT_S

    @contextmanager
    def of(self, files: Sequence[FileVersion]) -> Iterator[None]:
        """Context manager in which one well image is processed, given its files."""
        timer = threading.Timer(self.limit_s, self._end_process, [[file.path for file in files]])
        timer.daemon = True
        timer.start()
        faulthandler.dump_traceback_later(
            self.limit_s + self.last_resort_s, exit=True, file=STDERR_FD
        )
        try:
            yield
        finally:
            timer.cancel()
            faulthandler.cancel_dump_traceback_later()

    def _end_process(self, paths: list[str]) -> None:
        log.error(
            "image.hangs",
            files=paths,
            limit_s=self.limit_s,
            then="the process ends; the next start examines the image in a child process",
        )
        os._exit(ExitCode.STALLED)
