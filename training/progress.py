"""Progress of long work: a bar on a terminal, and log lines with the remaining time in a pipe."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from rich.progress import Progress

log = structlog.get_logger()

LOG_EVERY_S = 30.0
"""Time between two log lines in a pipe. The first line comes after the first unit of work."""

Advance = Callable[..., None]
"""Called with the number of units that are done, and optionally a text such as the loss."""


@contextmanager
def show_progress(task: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Context manager that yields a function to report the units of a task that are done.

    On a terminal a bar is shown. In a pipe or file, a line ``progress`` is logged after the first
    unit, then every :data:`LOG_EVERY_S` and after the last one, with the remaining seconds.

    Parameters
    ----------
    task
        Name of the work, such as ``steps``.
    total
        Number of units at the end.
    done
        Number of units that were done earlier, such as before a stop.

    Examples
    --------
    >>> with show_progress("plates", 2) as advance:  # doctest: +SKIP
    ...     advance(1)
    """
    if not sys.stdout.isatty():
        yield LoggedProgress(task, total, done)
        return
    with Progress() as bar:
        shown = bar.add_task(task, total=total, completed=done)

        def advance(units: int, text: str = "") -> None:
            bar.update(shown, completed=units, description=f"{task} {text}".strip())

        yield advance


@dataclass
class LoggedProgress:
    """Log lines of the progress of a task, at most one for each :data:`LOG_EVERY_S`."""

    task: str
    total: int
    done_before: int = 0
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)
    _logged: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Start the measurement of time."""
        self._started = self.clock()

    def __call__(self, units: int, text: str = "") -> None:
        """Log the number of units that are done, if a line is due.

        Parameters
        ----------
        units
            Number of units that are done, with those of ``done_before``.
        text
            Further text of the line, such as the loss.
        """
        now = self.clock()
        if self._logged is not None and now - self._logged < LOG_EVERY_S and units < self.total:
            return
        self._logged = now
        new = max(units - self.done_before, 1)
        log.info(
            "progress",
            task=self.task,
            done=units,
            total=self.total,
            remaining_s=round((now - self._started) / new * (self.total - units)),
            **({"note": text} if text else {}),
        )
