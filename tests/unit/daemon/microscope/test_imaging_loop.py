from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acquisition.channels import Channel
from acquisition.microscope.day_plan import DayResult, EndReason
from acquisition.microscope.imaging_journal import day_journal
from acquisition.microscope.imaging_requests import ImagingRequest, open_imaging_requests
from acquisition.microscope.operator_orders import OperatorOrders
from acquisition.microscope.settings import Focusing, MicroscopeSettings, PlatePlacement
from acquisition.ports import Frame, FrameFormat
from daemon.config_sections import MicromanagerSection
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_loop import IDLE_S, ImagingLoop
from daemon.microscope.imaging_loop_builder import build_imaging_loop
from daemon.microscope.imaging_queue import ImagingJob
from schemas.errors import MicroscopeError

pytestmark = pytest.mark.micromanager

NOON = datetime.fromisoformat("2026-11-16T12:00:00+01:00")
SETTINGS = MicroscopeSettings(
    config=Path("MMConfig.cfg"), a1_um=(0, 0), planes=1, focusing=Focusing.OFF, tries=2
)


@dataclass
class FakeMicroscope:
    """A microscope that shows other tissue in each frame, whose stage may be broken."""

    is_broken: bool = False
    clock: Callable[[], datetime] = lambda: NOON
    format: FrameFormat = field(default_factory=lambda: FrameFormat(64, 64, 8, 1.0))
    has_autofocus: bool = False
    frames_taken: int = 0
    moves: list[tuple[float, float]] = field(default_factory=list)

    def check_unchanged(self) -> None:
        pass

    def position(self) -> tuple[float, float, float]:
        return (0.0, 0.0, 0.0)

    def move_to(self, x_um: float, y_um: float) -> None:
        if self.is_broken:
            raise MicroscopeError("stage", f"does not go to ({x_um}, {y_um})")
        self.moves.append((x_um, y_um))

    def own_time(self) -> datetime | None:
        return None

    def autofocus(self, near_z_um: float) -> float:
        return near_z_um

    def stack(self, z_um: Sequence[float], channel: Channel | None = None) -> list[Frame]:
        if channel is not None:
            raise MicroscopeError("filter wheel", "does not turn")
        return [Frame(self.tissue(), 0.0, 0.0, z, 10.0, self.clock()) for z in z_um]

    def tissue(self) -> np.ndarray:
        self.frames_taken += 1
        pixels = np.full((64, 64), 150, np.uint8)
        noise = np.random.default_rng(self.frames_taken)
        pixels[20:44, 20:44] = noise.integers(20, 100, (24, 24))
        return pixels

    def dark_frame(self) -> Frame:
        return Frame(np.zeros((64, 64), np.uint8), 0.0, 0.0, 0.0, 10.0, self.clock())

    def home(self) -> None:
        pass

    def lamp_off(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class RecordingLoader:
    """A plate loader that records its calls."""

    calls: list[str] = field(default_factory=list)

    def load(self, plate: str) -> None:
        self.calls.append(f"load {plate}")

    def unload(self, plate: str) -> None:
        self.calls.append(f"unload {plate}")


@dataclass
class ScriptedLoop:
    """An imaging loop that takes one step of a test each time it is idle, and then stops."""

    root: Path
    scope: FakeMicroscope = field(default_factory=FakeMicroscope)
    loader: RecordingLoader = field(default_factory=RecordingLoader)
    settings: MicroscopeSettings = SETTINGS
    now: datetime = NOON
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    def write_plate_map(
        self, plate: str, *wells: str, seeded_at: str = "2026-11-16T09:00:00+01:00"
    ) -> None:
        folder = self.archive / plate
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{plate}.plate.toml").write_text(f'plate = "{plate}"\nseeded_at = {seeded_at}\n')
        (folder / f"{plate}.wells.csv").write_text(
            "well,group,treatment\n" + "".join(f"{well},untreated,\n" for well in wells)
        )

    def serve(
        self,
        *steps: Callable[[ImagingLoop], object],
        present: str = "ready_file",
        acquire_at: str = "10:00",
        **keys: Any,  # noqa: ANN401 - of the section
    ) -> None:
        section = MicromanagerSection.model_validate(
            {
                "config": "MMConfig.cfg",
                "a1_um": (0, 0),
                "state": self.root / "state",
                "present": present,
                "acquire_at": acquire_at,
                "keep_free_bytes": 0,
                **keys,
            }
        )
        stop_signals: list[int] = []
        elapsed_s = iter(range(0, 10**9, 30))
        remaining = iter(steps)

        def wait(seconds: float) -> None:
            if seconds != IDLE_S:
                return  # the pause after a failure
            step = next(remaining, None)
            step(loop) if step else stop_signals.append(15)

        self.scope.clock = lambda: self.now
        watchdog = Watchdog(stall_s=60, grace_s=60, emit=self.emit, lamp_off=self.scope.lamp_off)
        loop = build_imaging_loop(
            scope=self.scope,
            settings=self.settings,
            section=section,
            archive=self.archive,
            loader=self.loader,
            watchdog=watchdog,
            emit=self.emit,
            stop_signals=stop_signals,
            wait=wait,
            clock=lambda: self.now,
            elapsed_s=lambda: next(elapsed_s),
        )
        loop.serve()

    def emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - fields of any event
        self.events.append((event, fields))
        if event == "well.saved":
            self.now += timedelta(seconds=1)

    def causes(self, event: str) -> list[str]:
        return [fields["cause"] for name, fields in self.events if name == event]

    def images(self) -> list[str]:
        return sorted(f"{path.parts[-3]} {path.name[:3]}" for path in self.archive.rglob("*.tif"))


@pytest.fixture
def scripted(tmp_path: Path) -> ScriptedLoop:
    return ScriptedLoop(tmp_path)


def test_wells_added_to_the_plate_map_on_the_same_day_are_imaged_too(
    scripted: ScriptedLoop,
) -> None:
    scripted.write_plate_map("P1", "B02")
    scripted.serve(lambda _: scripted.write_plate_map("P1", "B02", "B03"), lambda _: None)
    assert scripted.images() == ["P1 B02", "P1 B03"]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_plate_id_that_is_used_again_is_imaged_again_on_the_same_days(
    scripted: ScriptedLoop,
    restarts: bool,  # noqa: FBT001 - a case
) -> None:
    def use_again(_: object) -> None:
        scripted.now = NOON + timedelta(days=30)
        scripted.write_plate_map("P1", "B02", seeded_at="2026-12-16T09:00:00+01:00")

    scripted.write_plate_map("P1", "B02")
    if restarts:
        scripted.serve(lambda _: None)
        use_again(None)
        scripted.serve(lambda _: None)
    else:
        scripted.serve(lambda _: None, use_again, lambda _: None)
    saved = [fields["day"] for name, fields in scripted.events if name == "well.saved"]
    assert saved == [1, 1]


def test_an_imaging_request_waits_while_its_plate_map_is_missing_or_broken(
    scripted: ScriptedLoop,
) -> None:
    def add_request(loop: ImagingLoop) -> None:
        open_imaging_requests(loop.section.state).add(
            ImagingRequest(plate="P1", day=1, wells=("B02",), reason="asked", made_at=NOON)
        )

    scripted.write_plate_map("P1", "B02")
    wells = scripted.archive / "P1" / "P1.wells.csv"
    scripted.serve(
        lambda _: wells.write_text("well,gro"),
        add_request,
        lambda _: None,
        lambda _: scripted.write_plate_map("P1", "B02"),
        lambda _: None,
        acquire_at="",
    )
    assert scripted.images() == ["P1 B02"]


def test_nothing_is_written_below_the_mount_point_of_an_unmounted_archive(
    scripted: ScriptedLoop,
) -> None:
    scripted.write_plate_map("P1", "B02")
    (scripted.root / "elsewhere").mkdir()
    is_mounted = True

    def unmount(_x_um: float, _y_um: float) -> None:
        nonlocal is_mounted
        if is_mounted:
            scripted.archive.rename(scripted.root / "elsewhere" / "archive")
            scripted.archive.mkdir()
        is_mounted = False

    scripted.scope.move_to = unmount  # type: ignore[method-assign]  # the share is unmounted during a move
    scripted.serve()
    assert list(scripted.archive.iterdir()) == []
    (problem,) = {fields["problem"] for event, fields in scripted.events if event == "well.failed"}
    assert "is the archive's share mounted?" in problem


def test_a_plate_left_on_the_stage_by_a_crash_is_unloaded_before_another_is_loaded(
    scripted: ScriptedLoop,
) -> None:
    scripted.write_plate_map("P1", "B02")
    (scripted.root / "state").mkdir()
    (scripted.root / "state" / "on_stage").write_text("P0")
    scripted.serve()
    assert scripted.loader.calls == ["unload P0", "load P1", "unload P1"]


def test_alerts_of_a_plate_are_cleared_when_its_next_day_begins(scripted: ScriptedLoop) -> None:
    scripted.write_plate_map("P1", "B02", "B03")
    scripted.scope.is_broken = True

    def next_day(_: ImagingLoop) -> None:
        scripted.scope.is_broken = False
        scripted.now = NOON.replace(day=17)

    scripted.serve(next_day, lambda _: None)
    assert scripted.images() == ["P1 B02", "P1 B03"]
    raised = scripted.causes("alert")
    assert "P1 day 1 B02, B03" in raised
    assert set(scripted.causes("alert.cleared")) == set(raised)


def test_a_missing_archive_raises_an_alert_each_time_it_disappears(scripted: ScriptedLoop) -> None:
    away, here = scripted.root / "away", scripted.archive
    here.mkdir()
    steps = [lambda _: here.rename(away), lambda _: away.rename(here)] * 2
    scripted.serve(*steps, lambda _: None)
    assert (scripted.causes("alert"), scripted.causes("alert.cleared")) == (
        ["archive"] * 2,
        ["archive"] * 2,
    )


def test_two_plates_put_there_by_hand_are_imaged_each_at_its_own_hour(
    scripted: ScriptedLoop,
) -> None:
    scripted.write_plate_map("P1", "B02")
    scripted.write_plate_map("P2", "B02")
    toml = scripted.archive / "P2" / "P2.plate.toml"
    toml.write_text(toml.read_text() + 'acquire_at = "11:00"\n')

    def later(_: ImagingLoop) -> None:
        scripted.now = NOON

    scripted.now = NOON.replace(hour=10)
    scripted.serve(later, lambda _: None, present="always")
    assert scripted.images() == ["P1 B02", "P2 B02"]
    assert scripted.causes("alert") == []


def test_a_well_without_focus_is_imaged_once_more_on_the_same_day(scripted: ScriptedLoop) -> None:
    scripted.settings = replace(SETTINGS, focusing=Focusing.SOFTWARE)
    scripted.write_plate_map("P1", "B02")

    scripted.serve(lambda _: None, lambda _: None)

    assert scripted.images() == ["P1 B02", "P1 B02"]
    named = dict(scripted.events)
    assert named["image.requested"]["wells"] == ["B02"]
    assert [name for name, _ in scripted.events].count("image.requested") == 1
    assert named["day.done"]["unfocused"] == ["B02"]


def test_nothing_moves_during_a_pause_and_the_day_begins_after_it(scripted: ScriptedLoop) -> None:
    orders = OperatorOrders(scripted.root / "state")
    orders.pause(NOON)
    scripted.write_plate_map("P1", "B02")
    calls_during_pause: list[str] = []

    def resume(_: object) -> None:
        calls_during_pause.extend(scripted.loader.calls)
        orders.resume()

    scripted.serve(lambda _: None, resume, lambda _: None)
    assert calls_during_pause == []
    assert scripted.images() == ["P1 B02"]
    names = [name for name, _ in scripted.events]
    assert names.index("imaging.paused") < names.index("imaging.resumed") < names.index("day.done")


@dataclass
class PausingMicroscope(FakeMicroscope):
    """A microscope whose operator orders a pause during each move of the stage."""

    orders: OperatorOrders | None = None

    def move_to(self, x_um: float, y_um: float) -> None:
        assert self.orders is not None
        self.orders.pause(NOON)
        super().move_to(x_um, y_um)


def test_a_stop_during_a_pause_leaves_the_plate_under_the_microscope(
    scripted: ScriptedLoop,
) -> None:
    orders = OperatorOrders(scripted.root / "state")
    scripted.scope = PausingMicroscope(orders=orders)
    scripted.write_plate_map("P1", "B02", "B03")
    scripted.serve()
    assert scripted.images() == ["P1 B02"]
    assert scripted.loader.calls == ["load P1"]
    assert orders.is_pause_confirmed()


def test_a_long_pause_raises_an_alert_about_a_due_day_that_ends_with_the_pause(
    scripted: ScriptedLoop,
) -> None:
    orders = OperatorOrders(scripted.root / "state")
    orders.pause(NOON)
    scripted.write_plate_map("P1", "B02")
    alerts: list[list[str]] = []

    def wait_until(hours: float) -> None:
        alerts.append(scripted.causes("alert"))
        scripted.now = NOON + timedelta(hours=hours)

    scripted.serve(
        lambda _: wait_until(0.9),
        lambda _: wait_until(1.1),
        lambda _: wait_until(1.2),
        lambda _: orders.resume(),
        lambda _: None,
    )
    assert alerts == [[], [], ["P1 paused day 1"]]
    (message,) = [fields["message"] for name, fields in scripted.events if name == "alert"]
    assert "has been paused for 1 h 6 min" in message
    assert "before 2026-11-17 00:00" in message
    assert scripted.causes("alert.cleared") == ["P1 paused day 1"]


def test_an_aborted_day_is_not_scheduled_again_and_is_not_reported_as_missed(
    scripted: ScriptedLoop,
) -> None:
    def add_request(loop: ImagingLoop) -> None:
        open_imaging_requests(loop.section.state).add(
            ImagingRequest(plate="P1", day=1, wells=("B02",), reason="blurred", made_at=later)
        )

    later = NOON + timedelta(minutes=1)
    OperatorOrders(scripted.root / "state").abort("P1", 1, NOON)
    scripted.write_plate_map("P1", "B02")
    scripted.serve(lambda _: None, add_request, lambda _: None)
    scripted.now = NOON + timedelta(days=1)  # the next day is imaged as usual
    scripted.serve(lambda _: None)
    saved = [fields["day"] for name, fields in scripted.events if name == "well.saved"]
    assert saved == [2]
    assert [fields for name, fields in scripted.events if name == "plate.missed"] == []
    dropped = scripted.root / "state" / "imaging_requests" / "dropped"
    assert len(list(dropped.glob("*.json"))) == 1


def test_an_abort_of_an_earlier_use_of_a_plate_id_is_not_counted(scripted: ScriptedLoop) -> None:
    OperatorOrders(scripted.root / "state").abort("P1", 1, NOON - timedelta(days=30))
    scripted.write_plate_map("P1", "B02")
    scripted.serve(lambda _: None)
    assert scripted.images() == ["P1 B02"]


def test_a_clock_of_the_camera_that_fails_postpones_the_day_with_an_alert(
    scripted: ScriptedLoop,
) -> None:
    def own_time() -> datetime:
        raise MicroscopeError("camera", "no answer")

    def image(loop: ImagingLoop) -> None:
        scripted.scope.own_time = own_time  # type: ignore[method-assign]  # the clock fails
        assert loop.image(ImagingJob("P1", 1), loop.plate_maps.read()["P1"]) is None

    scripted.write_plate_map("P1", "B02")
    scripted.serve(image, acquire_at="")
    messages = [fields["message"] for name, fields in scripted.events if name == "alert"]
    assert messages == ["plate P1, day 1 cannot be imaged now: camera: no answer"]


def test_events_of_a_day_report_its_progress(scripted: ScriptedLoop) -> None:
    scripted.write_plate_map("P1", "B02", "B03")
    scripted.serve(lambda _: None)
    progress = [
        (name, fields["wells_saved"], fields["wells_total"], fields["reason"])
        for name, fields in scripted.events
        if "wells_saved" in fields
    ]
    assert progress == [
        ("day.started", 0, 2, "due"),
        ("well.saved", 1, 2, "due"),
        ("well.saved", 2, 2, "due"),
        ("day.done", 2, 2, "due"),
    ]


def test_a_plan_without_a_well_of_the_plate_map_begins_no_day(scripted: ScriptedLoop) -> None:
    scripted.settings = replace(SETTINGS, plan_wells=("B02",))
    scripted.write_plate_map("P1", "B02", "B03")

    def image(loop: ImagingLoop) -> None:
        assert loop.image(ImagingJob("P1", 1), loop.plate_maps.read()["P1"]) is None

    scripted.serve(image, acquire_at="")
    assert scripted.images() == []
    (message,) = (fields["message"] for name, fields in scripted.events if name == "alert")
    assert "source.micromanager.plan: visits no B03" in message


def test_a_day_is_due_again_if_a_later_request_finds_that_an_image_does_not_count(
    scripted: ScriptedLoop,
) -> None:
    request = ImagingRequest(plate="P1", day=1, wells=("B03",), reason="unclear", made_at=NOON)

    def find_a_wrong_image(loop: ImagingLoop) -> None:
        day_journal(loop.section.state, "P1", 1).record_repeat("B02", "shows B03", scripted.now)
        found = DayResult(EndReason.COMPLETED, ("B03",), {}, repeat_later=("B02",))
        file = open_imaging_requests(loop.section.state).add(request)
        loop.queue.record(ImagingJob("P1", 1, request, file or ""), found)

    scripted.write_plate_map("P1", "B02", "B03")
    scripted.serve(find_a_wrong_image, lambda _: None)
    saved = [fields["well"] for name, fields in scripted.events if name == "well.saved"]
    assert saved == ["B02", "B03", "B02"]


def test_the_alert_of_a_missed_day_names_a_missing_channel(scripted: ScriptedLoop) -> None:
    stain = Channel(name="stain", preset="Channel:FITC", exposure_ms=10)
    scripted.write_plate_map("P1", "B02")
    scripted.serve(lambda _: setattr(scripted, "now", NOON + timedelta(days=1)))
    scripted.events.clear()
    scripted.settings = replace(SETTINGS, channels=(stain,))
    keys = {"channel": "Channel:BF", "channels": [stain.model_dump()]}
    scripted.serve(lambda _: None, **keys)
    messages = [fields["message"] for name, fields in scripted.events if name == "alert"]
    assert "plate P1 was not imaged completely on day 1: no image of B02 stain" in messages


def test_a_preview_of_a_well_goes_to_its_place_on_the_plate_under_the_microscope(
    scripted: ScriptedLoop,
) -> None:
    def preview(loop: ImagingLoop) -> None:
        loop.changer.load("P1")
        loop.orders.requests.add("B02", NOON, focus=False)
        loop.orders.take_previews()
        loop.changer.unload()

    scripted.settings = replace(SETTINGS, plates=(PlatePlacement(24, (500.0, 700.0)),))
    scripted.write_plate_map("P1", "B02")
    plate_file = scripted.archive / "P1" / "P1.plate.toml"
    plate_file.write_text(plate_file.read_text() + "plate_wells = 24\n")
    scripted.serve(preview, acquire_at="")
    assert scripted.scope.moves == [pytest.approx((19_500, -18_300))]  # 19 mm from well to well


def test_the_longest_step_may_be_the_exposure_of_a_further_channel() -> None:
    slow = Channel(name="stain", preset="Channel:FITC", exposure_ms=50_000)
    assert SETTINGS.longest_step_s == 30
    assert replace(SETTINGS, channels=(slow,)).longest_step_s == 50
