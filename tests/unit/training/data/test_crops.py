"""What is kept of a plate: the service's own crops before normalisation, the clean image's measures, whole or not at all."""

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
    crop_well_image,
    foreground_masks,
    open_crops,
    write_crops,
)

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
    vars(quiet)["conditions"] = conditions  # where the cached property keeps it
    return quiet


def made_up(seed: int, well: str = "B02") -> WellCrop:
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, 256, (3, 64, 64), dtype=np.uint8)
    return WellCrop(
        well, 7, "untreated", "", crop, rng.standard_normal(len(RANKED_MEASURES)).astype(np.float32)
    )


def test_views_open_as_they_were_written_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    written = [
        made_up(1, "B02"),
        replace(made_up(2, "B03"), group="screening", treatment="gemcitabine:1 uM", day=10),
    ]
    views = write_crops(tmp_path, NOTE, SMALL, iter(written))
    assert views is not None
    assert (views.plate, views.wells, views.groups, views.treatments) == (
        "P1",
        ("B02", "B03"),
        ("untreated", "screening"),
        ("", "gemcitabine:1 uM"),
    )
    assert views.days.tolist() == [7, 10]
    assert views.dosed_on_day == 7
    assert np.array_equal(views.crops, np.stack([view.pixels for view in written]))
    assert isinstance(views.crops, np.memmap)
    assert np.array_equal(views.measures, np.stack([view.measures for view in written]))
    assert [path.name for path in tmp_path.iterdir()] == [views.digest]


def test_another_source_or_cropping_is_another_folder(tmp_path: Path) -> None:
    notes = [
        (NOTE, SMALL),
        (replace(NOTE, source="changed"), SMALL),
        (NOTE, replace(SMALL, field_um=600.0)),
    ]
    folders = {
        views.folder
        for note, cropping in notes
        if (views := write_crops(tmp_path, note, cropping, [made_up(1)]))
    }
    assert len(folders) == 3


def test_a_plate_without_an_image_leaves_no_folder(tmp_path: Path) -> None:
    assert write_crops(tmp_path, NOTE, SMALL, []) is None
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_leaves_nothing_half_written(tmp_path: Path) -> None:
    def views() -> Iterator[WellCrop]:
        yield made_up(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_crops(tmp_path, NOTE, SMALL, views())
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_that_keep_one_plate_the_later_takes_what_is_there(tmp_path: Path) -> None:
    first = write_crops(tmp_path, NOTE, SMALL, [made_up(1)])
    second = write_crops(tmp_path, NOTE, SMALL, [made_up(1)])
    assert first is not None
    assert second is not None
    assert second.folder == first.folder
    assert np.array_equal(second.crops, first.crops)


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    views = write_crops(tmp_path, NOTE, SMALL, [made_up(1)])
    assert views is not None
    (views.folder / "crops.u8").write_bytes(b"short")
    with pytest.raises(ConfigError, match=rf"{views.digest}.*is damaged.*delete the folder"):
        open_crops(views.folder)


def test_a_crop_normalised_is_the_encoders_input_to_half_a_grey_level() -> None:
    card = load_bundle("default").card
    steps = card.preprocessing
    cropping = Cropping(card.input_size, steps.field_um, steps.background, steps.planes)
    planes = planes_of(scope_of())
    crop = crop_well_image(planes, UM_PER_PX, cropping, well="B02").pixels
    service = preprocess(planes, assess(planes).sharpest_plane, UM_PER_PX, steps, card.input_size)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (steps.mean, steps.std))
    assert np.abs((crop / 255 - mean) / std - service).max() <= 0.5 / 255 / min(steps.std) + 1e-5


def test_eight_bits_after_levelling_cost_less_than_the_cameras_noise_and_before_it_several_times_more() -> (
    None
):
    scope = scope_of(OpticsName.DIM)
    planes = planes_of(scope)
    exact = preprocess(planes, 1, UM_PER_PX, Cropping().preprocessing, 128)
    crop = np.round(exact * 255) / 255
    early = (planes >> 8).astype(np.uint16) * np.uint16(
        257
    )  # what a conversion of the camera's full range to 8 bits leaves of a dim image
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
    view = crop_well_image(planes, UM_PER_PX, SMALL, well="B02", day=7)
    sharpest = planes[assess(planes).sharpest_plane]
    expected = ranked_values(
        measure_tissue(sharpest, ClassicalSegmenter().segment(sharpest, UM_PER_PX), UM_PER_PX)
    )
    assert np.allclose(view.measures, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("fault", "um_per_px"), [(Fault.EMPTY, UM_PER_PX), (None, None)], ids=["no tissue", "no scale"]
)
def test_without_tissue_or_scale_there_are_no_measures(
    fault: Fault | None, um_per_px: float | None
) -> None:
    assert np.isnan(
        crop_well_image(planes_of(scope_of(), fault=fault), um_per_px, SMALL, well="B02").measures
    ).all()


def test_the_foreground_holds_tissue_and_debris_and_little_else(tmp_path: Path) -> None:
    side = 256
    y, x = np.mgrid[:side, :side]
    tissue, speck = np.hypot(x - 128, y - 128) < 50, np.hypot(x - 215, y - 60) < 4
    noise = np.random.default_rng(0).normal(190, 1.5, (side, side))
    crop = np.clip(np.where(tissue | speck, noise - 110, noise), 0, 255).astype(np.uint8)
    view = WellCrop(
        "B02", 7, "", "", np.stack([crop] * 3), np.zeros(len(RANKED_MEASURES), np.float32)
    )
    views = write_crops(tmp_path, NOTE, Cropping(side_px=side), [view])
    assert views is not None
    kept = np.unpackbits(foreground_masks(views)[0], axis=-1).astype(bool)
    assert kept[tissue].mean() > 0.99
    assert kept[speck].mean() > 0.99
    assert kept.mean() < 2 * (tissue | speck).mean()
    assert sorted(path.name for path in views.folder.iterdir()) == [
        "crops.u8",
        "foregrounds.u8",
        "table.npz",
    ]
    assert np.array_equal(foreground_masks(views), foreground_masks(views))
