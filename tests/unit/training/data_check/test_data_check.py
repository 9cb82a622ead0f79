"""Tests of the check of training images: each planted mistake is named, and clean data have none.

The images are noise, and the measures are trajectories of wells with small daily changes.
"""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import OutputError
from training.data.crops import Cropping, PlateCrops, PlateNote, WellCrop, write_crops
from training.data_check.check import check_data, write_doubts
from training.data_check.doubts import DataDoubt, DoubtKind, ImageName
from training.data_check.duplicates import find_duplicates
from training.data_check.exchanges import find_exchanges
from training.data_check.trajectories import plate_trajectories

DAYS = (5, 6, 7, 8, 9, 10)
WELLS = tuple(f"{row}{column:02}" for row in "BCDEFG" for column in range(2, 8))
TREATMENTS = ("", "gemcitabine:1 uM", "paclitaxel:10 nM")
MEASURES = 11


def made_up_plate(folder: Path, name: str, seed: int) -> PlateCrops:
    """Return a plate of 36 wells on six days; after day 7 the treated wells change."""
    rng = np.random.default_rng(seed)
    of_well = rng.normal(0, 1, (len(WELLS), 1, MEASURES))
    growth = np.cumsum(np.full((len(DAYS), MEASURES), 0.3), axis=0)
    effect = (
        rng.normal(0, 6, (len(TREATMENTS), MEASURES)) * (np.arange(len(TREATMENTS)) > 0)[:, None]
    )
    values = of_well + growth + rng.normal(0, 0.1, (len(WELLS), len(DAYS), MEASURES))
    crops = []
    for number, well in enumerate(WELLS):
        kind = number % len(TREATMENTS)
        for place, day in enumerate(DAYS):
            measures = values[number, place] + effect[kind] * max(day - 7, 0) / 3
            crops.append(
                WellCrop(
                    well,
                    day,
                    "screening" if kind else "untreated",
                    TREATMENTS[kind],
                    rng.integers(90, 160, (3, 64, 64), np.uint8),
                    measures.astype(np.float32),
                )
            )
    plate = write_crops(folder, PlateNote(name, str(seed), 7), Cropping(side_px=64), crops)
    assert plate is not None
    return plate


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> list[PlateCrops]:
    folder = tmp_path_factory.mktemp("crops")
    return [made_up_plate(folder, name, seed) for seed, name in enumerate(("P1", "P2"), start=1)]


def row_of(well: str, day: int) -> int:
    return WELLS.index(well) * len(DAYS) + DAYS.index(day)


def exchanged(plate: PlateCrops, one: int, other: int) -> PlateCrops:
    """Return the plate with two images under each other's name."""
    order = np.arange(len(plate))
    order[[one, other]] = other, one
    return replace(plate, crops=plate.crops[order], measures=plate.measures[order])


def of_kind(doubts: list[DataDoubt], kind: DoubtKind) -> dict[tuple[ImageName, ...], float]:
    return {doubt.images: doubt.probability for doubt in doubts if doubt.kind is kind}


def exchanges_in(*plates: PlateCrops) -> list[DataDoubt]:
    models = [plate_trajectories(plate) for plate in plates]
    return find_exchanges([model for model in models if model is not None])


def test_clean_plates_have_no_doubts(plates: list[PlateCrops]) -> None:
    check = check_data(plates)
    assert check.images == 2 * len(WELLS) * len(DAYS)
    assert check.doubts == ()
    assert check.not_checked == ()
    assert check.lines()[-1].startswith("432 images checked; 0 doubts")


@pytest.mark.parametrize("day", [5, 8, 10])
def test_exchanged_wells_of_a_day_are_named(plates: list[PlateCrops], day: int) -> None:
    wrong = exchanged(plates[0], row_of("B02", day), row_of("C05", day))
    found = of_kind(exchanges_in(wrong, plates[1]), DoubtKind.EXCHANGED_WELLS)
    pair = ImageName("P1", "B02", day), ImageName("P1", "C05", day)
    assert found[pair] > 0.9
    assert sum(probability >= 0.5 for probability in found.values()) == 1


def test_exchanged_days_of_a_well_are_named(plates: list[PlateCrops]) -> None:
    wrong = exchanged(plates[0], row_of("B04", 5), row_of("B04", 9))
    found = of_kind(exchanges_in(wrong), DoubtKind.EXCHANGED_DAYS)
    assert found[ImageName("P1", "B04", 5), ImageName("P1", "B04", 9)] > 0.9


def test_an_image_of_a_day_without_image_is_named(plates: list[PlateCrops]) -> None:
    plate = plates[0]
    kept = [row for row in range(len(plate)) if row != row_of("D03", 10)]
    days = plate.days.copy()
    # The image of day 5 is filed under day 10, and day 5 is missing.
    days[row_of("D03", 5)] = 10
    wrong = replace(
        plate,
        wells=tuple(plate.wells[row] for row in kept),
        groups=tuple(plate.groups[row] for row in kept),
        treatments=tuple(plate.treatments[row] for row in kept),
        days=days[kept],
        crops=plate.crops[kept],
        measures=plate.measures[kept],
    )
    found = of_kind(exchanges_in(wrong), DoubtKind.WRONG_DAY)
    assert found[(ImageName("P1", "D03", 10),)] > 0.5


def test_images_exchanged_between_plates_are_named(plates: list[PlateCrops]) -> None:
    one, other = (plate.measures.copy() for plate in plates)
    row = row_of("C03", 8)
    one[row], other[row] = plates[1].measures[row], plates[0].measures[row]
    wrong = [replace(plates[0], measures=one), replace(plates[1], measures=other)]
    found = of_kind(exchanges_in(*wrong), DoubtKind.EXCHANGED_PLATES)
    assert found[ImageName("P1", "C03", 8), ImageName("P2", "C03", 8)] > 0.5


def test_an_image_from_elsewhere_is_named(plates: list[PlateCrops]) -> None:
    measures = plates[0].measures.copy()
    measures[row_of("C03", 8)] += np.random.default_rng(0).normal(0, 4, MEASURES)
    found = of_kind(exchanges_in(replace(plates[0], measures=measures)), DoubtKind.FOREIGN)
    assert found[(ImageName("P1", "C03", 8),)] > 0.5


def brighter(crop: np.ndarray) -> np.ndarray:
    return (crop * 1.1).round().astype(np.uint8)


def noisier(crop: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, crop.shape)
    return (crop + noise).round().astype(np.uint8)


@pytest.mark.parametrize("change", [np.copy, brighter, noisier])
def test_a_copied_photograph_is_named_also_if_it_was_changed(
    plates: list[PlateCrops], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    crops = np.array(plates[0].crops)
    crops[row_of("B06", 7)] = change(crops[row_of("D07", 9)])
    doubts = find_duplicates([replace(plates[0], crops=crops), plates[1]])
    assert [doubt.images for doubt in doubts] == [
        (ImageName("P1", "B06", 7), ImageName("P1", "D07", 9))
    ]
    assert doubts[0].probability > 0.9


def test_images_of_one_grey_value_are_no_copies(plates: list[PlateCrops]) -> None:
    crops = np.array(plates[0].crops)
    crops[:3] = 128
    assert find_duplicates([replace(plates[0], crops=crops)]) == []


def test_exchanged_labels_of_an_untreated_and_a_treated_well_are_named(
    plates: list[PlateCrops],
) -> None:
    groups, treatments = list(plates[0].groups), list(plates[0].treatments)
    for day in DAYS:  # B02 is untreated, and B03 has the first treatment
        one, other = row_of("B02", day), row_of("B03", day)
        groups[one], groups[other] = groups[other], groups[one]
        treatments[one], treatments[other] = treatments[other], treatments[one]
    wrong = replace(plates[0], groups=tuple(groups), treatments=tuple(treatments))
    found = of_kind(list(check_data([wrong, plates[1]]).doubts), DoubtKind.EXCHANGED_LABELS)
    assert found == {
        (ImageName("P1", "B02", 10), ImageName("P1", "B03", 10)): pytest.approx(1, abs=0.05)
    }


def test_a_folder_without_wells_and_days_is_checked_for_copies_only(
    plates: list[PlateCrops], tmp_path: Path
) -> None:
    flat = replace(
        plates[0],
        wells=tuple(f"image{row}" for row in range(len(plates[0]))),
        days=np.zeros(len(plates[0]), np.int64),
        groups=("",) * len(plates[0]),
        treatments=("",) * len(plates[0]),
        dosed_on_day=0,
    )
    crops = np.array(flat.crops)
    crops[4] = crops[9]
    check = check_data([replace(flat, crops=crops)])
    assert [doubt.kind for doubt in check.doubts] == [DoubtKind.DUPLICATE]
    assert [line.split(" of plate")[0] for line in check.not_checked] == [
        "labels",
        "wells and days",
    ]
    write_doubts(check, tmp_path / "doubts.csv")
    with (tmp_path / "doubts.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["kind"] == "duplicate"
    assert row["images"] == "P1 image4; P1 image9"
    with pytest.raises(OutputError, match=r"doubts\.csv"):
        write_doubts(check, tmp_path / "none" / "doubts.csv")
