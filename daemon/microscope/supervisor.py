"""Supervise the process that drives the microscope: start it, handle its events, restart it.

Camera drivers and inference libraries in one process are known to crash each other. The service
therefore runs the drivers in a process of their own and exchanges only lines of text with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from daemon.alerts import Alerts
from daemon.microscope.supervised_process import ProcessEvent, SupervisedProcess
from schemas.exit_codes import ExitCode
from schemas.messages import AlertKind, MicroscopeData, MicroscopeState

log = structlog.get_logger()

CLEAN_EXIT_CODES = frozenset({ExitCode.DONE, ExitCode.FAILED, ExitCode.WRONG_CONFIGURATION})
"""Exit codes of a process that switched the lamp off and closed the microscope itself."""

WARNING_EVENTS = frozenset(
    {
        "well.failed",
        "well.repeated",
        "autofocus.failed",
        "focus.not_found",
        "mosaic.failed",
        "plate.missed",
        "day.ended",
        "day.halted",
    }
)
"""Events that are logged as warnings."""


@dataclass(frozen=True)
class SupervisorLimits:
    """Time limits of the supervision, in seconds."""

    silent_s: float  # without an event; then the process is ended
    end_s: float = 10.0  # from SIGTERM to SIGKILL
    close_s: float = 30.0  # from SIGTERM to SIGKILL when the service ends; a well may be unfinished
    lamp_s: float = 60.0  # for the command that switches the lamp off
    first_pause_s: float = 1.0  # before a restart; doubled after each further end
    # The longest pause before a restart, also the pause after a wrong configuration, and the
    # lifetime after which a process is healthy.
    longest_pause_s: float = 60.0


class MicroscopeSupervisor:
    """Keeps the process that drives the microscope alive, and the lamp off while it is not.

    The main loop of the service calls :meth:`poll` regularly; it never waits.

    Parameters
    ----------
    command
        The process. It writes one JSON object per line to stdout, at least ``{"event": "tick"}``
        every few seconds. It ends on SIGTERM and at the end of stdin, with exit code 78 if the
        configuration is wrong.
    lamp_off
        The command that switches the lamp off after a process that did not do so itself.
    publish_progress
        Is called with each event of the process other than a tick or an alert.
    clock
        Returns the current time in seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        lamp_off: Sequence[str],
        alerts: Alerts,
        publish_progress: Callable[[ProcessEvent], None],
        limits: SupervisorLimits,
        clock: Callable[[], float],
    ) -> None:
        self._command = command
        self._lamp_off_command = lamp_off
        self._alerts = alerts
        self._publish_progress = publish_progress
        self._limits = limits
        self._clock = clock
        self._process: SupervisedProcess | None = None
        self._lamp_process: SupervisedProcess | None = None  # switches the lamp off
        self._terminated_s: float | None = None  # when SIGTERM was sent
        self._start_at_s = clock()
        self._pause_s = limits.first_pause_s
        self._activity = ""  # that the process reported last
        self._starts = 0  # how often the process was started
        self._raised: dict[tuple[AlertKind, str], int] = {}  # active alerts: start of the last one
        self._data = MicroscopeData(state=MicroscopeState.STARTING)

    def status(self) -> MicroscopeData:
        """Return the microscope's state as MicroscopeData; safe from any thread."""
        return self._data

    def poll(self) -> None:
        """Handle new events of the process; start, end or kill the process if that is due."""
        if self._lamp_process is not None:
            self._poll_lamp(self._lamp_process)
        elif self._process is None:
            if self._clock() >= self._start_at_s:
                self._start()
        else:
            ended = self._process.has_ended()  # before the events are read, so that none is missed
            self._handle_events(self._process)
            if ended:
                self._handle_end(self._process.close(), self._process.last_line)
            else:
                self._check_process(self._process)

    def close(self) -> None:
        """End the process and wait until the lamp is off; safe to call twice."""
        if self._process is not None:
            self._process.terminate(self._limits.close_s)
            self._handle_events(self._process)
            code = self._process.close()
            self._process = None
            log.info("microscope.stopped", exit_code=code)
            self._switch_lamp_off(code)
        if self._lamp_process is not None:
            self._lamp_process.wait(self._limits.lamp_s)
            self._handle_lamp_end(self._lamp_process)

    def _start(self) -> None:
        """Start the process, or pause if it cannot be started."""
        self._starts += 1
        self._data = MicroscopeData(state=MicroscopeState.STARTING)
        self._terminated_s = None
        self._activity = ""
        try:
            self._process = SupervisedProcess(self._command, self._clock)
        except OSError as error:
            self._pause("start", f"the imaging process cannot be started: {error}")
            return
        log.info("microscope.started", pid=self._process.process.pid, life=self._starts)

    def _check_process(self, process: SupervisedProcess) -> None:
        """End a silent process, kill one that does not end, reset the pause of a healthy one."""
        now_s = self._clock()
        if self._terminated_s is not None:
            if now_s - self._terminated_s >= self._limits.end_s:
                process.process.kill()
        elif now_s - process.last_event_s >= self._limits.silent_s:
            self._alert(
                "silent",
                f"the imaging process reported nothing for {self._limits.silent_s:g} s"
                f"{f', its last activity: {self._activity}' if self._activity else ''}; "
                "it is ended, the lamp is switched off, and it is restarted",
            )
            process.process.terminate()
            self._terminated_s = now_s
        elif now_s - process.started_s >= self._limits.longest_pause_s:
            self._reset_after_healthy_run()

    def _handle_end(self, code: int, last_line: str) -> None:
        """Schedule the restart of a process that has ended, and switch the lamp off."""
        self._process = None
        details = f": {last_line}" if last_line else ""
        if code == ExitCode.WRONG_CONFIGURATION:
            self._pause_s = self._limits.longest_pause_s
        if self._terminated_s is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._pause(f"exit code {code}", f"the imaging process {how}{details}")
        else:
            message = f"the imaging process was ended because it was silent{details}"
            self._pause("silent", message)
        self._switch_lamp_off(code)

    def _pause(self, cause: str, message: str) -> None:
        """Raise an alert and schedule the next start after a pause that doubles each time."""
        pause_s = self._pause_s
        log.warning("microscope.ended", reason=message, pause_s=pause_s)
        self._alert(cause, f"{message}; it is restarted in {pause_s:g} s")
        self._data = MicroscopeData(state=MicroscopeState.RESTARTING)
        self._start_at_s = self._clock() + pause_s
        self._pause_s = min(2 * pause_s, self._limits.longest_pause_s)

    def _reset_after_healthy_run(self) -> None:
        """Reset the pause, and clear alerts that the present process has not raised again."""
        self._pause_s = self._limits.first_pause_s
        for (kind, cause), start in list(self._raised.items()):
            if start < self._starts:
                self._clear(kind, cause)

    def _switch_lamp_off(self, code: int) -> None:
        """Start the command that switches the lamp off, unless the exit code says that it is."""
        if code in CLEAN_EXIT_CODES:
            return
        try:
            self._lamp_process = SupervisedProcess(self._lamp_off_command, self._clock)
        except OSError as error:
            self._alert(
                "lamp",
                f"the lamp may be on: the command that switches it off cannot be started: {error}",
            )

    def _poll_lamp(self, lamp: SupervisedProcess) -> None:
        """Handle the end of the lamp command; kill the command if it takes too long."""
        if lamp.has_ended():
            self._handle_lamp_end(lamp)
        elif self._clock() - lamp.started_s >= self._limits.lamp_s:
            lamp.process.kill()

    def _handle_lamp_end(self, lamp: SupervisedProcess) -> None:
        """Raise or clear the alert that the lamp may be on."""
        self._lamp_process = None
        code = lamp.close()
        if code == 0:
            self._clear(AlertKind.MICROSCOPE, "lamp")
            log.info("microscope.lamp_off")
        else:
            self._alert(
                "lamp",
                "the lamp may be on: the command that switches it off "
                f"ended with exit code {code}: {lamp.last_line}",
            )

    def _handle_events(self, process: SupervisedProcess) -> None:
        """Raise and clear alerts, log the other events, and update the status."""
        while process.events:
            event = process.events.popleft()
            match event.event:
                case "tick":
                    self._activity = event.activity
                case "alert":
                    self._raise(event.kind, event.cause, event.message, event.plate)
                case "alert.cleared":
                    self._clear(event.kind, event.cause)
                case name:
                    write = log.warning if name in WARNING_EVENTS else log.info
                    fields = event.model_dump(
                        mode="json", exclude_unset=True, exclude={"event", "level", "timestamp"}
                    )
                    write(name, **fields)
                    self._publish_progress(event)
            self._data = _state_after(self._data, event)

    def _alert(self, cause: str, message: str) -> None:
        """Raise an alert about the imaging process itself."""
        self._raise(AlertKind.MICROSCOPE, cause, message, None)

    def _raise(self, kind: AlertKind, cause: str, message: str, plate: str | None) -> None:
        """Raise an alert and record the present start of the process as its origin."""
        self._raised[kind, cause] = self._starts
        self._alerts.raise_once(kind, cause, message, plate)

    def _clear(self, kind: AlertKind, cause: str) -> None:
        """Clear an alert of the imaging process."""
        self._raised.pop((kind, cause), None)
        self._alerts.clear(kind, cause)


def _state_after(before: MicroscopeData, event: ProcessEvent) -> MicroscopeData:
    """Return the state of the microscope after an event of its process."""
    match event.event:
        case "day.started" | "well.saved" | "well.failed" | "well.repeated":
            return _data(MicroscopeState.IMAGING, event)
        case "imaging.paused":
            return _data(MicroscopeState.PAUSED, event)
        case "imaging.resumed":
            if event.wells_total is None:  # between two jobs
                return MicroscopeData(state=MicroscopeState.IDLE)
            return _data(MicroscopeState.IMAGING, event).model_copy(update={"paused_since": None})
        case "day.done" | "day.aborted" | "day.ended" | "day.halted":
            return MicroscopeData(state=MicroscopeState.IDLE)
        case _:
            return (
                MicroscopeData(state=MicroscopeState.IDLE)
                if before.state is MicroscopeState.STARTING
                else before
            )


def _data(state: MicroscopeState, event: ProcessEvent) -> MicroscopeData:
    """Return a state of the microscope with the plate and progress of an event."""
    return MicroscopeData(
        state=state,
        plate=event.plate,
        day=event.day,
        wells_saved=event.wells_saved,
        wells_total=event.wells_total,
        remaining_s=event.remaining_s,
        paused_since=event.paused_since,
    )
