from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acquisition.microscope.imaging_requests import ImagingRequest
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from acquisition.ports import Frame, FrameFormat
from daemon.config import MicromanagerSection
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_loop import IDLE_S, AcquisitionLoop
from schemas.errors import MicroscopeError

pytestmark = pytest.mark.micromanager

NOON = datetime.fromisoformat("2026-11-16T12:00:00+01:00")
SETTINGS = MicroscopeSettings(
    config=Path("MMConfig.cfg"), a1_um=(0, 0), planes=1, focusing=Focusing.OFF, tries=2
)


@dataclass
class Scope:
    """A microscope without one; its stage may be broken."""

    is_broken: bool = False
    format: FrameFormat = field(default_factory=lambda: FrameFormat(64, 64, 8, 1.0))
    has_autofocus: bool = False

    def move_to(self, x_um: float, y_um: float) -> None:
        if self.is_broken:
            raise MicroscopeError("stage", f"does not go to ({x_um}, {y_um})")

    def autofocus(self, near_z_um: float) -> float:
        return near_z_um

    def stack(self, z_um: Sequence[float]) -> list[Frame]:
        return [Frame(np.zeros((64, 64), np.uint8), 0.0, 0.0, z, 10.0, NOON) for z in z_um]

    def lamp_off(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Hotel:
    """Who puts plates there, and what they were told."""

    moves: list[str] = field(default_factory=list)

    def present(self, plate: str) -> None:
        self.moves.append(f"present {plate}")

    def release(self, plate: str) -> None:
        self.moves.append(f"release {plate}")


@dataclass
class ScriptedLoop:
    """A loop that idles from step to step: each happens while it has nothing to do, the last is its end."""

    root: Path
    scope: Scope = field(default_factory=Scope)
    hotel: Hotel = field(default_factory=Hotel)
    now: datetime = NOON
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    def put_map(self, plate: str, *wells: str) -> None:
        folder = self.archive / plate
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{plate}.plate.toml").write_text(
            f'plate = "{plate}"\nseeded_at = 2026-11-16T09:00:00+01:00\n'
        )
        (folder / f"{plate}.wells.csv").write_text(
            "well,group,treatment\n" + "".join(f"{well},untreated,\n" for well in wells)
        )

    def serve(
        self,
        *steps: Callable[[AcquisitionLoop], object],
        present: str = "ready_file",
        acquire_at: str = "10:00",
    ) -> None:
        section = MicromanagerSection.model_validate(
            {
                "config": "MMConfig.cfg",
                "a1_um": (0, 0),
                "state": self.root / "state",
                "present": present,
                "acquire_at": acquire_at,
                "keep_free_bytes": 0,
            }
        )
        notes: list[int] = []
        elapsed_s = iter(range(0, 10**9, 30))
        left = iter(steps)

        def wait(seconds: float) -> None:
            if seconds != IDLE_S:
                return  # the pause between tries
            step = next(left, None)
            step(loop) if step else notes.append(15)

        loop = AcquisitionLoop(
            scope=self.scope,
            settings=SETTINGS,
            section=section,
            archive=self.archive,
            presenter=self.hotel,
            watchdog=Watchdog(stall_s=60, grace_s=60, tell=self.tell),
            tell=self.tell,
            stop_notes=notes,
            wait=wait,
            clock=lambda: self.now,
            seconds=lambda: next(elapsed_s),
        )
        loop.serve()

    def tell(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - whatever an event has
        self.told.append((event, fields))

    def causes(self, event: str) -> list[str]:
        return [fields["cause"] for name, fields in self.told if name == event]

    def images(self) -> list[str]:
        return sorted(f"{path.parts[-3]} {path.name[:3]}" for path in self.archive.rglob("*.tif"))


@pytest.fixture
def bench(tmp_path: Path) -> ScriptedLoop:
    return ScriptedLoop(tmp_path)


def test_wells_that_the_map_names_later_that_day_are_imaged_too(bench: ScriptedLoop) -> None:
    bench.put_map("P1", "B02")
    bench.serve(lambda _: bench.put_map("P1", "B02", "B03"), lambda _: None)
    assert bench.images() == ["P1 B02", "P1 B03"]


def test_an_imaging_request_waits_while_its_plate_map_is_missing_or_broken(
    bench: ScriptedLoop,
) -> None:
    def add_request(loop: AcquisitionLoop) -> None:
        loop.requests.add(
            ImagingRequest(plate="P1", day=1, wells=("B02",), reason="asked", made_at=NOON)
        )

    bench.put_map("P1", "B02")
    wells = bench.archive / "P1" / "P1.wells.csv"
    bench.serve(
        lambda _: wells.write_text("well,gro"),
        add_request,
        lambda _: None,
        lambda _: bench.put_map("P1", "B02"),
        lambda _: None,
        acquire_at="",
    )
    assert bench.images() == ["P1 B02"]


def test_below_the_empty_mount_point_of_an_unmounted_archive_nothing_is_written(
    bench: ScriptedLoop,
) -> None:
    bench.put_map("P1", "B02")
    (bench.root / "elsewhere").mkdir()
    is_mounted = True

    def unmount(_x_um: float, _y_um: float) -> None:
        nonlocal is_mounted
        if is_mounted:
            bench.archive.rename(bench.root / "elsewhere" / "archive")
            bench.archive.mkdir()
        is_mounted = False

    bench.scope.move_to = unmount  # type: ignore[method-assign]  # the share vanishes on the way to a well
    bench.serve()
    assert list(bench.archive.iterdir()) == []
    (problem,) = {fields["problem"] for event, fields in bench.told if event == "well.failed"}
    assert "is the archive's share mounted?" in problem


def test_a_plate_that_a_crash_left_there_is_taken_away_before_another_is_put_on_top(
    bench: ScriptedLoop,
) -> None:
    bench.put_map("P1", "B02")
    (bench.root / "state").mkdir()
    (bench.root / "state" / "on_stage").write_text("P0")
    bench.serve()
    assert bench.hotel.moves == ["release P0", "present P1", "release P1"]


def test_an_alert_goes_when_the_plate_s_imaging_begins_anew(bench: ScriptedLoop) -> None:
    bench.put_map("P1", "B02", "B03")
    bench.scope.is_broken = True

    def next_day(_: AcquisitionLoop) -> None:
        bench.scope.is_broken = False
        bench.now = NOON.replace(day=17)

    bench.serve(next_day, lambda _: None)
    assert bench.images() == ["P1 B02", "P1 B03"]
    raised = bench.causes("alert")
    assert "P1 day 1 B02, B03" in raised
    assert set(bench.causes("alert.cleared")) == set(raised)


def test_a_missing_archive_is_told_of_each_time_it_vanishes(bench: ScriptedLoop) -> None:
    away, here = bench.root / "away", bench.archive
    here.mkdir()
    steps = [lambda _: here.rename(away), lambda _: away.rename(here)] * 2
    bench.serve(*steps, lambda _: None)
    assert (bench.causes("alert"), bench.causes("alert.cleared")) == (
        ["archive"] * 2,
        ["archive"] * 2,
    )


def test_of_two_plates_that_only_a_person_puts_there_one_waits_for_its_own_hour(
    bench: ScriptedLoop,
) -> None:
    bench.put_map("P1", "B02")
    bench.put_map("P2", "B02")
    toml = bench.archive / "P2" / "P2.plate.toml"
    toml.write_text(toml.read_text() + 'acquire_at = "11:00"\n')

    def later(_: AcquisitionLoop) -> None:
        bench.now = NOON

    bench.now = NOON.replace(hour=10)
    bench.serve(later, lambda _: None, present="always")
    assert bench.images() == ["P1 B02", "P2 B02"]
    assert bench.causes("alert") == []
