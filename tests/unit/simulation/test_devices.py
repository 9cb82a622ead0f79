"""The virtual devices, driven by Micro-Manager's real core."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pymmcore
import pytest
from pymmcore_plus.experimental.unicore import UniMMCore

from schemas.errors import ConfigError
from simulation.world import A1_UM, FOCUS_Z_UM, SPACING_UM, World, WorldFile
from simulation.world_files import write_maps_and_truth, write_world

pytestmark = pytest.mark.micromanager

PLATE = "VIRTUAL-0003-01"
C04 = (A1_UM[0] + 3 * SPACING_UM, A1_UM[1] - 2 * SPACING_UM)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(
        tmp_path / "world",
        WorldFile(seed=3, size_px=128, wells=12),
        clock=lambda: datetime.now(UTC),
    )
    write_world(tmp_path, world)
    world.place_plate(PLATE, 7)
    return world


@pytest.fixture
def core(tmp_path: Path, world: World) -> Iterator[UniMMCore]:
    assert not world.is_lamp_on
    core = UniMMCore()
    core.loadSystemConfiguration(str(tmp_path / "MMConfig.cfg"))
    core.setAutoShutter(False)
    yield core
    unload(core)


def unload(core: UniMMCore) -> None:
    core.unloadAllDevices()
    pymmcore.CMMCore.registerCallback(
        core, None
    )  # its callback thread would abort the process at its end


def move_to(core: UniMMCore, x: float, y: float, z: float = FOCUS_Z_UM) -> None:
    core.setXYPosition(x, y)
    core.setPosition(z)
    core.waitForDevice("Stage")
    core.waitForDevice("Focus")


def test_the_configuration_names_every_device_and_the_pixel_size(
    core: UniMMCore, world: World
) -> None:
    parts = (
        core.getCameraDevice(),
        core.getXYStageDevice(),
        core.getFocusDevice(),
        core.getShutterDevice(),
    )

    assert parts == ("Camera", "Stage", "Focus", "Lamp")
    assert core.getPixelSizeUm() == pytest.approx(world.um_per_px, rel=1e-5)
    assert (core.getImageWidth(), core.getImageHeight(), core.getImageBitDepth()) == (128, 128, 16)
    core.setTimeoutMs(60_000)
    assert core.getPixelSizeUm() > 0


def test_the_lamp_file_says_on_only_while_the_shutter_is_open(
    core: UniMMCore, world: World
) -> None:
    move_to(core, *C04)
    dark = core.snap().mean()
    core.setShutterOpen(True)
    assert (world.folder / "lamp").read_text() == "on\n"
    bright = core.snap().mean()
    core.setShutterOpen(False)

    assert (world.folder / "lamp").read_text() == "off\n"
    assert bright > 20 * dark


def test_the_channel_sets_the_brightness_of_the_lamp(core: UniMMCore) -> None:
    move_to(core, *C04)
    core.setShutterOpen(True)
    levels = {}
    for preset in ("BF", "Dim"):
        core.setConfig("Channel", preset)
        core.waitForConfig("Channel", preset)
        levels[preset] = np.median(core.snap())
    core.setShutterOpen(False)

    assert levels["Dim"] / levels["BF"] == pytest.approx(0.3, rel=0.1)


def test_brightness_is_proportional_to_exposure(core: UniMMCore) -> None:
    move_to(core, *C04)
    core.setShutterOpen(True)
    core.setExposure(4)
    short = np.median(core.snap())
    core.setExposure(8)

    assert np.median(core.snap()) / short == pytest.approx(2, rel=0.1)
    with pytest.raises(ValueError, match="exposure"):
        core.setExposure(0)
    core.setShutterOpen(False)


def test_the_stage_is_busy_until_it_arrives(core: UniMMCore) -> None:
    move_to(core, *C04)
    core.setProperty("Stage", "Speed_mm_s", 10)
    core.setXYPosition(C04[0] + 1000, C04[1])  # a tenth of a second

    assert core.deviceBusy("Stage")
    assert core.getXYPosition()[0] < C04[0] + 1000
    core.waitForDevice("Stage")
    assert core.getXYPosition() == (C04[0] + 1000, C04[1])


def test_a_stopped_stage_stays_at_its_position(core: UniMMCore) -> None:
    move_to(core, *C04)
    core.setProperty("Stage", "Speed_mm_s", 1)
    core.setXYPosition(C04[0] + 9000, C04[1])
    core.stop("Stage")
    core.waitForDevice("Stage")

    assert C04[0] <= core.getXYPosition()[0] < C04[0] + 9000


def test_positions_out_of_reach_are_refused(core: UniMMCore) -> None:
    with pytest.raises(ValueError, match=r"x = -1\.0"):
        core.setXYPosition(-1, 0)
    with pytest.raises(ValueError, match=r"10001\.0"):
        core.setPosition(10_001)


def test_the_frame_time_is_the_time_in_the_life_of_the_plate(core: UniMMCore, world: World) -> None:
    core.snap()
    stamp = datetime.fromisoformat(core.getProperty("Camera", "FrameTime"))

    assert stamp.date() == world.virtual_time().date()
    assert stamp.utcoffset() == world.scopes[PLATE].plate.seeded_at.utcoffset()
    assert 0 <= (world.virtual_time() - stamp).total_seconds() < 30


def test_an_invalid_on_stage_file_makes_the_frame_fail(core: UniMMCore, world: World) -> None:
    (world.folder / "on_stage.json").write_text("{")

    with pytest.raises(Exception, match=r"on_stage\.json"):
        core.snap()


def test_a_configuration_without_a_world_file_does_not_load(tmp_path: Path, world: World) -> None:
    (world.folder / "world.toml").unlink()
    core = UniMMCore()
    try:
        with pytest.raises(RuntimeError, match=r"world\.toml.*simulate --microscope"):
            core.loadSystemConfiguration(str(tmp_path / "MMConfig.cfg"))
    finally:
        unload(core)


def test_a_folder_with_a_comma_in_its_name_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path / "a,b", WorldFile(), clock=lambda: datetime.now(UTC))

    with pytest.raises(ConfigError, match="comma"):
        write_world(tmp_path, world)


def test_plate_maps_and_truth_are_written(tmp_path: Path, world: World) -> None:
    steps: list[tuple[int, int]] = []
    write_maps_and_truth(
        tmp_path, world, assay=True, progress=lambda done, total: steps.append((done, total))
    )

    assert {file.name for file in (tmp_path / "archive" / PLATE).iterdir()} == {
        f"{PLATE}.plate.toml",
        f"{PLATE}.wells.csv",
        f"{PLATE}.assay.csv",
    }
    assert len((tmp_path / "truth.csv").read_text().splitlines()) == 1 + 12 * 10
    assert steps[-1] == (120, 120)
