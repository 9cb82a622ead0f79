"""Several channels and fields per well, with a virtual plate behind a real core."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import ome_types
import pytest
import tifffile

from acquisition.channels import Channel
from acquisition.microscope.day_plan import DayPlan, DayResult
from acquisition.microscope.fields import check_fields, check_mosaic
from acquisition.microscope.focus_surface import FocusSurface
from acquisition.microscope.image_archive import prepare_day_folder
from acquisition.microscope.imaging_day import ImagingDay
from acquisition.microscope.imaging_journal import ImagingJournal
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.ome_tiff import WellFrames, encode_ome_tiff
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.settings import (
    FieldsUse,
    Focusing,
    MicroscopeScaleFrom,
    MicroscopeSettings,
)
from acquisition.ports import FrameFormat
from daemon.config import load_config, microscope_settings
from inference.bundle import load_bundle
from schemas.errors import ConfigError, MicroscopeError
from store.sql_store import SqlStore
from tests.laboratory import Laboratory

pytestmark = pytest.mark.micromanager

DAY, READOUT_DAY, SIDE_PX = 7, 10, 128
FIELD_UM = 1395.0  # of the virtual microscope
STAIN = Channel(
    name="stain", preset="Channel:Dim", exposure_ms=20, offset_um=15, planes=2, plane_step_um=10
)
STAIN_TOML = """
[[source.micromanager.channels]]
name = "stain"
preset = "Channel:Dim"
exposure_ms = 20.0
offset_um = 15.0
days = "readout"
"""


class ImagedWells:
    """Wells of a virtual plate that are imaged in this process."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.settings = microscope_settings(load_config(laboratory.folder / "spherorank.toml"))
        self.events: list[tuple[str, dict[str, Any]]] = []

    def image(
        self,
        wells: Sequence[str],
        *,
        channels: tuple[Channel, ...] = (),
        day: int = DAY,
        **changes: Any,  # noqa: ANN401 - fields of MicroscopeSettings
    ) -> DayResult:
        """Image wells of the plate on the stage with changed settings, and return the result."""
        laboratory = self.laboratory
        settings: MicroscopeSettings = replace(self.settings, channels=channels, **changes)
        archive = laboratory.folder / "archive"
        prepare_day_folder(archive, laboratory.plate, day)
        scope = MicroManager(settings, lambda: datetime.now(UTC))
        try:
            imaging = ImagingDay(
                scope=scope,
                settings=settings,
                archive=archive,
                journal=ImagingJournal(laboratory.folder / "journal.jsonl"),
                surface=FocusSurface(),
                emit=lambda event, **fields: self.events.append((event, fields)),
                report_progress=lambda _activity: None,
                should_stop=lambda: False,
                wait=lambda _seconds: None,
                clock=lambda: datetime.now(UTC),
            )
            positions = plan_positions(settings, wells)
            return imaging.run(DayPlan(laboratory.plate, day, positions, channels=channels))
        finally:
            scope.close()

    def files(self, part: str = "") -> dict[str, Path]:
        """Return the file of each well whose name has a part after the time, such as stain."""
        end = f"_{part}" if part else ""
        folder = self.laboratory.folder / "archive" / self.laboratory.plate / f"day{DAY:02d}"
        return {
            path.name[:3]: path
            for path in sorted(folder.glob("*.ome.tif"))
            if path.name.removesuffix(".ome.tif").split("_", 2)[2:] == [end[1:]][: bool(end)]
        }


@pytest.fixture
def imaged(tmp_path: Path) -> ImagedWells:
    return ImagedWells(Laboratory.make(tmp_path, size_px=SIDE_PX))


def middle_plane(path: Path) -> np.ndarray:
    pixels = tifffile.imread(path)
    return pixels if pixels.ndim == 2 else pixels[len(pixels) // 2]


def test_a_second_channel_is_saved_with_its_own_light_exposure_heights_and_name(
    imaged: ImagedWells,
) -> None:
    wells = imaged.laboratory.wells[:2]
    result = imaged.image(wells, channels=(STAIN,))

    assert (sorted(result.saved), result.given_up) == (sorted(wells), {})
    bright, stained = imaged.files(), imaged.files("stain")
    assert list(bright) == list(stained) == sorted(wells)
    for well in wells:
        pair = [ome_types.from_tiff(files[well]).images[0] for files in (bright, stained)]
        assert [image.pixels.channels[0].name for image in pair] == ["BF", "stain"]
        assert [image.pixels.size_z for image in pair] == [3, 2]
        assert {plane.exposure_time for plane in pair[1].pixels.planes} == {20.0}
        focus_um = pair[0].pixels.planes[1].position_z
        heights = [plane.position_z for plane in pair[1].pixels.planes]
        assert heights == pytest.approx([focus_um + 10, focus_um + 20])
        lights = [float(np.median(tifffile.imread(files[well]))) for files in (bright, stained)]
        assert lights[1] / lights[0] == pytest.approx(0.6, rel=0.1)  # 30 % light, twice the time
    assert [name for name, _ in imaged.events].count("channel.saved") == 2
    assert imaged.laboratory.lamp == "off"


def test_bright_field_is_imaged_once_although_a_second_channel_fails(
    tmp_path: Path,
) -> None:
    laboratory = Laboratory.make(tmp_path, size_px=SIDE_PX)
    laboratory.break_device("Camera", "RaisingCamera", fails_at=5)
    imaged = ImagedWells(laboratory)
    well = laboratory.wells[0]
    result = imaged.image([well], channels=(STAIN,), focusing=Focusing.OFF)

    assert result.saved == (well,)
    assert [name for name, _ in imaged.events] == ["well.saved", "well.failed", "channel.saved"]
    folder = tmp_path / "archive" / laboratory.plate / f"day{DAY:02d}"
    assert len(list(folder.iterdir())) == 2


def test_a_channel_that_fails_for_ever_is_named_and_the_well_counts_as_saved(
    tmp_path: Path,
) -> None:
    laboratory = Laboratory.make(tmp_path, size_px=SIDE_PX)
    imaged = ImagedWells(laboratory)
    well = laboratory.wells[0]
    beyond = STAIN.model_copy(update={"offset_um": 1e5})  # above the limit of the focus drive
    result = imaged.image([well], channels=(beyond,), focusing=Focusing.OFF)

    assert result.saved == (well,)
    assert list(result.given_up) == [f"{well} stain"]
    assert "z_limits_um" in result.given_up[f"{well} stain"]
    assert len(imaged.files()) == 1


@pytest.mark.slow
def test_the_service_ranks_bright_field_only_even_if_a_stain_is_renamed(tmp_path: Path) -> None:
    laboratory = Laboratory.make(tmp_path, size_px=SIDE_PX, rest=STAIN_TOML)
    well = laboratory.wells[0]
    laboratory.world.place_plate(laboratory.plate, READOUT_DAY)
    done = laboratory.image_plate(READOUT_DAY, "--well", well)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "archive" / laboratory.plate / f"day{READOUT_DAY:02d}"
    (stained,) = folder.glob("*_stain.ome.tif")
    assert stained.name.startswith(well)
    renamed = folder / stained.name.replace("_stain", "")
    shutil.copy(stained, renamed)

    config = tmp_path / "spherorank.toml"
    config.write_text(
        f'{config.read_text()}\n[publisher]\nevents = "ipc://{tmp_path}/e"\n'
        f'requests = "ipc://{tmp_path}/r"\n[health]\nhttp = ""\n'
    )
    subprocess.run(
        [sys.executable, "-m", "daemon", "run", "--once", "--config", str(config)],
        check=False,  # 1: no plate can be ranked from one well
        capture_output=True,
        timeout=110,
    )
    store = SqlStore(f"sqlite:///{tmp_path}/spherorank.sqlite")
    try:
        seen = store.imaged(laboratory.plate, load_bundle("default").card.encoder_id)
        rejected = {each.path: each.reason for each in store.rejected()}
    finally:
        store.close()
    assert [image.key.well for image in seen] == [well]
    assert list(rejected) == [renamed.relative_to(tmp_path / "archive").as_posix()]
    assert "in the channel stain, which is not bright field" in rejected.popitem()[1]


def shifted(settings: MicroscopeSettings, fields: float) -> tuple[float, float]:
    """Return ``a1_um`` for a plate whose wells are off by a number of field widths to the left."""
    return settings.a1_um[0] - fields * FIELD_UM, settings.a1_um[1]


def test_of_two_fields_the_one_with_the_tissue_is_focused_and_ranked(imaged: ImagedWells) -> None:
    """The wells are off by 0.45 fields, so that the tissue is in the middle of the second field."""
    wells = imaged.laboratory.wells[:2]
    a1_um = shifted(imaged.settings, 0.45)
    imaged.image(wells, channels=(STAIN,), fields=(2, 1), a1_um=a1_um)

    ranked = imaged.files()
    assert list(ranked) == list(imaged.files("field01")) == sorted(wells)
    assert not imaged.files("field02")
    for field in ("01", "02"):
        assert list(imaged.files(f"stain-field{field}")) == sorted(wells)
    middles = {each.well: each for each in plan_positions(imaged.settings, wells)}
    for well in wells:
        plane = ome_types.from_tiff(ranked[well]).images[0].pixels.planes[0]
        assert plane.position_x == pytest.approx(middles[well].x_um, abs=1)
        assert (
            middle_plane(ranked[well]).std() > 3 * middle_plane(imaged.files("field01")[well]).std()
        )
    assert "focus.not_found" not in [name for name, _ in imaged.events]


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mosaic_of_two_fields_shows_the_tissue_whole_under_a_mirrored_camera_too(
    tmp_path: Path, *, mirrored: bool
) -> None:
    laboratory = Laboratory.make(tmp_path, size_px=SIDE_PX)
    config = tmp_path / "MMConfig.cfg"
    if mirrored:
        um_per_px = FIELD_UM / SIDE_PX
        affine = f"PixelSizeAffine,Objective,{-um_per_px},0,0,0,{-um_per_px},0\n"
        text = config.read_text().replace(
            "simulation.devices,VirtualCamera", "tests.faulty_devices,MirroredCamera"
        )
        config.write_text(text + affine)
    imaged = ImagedWells(laboratory)
    (well,) = laboratory.wells[:1]
    imaged.image([well], focusing=Focusing.OFF)
    whole = middle_plane(imaged.files()[well])
    shutil.rmtree(tmp_path / "archive" / laboratory.plate / f"day{DAY:02d}")
    (tmp_path / "journal.jsonl").unlink()
    imaged.image(
        [well],
        focusing=Focusing.OFF,
        fields=(2, 1),
        fields_overlap=0.25,
        fields_use=FieldsUse.MOSAIC,
    )

    mosaic = imaged.files()[well]
    pixels = ome_types.from_tiff(mosaic).images[0].pixels
    assert (pixels.size_x, pixels.size_y) == (SIDE_PX * 7 // 4, SIDE_PX)
    assert pixels.physical_size_x == pytest.approx(FIELD_UM / SIDE_PX, rel=1e-5)
    left = (pixels.size_x - SIDE_PX) // 2
    middle = middle_plane(mosaic)[:, left : left + SIDE_PX]
    assert float(np.corrcoef(middle.ravel(), whole.ravel())[0, 1]) > 0.9
    (right, down), _ = cv2.phaseCorrelate(middle.astype(np.float64), whole.astype(np.float64))
    assert (right, down) == pytest.approx((0, 0), abs=0.7)
    assert len(imaged.files("field01")) == len(imaged.files("field02")) == 1


def test_without_the_orientation_of_a_mirrored_camera_one_field_is_ranked_with_an_alert(
    tmp_path: Path,
) -> None:
    laboratory = Laboratory.make(tmp_path, size_px=SIDE_PX)
    config = tmp_path / "MMConfig.cfg"
    text = config.read_text().replace(
        "simulation.devices,VirtualCamera", "tests.faulty_devices,MirroredCamera"
    )
    config.write_text(text)
    imaged = ImagedWells(laboratory)
    (well,) = laboratory.wells[:1]
    imaged.image(
        [well],
        focusing=Focusing.OFF,
        fields=(2, 1),
        fields_overlap=0.25,
        fields_use=FieldsUse.MOSAIC,
    )

    alerts = [fields["message"] for name, fields in imaged.events if name == "alert"]
    assert len(alerts) == 1
    assert "they agree" in alerts[0]
    assert "mirrored left to right" in alerts[0]
    assert tifffile.imread(imaged.files()[well]).shape == (3, SIDE_PX, SIDE_PX)


DEMO_CONFIG = """\
Property,Core,Initialize,0
Device,Camera,DemoCamera,DCam
Device,XY,DemoCamera,DXYStage
Device,Z,DemoCamera,DStage
Device,Lamp,DemoCamera,DShutter
Device,LED,DemoCamera,DShutter
Device,Turret,DemoCamera,DObjective
Device,Filter,DemoCamera,DWheel
Property,Core,Initialize,1
Property,Core,Camera,Camera
Property,Core,Shutter,Lamp
Property,Core,Focus,Z
Property,Core,XYStage,XY
Property,Camera,PixelType,16bit
Property,Camera,BitDepth,12
Property,Camera,OnCameraCCDXSize,256
Property,Camera,OnCameraCCDYSize,256
Property,Camera,Binning,2
Property,XY,Velocity,1000
Label,Turret,0,Plan 4x
Label,Turret,1,Plan 10x
Property,Turret,Label,Plan 10x
ConfigGroup,Channel,BF,Filter,Label,State-0
ConfigGroup,Channel,BF,Core,Shutter,Lamp
ConfigGroup,Channel,GFP,Filter,Label,State-1
ConfigGroup,Channel,GFP,Core,Shutter,LED
ConfigPixelSize,Res10x,Turret,Label,Plan 10x
PixelSize_um,Res10x,0.65
"""
GFP = Channel(
    name="calcein",
    preset="Channel:GFP",
    exposure_ms=2.0,
    contrast_method="Fluorescence",
    illumination="Epifluorescence",
)


SCALE_OF_SECTION: dict[str, Any] = {
    "um_per_px": 1.3,
    "um_per_px_from": MicroscopeScaleFrom.SECTION,
}


def demo_settings(folder: Path, text: str = DEMO_CONFIG, **changes: Any) -> MicroscopeSettings:  # noqa: ANN401 - fields of MicroscopeSettings
    """Return the settings of Micro-Manager's demo devices with two channels."""
    config = folder / "MMConfig.cfg"
    config.write_text(text)
    fields: dict[str, Any] = {"exposure_ms": 1.0, "channel": "Channel:BF", "channels": (GFP,)}
    return MicroscopeSettings(config=config, a1_um=(0.0, 0.0), **fields | changes)


def saved_image(
    folder: Path, settings: MicroscopeSettings, channel: Channel | None
) -> tuple[ome_types.OME, dict[str, str]]:
    """Return the OME metadata of an image in a channel, and SpheroRank's own annotation."""
    scope = MicroManager(settings, lambda: datetime.now(UTC))
    try:
        frames = tuple(scope.stack([0.0], channel))
        image = WellFrames(
            "P", "B02", 1, frames, scope.format, 0, 0, (0.0,), channel=channel and channel.name
        )
    finally:
        scope.close()
    path = folder / "image.ome.tif"
    path.write_bytes(encode_ome_tiff(image))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ome = ome_types.from_tiff(path)
    values = ome.structured_annotations.map_annotations[0].value.ms
    return ome, {each.k: each.value for each in values}


def test_the_metadata_name_the_true_objective_binning_camera_and_channel(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, stand="Upright", contrast_method="Phase")
    bright, of_bright = saved_image(tmp_path, settings, None)
    green, of_green = saved_image(tmp_path, settings, GFP)

    for ome in (bright, green):
        (instrument,) = ome.instruments
        assert instrument.microscope.type.value == "Upright"
        assert [each.model for each in instrument.objectives] == ["Plan 10x"]
        assert ome.images[0].objective_settings.id == instrument.objectives[0].id
        assert instrument.detectors[0].model == "DemoCamera-MultiMode"
        settings_of_camera = ome.images[0].pixels.channels[0].detector_settings
        assert settings_of_camera.binning.value == "2x2"
        assert settings_of_camera.id == instrument.detectors[0].id
    channels = [ome.images[0].pixels.channels[0] for ome in (bright, green)]
    assert [each.name for each in channels] == ["BF", "calcein"]
    assert [each.contrast_method.value for each in channels] == ["Phase", "Fluorescence"]
    assert channels[0].illumination_type is None
    assert channels[1].illumination_type.value == "Epifluorescence"
    assert [each["preset"] for each in (of_bright, of_green)] == ["Channel:BF", "Channel:GFP"]
    assert [each["role"] for each in (of_bright, of_green)] == ["bright field", "other channel"]
    assert of_green["pixel_size_config"] == "Res10x"
    assert (of_green["camera_label"], of_green["camera_device"]) == ("Camera", "DemoCamera/DCam")


def test_unknown_parts_of_the_optical_path_are_absent(tmp_path: Path) -> None:
    lines = [line for line in DEMO_CONFIG.splitlines() if not line.startswith(("Conf", "Pixel"))]
    text = "\n".join(lines)
    settings = demo_settings(tmp_path, text, channel="", channels=(), **SCALE_OF_SECTION)
    ome, values = saved_image(tmp_path, settings, None)

    (instrument,), (image,) = ome.instruments, ome.images
    channel = image.pixels.channels[0]
    assert (channel.name, channel.contrast_method, channel.illumination_type) == (None, None, None)
    assert (instrument.microscope, instrument.objectives) == (None, [])
    assert image.objective_settings is None
    assert not {"preset", "pixel_size_config"} & values.keys()


def test_the_objective_of_the_settings_is_named_if_no_turret_names_one(tmp_path: Path) -> None:
    text = DEMO_CONFIG.replace("Turret,Label,Plan 10x\nPixelSize", "Camera,Binning,2\nPixelSize")
    settings = demo_settings(tmp_path, text, objective="Plan 10x NA 0.3", **SCALE_OF_SECTION)
    ome, _ = saved_image(tmp_path, settings, None)
    assert [each.model for each in ome.instruments[0].objectives] == ["Plan 10x NA 0.3"]


def test_a_channel_with_another_binning_is_no_image_of_the_same_scale(tmp_path: Path) -> None:
    presets = "ConfigGroup,Channel,BF,Camera,Binning,2\nConfigGroup,Channel,GFP,Camera,Binning,1\n"
    scope = MicroManager(demo_settings(tmp_path, DEMO_CONFIG + presets), lambda: datetime.now(UTC))
    try:
        with pytest.raises(
            MicroscopeError, match=r"GFP: has a pixel size of 0.65 µm; expected 1.3"
        ):
            scope.stack([0.0], GFP)
        assert scope.stack([0.0])[0].optical_path.binning == "2"
    finally:
        scope.close()


def test_bright_field_is_selected_again_after_another_channel_and_every_lamp_is_off(
    tmp_path: Path,
) -> None:
    scope = MicroManager(demo_settings(tmp_path), lambda: datetime.now(UTC))
    core = scope._core
    try:
        core.setShutterOpen("LED", True)  # as after a crash
        for channel, filter_label in ((GFP, "State-1"), (None, "State-0"), (GFP, "State-1")):
            scope.stack([0.0], channel)
            assert core.getProperty("Filter", "Label") == filter_label
            assert not core.getShutterOpen("LED")
            assert not core.getShutterOpen("Lamp")
        core.setShutterOpen("Lamp", True)
        scope.lamp_off()
        assert not core.getShutterOpen("Lamp")
    finally:
        scope.close()


def test_a_preset_that_bright_field_would_keep_a_value_of_is_refused(tmp_path: Path) -> None:
    text = f"{DEMO_CONFIG}ConfigGroup,Channel,GFP,Camera,Gain,5\n"
    with pytest.raises(ConfigError, match=r"'Channel:BF', which does not set Camera-Gain"):
        MicroManager(demo_settings(tmp_path, text), lambda: datetime.now(UTC))


def test_a_preset_that_does_not_exist_is_refused_with_the_name_of_its_channel(
    tmp_path: Path,
) -> None:
    missing = GFP.model_copy(update={"preset": "Channel:Cy5"})
    with pytest.raises(ConfigError, match=r"channels, calcein: is 'Channel:Cy5'; .*Channel:GFP"):
        MicroManager(demo_settings(tmp_path, channels=(missing,)), lambda: datetime.now(UTC))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            STAIN_TOML.replace('"stain"', '"a b"'),
            "channels.0.name: is .a b.; expected letters, digits",
        ),
        (STAIN_TOML + STAIN_TOML, "expected the channels stain only once"),
        (STAIN_TOML.replace("exposure_ms = 20.0", ""), "exposure_ms.*the exposure in ms"),
        (STAIN_TOML.replace("Channel:Dim", "Dim"), "channels.0.preset: .*GROUP:PRESET"),
        (
            STAIN_TOML.replace('"readout"', '"last"'),
            "channels.0.days: is .last.; expected .readout., or a list",
        ),
    ],
)
def test_a_wrong_channel_is_refused_with_its_key(tmp_path: Path, lines: str, message: str) -> None:
    config = tmp_path / "spherorank.toml"
    config.write_text(
        '[source]\nkind = "micromanager"\n[source.micromanager]\nconfig = "MMConfig.cfg"\n'
        f'a1_um = [0, 0]\nchannel = "Channel:BF"\n{lines}'
    )
    with pytest.raises(ConfigError, match=message):
        load_config(config)
    config.write_text(
        config.read_text().replace('channel = "Channel:BF"', "").replace(lines, STAIN_TOML)
    )
    with pytest.raises(ConfigError, match=r"channels.*source.micromanager.channel is empty"):
        load_config(config)


def test_fields_beyond_the_stage_limits_are_refused_before_the_first_move(tmp_path: Path) -> None:
    settings = demo_settings(
        tmp_path, fields=(2, 2), stage_limits_um=(-100.0, -1e5, 1e6, 100.0), um_per_px=2.0
    )
    positions = plan_positions(settings, ["A01", "B02"])
    with pytest.raises(ConfigError, match=r"2 × 2 fields .*outside are fields of A01$"):
        check_fields(positions, settings, FrameFormat(256, 256, 12, 2.0))


def test_a_mosaic_with_more_pixels_than_the_service_reads_is_refused(tmp_path: Path) -> None:
    camera = FrameFormat(256, 256, 12, 2.0)
    settings = demo_settings(tmp_path, fields=(3, 2), fields_use=FieldsUse.MOSAIC)
    check_mosaic(settings, camera, 6 * 256 * 256)
    with pytest.raises(ConfigError, match=r"max_pixels.*at least 393216, the pixels of 3 × 2"):
        check_mosaic(settings, camera, 6 * 256 * 256 - 1)
