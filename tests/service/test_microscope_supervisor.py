"""The supervisor of the imaging process, with scripts in place of that process."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from structlog.testing import capture_logs

from daemon.alerts import Alerts
from daemon.microscope.acquisition_messages import AcquisitionMessages
from daemon.microscope.supervisor import MicroscopeSupervisor, SupervisorLimits
from schemas.json_schemas import json_schemas
from schemas.messages import AlertKind, MicroscopeData, MicroscopeState
from store.sql_store import SqlStore

LIMITS = SupervisorLimits(
    silent_s=30.0, end_s=0.5, close_s=5.0, lamp_s=5.0, first_pause_s=0.05, longest_pause_s=0.8
)
SHORT_SILENCE = replace(LIMITS, silent_s=1.0)

PREAMBLE = """
import json, os, signal, sys, time
from pathlib import Path
here = Path(__file__).parent
with (here / "pids").open("a") as pids:
    pids.write(f"{os.getpid()}\\n")
start = len((here / "pids").read_text().splitlines())
def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)
"""
TICKS = """
signal.signal(signal.SIGTERM, lambda *_: (here.joinpath("orderly").touch(), os._exit(0)))
while True:
    emit("tick")
    time.sleep(0.05)
"""


class SupervisedScript:
    """A supervisor with a script in place of the imaging process."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.folder = folder
        self.store = store
        self.alerts = Alerts(store, lambda: datetime.now(UTC))
        self.supervisor: MicroscopeSupervisor | None = None

    def supervise(
        self,
        script: str,
        limits: SupervisorLimits = LIMITS,
        *,
        lamp_off: str = "(here / 'lamp').touch()",
    ) -> MicroscopeSupervisor:
        """Return a supervisor of a script, with a second script that switches the lamp off."""
        child, lamp = self.folder / "child.py", self.folder / "lamp_off.py"
        child.write_text(PREAMBLE + script)
        lamp.write_text(
            f"import sys\nfrom pathlib import Path\nhere = Path(__file__).parent\n{lamp_off}\n"
        )
        self.supervisor = MicroscopeSupervisor(
            [sys.executable, "-S", str(child)],
            [sys.executable, "-S", str(lamp)],
            self.alerts,
            AcquisitionMessages(self.store, lambda: datetime.now(UTC)).publish,
            limits,
            time.monotonic,
        )
        return self.supervisor

    def poll_until(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Poll the supervisor until a condition is true; fail after the timeout."""
        assert self.supervisor is not None
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, f"not within {timeout_s:g} s; {self.alert_bodies()}"
            self.supervisor.poll()
            time.sleep(0.01)

    @property
    def pids(self) -> list[int]:
        """The ids of all processes started so far."""
        file = self.folder / "pids"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def lamp_is_off(self) -> bool:
        return (self.folder / "lamp").exists()

    def alert_bodies(self) -> list[str]:
        """Return the JSON texts of all alerts."""
        return [message.body for message in self.store.messages_after(0, "spherorank.v1.alert")]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[SupervisedScript]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    script = SupervisedScript(tmp_path, store)
    yield script
    if script.supervisor is not None:
        script.supervisor.close()
    store.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_events_of_the_process_are_logged_and_change_the_status(script: SupervisedScript) -> None:
    supervisor = script.supervise(
        "emit('day.started', plate='P1', day=7, wells=60)\n"
        "emit('well.saved', plate='P1', day=7, well='B02', event_id=3)\n"
        "print('a driver prints what it likes', flush=True)\n"
        "emit('well.failed', plate='P1', day=7, well='B03', problem='too slow')\n" + TICKS
    )
    with capture_logs() as logged:
        script.poll_until(lambda: any(line["event"] == "well.failed" for line in logged))
    assert {
        "event": "well.saved",
        "log_level": "info",
        "plate": "P1",
        "day": 7,
        "well": "B02",
        "event_id": 3,
    } in logged
    assert {
        "event": "well.failed",
        "log_level": "warning",
        "plate": "P1",
        "day": 7,
        "well": "B03",
        "problem": "too slow",
    } in logged
    assert supervisor.status() == MicroscopeData(state=MicroscopeState.IMAGING, plate="P1", day=7)


def test_the_status_is_idle_after_a_completed_day(script: SupervisedScript) -> None:
    supervisor = script.supervise(
        "emit('day.started', plate='P1', day=7)\nemit('day.done', plate='P1', day=7)\n" + TICKS
    )
    assert supervisor.status().state is MicroscopeState.STARTING
    script.poll_until(lambda: supervisor.status().state is MicroscopeState.IDLE)


def test_a_pause_of_the_process_changes_the_status_until_it_is_resumed(
    script: SupervisedScript,
) -> None:
    supervisor = script.supervise(
        "emit('imaging.paused', plate='P1', day=7, paused_since='2026-11-16T12:00:00+01:00')\n"
        "while not (here / 'go').exists(): time.sleep(0.01)\n"
        "emit('imaging.resumed', plate='P1', day=7, wells_total=60, "
        "paused_since='2026-11-16T12:00:00+01:00')\n" + TICKS
    )
    script.poll_until(lambda: supervisor.status().state is MicroscopeState.PAUSED)
    assert supervisor.status().paused_since == datetime.fromisoformat("2026-11-16T12:00:00+01:00")
    (script.folder / "go").touch()
    script.poll_until(lambda: supervisor.status().state is MicroscopeState.IMAGING)
    assert supervisor.status().paused_since is None


def test_the_status_keeps_the_number_of_wells_when_a_further_channel_is_saved(
    script: SupervisedScript,
) -> None:
    supervisor = script.supervise(
        "emit('well.saved', plate='P1', day=7, well='B02', wells_saved=1, wells_total=60)\n"
        "emit('channel.saved', plate='P1', day=7, well='B02', channel='calcein')\n"
        "emit('alert', kind='microscope', cause='end', message='both are read')\n" + TICKS
    )
    script.poll_until(lambda: any("both are read" in text for text in script.alert_bodies()))
    assert (supervisor.status().wells_saved, supervisor.status().wells_total) == (1, 60)


def test_the_progress_of_the_process_is_published_with_its_own_time(
    script: SupervisedScript,
) -> None:
    script.supervise(
        "emit('day.started', plate='P 1', day=7, reason='due', wells_saved=0, wells_total=2, "
        "remaining_s=None, at='2026-11-16T12:00:00+01:00', wells=2)\n"
        "emit('focus.not_found', well='B02', taken_um=3000.0)\n"
        "emit('well.saved', plate='P 1', day=7, well='B02', file='/a/B02.ome.tif', z_um=3000.0, "
        "focus_found=False, wells_saved=1, wells_total=2, remaining_s=4.5)\n"
        "emit('well.failed', plate='P 1', day=7, well='B03', problem='too slow')\n"
        "emit('well.repeated', plate='P 1', day=7, well='B02', problem='shows B03', "
        "was_saved=True, wells_saved=0, wells_total=2)\n"
        "emit('day.done', plate='P 1', day=7, saved=1, given_up=['B03'])\n" + TICKS
    )

    def messages() -> list[dict[str, Any]]:
        found = script.store.messages_after(0, "spherorank.v1.acquisition.P_1")
        return [json.loads(message.body) for message in found]

    script.poll_until(lambda: len(messages()) == 5)
    for message in messages():
        jsonschema.validate(message, json_schemas()["acquisition.json"])
    started, saved, failed, repeated, done = (message["data"] for message in messages())
    assert messages()[0]["time"] == "2026-11-16T11:00:00Z"
    assert (started["step"], started["plate"], started["wells_total"]) == ("started", "P 1", 2)
    assert (saved["step"], saved["focus_found"], saved["remaining_s"]) == ("well_saved", False, 4.5)
    assert (failed["step"], failed["problem"]) == ("well_failed", "too slow")
    assert (repeated["step"], repeated["well"]) == ("well_repeated", "B02")
    assert (repeated["problem"], repeated["wells_saved"]) == ("shows B03", 0)
    assert (done["step"], done["given_up"]) == ("done", ["B03"])


def test_an_alert_of_the_process_is_raised_once_and_cleared(script: SupervisedScript) -> None:
    alert = (
        "emit('alert', kind='disk', cause='archive', "
        "message='1,000 bytes free; expected 9,000', plate='P1')\n"
    )
    script.supervise(
        alert
        + alert
        + (
            "while not (here / 'go').exists(): time.sleep(0.01)\n"
            "emit('alert.cleared', kind='disk', cause='archive')\n"
        )
        + TICKS
    )
    script.poll_until(lambda: script.alerts.is_active(AlertKind.DISK, "archive"))
    (script.folder / "go").touch()
    script.poll_until(lambda: not script.alerts.is_active(AlertKind.DISK, "archive"))
    (alert,) = script.alert_bodies()
    assert "1,000 bytes free; expected 9,000" in alert


def test_a_process_that_ends_is_restarted_after_growing_pauses_with_an_alert(
    script: SupervisedScript,
) -> None:
    script.supervise("sys.exit('the camera is not connected')")
    with capture_logs() as logged:
        script.poll_until(lambda: len(script.pids) == 4)
    assert [line["pause_s"] for line in logged if line["event"] == "microscope.ended"][:3] == [
        0.05,
        0.1,
        0.2,
    ]
    (alert,) = script.alert_bodies()
    assert "exit code 1: the camera is not connected; it is restarted in 0.05 s" in alert
    assert not script.lamp_is_off  # the process switched the lamp off itself


def test_the_lamp_is_switched_off_after_a_killed_process_before_the_restart(
    script: SupervisedScript,
) -> None:
    script.supervise(
        "if start == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "(here / f'lamp_was_off_{(here / \"lamp\").exists()}').touch()\n" + TICKS
    )
    script.poll_until(lambda: len(script.pids) == 2 and list(script.folder.glob("lamp_was_off_*")))
    assert (script.folder / "lamp_was_off_True").exists()
    assert "killed by signal 9" in script.alert_bodies()[0]


def test_a_lamp_that_cannot_be_switched_off_raises_an_alert(script: SupervisedScript) -> None:
    script.supervise(
        "if start == 1: os.abort()\n" + TICKS, lamp_off="sys.exit('the lamp does not answer')"
    )
    script.poll_until(lambda: len(script.alert_bodies()) == 2)
    assert "the lamp may be on" in script.alert_bodies()[1]
    assert "the lamp does not answer" in script.alert_bodies()[1]


def test_a_silent_process_is_ended_and_restarted(script: SupervisedScript) -> None:
    script.supervise(
        "if start == 1:\n    emit('tick', activity='well B03: stage XY')\n    time.sleep(60)\n"
        + TICKS,
        SHORT_SILENCE,
    )
    script.poll_until(lambda: len(script.pids) == 2)
    assert not is_running(script.pids[0])
    assert script.lamp_is_off
    assert (
        "reported nothing for 1 s, its last activity: well B03: stage XY;"
        in script.alert_bodies()[0]
    )


def test_a_silent_process_that_ignores_sigterm_is_killed(script: SupervisedScript) -> None:
    script.supervise(
        "if start == 1:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(60)\n"
        + TICKS,
        SHORT_SILENCE,
    )
    script.poll_until(lambda: len(script.pids) == 2)
    assert not is_running(script.pids[0])
    assert script.lamp_is_off


def test_a_process_with_a_wrong_configuration_is_restarted_after_the_longest_pause(
    script: SupervisedScript,
) -> None:
    script.supervise(
        "sys.stderr.write('spherorank.toml, key source.micromanager.config: does not exist\\n')\n"
        "sys.exit(78)"
    )
    started = time.monotonic()
    script.poll_until(lambda: len(script.pids) == 2)
    assert time.monotonic() - started >= LIMITS.longest_pause_s
    assert "key source.micromanager.config: does not exist" in script.alert_bodies()[0]
    assert not script.lamp_is_off


def test_a_missing_command_raises_an_alert(script: SupervisedScript, tmp_path: Path) -> None:
    script.supervisor = MicroscopeSupervisor(
        [str(tmp_path / "none")],
        [str(tmp_path / "none")],
        script.alerts,
        lambda _event: None,
        LIMITS,
        time.monotonic,
    )
    script.poll_until(script.alert_bodies)
    assert "cannot be started" in script.alert_bodies()[0]


def test_alerts_of_earlier_processes_are_cleared_by_one_that_keeps_running(
    script: SupervisedScript,
) -> None:
    script.supervise(
        "if start == 1:\n    emit('alert', cause='B02', message='no image of B02')\n"
        "    sys.exit(1)\n" + TICKS
    )
    script.poll_until(lambda: script.alerts.active_count == 2)
    script.poll_until(lambda: script.alerts.active_count == 0)
    assert len(script.pids) == 2


def test_poll_never_waits_and_much_output_never_blocks_the_process(
    script: SupervisedScript,
) -> None:
    supervisor = script.supervise(
        'for number in range(200_000): print(\'{"event": "tick"}\')\n'
        "print('x' * 1_000_000, file=sys.stderr, flush=True)\n"
        "(here / 'through').touch()\n" + TICKS
    )
    supervisor.poll()
    end = time.monotonic() + 30
    # There is no poll in the meantime: the service may be busy with long work.
    while not (script.folder / "through").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    started = time.monotonic()
    supervisor.poll()
    assert time.monotonic() - started < 1.0


def test_closing_ends_the_process_by_sigterm(script: SupervisedScript) -> None:
    supervisor = script.supervise(TICKS)
    script.poll_until(lambda: supervisor.status().state is MicroscopeState.IDLE)
    supervisor.close()
    supervisor.close()
    assert (script.folder / "orderly").exists()
    assert not is_running(script.pids[0])
    assert not script.lamp_is_off
    assert script.alert_bodies() == []


def test_closing_kills_a_process_that_ignores_sigterm_and_switches_the_lamp_off(
    script: SupervisedScript,
) -> None:
    supervisor = script.supervise(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nemit('tick')\ntime.sleep(60)",
        replace(LIMITS, close_s=0.3),
    )
    script.poll_until(lambda: supervisor.status().state is MicroscopeState.IDLE)
    supervisor.close()
    assert not is_running(script.pids[0])
    assert script.lamp_is_off


def test_a_grandchild_that_keeps_the_pipes_open_does_not_delay_the_restart(
    script: SupervisedScript,
) -> None:
    script.supervise(
        "import subprocess\nif start == 1:\n"
        "    subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(4)'])\n"
        "    sys.exit(1)\n" + TICKS
    )
    started = time.monotonic()
    script.poll_until(lambda: len(script.pids) == 2)
    assert time.monotonic() - started < 4


def test_stdin_of_the_process_closes_when_the_service_ends(script: SupervisedScript) -> None:
    """Every end of the service closes the pipe, also SIGKILL; here the test closes it."""
    supervisor = script.supervise(
        "emit('tick')\nsys.stdin.read()\n(here / 'parent_gone').touch()\nos._exit(0)"
    )
    script.poll_until(lambda: supervisor.status().state is MicroscopeState.IDLE)
    assert supervisor._process is not None
    assert supervisor._process.process.stdin is not None
    supervisor._process.process.stdin.close()
    script.poll_until((script.folder / "parent_gone").exists)
