"""The microscope's process under the service's care; small real processes stand for it, and time is short."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.alerts import Alerts
from daemon.microscope.supervisor import CareLimits, MicroscopeCare
from schemas.messages import AlertKind, MicroscopeData, MicroscopeState
from store.sql_store import SqlStore

LIMITS = CareLimits(
    silent_s=30.0, end_s=0.5, close_s=5.0, lamp_s=5.0, first_pause_s=0.05, longest_pause_s=0.8
)
IMPATIENT = replace(LIMITS, silent_s=1.0)

PREAMBLE = """
import json, os, signal, sys, time
from pathlib import Path
here = Path(__file__).parent
with (here / "lives").open("a") as lives:
    lives.write(f"{os.getpid()}\\n")
life = len((here / "lives").read_text().splitlines())
def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)
"""
TICKS = """
signal.signal(signal.SIGTERM, lambda *_: (here.joinpath("orderly").touch(), os._exit(0)))
while True:
    tell("tick")
    time.sleep(0.05)
"""


class SupervisedScript:
    """A care with a script as the microscope's process, and what came of it."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.folder = folder
        self.store = store
        self.alerts = Alerts(store, lambda: datetime.now(UTC))
        self.care: MicroscopeCare | None = None

    def look_after(
        self, script: str, limits: CareLimits = LIMITS, *, lamp_off: str = "(here / 'lamp').touch()"
    ) -> MicroscopeCare:
        child, lamp = self.folder / "child.py", self.folder / "lamp_off.py"
        child.write_text(PREAMBLE + script)
        lamp.write_text(
            f"import sys\nfrom pathlib import Path\nhere = Path(__file__).parent\n{lamp_off}\n"
        )
        self.care = MicroscopeCare(
            [sys.executable, "-S", str(child)],
            [sys.executable, "-S", str(lamp)],
            self.alerts,
            limits,
            time.monotonic,
        )
        return self.care

    def look_until(self, what: Callable[[], object], timeout_s: float = 20.0) -> None:
        assert self.care is not None
        end = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < end, f"waited {timeout_s:g} s in vain; {self.said()}"
            self.care.look()
            time.sleep(0.01)

    @property
    def lives(self) -> list[int]:
        """The process ids of all lives so far."""
        file = self.folder / "lives"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def lamp_is_off(self) -> bool:
        return (self.folder / "lamp").exists()

    def said(self) -> list[str]:
        """Return the alerts that are in the outbox."""
        return [message.body for message in self.store.messages_after(0, "spherorank.v1.alert")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SupervisedScript]:
    store = SqlStore(f"sqlite:///{tmp_path}/store.sqlite")
    made = SupervisedScript(tmp_path, store)
    yield made
    if made.care is not None:
        made.care.close()
    store.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_the_process_says_goes_to_the_log_and_the_status(bench: SupervisedScript) -> None:
    care = bench.look_after(
        "tell('day.started', plate='P1', day=7, wells=60)\ntell('well.saved', plate='P1', day=7, well='B02', event_id=3)\n"
        "print('a driver prints what it likes', flush=True)\ntell('well.failed', plate='P1', day=7, well='B03', problem='too slow')\n"
        + TICKS
    )
    with capture_logs() as logged:
        bench.look_until(lambda: any(line["event"] == "well.failed" for line in logged))
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
    assert care.status() == MicroscopeData(state=MicroscopeState.IMAGING, plate="P1", day=7)


def test_a_process_with_nothing_to_do_is_idle(bench: SupervisedScript) -> None:
    care = bench.look_after(
        "tell('day.started', plate='P1', day=7)\ntell('day.done', plate='P1', day=7)\n" + TICKS
    )
    assert care.status().state is MicroscopeState.STARTING
    bench.look_until(lambda: care.status().state is MicroscopeState.IDLE)


def test_an_alert_of_the_process_is_published_once_and_cleared(bench: SupervisedScript) -> None:
    alert = "tell('alert', kind='disk', cause='archive', message='1,000 bytes free; expected 9,000', plate='P1')\n"
    bench.look_after(
        alert
        + alert
        + "while not (here / 'go').exists(): time.sleep(0.01)\ntell('alert.cleared', kind='disk', cause='archive')\n"
        + TICKS
    )
    bench.look_until(lambda: bench.alerts.stands(AlertKind.DISK, "archive"))
    (bench.folder / "go").touch()
    bench.look_until(lambda: not bench.alerts.stands(AlertKind.DISK, "archive"))
    (said,) = bench.said()
    assert "1,000 bytes free; expected 9,000" in said


def test_a_process_that_dies_is_started_again_ever_later_with_an_alert(
    bench: SupervisedScript,
) -> None:
    bench.look_after("sys.exit('the camera is not connected')")
    with capture_logs() as logged:
        bench.look_until(lambda: len(bench.lives) == 4)
    assert [line["pause_s"] for line in logged if line["event"] == "microscope.ended"][:3] == [
        0.05,
        0.1,
        0.2,
    ]
    (said,) = bench.said()
    assert "exit code 1: the camera is not connected; it is started again in 0.05 s" in said
    assert not bench.lamp_is_off  # a process that ends in order leaves the lamp off itself


def test_a_killed_process_leaves_the_lamp_to_be_switched_off_before_the_next_start(
    bench: SupervisedScript,
) -> None:
    bench.look_after(
        "if life == 1: os.kill(os.getpid(), signal.SIGKILL)\n(here / f'lamp_was_off_{(here / \"lamp\").exists()}').touch()\n"
        + TICKS
    )
    bench.look_until(lambda: len(bench.lives) == 2 and list(bench.folder.glob("lamp_was_off_*")))
    assert (bench.folder / "lamp_was_off_True").exists()
    assert "killed by signal 9" in bench.said()[0]


def test_a_lamp_that_cannot_be_switched_off_is_an_alert(bench: SupervisedScript) -> None:
    bench.look_after(
        "if life == 1: os.abort()\n" + TICKS, lamp_off="sys.exit('the lamp does not answer')"
    )
    bench.look_until(lambda: len(bench.said()) == 2)
    assert "the lamp may be on" in bench.said()[1]
    assert "the lamp does not answer" in bench.said()[1]


def test_a_silent_process_is_ended_and_started_again(bench: SupervisedScript) -> None:
    bench.look_after("if life == 1: time.sleep(60)\n" + TICKS, IMPATIENT)
    bench.look_until(lambda: len(bench.lives) == 2)
    assert not is_running(bench.lives[0])
    assert bench.lamp_is_off
    assert "said nothing for 1 s" in bench.said()[0]


def test_a_silent_process_that_ignores_sigterm_is_killed(bench: SupervisedScript) -> None:
    bench.look_after(
        "if life == 1:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(60)\n"
        + TICKS,
        IMPATIENT,
    )
    bench.look_until(lambda: len(bench.lives) == 2)
    assert not is_running(bench.lives[0])
    assert bench.lamp_is_off


def test_a_wrong_configuration_is_tried_again_after_the_longest_pause_only(
    bench: SupervisedScript,
) -> None:
    bench.look_after(
        "sys.stderr.write('spherorank.toml, key source.micromanager.config: does not exist\\n')\nsys.exit(78)"
    )
    started = time.monotonic()
    bench.look_until(lambda: len(bench.lives) == 2)
    assert time.monotonic() - started >= LIMITS.longest_pause_s
    assert "key source.micromanager.config: does not exist" in bench.said()[0]
    assert not bench.lamp_is_off


def test_a_command_that_does_not_exist_is_an_alert(bench: SupervisedScript, tmp_path: Path) -> None:
    bench.care = MicroscopeCare(
        [str(tmp_path / "none")], [str(tmp_path / "none")], bench.alerts, LIMITS, time.monotonic
    )
    bench.look_until(bench.said)
    assert "cannot be started" in bench.said()[0]


def test_what_was_wrong_in_an_earlier_life_goes_away_with_a_life_that_lasts(
    bench: SupervisedScript,
) -> None:
    bench.look_after(
        "if life == 1:\n    tell('alert', cause='B02', message='no image of B02')\n    sys.exit(1)\n"
        + TICKS
    )
    bench.look_until(lambda: bench.alerts.standing == 2)
    bench.look_until(lambda: bench.alerts.standing == 0)
    assert len(bench.lives) == 2


def test_a_look_never_waits_and_a_flood_never_stops_the_process(bench: SupervisedScript) -> None:
    care = bench.look_after(
        "for number in range(200_000): print('{\"event\": \"tick\"}')\nprint('x' * 1_000_000, file=sys.stderr, flush=True)\n(here / 'through').touch()\n"
        + TICKS
    )
    care.look()
    end = time.monotonic() + 30
    while not (
        bench.folder / "through"
    ).exists():  # nobody looks meanwhile: the service may be at long work
        assert time.monotonic() < end
        time.sleep(0.01)
    started = time.monotonic()
    care.look()
    assert time.monotonic() - started < 1.0


def test_closing_ends_the_process_in_order(bench: SupervisedScript) -> None:
    care = bench.look_after(TICKS)
    bench.look_until(lambda: care.status().state is MicroscopeState.IDLE)
    care.close()
    care.close()
    assert (bench.folder / "orderly").exists()
    assert not is_running(bench.lives[0])
    assert not bench.lamp_is_off
    assert bench.said() == []


def test_closing_kills_a_process_that_ignores_sigterm_and_switches_the_lamp_off(
    bench: SupervisedScript,
) -> None:
    care = bench.look_after(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntell('tick')\ntime.sleep(60)",
        replace(LIMITS, close_s=0.3),
    )
    bench.look_until(lambda: care.status().state is MicroscopeState.IDLE)
    care.close()
    assert not is_running(bench.lives[0])
    assert bench.lamp_is_off


def test_what_a_process_leaves_behind_does_not_hold_up_the_next_start(
    bench: SupervisedScript,
) -> None:
    bench.look_after(
        "import subprocess\nif life == 1:\n    subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(4)'])\n    sys.exit(1)\n"
        + TICKS
    )
    started = time.monotonic()
    bench.look_until(lambda: len(bench.lives) == 2)
    assert time.monotonic() - started < 4


def test_the_end_of_the_service_is_the_end_of_stdin(bench: SupervisedScript) -> None:
    """Whatever ends the service, kill -9 too, closes this pipe; here the service's side is closed alone."""
    care = bench.look_after(
        "tell('tick')\nsys.stdin.read()\n(here / 'parent_gone').touch()\nos._exit(0)"
    )
    bench.look_until(lambda: care.status().state is MicroscopeState.IDLE)
    assert care._child is not None
    assert care._child.process.stdin is not None
    care._child.process.stdin.close()
    bench.look_until((bench.folder / "parent_gone").exists)
