"""Long exposures of a real MMCore under the watchdog."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from acquisition.microscope.day_plan import DayPlan, DayResult, EndReason
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.image_archive import prepare_day_folder
from acquisition.microscope.imaging_day import ImagingDay
from acquisition.microscope.imaging_journal import ImagingJournal, WellProgress
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from daemon.microscope.driver_watchdog import Watchdog
from daemon.stop_signals import record_stop_signals
from simulation.world import A1_UM, FOCUS_Z_UM
from tests.laboratory import Laboratory

pytestmark = pytest.mark.micromanager

STALL_S = 3.0


@pytest.fixture(autouse=True)
def _restore_signals() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    os.close(signal.set_wakeup_fd(-1))
    for number, handler in before.items():
        signal.signal(number, handler)


@dataclass
class WatchedDay:
    """The imaging of one well by a slow camera, under a watchdog."""

    folder: Path
    exposure_s: float
    planes: int = 3
    grace_s: float = 60.0
    signal_after_s: float | None = None  # from the first exposure to SIGTERM
    stopped_s: float = 0.0  # from the first exposure to the end of the imaging
    messages: list[str] = field(default_factory=list)
    has_ended: threading.Event = field(default_factory=threading.Event)
    stop_signals: list[int] = field(default_factory=list)

    def image(self) -> DayResult:
        """Image one well and return the result."""
        settings = MicroscopeSettings(
            config=self.folder / "MMConfig.cfg",
            a1_um=A1_UM,
            exposure_ms=1000 * self.exposure_s,
            planes=self.planes,
            focusing=Focusing.OFF,
            focus_z_um=FOCUS_Z_UM,
            settle_ms=0.0,
            timeout_s=0.2,
        )
        watchdog = Watchdog(
            stall_s=STALL_S,
            grace_s=self.grace_s,
            emit=self.emit,
            lamp_off=lambda: None,
            end=self.end,
        )
        prepare_day_folder(self.folder / "archive", "P1", 7)
        began_s: list[float] = []

        def begin_step(step: str, expected_s: float) -> None:
            if step.startswith("camera") and not began_s:
                began_s.append(time.monotonic())
                if self.signal_after_s is not None:
                    threading.Timer(
                        self.signal_after_s, os.kill, (os.getpid(), signal.SIGTERM)
                    ).start()
            watchdog.begin_step(step, expected_s)

        scope = MicroManager(settings, lambda: datetime.now(UTC), begin_step)
        record_stop_signals(self.stop_signals, on_second=lambda _number: None)
        watchdog.start()
        try:
            day = ImagingDay(
                scope=scope,
                settings=settings,
                archive=self.folder / "archive",
                journal=ImagingJournal(self.folder / "journal.jsonl"),
                surface=FocusSurface(),
                emit=self.emit,
                report_progress=watchdog.report_progress,
                should_stop=lambda: bool(self.stop_signals),
                wait=lambda _seconds: None,
                clock=lambda: datetime.now(UTC),
            )
            return day.run(DayPlan("P1", 7, plan_positions(settings, ["B03"])))
        finally:
            self.stopped_s = time.monotonic() - began_s[0]
            scope.close()

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - fields of any event
        if event == "alert":
            self.messages.append(fields["message"])

    def end(self, _code: int) -> NoReturn:
        self.has_ended.set()
        while True:  # the real function ends the process and does not return
            threading.Event().wait()


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    made = Laboratory.make(tmp_path)
    made.break_device("Camera", "SlowCamera", fails_at=10_000)
    return made


def test_exposures_longer_than_the_stall_limit_are_no_stall(laboratory: Laboratory) -> None:
    day = WatchedDay(laboratory.folder, exposure_s=STALL_S + 1, planes=1)
    assert day.image().saved == ("B03",)
    assert not day.has_ended.is_set()
    assert not day.messages


def test_a_signal_during_a_long_exposure_ends_the_imaging_after_this_exposure(
    laboratory: Laboratory,
) -> None:
    day = WatchedDay(laboratory.folder, exposure_s=1.0, planes=4, grace_s=0.3, signal_after_s=0.2)

    result = day.image()

    assert (result.reason, result.saved) == (EndReason.STOPPED, ())
    assert day.stopped_s < 4
    assert not day.has_ended.is_set()
    assert not day.messages
    progress = ImagingJournal(laboratory.folder / "journal.jsonl").progress()
    assert progress == {"B03": WellProgress(attempts=0)}
