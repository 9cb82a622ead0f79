"""Logging to daily files of JSON lines and to standard error; installed only in this module."""

import errno
import json
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from schemas.ids import printable_json, printable_lines


class DailyJsonLines:
    """A structlog processor that appends each event to ``<folder>/<UTC date>.jsonl``.

    A file that cannot be written (disk full, missing folder) never stops the service: the event
    still reaches standard error, and the reason is printed once. When the file can be written
    again, the event ``log.lines_missed`` has the number of the events that are missing in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._append(
                self._folder / f"{event['timestamp'][:10]}.jsonl",
                text.encode(),
            )
            self._missed = 0
        except OSError as error:
            if not self._missed:
                STDERR.write(
                    f"{self._folder}: the log cannot be written: {error}; expected a writable "
                    f"folder\n"
                )
            self._missed += 1
        return event

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


def install(folder: Path | None, *, level: int = logging.INFO) -> None:
    """Send log events to standard error and, unless None, to daily files in ``folder``."""
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if folder is not None:
        processors.append(DailyJsonLines(folder))
    structlog.configure(
        processors=[
            *processors,
            _printable_values,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", STDERR)),
    )
