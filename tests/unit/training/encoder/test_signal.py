"""Tests that an objective without a signal is refused before the first step, and which data it has.

Each case takes away one property of the images of two small plates.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from schemas.errors import ConfigError
from training.data.batch_plan import BatchPlan, DayPairs, MeasureScale
from training.data.crops import (
    Cropping,
    LeftOutImage,
    PlateCrops,
    PlateNote,
    ReadingNotes,
    WellCrop,
    write_crops,
)
from training.data.labels import LabelKind
from training.data.sources import CropSplit, split_crops
from training.encoder.data_summary import describe_data
from training.encoder.signal import check_signal
from training.encoder.training_data import day_pairs_of, make_record_encoder
from training.objectives.base import BatchNeeds
from training.objectives.registry import OBJECTIVES, make_objective
from training.objectives.settings import ObjectiveSettings

pytestmark = pytest.mark.train

SMALL = Cropping(side_px=64)
Change = Callable[[PlateCrops], PlateCrops]


@pytest.fixture
def plates(tmp_path: Path) -> list[PlateCrops]:
    """Return two plates of three wells on two days, one well of them untreated on each plate."""
    rng = np.random.default_rng(0)
    found = []
    for name in ("P1", "P2"):
        crops = [
            WellCrop(
                well,
                day,
                group,
                treatment,
                rng.integers(0, 255, (3, 64, 64), np.uint8),
                rng.normal(size=11).astype(np.float32),
            )
            for well, group, treatment in (
                ("B02", "untreated", ""),
                ("B03", "screening", "gemcitabine:1 uM"),
                ("B04", "screening", "paclitaxel:1 uM"),
            )
            for day in (7, 10)
        ]
        plate = write_crops(tmp_path, PlateNote(name, "", 7), SMALL, crops, ReadingNotes())
        assert plate is not None
        found.append(plate)
    return found


def without_measures(plate: PlateCrops) -> PlateCrops:
    return replace(plate, measures=np.full_like(plate.measures, np.nan))


def with_equal_measures(plate: PlateCrops) -> PlateCrops:
    return replace(plate, measures=np.ones_like(plate.measures))


def without_labels(plate: PlateCrops) -> PlateCrops:
    return replace(plate, groups=("",) * len(plate), treatments=("",) * len(plate))


def with_one_label(plate: PlateCrops) -> PlateCrops:
    return replace(plate, groups=("screening",) * len(plate), treatments=("",) * len(plate))


def without_days(plate: PlateCrops) -> PlateCrops:
    return replace(plate, days=np.zeros_like(plate.days))


def of_one_day(plate: PlateCrops) -> PlateCrops:
    return replace(plate, days=np.full_like(plate.days, 7))


def without_facts(plate: PlateCrops) -> PlateCrops:
    return without_days(without_measures(plate))


def of_one_record(plate: PlateCrops) -> PlateCrops:
    return of_one_day(with_equal_measures(plate))


def with_assay(plate: PlateCrops) -> PlateCrops:
    return replace(plate, viability_percent=np.full(len(plate), 40, np.float32))


def of_one_plane(plate: PlateCrops) -> PlateCrops:
    return replace(plate, crops=np.repeat(plate.crops[:, 1:2], 3, axis=1))


def needs_of(name: str, **settings: object) -> BatchNeeds:
    # A vision transformer is needed by `mae` only, whose needs are those of `byol` with one view.
    values = ObjectiveSettings(hidden=8, projection=4, **settings)  # type: ignore[arg-type]
    return make_objective(name, nn.Flatten(), 12, values).needs


def plan_of(plates: list[PlateCrops], needs: BatchNeeds, **changes: object) -> BatchPlan:
    plan = BatchPlan(
        MeasureScale.of(plates),
        size=4,
        side_px=32,
        day_pairs=day_pairs_of(needs),
        within_plate=needs.within_plate,
        records=make_record_encoder(needs.record, plates, MeasureScale.of(plates)),
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"mae"}))
def test_every_objective_accepts_images_with_its_signal(
    plates: list[PlateCrops], name: str
) -> None:
    needs = needs_of(name)
    check_signal(name, needs, plates, plan_of(plates, needs))


@pytest.mark.parametrize(
    ("name", "settings", "change", "words"),
    [
        ("measures", {}, without_measures, "0 of 12 training images have measures"),
        ("measures", {}, with_equal_measures, "all 12 training images with measures have the same"),
        ("soft_ntxent", {}, without_measures, "0 of 12 training images have measures"),
        ("supcon", {}, without_labels, "0 of 12 training images have a label, of 0 kinds"),
        ("supcon", {}, with_one_label, "12 of 12 training images have a label, of 1 kinds"),
        ("ntxent", {"supervised": True}, without_labels, "0 of 12 training images have a label"),
        ("triplet", {"supervised": True}, with_one_label, "have a label, of 1 kinds"),
        ("convirt", {}, without_facts, "0 of 12 training images have a record, of 0 kinds"),
        ("convirt", {}, of_one_record, "12 of 12 training images have a record, of 1 kinds"),
        ("convirt", {"record_treatment": True}, without_labels, "record_treatment: is true"),
        ("time_aware", {}, without_days, "no image has a culture day"),
        ("time_aware", {}, without_labels, "no well is known as untreated"),
        ("time_aware", {}, of_one_day, "no untreated well has images of two days"),
        ("siamese", {}, without_measures, "0 of 12 training images have measures"),
        ("ntxent", {"views_of": "planes"}, of_one_plane, "every image has one plane only"),
    ],
)
def test_an_objective_without_signal_is_refused(
    plates: list[PlateCrops],
    name: str,
    settings: dict[str, object],
    change: Change,
    words: str,
) -> None:
    needs = needs_of(name, **settings)
    check_signal(name, needs, plates, plan_of(plates, needs))
    changed = [change(plate) for plate in plates]
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_signal(name, needs, changed, plan_of(changed, needs))


@pytest.mark.parametrize("name", ["simclr", "byol", "vicreg", "triplet", "ntxent"])
def test_two_views_that_are_always_the_same_are_refused(
    plates: list[PlateCrops], name: str
) -> None:
    needs = needs_of(name)
    plan = plan_of(plates, needs, augment_first="none", augment_second="none")
    with pytest.raises(ConfigError, match="two views of an image, which are then"):
        check_signal(name, needs, plates, plan)
    check_signal(name, needs, plates, replace(plan, augment_second="weak"))
    check_signal(name, needs, plates, replace(plan, mask_background=0.5))


def test_siamese_images_without_views_days_or_measures_are_refused(
    plates: list[PlateCrops],
) -> None:
    needs = needs_of("siamese", likeness_weight=0)
    still = {"augment_first": "none", "augment_second": "none"}
    check_signal("siamese", needs, plates, plan_of(plates, needs, **still))
    alone = [of_one_day(plate) for plate in plates]
    check_signal("siamese", needs, alone, plan_of(alone, needs))
    with pytest.raises(ConfigError, match="two views of an image, which are then"):
        check_signal("siamese", needs, alone, plan_of(alone, needs, **still))


def test_records_with_assays_are_refused_without_an_assay(plates: list[PlateCrops]) -> None:
    needs = needs_of("convirt", record_assay=True)
    with pytest.raises(ConfigError, match=r"record_assay: is true .* expected assay files"):
        check_signal("convirt", needs, plates, plan_of(plates, needs))
    assayed = [with_assay(plates[0]), plates[1]]
    check_signal("convirt", needs, assayed, plan_of(assayed, needs))


def test_the_description_counts_the_records_and_shows_one(plates: list[PlateCrops]) -> None:
    needs = needs_of("convirt")
    training = [without_measures(plates[0])]
    split = CropSplit(training, [plates[1]])
    text = "\n".join(describe_data(plates, split, [], plan_of(training, needs), needs))
    assert 'training images with a record: 6 of 6, of 2 kinds, such as "day 10"' in text


def test_labels_of_different_plates_are_no_signal_for_batches_of_one_plate(
    plates: list[PlateCrops],
) -> None:
    needs = needs_of("supcon")
    one, other = plates
    changed = [with_one_label(one), replace(with_one_label(other), groups=("untreated",) * 6)]
    check_signal("supcon", needs, changed, plan_of(changed, needs))
    with pytest.raises(ConfigError, match="two or more labels of one plate"):
        check_signal("supcon", needs, changed, plan_of(changed, needs, within_plate=True))


def test_treatments_as_labels_tell_wells_of_one_group_apart(plates: list[PlateCrops]) -> None:
    needs = needs_of("supcon")
    treated = [replace(plate, groups=("screening",) * len(plate)) for plate in plates]
    check_signal("supcon", needs, treated, plan_of(treated, needs, label=LabelKind.TREATMENT))
    with pytest.raises(ConfigError, match="of 1 kinds"):
        check_signal("supcon", needs, treated, plan_of(treated, needs))


def test_the_description_counts_images_plates_measures_labels_and_days(
    plates: list[PlateCrops],
) -> None:
    one = replace(without_measures(plates[0]), notes=ReadingNotes(without_scale=6))
    left_out = [
        LeftOutImage("P1", f"P1/day07/B0{number}.tif", "is cut short") for number in range(5)
    ]
    needs = needs_of("measures")
    split = CropSplit([one], [plates[1]])
    text = "\n".join(describe_data([one, plates[1]], split, left_out, plan_of([one], needs), needs))
    assert "images: 12 used, 5 left out\n" in text
    assert "left out, 5: is cut short (P1/day07/B00.tif, P1/day07/B01.tif" in text
    assert "plates: 2; 1 for training with 6 images, 1 for validation with 6 images (P2)" in text
    assert "measures of the tissue: 6 of 12; 6 have no scale" in text
    assert "label (group): 12 of 12 (screening 8, untreated 4); the objective uses no lab" in text
    assert "culture days: 7, 10; training pairs of the dosing day and a later day: 3" in text


def test_the_description_of_one_plate_states_that_its_wells_are_split(
    plates: list[PlateCrops],
) -> None:
    split = split_crops(plates[:1], 0.2, seed=0)
    needs = BatchNeeds()
    plan = plan_of(split.training, needs, day_pairs=DayPairs.NONE)
    text = "\n".join(describe_data(plates[:1], split, [], plan, needs))
    assert "plates: 1, P1; its wells are split: 4 images for training, 2 for validation" in text
    assert "the validation is too good" in text
