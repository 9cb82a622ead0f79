"""A child process that reports events as JSON lines on its stdout."""

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from schemas.messages import AlertKind

MAX_EVENTS = 10_000  # kept between two polls; older ones are dropped to limit the memory
MAX_LINE_BYTES = 65_536
PIPE_TIMEOUT_S = 1.0  # how long its pipes are read after its end


class ProcessEvent(BaseModel):
    """One event of the process; all its fields are logged.

    Only alerts have kind, cause and message, only ticks have an activity, and only events of
    progress have the last five fields.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    event: str
    plate: str | None = None
    day: int | None = None
    kind: AlertKind = AlertKind.MICROSCOPE
    cause: str = ""
    message: str = ""
    activity: str = ""
    at: AwareDatetime | None = None
    wells_saved: int | None = None
    wells_total: int | None = None
    remaining_s: float | None = None
    paused_since: AwareDatetime | None = None


class SupervisedProcess:
    """A child process whose stdout and stderr are read by two threads.

    The threads keep the pipes empty, so that the process never blocks. Its stdin closes when this
    process ends, however it ends; the child is expected to end then.

    Parameters
    ----------
    clock
        Returns the current time in seconds.
    """

    def __init__(self, command: Sequence[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ended_s: float | None = None
        self._last_line = ""
        self.events: deque[ProcessEvent] = deque(maxlen=MAX_EVENTS)
        self.started_s = self.last_event_s = clock()
        # Its own session: Ctrl-C in a terminal goes to the service, which ends this process.
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(
                target=_read_lines, args=(pipe, handle_line), name="microscope", daemon=True
            )
            for pipe, handle_line in (
                (self.process.stdout, self._add_event),
                (self.process.stderr, self._print_line),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def last_line(self) -> str:
        """The last line that the process printed besides its events."""
        return self._last_line

    def has_ended(self) -> bool:
        """Return whether the process has ended and its output was read.

        A process that it started may keep the pipes open, so they are read for a short time only.
        """
        if self.process.poll() is None:
            return False
        if self._ended_s is None:
            self._ended_s = self._clock()
        return self._clock() - self._ended_s >= PIPE_TIMEOUT_S or not any(
            thread.is_alive() for thread in self._threads
        )

    def terminate(self, timeout_s: float) -> None:
        """Send SIGTERM and wait for the end; send SIGKILL after the timeout."""
        self.process.terminate()
        self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of the process and of its output; send SIGKILL after the timeout."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for thread in self._threads:
            thread.join(PIPE_TIMEOUT_S)

    def close(self) -> int:
        """Close the stdin of a process that has ended and return its exit code."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait()

    def _add_event(self, line: str) -> None:
        """Add an event from a line of stdout; print the line if it is no event."""
        try:
            event = ProcessEvent.model_validate_json(line)
        except ValidationError:  # printed by a driver
            self._print_line(line)
        else:
            self.last_event_s = self._clock()
            self.events.append(event)

    def _print_line(self, line: str) -> None:
        """Print a line of the process on the stderr of this process."""
        self._last_line = line or self._last_line
        with suppress(OSError, ValueError):  # our own stderr may be closed
            sys.stderr.write(f"{line}\n")


def _read_lines(pipe: IO[bytes], handle_line: Callable[[str], None]) -> None:
    """Call a function with each line of a pipe until the pipe closes."""
    with pipe:
        while line := pipe.readline(MAX_LINE_BYTES):
            handle_line(line.decode(errors="replace").rstrip())
