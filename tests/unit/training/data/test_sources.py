"""Tests of the sources of training images, and of the split into training and validation plates."""

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from structlog.testing import capture_logs

from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.plate_map_files import read_plate_maps
from inference.bundle import load_bundle
from schemas.assay import Assay
from schemas.errors import ConfigError
from schemas.plate_map import PlateMap
from schemas.well_image import VisitKey
from simulation.microscope import VirtualMicroscope
from simulation.plate import plan_plate, select_wells
from simulation.robot import write_plates
from store.sql_store import SqlStore
from tests.real_data import real_data
from tests.samples import NOW, observation, observation_data
from training.data.archive import Archive
from training.data.crops import Cropping, LeftOutImage, PlateCrops, PlateNote, WellCrop, write_crops
from training.data.sources import (
    check_plates_disjoint,
    crops_from_archive,
    crops_from_store,
    split_crops,
)

SMALL = Cropping(side_px=64)
PATTERN = "{plate}/day{day}/{well}_z{plane}.tif"
DAYS = (7, 10)
WELL_NAMES = ("B02", "B03", "B04", "C02", "C03")
WELLS = 6


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a drop folder of two plates."""
    out = tmp_path_factory.mktemp("robot")
    scopes = [VirtualMicroscope(select_wells(plan_plate(3, index), WELLS), 128) for index in (1, 2)]
    write_plates(out, scopes, days=DAYS)
    return out / "drop"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder for all tests of this file, so that no image is read twice."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def drop(written: Path, tmp_path: Path) -> Path:
    """Return a copy of the drop folder that a test may change."""
    return Path(shutil.copytree(written, tmp_path / "drop"))


def left_out(logs: list[dict[str, object]]) -> dict[str, str]:
    return {
        str(entry["file"]): str(entry["reason"])
        for entry in logs
        if entry["event"] == "image.left_out"
    }


def test_a_drop_folder_gives_its_plates_with_groups_treatments_and_days(
    written: Path, cache: Path
) -> None:
    before = set(list_files(written))
    plates = crops_from_archive(Archive(written, PATTERN), cache, cropping=SMALL)
    assert [plate.plate for plate in plates] == ["VIRTUAL-0003-01", "VIRTUAL-0003-02"]
    plan = {well.well: well for well in select_wells(plan_plate(3, 1), WELLS).wells}
    first = plates[0]
    assert len(first) == 12
    assert set(first.days.tolist()) == set(DAYS)
    assert first.dosed_on_day == 7
    assert first.groups == tuple(plan[well].group.value for well in first.wells)
    assert first.treatments == tuple(plan[well].treatment for well in first.wells)
    assert np.isfinite(first.measures).all()
    assert set(list_files(written)) == before


def write_assay(drop: Path, plate: str, text: str) -> None:
    (drop / plate / f"{plate}.assay.csv").write_text(f"well,viability_percent\n{text}")


def test_an_assay_is_read_on_request_and_belongs_to_the_images_of_the_readout_day(
    drop: Path, cache: Path
) -> None:
    wells = [well.well for well in select_wells(plan_plate(3, 1), WELLS).wells]
    write_assay(drop, "VIRTUAL-0003-01", f"{wells[0]},80\n{wells[1]},30\n")
    write_assay(drop, "VIRTUAL-0003-02", "A01,many\n")
    archive = Archive(drop, PATTERN, assays=True)
    with capture_logs() as logs:
        first, second = crops_from_archive(archive, cache, cropping=SMALL)
    assert first.viability_percent is not None
    found = zip(first.wells, first.days.tolist(), first.viability_percent.tolist(), strict=True)
    assert {row for row in found if np.isfinite(row[2])} == {(wells[0], 10, 80), (wells[1], 10, 30)}
    assert second.viability_percent is not None
    assert np.isnan(second.viability_percent).all()
    reasons = [str(log["reason"]) for log in logs if log["event"] == "assay.left_out"]
    assert len(reasons) == 1
    assert "well A01 is not in the plate map" in reasons[0]

    plain, _ = crops_from_archive(replace(archive, assays=False), cache, cropping=SMALL)
    assert plain.viability_percent is None
    half = split_crops([first], 0.5, seed=0).training[0]
    assert half.viability_percent is not None
    assert half.viability_percent.shape == (len(half),)


def test_a_broken_image_is_logged_and_left_out(drop: Path, cache: Path) -> None:
    folder = drop / "VIRTUAL-0003-01" / "day07"
    broken = min(folder.glob("*_z2.tif"))
    broken.write_bytes(broken.read_bytes()[:500])
    (folder / "overview.tif").write_bytes(broken.read_bytes())
    with capture_logs() as logs:
        plates = crops_from_archive(Archive(drop, PATTERN), cache, cropping=SMALL)
    assert [len(plate) for plate in plates] == [11, 12]
    reasons = left_out(logs)
    assert "does not fit the pattern" in reasons["VIRTUAL-0003-01/day07/overview.tif"]
    assert any("cut short" in reason or "damaged" in reason for reason in reasons.values())
    assert len(reasons) == 2


def test_images_that_are_left_out_are_recorded_also_by_the_next_command(
    drop: Path, cache: Path
) -> None:
    folder = drop / "VIRTUAL-0003-01" / "day07"
    broken = min(folder.glob("*_z2.tif"))
    broken.write_bytes(broken.read_bytes()[:400])
    (folder / "overview.tif").write_bytes(b"")
    archive = Archive(drop, PATTERN)
    first: list[LeftOutImage] = []
    again: list[LeftOutImage] = []
    for found in (first, again):
        plates = crops_from_archive(archive, cache, cropping=SMALL, record=found.append)
    assert [each.plate for each in first] == ["", "VIRTUAL-0003-01"]
    assert again == first
    assert [plate.notes.without_scale for plate in plates if plate.notes] == [0, 0]


def test_a_plate_is_read_again_only_when_its_images_change(drop: Path, cache: Path) -> None:
    archive = Archive(drop, PATTERN)
    first, other = crops_from_archive(archive, cache, cropping=SMALL)
    assert [plate.folder for plate in crops_from_archive(archive, cache, cropping=SMALL)] == [
        first.folder,
        other.folder,
    ]
    for file in (drop / "VIRTUAL-0003-01" / "day10").iterdir():
        file.unlink()
    changed, same = crops_from_archive(archive, cache, cropping=SMALL)
    assert changed.folder != first.folder
    assert len(changed) == 6
    assert same.folder == other.folder


def test_a_plate_with_an_invalid_or_missing_map_is_used_without_groups(
    drop: Path, cache: Path
) -> None:
    (drop / "VIRTUAL-0003-01" / "VIRTUAL-0003-01.wells.csv").write_text("nonsense\n")
    (drop / "VIRTUAL-0003-02" / "VIRTUAL-0003-02.plate.toml").unlink()
    with capture_logs() as logs:
        plates = crops_from_archive(Archive(drop, PATTERN), cache, cropping=SMALL)
    assert [
        (plate.plate, len(plate), set(plate.groups), plate.dosed_on_day) for plate in plates
    ] == [
        ("VIRTUAL-0003-01", 12, {""}, 0),
        ("VIRTUAL-0003-02", 12, {""}, 0),
    ]
    assert [entry["plate"] for entry in logs if entry["event"] == "plate_map.left_out"] == [
        "VIRTUAL-0003-01"
    ]


def grey(seed: int) -> npt.NDArray[np.uint8]:
    """Return an image of a disc in uneven light, uint8."""
    y, x = np.mgrid[:100, :120]
    noise = np.random.default_rng(seed).normal(0, 2, (100, 120))
    return np.clip(180 + 0.1 * x - 90 * (np.hypot(x - 60, y - 50) < 20) + noise, 0, 255).astype(
        np.uint8
    )


def test_without_a_pattern_a_folder_is_a_plate_and_pixel_formats_give_equal_crops(
    tmp_path: Path,
) -> None:
    images = tmp_path / "images"
    for name in ("a", "b/c"):
        (images / name).mkdir(parents=True)
    cv2.imwrite(str(images / "a" / "eight.png"), grey(1))
    cv2.imwrite(str(images / "a" / "rgb.png"), np.stack([grey(1)] * 3, axis=-1))
    tifffile.imwrite(images / "a" / "sixteen.tif", grey(1).astype(np.uint16) * 257)
    cv2.imwrite(str(images / "b" / "c" / "other.png"), grey(2))
    cv2.imwrite(str(images / "b" / "c" / "mask.png"), (grey(2) < 120).astype(np.uint8) * 255)
    cv2.imwrite(str(images / "b" / "c" / "tiny.png"), grey(2)[:40, :40])
    with capture_logs() as logs:
        plates = crops_from_archive(
            Archive(images, um_per_px=4.0), tmp_path / "cache", cropping=SMALL
        )
    assert {plate.plate: plate.wells for plate in plates} == {
        "images/a": ("eight", "rgb", "sixteen"),
        "images/b/c": ("other",),
    }
    eight, rgb, sixteen = plates[0].crops
    assert np.array_equal(eight, rgb)
    assert np.array_equal(eight, sixteen)
    assert np.isfinite(plates[0].measures).all()
    reasons = left_out(logs)
    assert "has 2 grey values; expected an image, not a mask" in reasons["b/c/mask.png"]
    assert "40×40 pixels" in reasons["b/c/tiny.png"]


def test_a_folder_without_a_usable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(
        ConfigError,
        match=r"empty: has no usable image; expected images named \{well\}.tif",
    ):
        crops_from_archive(Archive(tmp_path / "empty", "{well}.tif"), tmp_path / "cache")
    with pytest.raises(ConfigError, match="absent: is not a folder"):
        crops_from_archive(Archive(tmp_path / "absent"), tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"source\.pattern"):
        crops_from_archive(Archive(tmp_path / "empty", "{day}.tif"), tmp_path / "cache")


def store_of(drop: Path, folder: Path, plate_map: PlateMap) -> str:
    """Return a store with every well of a plate on both days, one of them in two versions."""
    url = f"sqlite:///{folder / 'spherorank.sqlite'}"
    encoder_id = load_bundle("default").card.encoder_id
    files = {version.path: version for version in list_files(drop)}
    with closing(SqlStore(url)) as store:
        store.save_plate_map(plate_map, NOW)
        for number, entry in enumerate(plate_map.entries):
            for day in DAYS:
                names = [
                    f"{plate_map.plate}/day{day:02d}/{entry.well}_z{plane}.tif"
                    for plane in (1, 2, 3)
                ]
                kept = tuple(files[name] for name in names)
                versions = (kept[:1], kept) if number == 0 and day == DAYS[0] else (kept,)
                for seed, of_version in enumerate(versions):
                    seen = observation(
                        entry.well,
                        day,
                        plate=plate_map.plate,
                        seed=100 * number + day + 1000 * seed,
                        files=of_version,
                        encoder_id=encoder_id,
                        taken_at=None,
                    )
                    seen = replace(seen, key=VisitKey(plate_map.plate, entry.well, f"day{day:02d}"))
                    store.add_observation(seen, observation_data(seen))
    return url


def test_the_store_selects_the_images_and_the_archive_has_their_pixels(
    written: Path, tmp_path: Path, cache: Path
) -> None:
    plate_map = next(iter(_maps(written)))
    url = store_of(written, tmp_path, plate_map)
    (of_store,) = crops_from_store(url, Archive(written, PATTERN), cache, cropping=SMALL)
    (of_folder,) = [
        plate
        for plate in crops_from_archive(Archive(written, PATTERN), cache, cropping=SMALL)
        if plate.plate == plate_map.plate
    ]
    assert len(of_store) == len(of_folder) == 12
    order = [
        list(zip(of_folder.wells, of_folder.days.tolist(), strict=True)).index(place)
        for place in zip(of_store.wells, of_store.days.tolist(), strict=True)
    ]
    assert np.array_equal(of_store.crops, of_folder.crops[order])
    assert of_store.groups == tuple(of_folder.groups[index] for index in order)


def test_the_assay_in_the_store_is_read_on_request(
    written: Path, tmp_path: Path, cache: Path
) -> None:
    plate_map = _maps(written)[0]
    url = store_of(written, tmp_path, plate_map)
    well = plate_map.entries[0].well
    with closing(SqlStore(url)) as store:
        store.save_assay(Assay(plate=plate_map.plate, viability_percent={well: 60.0}), NOW)
    archive = Archive(written, PATTERN, assays=True)
    (found,) = crops_from_store(url, archive, cache, cropping=SMALL)
    assert found.viability_percent is not None
    (row,) = np.flatnonzero(np.isfinite(found.viability_percent))
    assert (found.wells[row], found.days[row], found.viability_percent[row]) == (well, 10, 60)


def _maps(drop: Path) -> list[PlateMap]:
    return [found for found in read_plate_maps(drop).values() if isinstance(found, PlateMap)]


def test_a_store_without_images_in_the_archive_is_refused_and_not_created(
    written: Path, tmp_path: Path
) -> None:
    url = store_of(written, tmp_path, _maps(written)[0])
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(ConfigError, match="has no image that encoder 'default' embedded there"):
        crops_from_store(
            url, Archive(tmp_path / "elsewhere", PATTERN), tmp_path / "cache", cropping=SMALL
        )
    with pytest.raises(ConfigError, match="expected the store of a service"):
        crops_from_store(
            f"sqlite:///{tmp_path / 'absent.sqlite'}", Archive(written, PATTERN), tmp_path / "cache"
        )
    assert not (tmp_path / "absent.sqlite").exists()


def test_real_images_of_all_data_sets_are_cropped_and_masks_left_out(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for source in (
        real_data("mls11_spheroids") / "scribbles",
        real_data("orgaquant_test") / "1.jpg",
        *(
            real_data("spheroid_morpho_ml") / "images" / f"image_{number}.tiff"
            for number in (1, 19, 37)
        ),
    ):
        (images / source.name).symlink_to(source)
    with capture_logs() as logs:
        plates = crops_from_archive(
            Archive(images, um_per_px=3.26), tmp_path / "cache", cropping=SMALL
        )
    assert {plate.plate: len(plate) for plate in plates} == {"images": 4}
    assert all("expected an image, not a mask" in reason for reason in left_out(logs).values())
    levels = [float(np.quantile(crop[1], 0.75)) / 255 for plate in plates for crop in plate.crops]
    assert all(abs(level - SMALL.background) < 0.02 for level in levels)


def made_up(cache: Path, names: list[str]) -> list[PlateCrops]:
    plates = [
        write_crops(
            cache,
            PlateNote(name, "made up"),
            SMALL,
            [WellCrop("B02", 7, "", "", np.zeros((3, 64, 64), np.uint8), np.zeros(11, np.float32))],
        )
        for name in names
    ]
    return [plate for plate in plates if plate is not None]


def test_plates_are_split_as_a_whole_and_equally_for_the_same_seed(tmp_path: Path) -> None:
    plates = made_up(tmp_path, [f"P{number}" for number in range(10)])
    split = split_crops(plates, 0.2, seed=1)
    validation = split.validation
    assert not split.shared_plate
    assert len(validation) == 2
    assert sorted(plate.plate for plate in (*split.training, *validation)) == [
        f"P{number}" for number in range(10)
    ]
    assert [plate.plate for plate in split_crops(plates, 0.2, seed=1).validation] == [
        plate.plate for plate in validation
    ]
    assert (
        len(
            {
                tuple(plate.plate for plate in split_crops(plates, 0.2, seed=seed).validation)
                for seed in range(5)
            }
        )
        > 1
    )


def test_one_plate_from_two_sources_is_not_divided(tmp_path: Path) -> None:
    plates = made_up(tmp_path / "one", ["P1", "P2", "P3"]) + made_up(
        tmp_path / "other", ["P1", "P2", "P3"]
    )
    for seed in range(5):
        split = split_crops(plates, 0.3, seed)
        training = {plate.plate for plate in split.training}
        assert training.isdisjoint(plate.plate for plate in split.validation)
        assert len(split.validation) == 2


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_training_and_validation_have_at_least_one_plate(tmp_path: Path, share: float) -> None:
    split = split_crops(made_up(tmp_path, ["P1", "P2"]), share, seed=0)
    assert len(split.training) == len(split.validation) == 1


def test_a_plate_in_training_and_validation_is_refused(tmp_path: Path) -> None:
    one, two, three = made_up(tmp_path, ["P1", "P2", "P3"])
    with pytest.raises(
        ConfigError,
        match="plates in both training and validation: P2; expected each plate in one of them",
    ):
        check_plates_disjoint([one, two], [two, three])


def test_one_plate_is_split_by_wells_so_that_no_well_is_in_both_parts(tmp_path: Path) -> None:
    crops = [
        WellCrop(
            well,
            day,
            "",
            "",
            np.full((3, 64, 64), 10 * row, np.uint8),
            np.full(11, row, np.float32),
        )
        for row, (well, day) in enumerate((well, day) for well in WELL_NAMES for day in DAYS)
    ]
    plate = write_crops(tmp_path, PlateNote("P1", "made up"), SMALL, crops)
    assert plate is not None
    split = split_crops([plate], 0.2, seed=0)
    assert split.shared_plate == "P1"
    (training,), (validation,) = split.training, split.validation
    assert len(set(validation.wells)) == 1
    assert len(validation) == len(DAYS)
    assert set(training.wells) == set(WELL_NAMES) - set(validation.wells)
    for part in (training, validation):
        for row, well in enumerate(part.wells):
            origin = 2 * WELL_NAMES.index(well) + DAYS.index(int(part.days[row]))
            assert (part.crops[row] == 10 * origin).all()
            assert (part.measures[row] == origin).all()
    again = split_crops([plate], 0.2, seed=0)
    assert again.training[0].folder == training.folder


def test_one_well_or_a_share_of_zero_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one plate, P1, with one well; expected two or more"):
        split_crops(made_up(tmp_path, ["P1"]), 0.2, seed=0)
    with pytest.raises(ConfigError, match=r"validation_share: is 0\.0; expected between 0 and 1"):
        split_crops(made_up(tmp_path, ["P1", "P2"]), 0.0, seed=0)
