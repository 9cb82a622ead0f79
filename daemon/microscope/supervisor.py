"""The process that drives the microscope, kept alive: started, listened to, ended when it falls silent, started again.

Camera drivers and inference libraries in one process are known to crash each other, so they meet in lines of text only.
"""

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from daemon.alerts import Alerts
from schemas.exit_codes import ExitCode
from schemas.messages import AlertKind, MicroscopeData, MicroscopeState

log = structlog.get_logger()

IN_ORDER = frozenset(
    {ExitCode.DONE, ExitCode.FAILED, ExitCode.WRONG_CONFIGURATION}
)  # exit codes of a process that let go of the microscope itself, with the lamp off
EVENTS_KEPT = (
    10_000  # between two looks; beyond that the oldest are forgotten rather than the memory filled
)
LONGEST_LINE = 65_536  # bytes
TROUBLE = frozenset({"well.failed", "plate.missed"})  # events that are logged as warnings
PIPES_S = 1.0  # so long after its end its pipes are listened to


@dataclass(frozen=True)
class CareLimits:
    """How long the microscope's process is waited for, in seconds."""

    silent_s: float  # without an event, then it is ended
    end_s: float = 10.0  # from SIGTERM to SIGKILL
    close_s: float = 30.0  # the same when the service ends: it may have a well in hand
    lamp_s: float = 60.0  # for switching the lamp off afterwards
    first_pause_s: float = 1.0  # before it is started again; doubled each time
    longest_pause_s: float = 60.0  # … up to this, which is also the pause after a wrong configuration, and the life after which all is well again


class Event(BaseModel):
    """One line of the process: what happened, and to which plate; an alert has kind, cause and message. Other fields go to the log as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    event: str
    plate: str | None = None
    day: int | None = None
    kind: AlertKind = AlertKind.MICROSCOPE
    cause: str = ""
    message: str = ""


class _Child:
    """A process whose pipes two threads always drain, so that it never waits for us. It is told that we are gone by the end of its stdin."""

    def __init__(self, command: Sequence[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ended_s: float | None = None
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.last_words = ""  # the last line on its stderr
        self.started_s = self.heard_s = clock()
        # A session of its own: Ctrl-C in a terminal is for the service, which then ends this process in good order.
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=_drain, args=(pipe, take), name="microscope", daemon=True)
            for pipe, take in (
                (self.process.stdout, self._take_event),
                (self.process.stderr, self._take_words),
            )
        ]
        for thread in self._threads:
            thread.start()

    def has_ended(self) -> bool:
        """Whether it ended, and all it said is heard: but a process that it left behind may hold its pipes for ever."""
        if self.process.poll() is None:
            return False
        if self._ended_s is None:
            self._ended_s = self._clock()
        return self._clock() - self._ended_s >= PIPES_S or not any(
            thread.is_alive() for thread in self._threads
        )

    def end(self, patience_s: float) -> None:
        """Ask it to end, wait, end it."""
        self.process.terminate()
        self.wait(patience_s)

    def wait(self, patience_s: float) -> None:
        """Wait for its end and its last words; end it when patience does."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for thread in self._threads:
            thread.join(PIPES_S)

    def let_go(self) -> int:
        """Return the exit code of a process that ended."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait()

    def _take_event(self, line: str) -> None:
        try:
            event = Event.model_validate_json(line)
        except ValidationError:
            self._take_words(line)  # a driver's own print
        else:
            self.heard_s = self._clock()
            self.events.append(event)

    def _take_words(self, line: str) -> None:
        self.last_words = line or self.last_words
        with suppress(OSError, ValueError):  # our own stderr may be gone
            sys.stderr.write(f"{line}\n")


def _drain(pipe: IO[bytes], take: Callable[[str], None]) -> None:
    with pipe:
        while line := pipe.readline(LONGEST_LINE):
            take(line.decode(errors="replace").rstrip())


class MicroscopeCare:
    """Looks after the microscope's process. :meth:`look` is called by the service's loop and never waits.

    Parameters
    ----------
    command
        The process: it writes one JSON object a line on stdout (``{"event": "tick"}`` when there is nothing else to say), ends in good order on SIGTERM
        or at the end of its stdin, and with exit code 78 if the configuration is wrong.
    lamp_off
        Switches the lamp off, whatever state the process was in when it ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        lamp_off: Sequence[str],
        alerts: Alerts,
        limits: CareLimits,
        clock: Callable[[], float],
    ) -> None:
        self._command = command
        self._lamp_off = lamp_off
        self._alerts = alerts
        self._limits = limits
        self._clock = clock
        self._child: _Child | None = None
        self._lamp: _Child | None = None  # the process that switches the lamp off
        self._ending_since_s: float | None = None  # since SIGTERM was sent
        self._start_at_s = clock()
        self._pause_s = limits.first_pause_s
        self._life = 0  # how often it was started
        self._raised: dict[
            tuple[AlertKind, str], int
        ] = {}  # alerts, with the life in which they were raised last
        self._data = MicroscopeData(state=MicroscopeState.STARTING)

    def status(self) -> MicroscopeData:
        """Return what the heartbeat says of the microscope. Safe from any thread."""
        return self._data

    def look(self) -> None:
        """Take note of what the process said, and start, end or kill it if that is due."""
        if self._lamp is not None:
            self._watch_lamp(self._lamp)
        elif self._child is None:
            if self._clock() >= self._start_at_s:
                self._start()
        else:
            ended = (
                self._child.has_ended()
            )  # asked first: all that it said is then there to be heard
            self._hear(self._child)
            if ended:
                self._after(self._child.let_go(), self._child.last_words)
            else:
                self._watch(self._child)

    def close(self) -> None:
        """End the process in good order, else by force, and leave the lamp off. Waits; safe to call twice."""
        if self._child is not None:
            self._child.end(self._limits.close_s)
            self._hear(self._child)
            code = self._child.let_go()
            self._child = None
            log.info("microscope.stopped", exit_code=code)
            self._switch_lamp_off(code)
        if self._lamp is not None:
            self._lamp.wait(self._limits.lamp_s)
            self._after_lamp(self._lamp)

    def _start(self) -> None:
        self._life += 1
        self._data = MicroscopeData(state=MicroscopeState.STARTING)
        self._ending_since_s = None
        try:
            self._child = _Child(self._command, self._clock)
        except OSError as error:
            self._pause("start", f"the microscope's process cannot be started: {error}")
            return
        log.info("microscope.started", pid=self._child.process.pid, life=self._life)

    def _watch(self, child: _Child) -> None:
        now_s = self._clock()
        if self._ending_since_s is not None:
            if now_s - self._ending_since_s >= self._limits.end_s:
                child.process.kill()
        elif now_s - child.heard_s >= self._limits.silent_s:
            self._alert(
                "silent",
                f"the microscope's process said nothing for {self._limits.silent_s:g} s; it is ended, the lamp switched off, and it is started again",
            )
            child.process.terminate()
            self._ending_since_s = now_s
        elif now_s - child.started_s >= self._limits.longest_pause_s:
            self._all_is_well()

    def _after(self, code: int, last_words: str) -> None:
        """Pause after the process ended, with the lamp off."""
        self._child = None
        said = f": {last_words}" if last_words else ""
        if code == ExitCode.WRONG_CONFIGURATION:
            self._pause_s = self._limits.longest_pause_s
        if self._ending_since_s is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._pause(f"exit code {code}", f"the microscope's process {how}{said}")
        else:
            self._pause("silent", f"the microscope's process was ended because it was silent{said}")
        self._switch_lamp_off(code)

    def _pause(self, cause: str, message: str) -> None:
        pause_s = self._pause_s
        log.warning("microscope.ended", reason=message, pause_s=pause_s)
        self._alert(cause, f"{message}; it is started again in {pause_s:g} s")
        self._data = MicroscopeData(state=MicroscopeState.RESTARTING)
        self._start_at_s = self._clock() + pause_s
        self._pause_s = min(2 * pause_s, self._limits.longest_pause_s)

    def _all_is_well(self) -> None:
        """Take note of a life that lasts: what was wrong in the ones before went away, unless it was said again."""
        self._pause_s = self._limits.first_pause_s
        for (kind, cause), life in list(self._raised.items()):
            if life < self._life:
                self._clear(kind, cause)

    def _switch_lamp_off(self, code: int) -> None:
        """Switch the lamp off after an end that may have left it on."""
        if code in IN_ORDER:
            return
        try:
            self._lamp = _Child(self._lamp_off, self._clock)
        except OSError as error:
            self._alert(
                "lamp", f"the lamp may be on: what switches it off cannot be started: {error}"
            )

    def _watch_lamp(self, lamp: _Child) -> None:
        if lamp.has_ended():
            self._after_lamp(lamp)
        elif self._clock() - lamp.started_s >= self._limits.lamp_s:
            lamp.process.kill()

    def _after_lamp(self, lamp: _Child) -> None:
        self._lamp = None
        code = lamp.let_go()
        if code == 0:
            self._clear(AlertKind.MICROSCOPE, "lamp")
            log.info("microscope.lamp_off")
        else:
            self._alert(
                "lamp",
                f"the lamp may be on: switching it off ended with exit code {code}: {lamp.last_words}",
            )

    def _hear(self, child: _Child) -> None:
        while child.events:
            said = child.events.popleft()
            match said.event:
                case "tick":
                    pass
                case "alert":
                    self._raise(said.kind, said.cause, said.message, said.plate)
                case "alert.cleared":
                    self._clear(said.kind, said.cause)
                case name:
                    say = log.warning if name in TROUBLE else log.info
                    say(
                        name,
                        **said.model_dump(
                            mode="json", exclude_unset=True, exclude={"event", "level", "timestamp"}
                        ),
                    )
            self._data = _seen(self._data, said)

    def _alert(self, cause: str, message: str) -> None:
        self._raise(AlertKind.MICROSCOPE, cause, message, None)

    def _raise(self, kind: AlertKind, cause: str, message: str, plate: str | None) -> None:
        self._raised[kind, cause] = self._life
        self._alerts.raise_once(kind, cause, message, plate)

    def _clear(self, kind: AlertKind, cause: str) -> None:
        self._raised.pop((kind, cause), None)
        self._alerts.clear(kind, cause)


def _seen(before: MicroscopeData, said: Event) -> MicroscopeData:
    """Return the state after an event."""
    match said.event:
        case "day.started" | "well.saved" | "well.failed":
            return MicroscopeData(state=MicroscopeState.IMAGING, plate=said.plate, day=said.day)
        case "day.done":
            return MicroscopeData(state=MicroscopeState.IDLE)
        case _:
            return (
                MicroscopeData(state=MicroscopeState.IDLE)
                if before.state is MicroscopeState.STARTING
                else before
            )
