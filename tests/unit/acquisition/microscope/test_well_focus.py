"""Focusing with a real MMCore, a virtual plate, and autofocus devices with faults."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ome_types
import pytest

from acquisition.microscope.day_plan import DayPlan, DayResult
from acquisition.microscope.focus_surface import FocusPoint, FocusSurface, FoundBy
from acquisition.microscope.image_archive import prepare_day_folder
from acquisition.microscope.imaging_day import ImagingDay
from acquisition.microscope.imaging_journal import ImagingJournal
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from daemon.jobs.simulate import write_virtual_microscope
from schemas.errors import ConfigError
from simulation.world import A1_UM, FOCUS_TRAVEL_UM, FOCUS_Z_UM, World, WorldFile

pytestmark = pytest.mark.micromanager

WELLS = 4
NEAR_UM = 10.0  # the largest error of a verified focus height
# A device of Micro-Manager that reports success at once and moves nothing.
FINDER = "Property,Core,Initialize,0\nDevice,Finder,DemoCamera,DAutoFocus\n"
NAMED = "Property,Core,AutoFocus,Finder\n"
Search = Callable[["FaultyFinder"], None]


class FaultyFinder(MicroManager):
    """A microscope whose autofocus device does what a test wants when it searches."""

    world: World
    search: Search | None = None
    searches = 0

    def autofocus(self, near_z_um: float) -> float:
        if self.search is not None:
            self._core.fullFocus = self._full_focus
        return super().autofocus(near_z_um)

    def _full_focus(self) -> None:
        self.searches += 1
        if self.search is not None:
            self.search(self)

    def go_to(self, z_um: float) -> None:
        """Move the focus drive as an autofocus device does."""
        self._core.setPosition(z_um)

    def true_focus_um(self) -> float:
        """Return the true focus height of the well under the objective."""
        x_um, y_um, _ = self.position()
        staged = self.world.staged_plate()
        assert staged is not None
        plan = min(
            staged.scope.plate.wells,
            key=lambda each: math.dist(
                (x_um, y_um),
                (A1_UM[0] + 9000 * (each.column - 1), A1_UM[1] - 9000 * (each.row - 1)),
            ),
        )
        return self.world.focus_height_um(plan)


@dataclass
class Bench:
    """A virtual plate with an autofocus device, and the events of its imaging."""

    folder: Path
    world: World
    settings: MicroscopeSettings
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    surface: FocusSurface = field(default_factory=FocusSurface)
    searches: int = 0

    @property
    def plate(self) -> str:
        return next(iter(self.world.scopes))

    def image(
        self, search: Search | None = None, *, wells: int = WELLS, empty: bool = False
    ) -> DayResult:
        """Image the first wells with an autofocus device that does what ``search`` does."""
        prepare_day_folder(self.folder / "archive", self.plate, 7)
        if empty:
            self.world.remove_plate()
        scope = FaultyFinder(self.settings, lambda: datetime.now(UTC))
        scope.world, scope.search = self.world, search
        try:
            day = ImagingDay(
                scope=scope,
                settings=self.settings,
                archive=self.folder / "archive",
                journal=ImagingJournal(self.folder / "journal.jsonl"),
                surface=self.surface,
                emit=lambda event, **fields: self.events.append((event, fields)),
                report_progress=lambda _activity: None,
                should_stop=lambda: False,
                wait=lambda _seconds: None,
                clock=lambda: datetime.now(UTC),
            )
            names = [plan.well for plan in self.world.scopes[self.plate].plate.wells[:wells]]
            result = day.run(DayPlan(self.plate, 7, plan_positions(self.settings, names)))
        finally:
            scope.close()
        self.surface, self.searches = day.surface, scope.searches
        return result

    def fields(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def errors_um(self) -> list[float]:
        """Return by how much each saved image is out of focus."""
        truth = {
            plan.well: self.world.focus_height_um(plan)
            for plan in self.world.scopes[self.plate].plate.wells
        }
        return [abs(each["z_um"] - truth[each["well"]]) for each in self.fields("well.saved")]


def bench_in(folder: Path, *, named: str = NAMED) -> Bench:
    """Return a bench with a virtual plate of day 7."""
    world = write_virtual_microscope(folder, WorldFile(seed=3, size_px=256, wells=12), assay=False)
    world.place_plate(next(iter(world.scopes)), 7)
    config = folder / "MMConfig.cfg"
    config.write_text(config.read_text().replace("Property,Core,Initialize,0\n", FINDER) + named)
    settings = MicroscopeSettings(
        config=config,
        a1_um=A1_UM,
        channel="Channel:BF",
        focus_z_um=FOCUS_Z_UM,
        z_limits_um=FOCUS_TRAVEL_UM,
        settle_ms=0.0,
        backoff_s=0.0,
    )
    return Bench(folder, world, settings)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    return bench_in(tmp_path)


def go_to_truth(offset_um: float) -> Search:
    """Return an autofocus that finds a surface at a constant distance from the tissue."""
    return lambda scope: scope.go_to(scope.true_focus_um() + offset_um)


def test_a_height_of_the_autofocus_that_the_images_confirm_is_remembered(bench: Bench) -> None:
    result = bench.image(go_to_truth(12.0))

    assert len(result.saved) == bench.searches == WELLS
    assert max(bench.errors_um()) < NEAR_UM
    assert not bench.fields("autofocus.failed")
    assert {point.found_by for point in bench.surface.points} == {FoundBy.AUTOFOCUS}
    assert all(each["focus_verified"] for each in bench.fields("well.saved"))


def test_an_autofocus_that_does_not_move_is_not_believed(bench: Bench) -> None:
    bench.settings = replace(bench.settings, focus_z_um=FOCUS_Z_UM + 120)

    result = bench.image()

    assert len(result.saved) == WELLS
    assert max(bench.errors_um()) < NEAR_UM
    failed = bench.fields("autofocus.failed")
    assert failed[0]["problem"].startswith("the autofocus device returned 3120.0 µm, but the ")
    assert failed[0]["problem"].endswith("; a scan follows")
    assert {point.found_by for point in bench.surface.points} <= {FoundBy.SCAN, FoundBy.AUTOFOCUS}


def test_an_autofocus_that_drifts_raises_an_alert_and_is_no_longer_used(bench: Bench) -> None:
    def drift(scope: FaultyFinder) -> None:
        scope.go_to(scope.true_focus_um() + 60 * scope.searches)

    bench.image(drift)

    assert max(bench.errors_um()) < NEAR_UM
    assert {each["focus"] for each in bench.fields("well.saved")} == {"scan"}
    assert bench.searches == 3
    (alert,) = bench.fields("alert")
    assert (
        "µm from the height of the autofocus device; the other wells are focused"
        in (alert["message"])
    )


def test_an_autofocus_at_a_constant_distance_raises_an_alert_with_the_offset_to_set(
    bench: Bench,
) -> None:
    bench.image(go_to_truth(-120.0))

    assert max(bench.errors_um()) < NEAR_UM
    (alert,) = bench.fields("alert")
    expected = alert["message"].split("autofocus_offset_um = ")[1].split()[0]
    assert float(expected) == pytest.approx(120, abs=NEAR_UM)

    bench.events.clear()
    (bench.folder / "journal.jsonl").unlink()
    bench.settings = replace(bench.settings, autofocus_offset_um=float(expected))
    bench.image(go_to_truth(-120.0))
    assert not bench.fields("autofocus.failed")
    assert {each["focus"] for each in bench.fields("well.saved")} == {"autofocus"}


def test_an_autofocus_that_raises_is_replaced_by_scans(bench: Bench) -> None:
    def fail(_scope: FaultyFinder) -> None:
        raise RuntimeError("no reflection")

    bench.image(fail)

    assert max(bench.errors_um()) < NEAR_UM
    assert bench.fields("autofocus.failed")[0]["problem"] == (
        "autofocus Finder: no reflection; a scan follows"
    )
    assert "failed in wells" in bench.fields("alert")[0]["message"]


def test_an_autofocus_that_the_configuration_does_not_name_is_not_used(tmp_path: Path) -> None:
    bench = bench_in(tmp_path, named="")
    bench.image(go_to_truth(0.0), wells=1)

    assert bench.searches == 0
    assert bench.fields("well.saved")[0]["focus"] == "scan"
    scope = MicroManager(bench.settings, lambda: datetime.now(UTC))
    try:
        assert (scope.has_autofocus, scope.unused_autofocus) == (False, ["Finder"])
    finally:
        scope.close()


def test_an_autofocus_of_the_startup_preset_is_used(tmp_path: Path) -> None:
    bench = bench_in(tmp_path, named="ConfigGroup,System,Startup,Core,AutoFocus,Finder\n")
    scope = MicroManager(bench.settings, lambda: datetime.now(UTC))
    try:
        assert scope.has_autofocus
    finally:
        scope.close()


def test_focus_beyond_the_wide_scan_is_found_by_a_scan_around_its_edge(bench: Bench) -> None:
    bench.settings = replace(
        bench.settings, focusing=Focusing.SOFTWARE, focus_z_um=FOCUS_Z_UM + 230, wide_range_um=200
    )
    bench.image()
    assert max(bench.errors_um()) < NEAR_UM


def test_an_image_without_verified_focus_says_so_and_its_height_is_forgotten(
    bench: Bench,
) -> None:
    result = bench.image(wells=1, empty=True)

    (missing,) = bench.fields("focus.not_found")
    assert "show no tissue" in missing["problem"]
    assert result.unfocused == result.saved == (missing["well"],)
    (saved,) = bench.fields("well.saved")
    assert (saved["focus"], saved["focus_verified"]) == ("setting", False)
    assert bench.surface == FocusSurface()
    metadata = ome_types.from_tiff(saved["file"]).structured_annotations.map_annotations[0].value
    noted = {item.k: item.value for item in metadata.ms}
    assert (noted["focus_verified"], noted["focus_found_by"]) == ("no", "setting")
    assert float(noted["focus_z_um"]) == FOCUS_Z_UM


def test_without_focusing_a_well_is_imaged_at_its_height_in_the_focus_map(bench: Bench) -> None:
    bench.settings = replace(bench.settings, focusing=Focusing.OFF)
    (well,) = (plan.well for plan in bench.world.scopes[bench.plate].plate.wells[:1])
    (position,) = plan_positions(bench.settings, [well])
    bench.surface = FocusSurface().with_point(
        FocusPoint(well, position.x_um, position.y_um, 2900.0, FoundBy.FOCUS_MAP, datetime.now(UTC))
    )

    result = bench.image(wells=1)

    (saved,) = bench.fields("well.saved")
    assert (saved["z_um"], saved["focus"], saved["focus_verified"]) == (2900.0, "focus_map", False)
    assert not result.unfocused


def test_a_focus_drive_that_reports_its_target_without_moving_confirms_no_height(
    bench: Bench,
) -> None:
    config = bench.settings.config
    text = config.read_text().replace(
        "simulation.devices,VirtualFocus", "tests.faulty_devices,StuckFocus"
    )
    config.write_text(text)
    bench.settings = replace(bench.settings, focusing=Focusing.SOFTWARE)

    result = bench.image(wells=2)

    assert len(result.unfocused) == 2
    assert "the focus drive may not move" in bench.fields("focus.not_found")[0]["problem"]
    assert bench.surface == FocusSurface()


def test_several_lamps_of_which_none_is_named_are_refused(bench: Bench) -> None:
    config = bench.settings.config
    config.write_text(
        config.read_text()
        .replace("Device,Finder", "Device,Lamp2,DemoCamera,DShutter\nDevice,Finder")
        .replace("#py Property,Core,Shutter,Lamp\n", "")
    )
    with pytest.raises(ConfigError, match=r"names no Shutter and loads .*Lamp2"):
        MicroManager(bench.settings, lambda: datetime.now(UTC))
