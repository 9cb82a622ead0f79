"""Logging to daily files of JSON lines and to standard error; installed only in this module."""

import json
import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog


class DailyJsonLines:
    """A structlog processor that appends each event to ``<folder>/<UTC date>.jsonl``.

    A file that cannot be written (disk full, missing folder) never stops the service: the event
    still reaches standard error, and the reason is printed once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._failing = False

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Append an event to the file of its date, and return the event unchanged."""
        first = {key: event[key] for key in ("timestamp", "level", "event")}
        line = json.dumps(first | dict(event), default=str, ensure_ascii=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{event['timestamp'][:10]}.jsonl").open(
                "a", encoding="utf-8"
            ) as file:
                file.write(line + "\n")
            self._failing = False
        except OSError as error:
            if not self._failing:
                sys.stderr.write(
                    f"{self._folder}: the log cannot be written: {error}; expected a writable "
                    f"folder\n"
                )
            self._failing = True
        return event


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
        processors=[*processors, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
