"""Visits of wells that a watch withholds, repeats or stops, with failing channels and signals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from acquisition.channels import Channel
from acquisition.microscope.day_plan import DayPlan, DayResult, EndReason
from acquisition.microscope.day_rule import DayRule
from acquisition.microscope.day_stop import DayStoppedError, StopReason
from acquisition.microscope.focus_surface import FocusSurface, FoundBy
from acquisition.microscope.image_archive import prepare_day_folder
from acquisition.microscope.imaging_day import ImagingDay
from acquisition.microscope.imaging_journal import day_journal
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition, plan_positions
from acquisition.microscope.sample_watch import MOST_WITHHELD_BYTES, SampleWatch
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.microscope.well_focus import WellFocus, WellFocusing
from acquisition.ports import Frame, ImagingStoppedError
from daemon.microscope.imaging_progress import ImagingProgress
from schemas.errors import MicroscopeError
from tests.samples import plate_map
from tests.unit.daemon.microscope.test_imaging_loop import NOON, SETTINGS, FakeMicroscope
from tests.well_frames import well_frames

pytestmark = pytest.mark.micromanager

STAIN = Channel(name="stain", preset="Channel:FITC", exposure_ms=10)
THREE_TRIES = replace(SETTINGS, tries=3)
View = Callable[[WellPosition], Sequence[WellFrames]]


@dataclass
class StainedMicroscope(FakeMicroscope):
    """A microscope with a second channel that fails, and a lamp that may fail."""

    is_lamp_broken: bool = False
    moves_until_signal: int = 1000

    def move_to(self, _x_um: float, _y_um: float) -> None:
        self.moves_until_signal -= 1
        if self.moves_until_signal < 0:
            raise ImagingStoppedError("a signal ended the imaging")

    def stack(self, z_um: Sequence[float], channel: Channel | None = None) -> list[Frame]:
        if channel is not None:
            raise MicroscopeError("filter wheel", "does not turn")
        return super().stack(z_um)

    def lamp_off(self) -> None:
        if self.is_lamp_broken:
            raise MicroscopeError("shutter", "does not close")


@dataclass
class ScriptedWatch:
    """A watch that does with each visit what a test wants."""

    script: Callable[["ScriptedWatch", WellFrames], None]
    withheld: list[WellFrames] = field(default_factory=list)
    ready: list[WellFrames] = field(default_factory=list)
    repeats: dict[str, str] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)

    def admit(
        self, images: Sequence[WellFrames], _position: WellPosition, _view: View, bytes_held: int
    ) -> None:
        (visit,) = images
        assert bytes_held == sum(frame.pixels.nbytes for frame in visit.frames)
        self.script(self, visit)

    def judge(self, _view: View) -> None:
        self.ready, self.withheld = self.withheld, []

    def take_repeats(self) -> dict[str, str]:
        repeats, self.repeats = self.repeats, {}
        return repeats

    def take_dark(self) -> dict[str, str]:
        return {}

    def take_missed(self) -> dict[str, str]:
        missed, self.missed = self.missed, {}
        return missed

    def missing_tissue(self) -> list[str]:
        return []


@dataclass
class WatchedDay:
    """A day of a plate with two wells, whose visits a scripted watch checks."""

    root: Path
    scope: StainedMicroscope = field(default_factory=StainedMicroscope)
    settings: MicroscopeSettings = THREE_TRIES
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    checks: int = 0

    def run(
        self,
        script: Callable[[ScriptedWatch, WellFrames], None],
        *,
        wells: Sequence[str] = ("B02", "B03"),
        **plan: Any,  # noqa: ANN401 - fields of DayPlan
    ) -> DayResult:
        prepare_day_folder(self.root, "P1", 1)
        self.checks = 0
        saved = [well for well, each in self.journal.progress().items() if each.saved]
        progress = ImagingProgress(
            emit=lambda event, **fields: self.events.append((event, fields)),
            plate="P1",
            day=1,
            reason="due",
            wells_total=len(wells),
            wells_saved=len({*saved} & {*wells}),
            clock=lambda: NOON,
        )
        day = ImagingDay(
            scope=self.scope,
            settings=self.settings,
            archive=self.root,
            journal=self.journal,
            surface=FocusSurface(),
            emit=progress.emit_event,
            report_progress=lambda _activity: None,
            should_stop=self.should_stop,
            wait=lambda _seconds: None,
            clock=lambda: NOON,
            watch=ScriptedWatch(script),  # type: ignore[arg-type]  # it has the methods
        )
        return day.run(DayPlan("P1", 1, plan_positions(SETTINGS, wells), **plan))

    def should_stop(self) -> bool:
        self.checks += 1
        return self.checks > 50  # a run without an end

    @property
    def journal(self) -> Any:  # noqa: ANN401 - an ImagingJournal
        return day_journal(self.root, "P1", 1)

    def attempts(self) -> dict[str, int]:
        return {well: each.attempts for well, each in self.journal.progress().items()}

    def counts(self) -> list[int]:
        return [fields["wells_saved"] for _, fields in self.events if "wells_saved" in fields]


@pytest.fixture
def watched(tmp_path: Path) -> WatchedDay:
    return WatchedDay(tmp_path)


def withhold(watch: ScriptedWatch, visit: WellFrames) -> None:
    watch.withheld.append(visit)


def admit(watch: ScriptedWatch, visit: WellFrames) -> None:
    watch.ready.append(visit)


def test_a_withheld_well_whose_further_channel_fails_is_saved_once_and_lacks_only_the_channel(
    watched: WatchedDay,
) -> None:
    result = watched.run(withhold, channels=(STAIN,))
    assert result.reason is EndReason.COMPLETED
    assert result.saved == ("B02", "B03")
    assert set(result.given_up) == {"B02 stain", "B03 stain"}
    assert watched.counts()[-1] == 2
    assert watched.scope.frames_taken == 2  # no bright field is taken again


def test_attempts_that_are_withheld_at_a_signal_do_not_count(watched: WatchedDay) -> None:
    watched.scope.moves_until_signal = 1
    assert watched.run(withhold).reason is EndReason.STOPPED
    assert watched.attempts() == {"B02": 0, "B03": 0}


def test_withheld_images_are_judged_although_their_day_has_ended(watched: WatchedDay) -> None:
    rule = DayRule(plate_map(), 1, lambda: False)
    states = iter([NOON, NOON.replace(day=28)])

    def own_time() -> Any:  # noqa: ANN401 - a datetime
        return next(states, NOON.replace(day=28))

    watched.scope.own_time = own_time  # type: ignore[method-assign]  # midnight passes
    rule = replace(rule, plate_map=rule.plate_map.model_copy(update={"seeded_at": NOON}))
    result = watched.run(withhold, rule=rule)
    assert (result.reason, result.saved) == (EndReason.OTHER_DAY, ("B02",))


def test_a_clock_of_the_camera_that_fails_ends_no_run(watched: WatchedDay) -> None:
    rule = DayRule(plate_map().model_copy(update={"seeded_at": NOON}), 1, lambda: False)

    def own_time() -> Any:  # noqa: ANN401 - a datetime
        raise MicroscopeError("camera", "no answer")

    watched.scope.own_time = own_time  # type: ignore[method-assign]  # the clock fails
    result = watched.run(admit, rule=rule)
    assert (result.reason, result.saved) == (EndReason.COMPLETED, ("B02", "B03"))


def test_wells_that_a_stop_withdraws_are_part_of_its_result(watched: WatchedDay) -> None:
    def stop_at_b03(watch: ScriptedWatch, visit: WellFrames) -> None:
        if visit.well == "B02":
            admit(watch, visit)
            return
        watch.repeats["B02"] = "B03 shows the picture of B02"
        raise DayStoppedError(StopReason.WRONG_PLACE, "stage", "is at another well")

    result = watched.run(stop_at_b03)
    assert result.reason is EndReason.HALTED
    assert (result.saved, result.wrong_images) == ((), ("B02",))


def test_a_run_that_stops_because_of_a_wrong_place_costs_no_attempt(watched: WatchedDay) -> None:
    def stop(_watch: ScriptedWatch, _visit: WellFrames) -> None:
        raise DayStoppedError(StopReason.WRONG_PLACE, "stage", "is at another well")

    assert watched.run(stop).reason is EndReason.HALTED
    assert watched.attempts() == {"B02": 0}


def test_a_run_is_stopped_with_its_reason_although_the_lamp_cannot_be_switched_off(
    watched: WatchedDay,
) -> None:
    def stop(_watch: ScriptedWatch, _visit: WellFrames) -> None:
        raise DayStoppedError(StopReason.NO_LIGHT, "lamp", "is dark")

    watched.scope.is_lamp_broken = True
    result = watched.run(stop)
    assert (result.reason, str(result.halt)) == (EndReason.HALTED, "lamp: is dark")
    (alert,) = [fields["message"] for name, fields in watched.events if name == "alert"]
    assert alert == "plate P1, day 1: the lamp cannot be switched off: shutter: does not close"


def test_a_well_that_is_repeated_each_time_is_given_up(watched: WatchedDay) -> None:
    def repeat(watch: ScriptedWatch, visit: WellFrames) -> None:
        admit(watch, visit)
        watch.repeats["B02"] = "B02 and B03 show the same picture"

    result = watched.run(repeat, wells=["B02"])
    assert result.reason is EndReason.COMPLETED
    assert result.given_up == {"B02": "B02 and B03 show the same picture"}
    assert result.saved == ()
    assert result.wrong_images == ("B02",)


@pytest.mark.parametrize(("tries", "attempts"), [(1, 1), (3, 2)])
def test_a_well_whose_tissue_may_be_missed_is_imaged_once_more_unless_no_attempt_is_left(
    watched: WatchedDay, tries: int, attempts: int
) -> None:
    def miss_once(watch: ScriptedWatch, visit: WellFrames) -> None:
        if watched.scope.frames_taken == 1:
            watch.missed["B02"] = "B02 shows no tissue"
        else:
            admit(watch, visit)

    watched.settings = replace(watched.settings, tries=tries)
    result = watched.run(miss_once, wells=["B02"])
    assert (result.saved, result.given_up) == (("B02",), {})
    assert watched.attempts() == {"B02": attempts}
    failed = [fields["problem"] for name, fields in watched.events if name == "well.failed"]
    assert failed == ["B02 shows no tissue"] * (attempts - 1)


def test_the_progress_never_counts_more_wells_than_there_are(watched: WatchedDay) -> None:
    def repeat_b02(watch: ScriptedWatch, visit: WellFrames) -> None:
        admit(watch, visit)
        if visit.well == "B03":
            watch.repeats["B02"] = "B03 shows the picture of B02"

    watched.run(admit, wells=["B02"])
    watched.events.clear()
    result = watched.run(repeat_b02)
    assert result.saved == ("B03", "B02")
    assert watched.counts() == [2, 1, 2]  # B02 is counted once


def test_a_well_out_of_the_plan_whose_image_does_not_count_is_named(watched: WatchedDay) -> None:
    def repeat_b02(watch: ScriptedWatch, visit: WellFrames) -> None:
        admit(watch, visit)
        watch.repeats["B02"] = "B03 shows the picture of B02"

    assert watched.run(repeat_b02, wells=["B03"]).repeat_later == ("B02",)


def test_the_focus_that_is_reported_is_that_of_the_saved_well(
    watched: WatchedDay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(_focusing: WellFocusing, position: WellPosition, *, wide: bool) -> WellFocus:
        assert not wide
        is_lost = position.well == "B02"
        return WellFocus(0.0, FoundBy.SCAN, is_verified=not is_lost, is_lost=is_lost)

    monkeypatch.setattr(WellFocusing, "find", find)
    watched.settings = replace(watched.settings, focusing=Focusing.SOFTWARE)
    assert watched.run(withhold).unfocused == ("B02",)
    saved = [fields for name, fields in watched.events if name == "well.saved"]
    found = {fields["well"]: fields["focus_found"] for fields in saved}
    assert found == {"B02": False, "B03": True}


@pytest.mark.parametrize(("share", "most"), [(0.1, 4), (0.4, 3), (1.1, 1)])
def test_fewer_visits_are_withheld_if_all_their_images_need_much_memory(
    share: float, most: int
) -> None:
    scope = StainedMicroscope()
    expected = plan_positions(SETTINGS, ["B05", "B06", "B07"])
    samples = SampleWatch(scope, expected)
    counts = []
    for well in ("B02", "B03", "B04", "B08"):
        visit = well_frames(well=well, planes=1)
        released = samples.withhold(
            visit,
            lambda _position: [replace(well_frames(planes=1), frames=tuple(scope.stack([0.0])))],
            int(share * MOST_WITHHELD_BYTES),
        )
        counts.append(len(released))
    assert max(counts) == most
