"""Tests of crops of well images: equal to the service's input, complete files, and measures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from acquisition.quality import assess
from inference.bundle import load_bundle
from inference.encoding.preprocessing import preprocess
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from schemas.errors import ConfigError
from simulation.kinds import OpticsName
from simulation.microscope import Fault, VirtualMicroscope
from simulation.plate import plan_plate
from training.data.crops import (
    Cropping,
    PlateNote,
    WellCrop,
    crop_folder,
    crop_well_image,
    foreground_masks,
    open_crops,
    write_crops,
)
from training.data.virtual_plates import VirtualWells

SMALL = Cropping(side_px=64)
NOTE = PlateNote("P1", "made up", dosed_on_day=7)
UM_PER_PX = 1395 / 256


def scope_of(optics: OpticsName = OpticsName.DEFAULT) -> VirtualMicroscope:
    return VirtualMicroscope(plan_plate(3), 256, optics)


def planes_of(
    scope: VirtualMicroscope, well: int = 0, day: int = 7, fault: Fault | None = None
) -> npt.NDArray[np.uint16]:
    counts = scope.render(scope.plate.wells[well], day, fault).planes
    return (counts.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)


def without_noise(scope: VirtualMicroscope) -> VirtualMicroscope:
    """Return the same microscope with a camera that adds no noise."""
    conditions = replace(
        scope.conditions, optics=replace(scope.conditions.optics, photons=1e12, read_noise=0.0)
    )
    quiet = replace(scope)
    vars(quiet)["conditions"] = conditions  # replaces the value of the cached property
    return quiet


def made_up(seed: int, well: str = "B02") -> WellCrop:
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, 256, (3, 64, 64), dtype=np.uint8)
    return WellCrop(
        well, 7, "untreated", "", crop, rng.standard_normal(len(RANKED_MEASURES)).astype(np.float32)
    )


def test_crops_are_opened_as_they_were_written(tmp_path: Path) -> None:
    written = [
        made_up(1, "B02"),
        replace(made_up(2, "B03"), group="screening", treatment="gemcitabine:1 uM", day=10),
    ]
    plate = write_crops(tmp_path, NOTE, SMALL, iter(written))
    assert plate is not None
    assert (plate.plate, plate.wells, plate.groups, plate.treatments) == (
        "P1",
        ("B02", "B03"),
        ("untreated", "screening"),
        ("", "gemcitabine:1 uM"),
    )
    assert plate.days.tolist() == [7, 10]
    assert plate.dosed_on_day == 7
    assert np.array_equal(plate.crops, np.stack([crop.pixels for crop in written]))
    assert isinstance(plate.crops, np.memmap)
    assert np.array_equal(plate.measures, np.stack([crop.measures for crop in written]))
    assert [path.name for path in tmp_path.iterdir()] == [plate.digest]


def test_another_source_or_cropping_is_another_folder(tmp_path: Path) -> None:
    notes = [
        (NOTE, SMALL),
        (replace(NOTE, source="changed"), SMALL),
        (NOTE, replace(SMALL, field_um=600.0)),
    ]
    folders = {
        plate.folder
        for note, cropping in notes
        if (plate := write_crops(tmp_path, note, cropping, [made_up(1)]))
    }
    assert len(folders) == 3


def test_known_settings_have_a_known_folder() -> None:
    """The name of the folder also seeds the augmentation of stored features."""
    note = PlateNote("P1", f"virtual {VirtualWells()}", dosed_on_day=7)
    assert crop_folder(Path(), note, Cropping()) == Path("5ceb75977df9d4cc")


def test_a_plate_without_an_image_leaves_no_folder(tmp_path: Path) -> None:
    assert write_crops(tmp_path, NOTE, SMALL, []) is None
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_no_folder(tmp_path: Path) -> None:
    def crops() -> Iterator[WellCrop]:
        yield made_up(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_crops(tmp_path, NOTE, SMALL, crops())
    assert list(tmp_path.iterdir()) == []


def test_the_second_of_two_processes_uses_the_crops_of_the_first(tmp_path: Path) -> None:
    first = write_crops(tmp_path, NOTE, SMALL, [made_up(1)])
    second = write_crops(tmp_path, NOTE, SMALL, [made_up(1)])
    assert first is not None
    assert second is not None
    assert second.folder == first.folder
    assert np.array_equal(second.crops, first.crops)


def test_a_damaged_crop_folder_is_reported(tmp_path: Path) -> None:
    plate = write_crops(tmp_path, NOTE, SMALL, [made_up(1)])
    assert plate is not None
    (plate.folder / "crops.u8").write_bytes(b"short")
    with pytest.raises(ConfigError, match=rf"{plate.digest}.*is damaged.*delete the folder"):
        open_crops(plate.folder)


def test_a_normalised_crop_is_the_encoder_input_to_half_a_grey_level() -> None:
    card = load_bundle("default").card
    steps = card.preprocessing
    cropping = Cropping(card.input_size, steps.field_um, steps.background, steps.planes)
    planes = planes_of(scope_of())
    crop = crop_well_image(planes, UM_PER_PX, cropping, well="B02").pixels
    service = preprocess(planes, assess(planes).sharpest_plane, UM_PER_PX, steps, card.input_size)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (steps.mean, steps.std))
    assert np.abs((crop / 255 - mean) / std - service).max() <= 0.5 / 255 / min(steps.std) + 1e-5


def test_eight_bits_after_background_correction_lose_less_than_camera_noise() -> None:
    scope = scope_of(OpticsName.DIM)
    planes = planes_of(scope)
    exact = preprocess(planes, 1, UM_PER_PX, Cropping().preprocessing, 128)
    crop = np.round(exact * 255) / 255
    early = (planes >> 8).astype(np.uint16) * np.uint16(
        257
    )  # 8 bits of the full range of the camera
    before = preprocess(early, 1, UM_PER_PX, Cropping().preprocessing, 128)
    noise = (
        preprocess(planes_of(without_noise(scope)), 1, UM_PER_PX, Cropping().preprocessing, 128)
        - exact
    )
    after_rms, before_rms, noise_rms = (
        float(np.sqrt(np.mean(difference**2)))
        for difference in (crop - exact, before - exact, noise)
    )
    assert after_rms < 0.3 * noise_rms
    assert before_rms > 2 * after_rms


def test_measures_are_those_of_the_clean_image_at_full_size() -> None:
    planes = planes_of(scope_of())
    crop = crop_well_image(planes, UM_PER_PX, SMALL, well="B02", day=7)
    sharpest = planes[assess(planes).sharpest_plane]
    expected = ranked_values(
        measure_tissue(sharpest, ClassicalSegmenter().segment(sharpest, UM_PER_PX), UM_PER_PX)
    )
    assert np.allclose(crop.measures, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("fault", "um_per_px"), [(Fault.EMPTY, UM_PER_PX), (None, None)], ids=["no tissue", "no scale"]
)
def test_without_tissue_or_scale_there_are_no_measures(
    fault: Fault | None, um_per_px: float | None
) -> None:
    assert np.isnan(
        crop_well_image(planes_of(scope_of(), fault=fault), um_per_px, SMALL, well="B02").measures
    ).all()


def test_the_foreground_mask_covers_tissue_and_debris_and_little_else(tmp_path: Path) -> None:
    side = 256
    y, x = np.mgrid[:side, :side]
    tissue, speck = np.hypot(x - 128, y - 128) < 50, np.hypot(x - 215, y - 60) < 4
    noise = np.random.default_rng(0).normal(190, 1.5, (side, side))
    crop = np.clip(np.where(tissue | speck, noise - 110, noise), 0, 255).astype(np.uint8)
    crop = WellCrop(
        "B02", 7, "", "", np.stack([crop] * 3), np.zeros(len(RANKED_MEASURES), np.float32)
    )
    plate = write_crops(tmp_path, NOTE, Cropping(side_px=side), [crop])
    assert plate is not None
    kept = np.unpackbits(foreground_masks(plate)[0], axis=-1).astype(bool)
    assert kept[tissue].mean() > 0.99
    assert kept[speck].mean() > 0.99
    assert kept.mean() < 2 * (tissue | speck).mean()
    assert sorted(path.name for path in plate.folder.iterdir()) == [
        "crops.u8",
        "foregrounds.u8",
        "table.npz",
    ]
    assert np.array_equal(foreground_masks(plate), foreground_masks(plate))
