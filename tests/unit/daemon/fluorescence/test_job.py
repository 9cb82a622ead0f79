"""From the fluorescence images of a virtual plate to its assay file."""

import csv
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from daemon.fluorescence.job import quantify
from daemon.fluorescence.quantification import PlateResult
from daemon.fluorescence.settings import load_settings
from schemas.assay import ASSAY_COLUMNS, parse_assay
from schemas.errors import ConfigError, OutputError, PlateMapError, ProfileError, SpheroRankError
from schemas.plate_tables import csv_table
from simulation.fluorescence import write_stained_plates
from simulation.microscope import VirtualMicroscope, virtual_microscopes
from simulation.robot import write_plate_map
from tests.small_plates import with_few_wells

PLATE = "VIRTUAL-0041-01"


@pytest.fixture(scope="module")
def scope() -> VirtualMicroscope:
    """Return the microscope with a plate of 18 wells."""
    [scope] = virtual_microscopes(1, 41, 192)
    return with_few_wells(scope, untreated=7, single_dose=2, treatments=3)


@pytest.fixture(scope="module")
def stained(tmp_path_factory: pytest.TempPathFactory, scope: VirtualMicroscope) -> Path:
    """Return a folder with the stains of the plate, their truth and the plate map."""
    out = tmp_path_factory.mktemp("stained")
    write_stained_plates(out, [scope])
    write_plate_map(scope, out / "drop")
    return out


@pytest.fixture
def copied(stained: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder that a test may change."""
    return Path(shutil.copytree(stained, tmp_path / "copy"))


def images(folder: Path) -> Path:
    return folder / "fluorescence" / PLATE


def run(folder: Path) -> PlateResult:
    """Quantify the plate in a folder."""
    return quantify(
        images(folder),
        folder / "drop" / PLATE / f"{PLATE}.plate.toml",
        images(folder) / "fluorescence.toml",
        folder / "result",
    )


def change_settings(folder: Path, old: str, new: str) -> None:
    """Replace a text in the settings of the stains."""
    path = images(folder) / "fluorescence.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_the_live_share_is_within_five_points_of_the_truth(copied: Path) -> None:
    result = run(copied)
    truth = {
        row["well"]: float(row["live_share"])
        for row in csv.DictReader((copied / "fluorescence_truth.csv").read_text().splitlines())
    }
    assert result.wells.keys() == truth.keys()
    assert not any(well.left_out for well in result.wells.values())
    errors = {
        name: abs((well.live_share or 0.0) - truth[name]) for name, well in result.wells.items()
    }
    assert max(errors.values()) < 0.05, errors
    assert min(truth.values()) < 0.9 < max(truth.values())


def test_the_assay_file_is_one_that_a_plate_map_accepts(
    copied: Path, scope: VirtualMicroscope
) -> None:
    change_settings(copied, 'viability = "live"', 'viability = "live_share"')
    run(copied)
    path = copied / "result" / f"{PLATE}.assay.csv"
    wells = [plan.well for plan in scope.plate.wells]
    assay = parse_assay(
        csv_table(path.read_bytes(), path.name, ASSAY_COLUMNS), plate=PLATE, wells=wells
    )
    assert assay.viability_percent.keys() == set(wells)
    page = (copied / "result" / f"{PLATE}.fluorescence.html").read_text()
    assert page.count("<figure>") == len(wells)
    table = list(
        csv.DictReader((copied / "result" / f"{PLATE}.fluorescence.csv").read_text().splitlines())
    )
    assert {"live_area_um2", "dead_intensity", "nuclei_background"} <= table[0].keys()


def test_existing_files_are_not_overwritten(copied: Path) -> None:
    (copied / "result").mkdir()
    (copied / "result" / f"{PLATE}.assay.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        run(copied)
    assert (copied / "result" / f"{PLATE}.assay.csv").read_text() == "mine"


def write(path: Path, planes: npt.NDArray[np.float64]) -> None:
    """Write planes (Z, H, W) over the image of a stain."""
    tifffile.imwrite(path, planes.astype(np.uint16), photometric="minisblack")


def spoil(folder: Path, well: str, channel: str, planes: npt.NDArray[np.float64]) -> None:
    """Replace the image of a stain."""
    write(images(folder) / f"{well}_{channel}.tif", planes)


def test_saturated_blurred_missing_and_unstained_wells_are_left_out_with_the_reason(
    copied: Path, scope: VirtualMicroscope
) -> None:
    saturated, unstained, missing, foreign = [plan.well for plan in scope.plate.wells][:4]
    live = tifffile.imread(images(copied) / f"{saturated}_FITC.tif")
    spoil(copied, saturated, "FITC", np.minimum(110 + 40 * (live.astype(float) - 110), 4095))
    dark = np.random.default_rng(1).normal(110, 4, live.shape)
    for channel in ("FITC", "TRITC", "DAPI"):
        spoil(copied, unstained, channel, dark)
    (images(copied) / f"{missing}_TRITC.tif").unlink()
    spoil(copied, foreign, "DAPI", 4200.0 - live)
    result = run(copied)
    assert "saturated" in result.wells[saturated].left_out
    assert "no stain is above the background" in result.wells[unstained].left_out
    assert result.wells[missing].left_out == "no usable image of the stain dead"
    assert result.wells[foreign].left_out == "no usable image of the stain nuclei"
    [refused] = result.refused
    assert "as in bright field" in str(refused)
    assert not {saturated, unstained, missing, foreign} & result.assayed.keys()
    assert len(result.assayed) == len(scope.plate.wells) - 4


def test_a_well_with_a_missing_plane_or_another_size_is_left_out(
    copied: Path, scope: VirtualMicroscope
) -> None:
    short, small = [plan.well for plan in scope.plate.wells][:2]
    planes = tifffile.imread(images(copied) / f"{short}_FITC.tif")
    spoil(copied, short, "FITC", planes[:2])
    spoil(copied, small, "TRITC", planes[:, ::2, ::2])
    result = run(copied)
    assert result.wells[short].left_out == (
        "live: planes: 2 of 192×192 uint16; expected planes: 3 of 192×192 uint16, as in most wells"
    )
    assert result.wells[small].left_out.startswith("dead: planes: 3 of 96×96 uint16; expected")
    assert len(result.assayed) == len(scope.plate.wells) - 2


def test_a_plate_with_the_bright_field_channel_as_a_stain_is_refused(copied: Path) -> None:
    for path in images(copied).glob("*_FITC.tif"):
        write(path, 4200.0 - tifffile.imread(path))
    with pytest.raises(ProfileError) as refused:
        run(copied)
    assert str(refused.value).startswith(
        f"{PLATE}: no image of the stain live (channel FITC) can be used in any of 18 wells; "
        "expected one of each well; "
    )
    assert "B02_FITC.tif: its background is brighter than its tissue" in str(refused.value)
    assert not (copied / "result").exists()


def test_an_untreated_well_without_live_stain_does_not_change_the_other_wells(
    copied: Path, scope: VirtualMicroscope
) -> None:
    control = next(plan.well for plan in scope.plate.wells if not plan.treatment)
    whole = run(copied).assayed
    shutil.rmtree(copied / "result")
    live = tifffile.imread(images(copied) / f"{control}_FITC.tif")
    spoil(copied, control, "FITC", np.random.default_rng(1).normal(110, 4, live.shape))
    result = run(copied)
    assert result.wells[control].left_out == (
        "live: no signal above the background in an untreated well; expected live cells"
    )
    assert result.assayed.keys() == whole.keys() - {control}
    assert all(
        percent == pytest.approx(whole[well], rel=0.1) for well, percent in result.assayed.items()
    )


def test_a_stain_without_signal_in_all_wells_is_refused(copied: Path) -> None:
    for number, path in enumerate(sorted(images(copied).glob("*_TRITC.tif"))):
        dark = np.random.default_rng(number).normal(110, 4, tifffile.imread(path).shape)
        write(path, dark)
    with pytest.raises(ProfileError, match=r"the stain dead .* has no signal"):
        run(copied)


def test_strong_bleed_through_is_refused_with_the_setting_that_corrects_it(copied: Path) -> None:
    for path in images(copied).glob("*_TRITC.tif"):
        live = tifffile.imread(path.with_name(path.name.replace("TRITC", "FITC")))
        mixed = tifffile.imread(path) + 0.2 * np.maximum(live.astype(float) - 110, 0)
        write(path, mixed)
    with pytest.raises(ProfileError, match=r"signal of live is in the channel of dead.*bleed_from"):
        run(copied)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[stains.live]", "[stains.alive]", "stains.alive"),
        ('projection = "sum"', 'projection = "middle"', "projection"),
        ('channel = "TRITC"', 'channel = "FITC"', "two stains have one channel"),
        ("live = 0.02", "live = 1.5", "bleed_from"),
        ('pattern = "{well}_{channel}.tif"', 'pattern = "{well}.tif"', "channel"),
        ('channel = "FITC"', 'channel = "GFP"', "GFP|no usable image|no signal"),
    ],
)
def test_wrong_settings_are_refused_with_their_name(
    copied: Path, old: str, new: str, problem: str
) -> None:
    change_settings(copied, old, new)
    with pytest.raises(SpheroRankError, match=problem):
        run(copied)


def test_images_of_another_plate_are_refused_with_their_wells(copied: Path) -> None:
    for path in list(images(copied).glob("*.tif")):
        path.rename(path.with_name(f"A01_{path.stem.partition('_')[2]}_{path.stem[:3]}.tif"))
    change_settings(copied, "{well}_{channel}.tif", "{well}_{channel}_{id}.tif")
    with pytest.raises(ConfigError, match=r"has no image of a stain.*well A01 is not in the map"):
        run(copied)


def test_a_missing_map_and_missing_settings_are_named(copied: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(copied / "none.toml")
    with pytest.raises(PlateMapError, match="does not exist"):
        quantify(
            images(copied),
            copied / "none.plate.toml",
            images(copied) / "fluorescence.toml",
            copied / "result",
        )
