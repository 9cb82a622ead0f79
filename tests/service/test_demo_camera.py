"""Imaging with Micro-Manager's demo devices and real core, and processing by the real service."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import ome_types
import pytest
import tifffile

from acquisition.microscope.day_plan import DayPlan
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.image_archive import prepare_day_folder
from acquisition.microscope.imaging_day import ImagingDay
from acquisition.microscope.imaging_journal import ImagingJournal
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Frame
from inference.bundle import load_bundle
from schemas.errors import ConfigError, MicroscopeError
from schemas.well import INNER_60
from store.sql_store import SqlStore

pytestmark = pytest.mark.micromanager

PLATE, SIDE_PX, PLANES = "DEMO-1", 256, 3
MM_CONFIG = f"""\
Property,Core,Initialize,0
Device,Camera,DemoCamera,DCam
Device,XY,DemoCamera,DXYStage
Device,Z,DemoCamera,DStage
Device,Lamp,DemoCamera,DShutter
Device,Finder,DemoCamera,DAutoFocus
Property,Core,Initialize,1
Property,Core,Camera,Camera
Property,Core,Shutter,Lamp
Property,Core,Focus,Z
Property,Core,XYStage,XY
Property,Core,AutoFocus,Finder
Property,Camera,PixelType,16bit
Property,Camera,BitDepth,12
Property,Camera,OnCameraCCDXSize,{SIDE_PX}
Property,Camera,OnCameraCCDYSize,{SIDE_PX}
Property,XY,Velocity,1000
ConfigPixelSize,Objective,Camera,Binning,1
PixelSize_um,Objective,2.5
"""


def settings_in(folder: Path) -> MicroscopeSettings:
    config = folder / "MMConfig.cfg"
    config.write_text(MM_CONFIG)
    # The demo camera shows the same image at every height, so no scan finds a focus.
    return MicroscopeSettings(
        config=config,
        a1_um=(0.0, 0.0),
        exposure_ms=1.0,
        focus_range_um=30.0,
        wide_range_um=30.0,
        settle_ms=0.0,
        backoff_s=0.0,
        timeout_s=60,
    )


class CheckedMicroManager(MicroManager):
    """A microscope that checks the lamp between stacks and whose autofocus can fail."""

    def __init__(
        self,
        settings: MicroscopeSettings,
        clock: Callable[[], datetime],
        *,
        autofocus_fails_every: int = 0,
    ) -> None:
        super().__init__(settings, clock)
        self._fails_every = autofocus_fails_every
        self._autofocus_calls = 0

    def autofocus(self, near_z_um: float) -> float:
        self._autofocus_calls += 1
        if self._fails_every and self._autofocus_calls % self._fails_every == 0:
            raise MicroscopeError("autofocus Finder", "lost the reflection")
        return super().autofocus(near_z_um)

    def stack(self, z_um: Sequence[float]) -> list[Frame]:
        assert not self._core.getShutterOpen()
        frames = super().stack(z_um)
        assert not self._core.getShutterOpen()
        return frames


def image_all(
    folder: Path, settings: MicroscopeSettings, *, fails_every: int = 0
) -> list[tuple[str, dict[str, object]]]:
    """Image the inner 60 wells and return the events."""
    events: list[tuple[str, dict[str, object]]] = []
    prepare_day_folder(folder / "archive", PLATE, 1)
    scope = CheckedMicroManager(
        settings, lambda: datetime.now(UTC), autofocus_fails_every=fails_every
    )
    try:
        day = ImagingDay(
            scope=scope,
            settings=settings,
            archive=folder / "archive",
            journal=ImagingJournal(folder / "journal.jsonl"),
            surface=FocusSurface(),
            emit=lambda event, **fields: events.append((event, fields)),
            report_progress=lambda _activity: None,
            should_stop=lambda: False,
            wait=lambda _seconds: None,
            clock=lambda: datetime.now(UTC),
        )
        result = day.run(DayPlan(PLATE, 1, plan_positions(settings, INNER_60)))
    finally:
        scope.close()
    assert not result.given_up
    return events


@pytest.mark.slow
def test_sixty_wells_are_archived_with_valid_metadata_and_embedded(
    tmp_path: Path,
) -> None:
    image_all(tmp_path, settings_in(tmp_path))
    files = sorted((tmp_path / "archive" / PLATE / "day01").iterdir())
    assert len(files) == len(INNER_60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file in files:
            ome = ome_types.from_tiff(file)
            pixels = ome.images[0].pixels
            assert (pixels.size_z, pixels.size_x, pixels.significant_bits) == (PLANES, SIDE_PX, 12)
            assert pixels.physical_size_x == 2.5
            assert len({(plane.position_x, plane.position_y) for plane in pixels.planes}) == 1
            assert len({plane.position_z for plane in pixels.planes}) == PLANES
            assert all(plane.exposure_time == 1.0 for plane in pixels.planes)
    assert tifffile.imread(files[0]).shape == (PLANES, SIDE_PX, SIDE_PX)

    folder = tmp_path / "archive" / PLATE
    (folder / f"{PLATE}.plate.toml").write_text(
        f'plate = "{PLATE}"\nseeded_at = {datetime.now(UTC).isoformat()}\n'
    )
    (folder / f"{PLATE}.wells.csv").write_text(
        "well,group,treatment\n" + "".join(f"{well},untreated,\n" for well in INNER_60)
    )
    config = tmp_path / "spherorank.toml"
    config.write_text(
        '[source]\nkind = "micromanager"\npath = "archive"\n'
        '[source.micromanager]\nconfig = "MMConfig.cfg"\na1_um = [0, 0]\n[health]\nhttp = ""\n'
        f'[publisher]\nevents = "ipc://{tmp_path}/e"\nrequests = "ipc://{tmp_path}/r"\n'
    )
    subprocess.run(
        [sys.executable, "-m", "daemon", "run", "--once", "--config", str(config)],
        check=True,
        capture_output=True,
        timeout=100,
    )
    store = SqlStore(f"sqlite:///{tmp_path}/spherorank.sqlite")
    try:
        seen = store.imaged(PLATE, load_bundle("default").card.encoder_id)
        assert {image.key.well for image in seen} == set(INNER_60)
        assert not store.rejected()
    finally:
        store.close()


@pytest.mark.slow
def test_all_wells_are_saved_although_the_autofocus_fails_at_every_fifth_well(
    tmp_path: Path,
) -> None:
    events = image_all(tmp_path, settings_in(tmp_path), fails_every=5)
    failed = [fields["problem"] for event, fields in events if event == "autofocus.failed"]
    lost = [problem for problem in failed if "lost the reflection" in str(problem)]
    assert len(lost) == len(INNER_60) // 5
    assert len(failed) == len(INNER_60)  # no image confirms the other heights
    assert not [fields for event, fields in events if event == "well.failed"]


def test_a_focus_drive_that_can_run_sequences_is_moved_plane_by_plane(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    settings.config.write_text(MM_CONFIG + "Property,Z,UseSequences,Yes\n")
    scope = MicroManager(settings, lambda: datetime.now(UTC))
    try:
        frames = scope.stack([-45.0, 0.0, 45.0])
    finally:
        scope.close()
    assert [frame.z_um for frame in frames] == [-45.0, 0.0, 45.0]


def test_all_wells_are_saved_although_the_disk_is_full_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    written = 0

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if 40 <= written < 60:
            raise OSError(28, os.strerror(28))
        sync(descriptor)

    sync = os.fsync
    monkeypatch.setattr(os, "fsync", full)
    events = image_all(tmp_path, settings)

    failed = [fields for event, fields in events if event == "well.failed"]
    assert failed
    assert all("No space left on device" in str(fields["problem"]) for fields in failed)
    assert not list((tmp_path / "archive").rglob("*.part"))
    assert {file.name[:3] for file in (tmp_path / "archive").rglob("*.ome.tif")} == set(INNER_60)


def test_adapters_of_another_interface_version_are_refused_with_both_versions(
    tmp_path: Path,
) -> None:
    source = tmp_path / "old.c"
    source.write_text(
        "long GetModuleVersion(void) { return 10; }\n"
        "long GetDeviceInterfaceVersion(void) { return 74; }\n"
    )
    needed = (
        "InitializeModuleData",
        "CreateDevice",
        "DeleteDevice",
        "GetNumberOfDevices",
        "GetDeviceName",
        "GetDeviceType",
        "GetDeviceDescription",
    )
    source.write_text(source.read_text() + "".join(f"void {name}(void) {{}}\n" for name in needed))
    adapters = tmp_path / "Micro-Manager"
    adapters.mkdir()
    subprocess.run(
        [
            "gcc",
            "-shared",
            "-fPIC",
            "-o",
            str(adapters / "libmmgr_dal_DemoCamera.so.0"),
            str(source),
        ],
        check=True,
    )
    settings = settings_in(tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"device adapter has 74.*expected adapters for Device API version \d+, "
        r".*the interface of this pymmcore",
    ):
        MicroManager(
            MicroscopeSettings(config=settings.config, a1_um=(0, 0), adapters=adapters),
            lambda: datetime.now(UTC),
        )
