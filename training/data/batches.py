"""Batches of augmented, normalised tensors from the crops of many plates.

The same seed and epoch give the same batches, on one process or divided among several.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data.augmentation import DrawnAugmentations, augment, draw_augmentations
from training.data.batch_plan import Batch, BatchPlan
from training.data.crops import Bytes, PlateCrops, foreground_masks
from training.data.presets import get_preset
from training.data.sampling import ImageTable, check_plan, choose_batches, make_table


def batches(
    plates: Sequence[PlateCrops], plan: BatchPlan, seed: int, epoch: int, start: int = 0
) -> Iterator[Batch]:
    """Yield this process's part of each Batch of an epoch of the plates, from number ``start`` on.

    The random numbers of a batch depend neither on ``start`` nor on the number of processes.

    Raises
    ------
    ConfigError
        If the plan does not fit the crops, or no batch of two or more images can be made.
    """
    check_plan(plates, plan)
    table = make_table(plates, plan)
    chosen = choose_batches(table, plan, np.random.default_rng([seed, epoch]))
    return (
        _make_batch(plates, table, plan, rows, _batch_generator(seed, epoch, step))
        for step, rows in enumerate(chosen)
        if step >= start
    )


def _batch_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    (state,) = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _make_batch(
    plates: Sequence[PlateCrops],
    table: ImageTable,
    plan: BatchPlan,
    rows: npt.NDArray[np.int64],
    generator: torch.Generator,
) -> Batch:
    """Return this process's part of a batch of table rows, (B, 1), or (B, 2) for pairs of days."""
    share = len(rows) // plan.world_size
    part = slice(plan.rank * share, (plan.rank + 1) * share)
    later = None
    if rows.shape[1] > 1:
        later = _make_one_day(plates, table, plan, rows[:, 1], part, generator)
    first = _make_one_day(plates, table, plan, rows[:, 0], part, generator)
    return first if later is None else replace(first, later=later, days_apart=later.day - first.day)


def _make_one_day(
    plates: Sequence[PlateCrops],
    table: ImageTable,
    plan: BatchPlan,
    rows: npt.NDArray[np.int64],
    part: slice,
    generator: torch.Generator,
) -> Batch:
    """Return this process's part of the batch of one table row for each image, (B,).

    Every process draws the random numbers of all rows, so that its part does not depend on the
    number of processes.
    """
    drawn = [
        _DrawnView(
            draw_augmentations(get_preset(name), len(rows), generator),
            torch.rand(len(rows), generator=generator),
        )
        for name in (plan.augment_first, plan.augment_second)
    ]
    mine = rows[part]
    if plan.kept:
        variants = torch.randint(2**31, (len(rows), 2), generator=generator)[part]
        return _fill_batch(table, mine, *_choose_features(table, plan, mine, variants), None)
    images = value_images(
        (
            plates[plate].crops[row]
            for plate, row in zip(table.plate[mine], table.row[mine], strict=True)
        ),
        plan.side_px,
    )
    masks = _read_masks(plates, table, plan, mine) if plan.mask_background > 0 else None
    first, second = (
        _augment_view(images, masks, view, plan, part, plates[0].background) for view in drawn
    )
    return _fill_batch(table, mine, first, second, normalise(images, plan) if plan.clean else None)


def _fill_batch(
    table: ImageTable,
    rows: npt.NDArray[np.int64],
    first: Tensor,
    second: Tensor,
    clean: Tensor | None,
) -> Batch:
    return Batch(
        first=first,
        second=second,
        clean=clean,
        plate=torch.from_numpy(table.plate[rows]),
        well=torch.from_numpy(table.well[rows]),
        day=torch.from_numpy(table.day[rows]),
        label=torch.from_numpy(table.label[rows]),
        untreated=torch.from_numpy(table.untreated[rows]),
        measures=torch.from_numpy(table.measures[rows]),
        has_measures=torch.from_numpy(table.has_measures[rows]),
        record_words=torch.from_numpy(table.record_words[rows]),
        record_numbers=torch.from_numpy(table.record_numbers[rows]),
    )


def _choose_features(
    table: ImageTable, plan: BatchPlan, rows: npt.NDArray[np.int64], drawn: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the stored features of two variants of each image, each (B, D) float32.

    The two variants differ, unless only one is stored. ``drawn`` is (B, 2) random integers.
    """
    variants = torch.tensor([len(plan.kept[table.plate[row]]) for row in rows])
    first = drawn[:, 0] % variants
    second = (first + 1 + drawn[:, 1] % (variants - 1).clamp(min=1)) % variants

    def features(chosen: Tensor) -> Tensor:
        found = [
            plan.kept[table.plate[row]][variant, table.row[row]]
            for row, variant in zip(rows, chosen.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(found).astype(np.float32))

    return features(first), features(second)


@dataclass(frozen=True, eq=False)
class _DrawnView:
    """The random numbers of one view of every image of a batch."""

    augmentations: DrawnAugmentations
    mask_draw: Tensor  # (B,) 0…1: the background is masked where this is below the share


def _augment_view(
    images: Tensor,
    masks: Tensor | None,
    view: _DrawnView,
    plan: BatchPlan,
    part: slice,
    background: float,
) -> Tensor:
    """Return one augmented, normalised view of the images, (B, 3, s, s)."""
    if masks is not None:
        is_masked = (view.mask_draw[part] < plan.mask_background)[:, None, None, None]
        visible = torch.where(is_masked, masks, torch.ones(()))
        images = background + visible * (images - background)
    return normalise(augment(images, view.augmentations.rows(part), background), plan)


def normalise(images: Tensor, plan: BatchPlan) -> Tensor:
    """Return images, (B, 3, s, s) of 0…1, less the plan's channel means and over its deviations."""
    return (images - torch.tensor(plan.mean).reshape(3, 1, 1)) / torch.tensor(plan.std).reshape(
        3, 1, 1
    )


def value_images(crops: Iterable[Bytes], side_px: int) -> Tensor:
    """Return uint8 crops, each (3, S, S), resized to float32 values of 0…1, (B, 3, s, s)."""
    values = [
        _resize(np.moveaxis(crop, 0, -1).astype(np.float32) / np.float32(255), side_px)
        for crop in crops
    ]
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.stack(values), -1, 1)))


def _read_masks(
    plates: Sequence[PlateCrops],
    table: ImageTable,
    plan: BatchPlan,
    rows: npt.NDArray[np.int64],
) -> Tensor:
    """Return the foreground masks of table rows, (B, 1, s, s): 1 at tissue and debris."""
    packed = (
        foreground_masks(plates[plate])[row]
        for plate, row in zip(table.plate[rows], table.row[rows], strict=True)
    )
    masks = [
        _resize(np.unpackbits(each, axis=-1).astype(np.float32), plan.side_px) for each in packed
    ]
    return torch.from_numpy(np.stack(masks))[:, None]


def _resize(pixels: npt.NDArray[np.float32], side_px: int) -> npt.NDArray[np.float32]:
    return np.asarray(
        cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_AREA), np.float32
    )
