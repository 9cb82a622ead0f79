"""Compare the imaging time of SpheroRank with that of pymmcore-plus's own engine, for one plate.

    python -m benchmarks.acquire [--wells 60] [--planes 3] [--stage-um-per-ms 10]

Both runs use a real MMCore with Micro-Manager's demo devices. They visit the same wells in the
same order and acquire the same planes. The engine of pymmcore-plus keeps the frames in memory.
SpheroRank also checks every stage position, switches the lamp, and writes a journal and one synced
OME-TIFF per well. Needs ``pip install mm-test-adapters``.
"""

import argparse
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import useq
from pymmcore_plus import CMMCorePlus

from acquisition.microscope.day_plan import DayPlan
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.image_archive import prepare_day_folder
from acquisition.microscope.imaging_day import ImagingDay
from acquisition.microscope.imaging_journal import ImagingJournal
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.plate_plan import WellPosition, plan_positions
from acquisition.microscope.settings import Focusing, MicroscopeSettings
from schemas.well import INNER_60

MM_CONFIG = """\
Property,Core,Initialize,0
Device,Camera,DemoCamera,DCam
Device,XY,DemoCamera,DXYStage
Device,Z,DemoCamera,DStage
Device,Lamp,DemoCamera,DShutter
Property,Core,Initialize,1
Property,Core,Camera,Camera
Property,Core,Shutter,Lamp
Property,Core,Focus,Z
Property,Core,XYStage,XY
Property,Camera,PixelType,16bit
Property,Camera,OnCameraCCDXSize,1024
Property,Camera,OnCameraCCDYSize,1024
Property,XY,Velocity,{velocity}
"""


def time_pymmcore_plus(
    config: Path, positions: list[WellPosition], settings: MicroscopeSettings
) -> float:
    """Return the seconds of pymmcore-plus's engine for positions, by config file and settings."""
    core = CMMCorePlus()
    core.loadSystemConfiguration(str(config))
    core.setTimeoutMs(60_000)
    frames = []
    core.mda.events.frameReady.connect(lambda image, _event, _meta: frames.append(image))
    sequence = useq.MDASequence(
        stage_positions=[
            useq.AbsolutePosition(x=each.x_um, y=each.y_um, z=0.0, name=each.well)
            for each in positions
        ],
        z_plan=useq.ZRangeAround(
            range=settings.plane_step_um * (settings.planes - 1), step=settings.plane_step_um
        ),
        channels=[],
    )
    core.setExposure(settings.exposure_ms)
    core.setXYPosition(positions[0].x_um, positions[0].y_um)
    core.waitForSystem()
    started = time.perf_counter()
    core.mda.run(sequence)
    took_s = time.perf_counter() - started
    if len(frames) != len(positions) * settings.planes:
        raise RuntimeError(f"{len(frames)} frames; expected {len(positions) * settings.planes}")
    core.unloadAllDevices()
    return took_s


def time_spherorank(
    folder: Path, positions: list[WellPosition], settings: MicroscopeSettings
) -> float:
    """Return the seconds of SpheroRank to image positions with settings and write to a folder."""
    prepare_day_folder(folder / "archive", "PLATE", 1)
    scope = MicroManager(settings, lambda: datetime.now(UTC))
    day = ImagingDay(
        scope=scope,
        settings=settings,
        archive=folder / "archive",
        journal=ImagingJournal(folder / "journal.jsonl"),
        surface=FocusSurface(),
        emit=lambda *_words, **_fields: None,
        report_progress=lambda _activity: None,
        should_stop=lambda: False,
        wait=time.sleep,
        clock=lambda: datetime.now(UTC),
    )
    scope.move_to(positions[0].x_um, positions[0].y_um)
    started = time.perf_counter()
    result = day.run(DayPlan("PLATE", 1, positions))
    took_s = time.perf_counter() - started
    if len(result.saved) != len(positions):
        raise RuntimeError(f"{len(result.saved)} wells saved; expected {len(positions)}")
    scope.close()
    return took_s


def main() -> None:
    """Run both imaging runs and print their times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wells", type=int, default=60)
    parser.add_argument("--planes", type=int, default=3)
    parser.add_argument(
        "--stage-um-per-ms",
        type=float,
        default=10.0,
        help="speed of the demo stage; a usual stage has 10 to 50",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "MMConfig.cfg"
        config.write_text(MM_CONFIG.format(velocity=arguments.stage_um_per_ms))
        settings = MicroscopeSettings(
            config=config,
            a1_um=(0.0, 0.0),
            um_per_px=1.36,
            planes=arguments.planes,
            focusing=Focusing.OFF,
            timeout_s=60,
        )
        positions = plan_positions(settings, INNER_60[: arguments.wells])
        engine_s, archived_s = (
            time_pymmcore_plus(config, positions, settings),
            time_spherorank(folder, positions, settings),
        )
    print(
        f"{arguments.wells} wells × {arguments.planes} planes of 1024×1024, "
        f"stage {arguments.stage_um_per_ms:g} µm/ms"
    )
    print(f"pymmcore-plus's own run  {engine_s:7.1f} s")
    print(
        f"SpheroRank, archived     {archived_s:7.1f} s   {archived_s / engine_s - 1:+.1%}, "
        f"{(archived_s - engine_s) / arguments.wells * 1000:+.0f} ms per well"
    )
    sys.stdout.flush()
    os._exit(0)  # MMCore may abort the process during a normal exit


if __name__ == "__main__":
    main()
