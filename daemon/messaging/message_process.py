"""Starts, feeds and monitors the process that owns the sockets.

No client can end the main process, because the main process has no socket for clients.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from daemon.alerts import Alerts
from daemon.messaging.serving_process import MessageSettings, ProcessReport, serve_messages
from daemon.messaging.status_snapshot import StatusSnapshot, snapshot_bytes
from schemas.errors import ConfigError, SpheroRankError, StoreError
from schemas.messages import AlertKind

log = structlog.get_logger()

SNAPSHOT_S = 1.0
"""Interval of the snapshots of the status."""
START_S = 60.0
"""Longest start of the process; a usual start takes a second."""
STUCK_S = 60.0
"""The process is ended if it takes no snapshot for this time."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A process that ran for this long is started again after the first pause."""
_CONTEXT = multiprocessing.get_context("spawn")
_CAUSE = "process"


class MessageProcess:
    """The process that publishes messages and answers requests; it is started again if it ends.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.
    """

    def __init__(
        self,
        settings: MessageSettings,
        alerts: Alerts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._snapshot: Callable[[], StatusSnapshot] | None = None
        self._alerts = alerts
        self._clock = clock
        self._pause_s = FIRST_PAUSE_S
        self._start_again_s = clock()
        self._child: _Child | None = _Child(settings, clock)

    def serve(self, snapshot: Callable[[], StatusSnapshot]) -> ProcessReport:
        """Wait until the sockets are open, and let the process serve them; return its report.

        Parameters
        ----------
        snapshot
            Returns the present status; called from a thread of its own every second.

        Raises
        ------
        ConfigError
            If an address cannot be bound.
        SpheroRankError
            If the process ends or does not start in time.
        """
        child = self._child
        if child is None:
            raise AssertionError("serve is called once, after the construction")
        report = child.wait_for_report(START_S)
        if report is None or report.problem:
            self._child = None
            child.kill()
            if report is None:
                raise SpheroRankError(
                    "publisher", f"the process of the sockets did not start: {child.end_text()}"
                )
            kind = ConfigError if report.is_configuration else SpheroRankError
            raise kind(report.where, report.problem)
        self._snapshot = snapshot
        child.feed(snapshot)
        return report

    def poll(self) -> None:
        """Start the process again if it has ended; the main loop calls this in every turn."""
        if self._child is None:
            if self._snapshot is not None and self._clock() >= self._start_again_s:
                self._child = _Child(self._settings, self._clock)
                self._child.feed(self._snapshot)
            return
        if self._child.is_stuck():
            self._child.kill()
        if self._child.has_ended():
            self._plan_next_start(self._child)
            self._child = None
        elif self._child.is_serving():
            self._alerts.clear(AlertKind.MESSAGING, _CAUSE)

    def publish_now(self) -> None:
        """Let the process publish the committed messages at once."""
        if self._child is not None:
            self._child.send_now()

    def stop(self, timeout_s: float) -> None:
        """Let the process publish a stopping message and everything committed, and end.

        Raises
        ------
        SpheroRankError
            If this takes longer than ``timeout_s``, or the process ended before.
        """
        child, self._child = self._child, None
        if child is None or not child.is_fed:
            if child is not None:
                child.kill()
            return
        is_in_time = child.stop(timeout_s)
        if not is_in_time or child.exit_code:
            problem = (
                child.end_text() if is_in_time else f"it did not finish within {timeout_s:g} s"
            )
            raise SpheroRankError(
                "publisher",
                f"the process of the sockets did not publish everything: {problem}; unpublished "
                "messages are published at the next start",
            )

    def _plan_next_start(self, child: "_Child") -> None:
        """Raise an alert, and start the process again after a pause that grows with each end."""
        if child.age_s() > STEADY_S:
            self._pause_s = FIRST_PAUSE_S
        self._start_again_s = self._clock() + self._pause_s
        log.error("messages.process_ended", reason=child.end_text(), pause_s=self._pause_s)
        self._alerts.raise_once(
            AlertKind.MESSAGING,
            _CAUSE,
            "the process that publishes messages and answers requests ended "
            f"({child.end_text()}); it is started again, and no message is lost",
        )
        child.kill()
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class _Child:
    """One started process, with the thread that sends snapshots to it.

    The thread waits while the pipe is full, so that the main loop never does.
    """

    def __init__(self, settings: MessageSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=serve_messages, args=(settings, theirs), name="messages"
        )
        self._process.start()
        theirs.close()
        self._started_s = self._fed_s = clock()
        self._report: ProcessReport | None = None
        self._stopping = threading.Event()
        self._is_wanted = threading.Event()  # the next snapshot, before its time
        self._thread: threading.Thread | None = None

    @property
    def is_fed(self) -> bool:
        """True if the process receives snapshots."""
        return self._thread is not None

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that has ended; a negative number is a signal."""
        return self._process.exitcode

    def age_s(self) -> float:
        """Return the time since the start, in seconds."""
        return self._clock() - self._started_s

    def wait_for_report(self, timeout_s: float) -> ProcessReport | None:
        """Return the report of the process; None if it ends or is silent for ``timeout_s``."""
        with suppress(EOFError, OSError):  # ended, or closed by kill()
            if self._report is None and self._connection.poll(timeout_s):
                self._report = ProcessReport.model_validate_json(self._connection.recv_bytes())
        return self._report

    def is_serving(self) -> bool:
        """Return whether the process has opened its sockets."""
        report = self.wait_for_report(0)
        return report is not None and not report.problem

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        return not self._process.is_alive()

    def is_stuck(self) -> bool:
        """Return whether the process has taken no snapshot for a long time."""
        return self.is_fed and self._clock() - self._fed_s > STUCK_S

    def end_text(self) -> str:
        """Return the reason of the end as text."""
        report = self.wait_for_report(0)
        if report is not None and report.problem:
            return f"{report.where}: {report.problem}"
        code = self.exit_code
        if code is None:
            return f"no answer within {START_S:g} s"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def feed(self, snapshot: Callable[[], StatusSnapshot]) -> None:
        """Start to send snapshots."""
        self._thread = threading.Thread(
            target=self._send_snapshots, args=(snapshot,), name="status-snapshots", daemon=True
        )
        self._thread.start()

    def send_now(self) -> None:
        """Send the next snapshot now; the process then publishes what is committed."""
        self._is_wanted.set()

    def stop(self, timeout_s: float) -> bool:
        """Send the last snapshot and wait for the end; return whether it came in time."""
        self._stopping.set()
        self._is_wanted.set()
        self._process.join(timeout_s)
        is_in_time = self.has_ended()
        self.kill()
        return is_in_time

    def kill(self) -> None:
        """End the process at once if it still runs, and close the pipe."""
        self.wait_for_report(0)  # read before the pipe is closed
        self._stopping.set()
        self._is_wanted.set()
        self._process.kill()
        self._process.join()
        if self._thread is not None:
            self._thread.join()  # its pipe is broken now
        self._connection.close()

    def _send_snapshots(self, snapshot: Callable[[], StatusSnapshot]) -> None:
        while True:
            self._is_wanted.clear()
            is_stopping = self._stopping.is_set()
            try:
                newest = snapshot().model_copy(update={"is_stopping": is_stopping})
                self._connection.send_bytes(snapshot_bytes(newest))
            except StoreError:
                # The process cannot write heartbeats either. It keeps the last snapshot.
                time.sleep(SNAPSHOT_S)
            except OSError:
                return  # it has ended
            else:
                if is_stopping:
                    return
                self._is_wanted.wait(SNAPSHOT_S)
            self._fed_s = self._clock()
