"""Logging to daily files of JSON lines and to standard error; installed only in this module."""

import errno
import json
import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from daemon.config import journal_stream
from schemas.ids import printable_json, printable_lines

_DAILY_FILE = re.compile(r"\d{4}-\d{2}-\d{2}\.jsonl")
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Priority of each level in the journal of systemd, as in syslog (sd-daemon(3))."""


class DailyJsonLines:
    """A structlog processor that appends each event to ``<folder>/<UTC date>.jsonl``.

    A file that cannot be written (disk full, missing folder) never stops the service: the event
    still reaches standard error, and the reason is printed once. When the file can be written
    again, the event ``log.lines_missed`` has the number of the events that are missing in it.

    Parameters
    ----------
    folder
        The folder of the daily files.
    keep_days
        Daily files older than this number of days are deleted when the date changes. The newest
        ``keep_days`` files are kept whatever their date, because the clock may be wrong.
    """

    def __init__(self, folder: Path, keep_days: int) -> None:
        self._folder = folder
        self._keep_days = keep_days
        self._pruned_on = ""  # the date at which old files were deleted last
        self._missed = 0

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Append an event to the file of its date, and return the event unchanged."""
        first = {key: event[key] for key in ("timestamp", "level", "event")}
        lines = [first | dict(event)]
        if self._missed:
            report = first | {"event": "log.lines_missed", "level": "warning"}
            lines.insert(0, report | {"lines": self._missed})
        text = "".join(_json_line(line) for line in lines)
        today = event["timestamp"][:10]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._append(self._folder / f"{today}.jsonl", text.encode())
            if today != self._pruned_on:
                self._pruned_on = today
                self._delete_old(date.fromisoformat(today))
            self._missed = 0
        except OSError as error:
            if not self._missed:
                STDERR.write(
                    f"{self._folder}: the log cannot be written: {error}; expected a writable "
                    f"folder\n"
                )
            self._missed += 1
        return event

    def _delete_old(self, today: date) -> None:
        """Delete the daily files that are too old; a file that cannot be deleted is kept."""
        names = sorted(
            entry.name for entry in self._folder.iterdir() if _DAILY_FILE.fullmatch(entry.name)
        )
        oldest = f"{today - timedelta(days=self._keep_days)}.jsonl"
        for name in names[: -self._keep_days]:
            if name < oldest:
                with suppress(OSError):
                    (self._folder / name).unlink()

    @staticmethod
    def _append(path: Path, content: bytes) -> None:
        """Append all bytes to a file, or none of them and raise OSError."""
        with path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if file.write(content) != len(content):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _json_line(event: Mapping[str, Any]) -> str:
    return printable_json(json.dumps(event, default=str, ensure_ascii=False)) + "\n"


class _SafeStderr:
    """Standard error that loses text without an exception if it cannot be written.

    It may be a file on a full disk, or a pipe whose reader has ended.
    """

    def write(self, text: str) -> None:
        """Write a text."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


STDERR = _SafeStderr()


def _printable_values(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape line breaks and terminal codes in the texts of an event, for standard error."""
    return {
        key: printable_lines(value.split("\n") if key == "exception" else [value])
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


class JournalLines:
    """A structlog processor that renders an event for the journal of systemd.

    Each line starts with its priority, such as ``<4>``, which the journal reads and removes. The
    journal records the time itself.
    """

    def __init__(self) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        """Return the lines of an event as one text."""
        priority = _PRIORITIES[event["level"]]
        shown = {key: value for key, value in event.items() if key not in ("timestamp", "level")}
        text = self._render(logger, method, shown)
        return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def _is_journal_stderr() -> bool:
    """Return whether the journal of systemd reads the standard error of this process."""
    with suppress(OSError, ValueError):  # no file, or closed
        status = os.fstat(sys.stderr.fileno())
        return journal_stream() == f"{status.st_dev}:{status.st_ino}"
    return False


def install(daily: DailyJsonLines | None, *, level: int = logging.INFO) -> None:
    """Send log events from a level on to standard error and, unless None, to daily files."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if daily is not None:
        processors.append(daily)
    structlog.configure(
        processors=[
            *processors,
            _printable_values,
            JournalLines()
            if _is_journal_stderr()
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", STDERR)),
    )
