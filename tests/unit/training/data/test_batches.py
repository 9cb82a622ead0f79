"""Tests of batches: choice of images, pairs of days, labels, division among processes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.errors import ConfigError
from training.data.batch_plan import (
    UNKNOWN_LABEL,
    Batch,
    BatchPlan,
    DayPairs,
    MeasureScale,
)
from training.data.batches import batches
from training.data.crops import Cropping, PlateCrops, PlateNote, WellCrop, write_crops
from training.data.labels import LabelKind
from training.data.records import RecordContent, RecordEncoder, make_records

pytestmark = pytest.mark.train

SIDE = 64
WELLS = (
    ("B02", "untreated", ""),
    ("B03", "untreated", "DMSO:0.1 %"),
    ("B04", "screening", "drug:1 uM"),
    ("B05", "single_dose", "drug:2 uM"),
    ("B06", "", ""),
)


def plate(
    cache: Path, name: str, days: Sequence[int] = (5, 7, 10), side_px: int = SIDE
) -> PlateCrops:
    """Return the crops of five wells on some days; B06 has no measures."""
    rng = np.random.default_rng([*name.encode()])
    wells = []
    for well, group, treatment in WELLS:
        for day in days:
            measures = (
                np.full(len(RANKED_MEASURES), np.nan)
                if well == "B06"
                else rng.normal(3, 2, len(RANKED_MEASURES))
            )
            wells.append(
                WellCrop(
                    well,
                    day,
                    group,
                    treatment,
                    rng.integers(0, 256, (3, side_px, side_px), dtype=np.uint8),
                    measures.astype(np.float32),
                )
            )
    crops = write_crops(cache, PlateNote(name, "made up", 7), Cropping(side_px=side_px), wells)
    assert crops is not None
    return crops


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> list[PlateCrops]:
    cache = tmp_path_factory.mktemp("cache")
    return [plate(cache, "P1"), plate(cache, "P2")]


@pytest.fixture(scope="module")
def plan(plates: list[PlateCrops]) -> BatchPlan:
    return BatchPlan(
        MeasureScale.of(plates),
        size=4,
        side_px=32,
        augment_first="spheroid",
        augment_second="weak",
        clean=True,
    )


def same(one: Batch, other: Batch) -> bool:
    return all(
        _equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Batch)
    )


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Batch) and isinstance(other, Batch):
        return same(one, other)
    return one is other or (
        isinstance(one, torch.Tensor)
        and isinstance(other, torch.Tensor)
        and torch.allclose(one, other, atol=1e-6)
    )


def joined(parts: Sequence[Batch]) -> Batch:
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Batch)}
    return Batch(**{name: _joined(column) for name, column in columns.items()})


def _joined(column: list[object]) -> object:
    if column[0] is None:
        return None
    return joined(column) if isinstance(column[0], Batch) else torch.cat(column)


def test_a_batch_has_two_views_of_each_image_with_labels_and_measures(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    batch = next(batches(plates, plan, seed=0, epoch=0))
    assert batch.first.shape == batch.second.shape == (4, 3, 32, 32)
    assert batch.first.dtype == torch.float32
    assert not torch.equal(batch.first, batch.second)
    assert batch.measures.shape == (4, len(RANKED_MEASURES))
    assert batch.later is None
    assert {part.dtype for part in (batch.plate, batch.well, batch.day, batch.label)} == {
        torch.int64
    }


def test_each_image_of_a_batch_has_its_own_record(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    content = RecordContent(treatment=True)
    records = make_records(plates, plan.scale.standardise(plates), content)
    encoder = RecordEncoder.of(records, content)
    batch = next(batches(plates, replace(plan, records=encoder), seed=0, epoch=0))
    names = dict(enumerate(encoder.vocabulary, start=2))
    for row in range(len(batch.day)):
        words = [names[number] for number in batch.record_words[row].tolist() if number]
        well = WELLS[int(batch.well[row]) % len(WELLS)]
        assert words[:2] == ["day", str(int(batch.day[row]))]
        assert ("drug" in words) == ("drug" in well[2])
        assert ("size" in words) == bool(batch.has_measures[row])
        assert batch.record_numbers[row, 0].item() == pytest.approx(batch.day[row].item() / 10)


def test_an_epoch_has_every_image_at_most_once(plates: list[PlateCrops], plan: BatchPlan) -> None:
    epoch = list(batches(plates, plan, seed=0, epoch=0))
    shown = [
        (int(p), int(w), int(d))
        for batch in epoch
        for p, w, d in zip(batch.plate, batch.well, batch.day, strict=True)
    ]
    assert len(epoch) == 7  # two of 30 images are left out
    assert len(set(shown)) == len(shown) == 28


def test_images_of_a_repeated_plate_are_spread_over_the_epoch(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    few = [plates[0], replace(plates[1], repeat=5)]
    epoch = list(batches(few, replace(plan, size=3), seed=0, epoch=0))
    shown = [
        list(zip(batch.plate.tolist(), batch.well.tolist(), batch.day.tolist(), strict=True))
        for batch in epoch
    ]
    often = Counter(image for batch in shown for image in batch)
    assert {plate: {often[image] for image in often if image[0] == plate} for plate in (0, 1)} == {
        0: {1},
        1: {5},
    }
    with_a_copy = sum(len(set(batch)) < len(batch) for batch in shown)
    assert with_a_copy <= 4  # of 30 batches: those at the borders of the five parts of the epoch
    assert shown != [
        list(zip(b.plate.tolist(), b.well.tolist(), b.day.tolist(), strict=True))
        for b in batches(few, replace(plan, size=3), 0, 1)
    ]


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    first, again, epoch, seed = (
        next(batches(plates, plan, *place)) for place in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    assert same(first, again)
    assert not torch.equal(first.first, epoch.first)
    assert not torch.equal(first.first, seed.first)


def test_a_stopped_training_continues_with_the_next_batch(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    whole = list(batches(plates, plan, 3, 1))
    rest = list(batches(plates, plan, 3, 1, start=5))
    assert len(rest) == len(whole) - 5
    assert all(same(one, other) for one, other in zip(rest, whole[5:], strict=True))


@pytest.mark.parametrize("pairs", [DayPairs.NONE, DayPairs.ANY])
def test_the_parts_of_two_processes_are_the_batch_of_one(
    plates: list[PlateCrops], plan: BatchPlan, pairs: DayPairs
) -> None:
    plan = replace(plan, day_pairs=pairs, augment_first="strong", mask_background=0.5)
    alone = list(batches(plates, plan, 0, 0))
    shared = [
        list(batches(plates, replace(plan, rank=rank, world_size=2), 0, 0)) for rank in (0, 1)
    ]
    assert len(alone) > 1
    assert all(
        same(one, joined(parts))
        for one, parts in zip(alone, zip(*shared, strict=True), strict=True)
    )


def test_within_plate_makes_every_batch_of_one_plate(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    epoch = list(batches(plates, replace(plan, within_plate=True), 0, 0))
    assert all(len(set(batch.plate.tolist())) == 1 for batch in epoch)
    assert {int(batch.plate[0]) for batch in epoch} == {0, 1}


def test_a_plate_smaller_than_a_batch_is_one_batch(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    epoch = list(batches(plates, replace(plan, size=64, within_plate=True), 0, 0))
    assert [len(batch.first) for batch in epoch] == [15, 15]


@pytest.mark.parametrize("kind", [DayPairs.ANY, DayPairs.UNTREATED])
def test_day_pairs_are_one_well_on_two_days(
    plates: list[PlateCrops], plan: BatchPlan, kind: DayPairs
) -> None:
    epoch = list(batches(plates, replace(plan, size=2, day_pairs=kind), 0, 0))
    pairs = []
    for batch in epoch:
        assert batch.later is not None
        assert batch.days_apart is not None
        assert torch.equal(batch.well, batch.later.well)
        assert torch.equal(batch.days_apart, batch.later.day - batch.day)
        pairs += list(
            zip(batch.day.tolist(), batch.later.day.tolist(), batch.untreated.tolist(), strict=True)
        )
    assert all(first < later for first, later, _ in pairs)
    assert {(first, later) for first, later, _ in pairs} <= {(5, 7), (5, 10), (7, 10)}
    assert (kind is DayPairs.UNTREATED) == all(untreated for *_, untreated in pairs)


def test_consecutive_pairs_have_no_drug_between_the_two_days(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    found = set()
    for batch in batches(plates, replace(plan, size=2, day_pairs=DayPairs.CONSECUTIVE), 0, 0):
        assert batch.later is not None
        assert torch.equal(batch.well, batch.later.well)
        days = zip(batch.day.tolist(), batch.later.day.tolist(), strict=True)
        found |= {(*pair, bool(free)) for pair, free in zip(days, batch.untreated, strict=True)}
    # The plates are dosed on day 7. The image of a treated well on day 10 is paired with itself.
    assert found == {(5, 7, True), (7, 10, True), (5, 7, False), (10, 10, False)}


def test_consecutive_pairs_of_a_plate_without_a_dosing_day_are_of_untreated_wells(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    unknown = [replace(plate, dosed_on_day=0) for plate in plates]
    for batch in batches(unknown, replace(plan, size=2, day_pairs=DayPairs.CONSECUTIVE), 0, 0):
        assert batch.later is not None
        assert batch.untreated[batch.day != batch.later.day].all()


def test_since_dosing_pairs_an_image_without_a_later_day_with_itself(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    plates = [plates[0], replace(plates[1], dosed_on_day=3)]
    days: dict[int, set[tuple[int, int]]] = {0: set(), 1: set()}
    for batch in batches(
        plates, replace(plan, size=2, within_plate=True, day_pairs=DayPairs.SINCE_DOSING), 0, 0
    ):
        assert batch.later is not None
        days[int(batch.plate[0])] |= set(
            zip(batch.day.tolist(), batch.later.day.tolist(), strict=True)
        )
        assert torch.equal(batch.well, batch.later.well)
        itself = batch.day == batch.later.day
        assert torch.equal(batch.measures[itself], batch.later.measures[itself])
        assert not torch.equal(batch.first, batch.later.first)
    assert days == {0: {(7, 10)}, 1: {(5, 5), (7, 7), (10, 10)}}


def test_the_clean_image_is_the_resized_and_normalised_crop(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    plan = replace(
        plan, side_px=SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), augment_first="none"
    )
    batch = next(batches(plates, plan, 0, 0))
    assert batch.clean is not None
    values = batch.clean * torch.tensor(plan.std).reshape(3, 1, 1) + torch.tensor(
        plan.mean
    ).reshape(3, 1, 1)
    crops = {crop.tobytes() for kept in plates for crop in kept.crops}
    assert all(
        np.round(image.numpy() * 255).astype(np.uint8).tobytes() in crops for image in values
    )
    assert torch.equal(batch.first, batch.clean)


def test_measures_are_standardised_by_the_training_set_and_missing_ones_are_marked(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    epoch = list(batches(plates, replace(plan, size=30), 0, 0))
    (batch,) = epoch
    known = batch.measures[batch.has_measures]
    assert batch.has_measures.sum() == 24  # B06 has no measures
    assert known.mean(dim=0).abs().max() < 1e-5
    assert (known.std(dim=0, correction=0) - 1).abs().max() < 1e-4
    assert (batch.measures[~batch.has_measures] == 0).all()


def test_labels_are_equal_over_plates_and_a_vehicle_is_no_treatment(
    plates: list[PlateCrops], plan: BatchPlan
) -> None:
    (by_group,) = batches(plates, replace(plan, size=30), 0, 0)
    (by_treatment,) = batches(plates, replace(plan, size=30, label=LabelKind.TREATMENT), 0, 0)
    assert len(set(by_group.label.tolist()) - {UNKNOWN_LABEL}) == 3
    assert len(set(by_treatment.label[by_treatment.untreated].tolist())) == 1
    assert (by_group.label == UNKNOWN_LABEL).sum() == 6
    assert len(set(by_group.well.tolist())) == 10


def test_a_masked_view_has_only_tissue_and_debris(tmp_path: Path) -> None:
    y, x = np.mgrid[:128, :128]
    tissue = np.hypot(x - 64, y - 64) < 25
    noise = np.random.default_rng(0).integers(180, 200, (128, 128))
    crop = np.stack([np.where(tissue, 60, noise)] * 3).astype(np.uint8)
    kept = write_crops(
        tmp_path,
        PlateNote("P1", "made up"),
        Cropping(side_px=128),
        [WellCrop(well, 7, "", "", crop, np.zeros(11, np.float32)) for well in ("B02", "B03")],
    )
    assert kept is not None
    plan = BatchPlan(
        MeasureScale.of([kept]),
        size=2,
        side_px=128,
        augment_first="none",
        augment_second="none",
        mask_background=1.0,
        clean=True,
    )
    batch = next(batches([kept], plan, 0, 0))
    assert batch.clean is not None
    values = batch.first[0, 1] * 0.5 + 0.5
    assert (values[~torch.from_numpy(np.hypot(x - 64, y - 64) < 40)] == 0.75).all()
    assert torch.equal(batch.first[0][:, tissue], batch.clean[0][:, tissue])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 1}, "batch: is 1; expected at least 2"),
        ({"size": 4, "world_size": 3}, "batch: is 4; expected a multiple of the 3 processes"),
        ({"side_px": 128}, r"side_px: is 128 with crops of \[64\] pixels"),
        ({"augment_second": "sphroid"}, "augment: is 'sphroid'"),
    ],
)
def test_an_unsuitable_batch_plan_is_refused(
    plates: list[PlateCrops], plan: BatchPlan, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        batches(plates, replace(plan, **changes), 0, 0)  # type: ignore[arg-type] # fields by name


def test_images_that_make_no_batch_are_reported(
    tmp_path: Path, plates: list[PlateCrops], plan: BatchPlan
) -> None:
    single_day = [plate(tmp_path, "P3", days=(7,))]
    with pytest.raises(ConfigError, match=r"has 0 pairs of days \(any\)"):
        batches(single_day, replace(plan, day_pairs=DayPairs.ANY), 0, 0)
    with pytest.raises(ConfigError, match="has no images"):
        batches([], plan, 0, 0)
    with pytest.raises(ConfigError, match="expected crops of one size"):
        batches([*plates, plate(tmp_path, "P4", side_px=32)], plan, 0, 0)
