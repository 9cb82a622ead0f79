"""From the kept views of many plates to batches of tensors, the same for the same seed and epoch, whole or shared out among processes."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.errors import ConfigError
from schemas.plate_map import Group
from training.data.augmentation import Draw, augment, draw, preset
from training.data.well_views import Bytes, WellViews, foregrounds

UNKNOWN_LABEL = -1
FARTHEST = 5.0  # spreads from the mean: a measure beyond is an outline gone wrong, and would rule a squared loss


class DayPairs(StrEnum):
    """Which two days of a well are shown together."""

    NONE = "none"
    ANY = "any"  # any two of a well
    UNTREATED = "untreated"  # any two of an untreated well
    SINCE_DOSING = "since_dosing"  # the dosing day and one after it; an image of a well that has no such pair stands with itself: nothing changed


class LabelKind(StrEnum):
    """What a label is."""

    GROUP = "group"
    TREATMENT = "treatment"  # all untreated wells have one


@dataclass(frozen=True, eq=False)
class Batch:
    """B well images, twice augmented; all tensors have B rows."""

    first: Tensor  # (B, 3, s, s) float32, augmented and normalised
    second: Tensor  # (B, 3, s, s) the same images, augmented otherwise
    clean: Tensor | None  # (B, 3, s, s) as the service would see them
    plate: Tensor  # (B,) long
    well: Tensor  # (B,) long, unique over plates
    day: Tensor  # (B,) long; 0 unknown
    label: Tensor  # (B,) long; UNKNOWN_LABEL where nothing is known
    untreated: Tensor  # (B,) bool
    measures: Tensor  # (B, M) standardised, of the clean image; 0 where there are none
    has_measures: Tensor  # (B,) bool
    later: "Batch | None" = None  # the same wells in the same order on a later day
    days_apart: Tensor | None = None  # (B,) long, of the pairs


@dataclass(frozen=True, eq=False)
class MeasureScale:
    """What measures are standardised by: always that of the training set."""

    mean: npt.NDArray[np.float32]  # (M,)
    spread: npt.NDArray[np.float32]  # (M,)

    @classmethod
    def of(cls, views: Sequence[WellViews]) -> "MeasureScale":
        """Return mean and spread over all images that have measures."""
        rows = np.concatenate([plate.measures for plate in views])
        rows = rows[np.isfinite(rows).all(axis=1)].astype(np.float64)
        if not len(rows):
            return cls(
                np.zeros(views[0].measures.shape[1], np.float32),
                np.ones(views[0].measures.shape[1], np.float32),
            )
        return cls(
            rows.mean(axis=0).astype(np.float32),
            np.maximum(rows.std(axis=0), 1e-6).astype(np.float32),
        )


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """What a batch is made of."""

    scale: MeasureScale
    size: int = 64  # images, or pairs of days, over all processes
    side_px: int = 128  # at most the crops'
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # normalisation: the pretrained weights' own
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    augment_first: str = "spheroid"
    augment_second: str = "spheroid"
    mask_background: float = (
        0.0  # share of the augmented views in which only tissue and debris stay
    )
    clean: bool = False  # whether the clean images are in the batch
    within_plate: bool = False  # each batch from one plate
    day_pairs: DayPairs = DayPairs.NONE
    label: LabelKind = LabelKind.GROUP
    kept: tuple[
        npt.NDArray[np.float16], ...
    ] = ()  # of each plate, (variants, N, D): in place of pixels, what a frozen backbone makes of them
    rank: int = 0  # of this process
    world_size: int = 1  # processes


def batches(
    views: Sequence[WellViews], plan: BatchPlan, seed: int, epoch: int, start: int = 0
) -> Iterator[Batch]:
    """Yield this process's part of every batch of an epoch, from batch number ``start`` on; what is drawn does not depend on start or processes.

    Raises
    ------
    ConfigError
        If the plan does not fit the views, or no batch of two or more comes together.
    """
    _check(views, plan)
    table = _table_of(views, plan)
    chosen = _choose(table, plan, np.random.default_rng([seed, epoch]))
    return (
        _make(views, table, plan, rows, _generator(seed, epoch, step))
        for step, rows in enumerate(chosen)
        if step >= start
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """All n images of all plates, one row each."""

    plate: npt.NDArray[np.int64]  # (n,) index into the views
    row: npt.NDArray[np.int64]  # (n,) index into its plate
    repeat: npt.NDArray[np.int64]  # (n,) how often it stands in an epoch
    well: npt.NDArray[np.int64]  # (n,)
    day: npt.NDArray[np.int64]  # (n,)
    dosed_on_day: npt.NDArray[np.int64]  # (n,)
    label: npt.NDArray[np.int64]  # (n,)
    untreated: npt.NDArray[np.bool_]  # (n,)
    measures: npt.NDArray[np.float32]  # (n, M) standardised, 0 where there are none
    has_measures: npt.NDArray[np.bool_]  # (n,)


def _check(views: Sequence[WellViews], plan: BatchPlan) -> None:
    if not views:
        raise ConfigError("data", "has no images; expected at least two")
    if plan.size < 2:  # noqa: PLR2004 - an objective compares images of one batch
        raise ConfigError(
            "batch",
            f"is {plan.size}; expected at least 2, as objectives compare the images of a batch",
        )
    if plan.size % plan.world_size:
        raise ConfigError(
            "batch", f"is {plan.size}; expected a multiple of the {plan.world_size} processes"
        )
    sides = {plate.side_px for plate in views}
    if len(sides) > 1 or plan.side_px > max(sides):
        raise ConfigError(
            "side_px",
            f"is {plan.side_px} with crops of {sorted(sides)} pixels; expected crops of one size, no smaller than it",
        )
    for name in (plan.augment_first, plan.augment_second):
        preset(name)
    if len({plate.background for plate in views}) > 1:
        raise ConfigError(
            "data", "has crops of different background levels; expected crops made alike"
        )


def _table_of(views: Sequence[WellViews], plan: BatchPlan) -> _Table:
    wells = [(plate.plate, well) for plate in views for well in plate.wells]
    labels = [
        _label(*row, plan.label)
        for plate in views
        for row in zip(plate.groups, plate.treatments, strict=True)
    ]
    measures = (
        np.concatenate([plate.measures for plate in views]) - plan.scale.mean
    ) / plan.scale.spread
    has_measures = np.isfinite(measures).all(axis=1)
    return _Table(
        plate=np.repeat(np.arange(len(views)), [len(plate) for plate in views]),
        row=np.concatenate([np.arange(len(plate)) for plate in views]),
        repeat=np.repeat([plate.repeat for plate in views], [len(plate) for plate in views]),
        well=_numbered(wells),
        day=np.concatenate([plate.days for plate in views]),
        dosed_on_day=np.repeat(
            [plate.dosed_on_day for plate in views], [len(plate) for plate in views]
        ),
        label=np.where(np.array(labels) == "", UNKNOWN_LABEL, _numbered(labels)),
        untreated=np.array([group == Group.UNTREATED for plate in views for group in plate.groups]),
        measures=np.where(has_measures[:, None], measures, 0)
        .clip(-FARTHEST, FARTHEST)
        .astype(np.float32),
        has_measures=has_measures,
    )


def _label(group: str, treatment: str, kind: LabelKind) -> str:
    """Return the label's name; "" where nothing is known. A vehicle is no treatment."""
    return (
        treatment
        if kind is LabelKind.TREATMENT and group not in (Group.UNTREATED, Group.BLANK)
        else group
    )


def _numbered(names: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Return the number of each name, in the order of the names."""
    numbers = {name: number for number, name in enumerate(sorted(set(names), key=repr))}
    return np.array([numbers[name] for name in names], np.int64)


def _choose(
    table: _Table, plan: BatchPlan, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each batch, (B, 1), or (B, 2) for pairs of days; what fills no whole batch waits for another epoch, unless there is nothing else."""
    items = (
        _pairs(table, plan.day_pairs, rng)
        if plan.day_pairs is not DayPairs.NONE
        else np.arange(len(table.plate))[:, None]
    )
    items = _shuffled(items, table.repeat[items[:, 0]], rng)
    groups = (
        [items[table.plate[items[:, 0]] == plate] for plate in np.unique(table.plate)]
        if plan.within_plate
        else [items]
    )
    chosen: list[npt.NDArray[np.int64]] = []
    for group in groups:
        size = min(plan.size, len(group) - len(group) % plan.world_size)
        if size >= 2 * plan.world_size:  # of one, nothing is compared
            chosen += [group[at : at + size] for at in range(0, len(group) - size + 1, size)]
    if not chosen:
        what = "images" if plan.day_pairs is DayPairs.NONE else f"pairs of days ({plan.day_pairs})"
        where = " of any one plate" if plan.within_plate else ""
        raise ConfigError(
            "data",
            f"has {len(items)} {what}; expected at least two{where}, and two for each of several processes",
        )
    return [chosen[at] for at in rng.permutation(len(chosen))]


def _shuffled(
    items: npt.NDArray[np.int64], repeat: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return the items in any order, each as often as it is repeated: one of r copies in each r-th of the epoch, as a batch takes two for different images."""
    rows = np.repeat(np.arange(len(items)), repeat)
    copy = np.arange(len(rows)) - np.searchsorted(rows, rows)  # 0 … r − 1
    return items[rows[np.argsort((copy + rng.random(len(rows))) / repeat[rows])]]


def _pairs(table: _Table, kind: DayPairs, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return (K, 2): every image that has a later day of the same well, with one of these, or with itself where the kind says so."""
    by_well: defaultdict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(
        (table.day > 0) & (table.untreated | (kind is not DayPairs.UNTREATED))
    ):
        by_well[int(table.well[index])].append(int(index))
    pairs = []
    for members in by_well.values():
        for first in members:
            later = [other for other in members if table.day[other] > table.day[first]]
            if later and (
                kind is not DayPairs.SINCE_DOSING or table.day[first] == table.dosed_on_day[first]
            ):
                pairs.append((first, later[int(rng.integers(len(later)))]))
    if kind is DayPairs.SINCE_DOSING:
        alone = np.flatnonzero(~np.isin(table.well, table.well[[first for first, _ in pairs]]))
        pairs += zip(alone.tolist(), alone.tolist(), strict=True)
    return np.array(pairs, np.int64).reshape(-1, 2)


def _generator(seed: int, epoch: int, step: int) -> torch.Generator:
    (state,) = np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _make(
    views: Sequence[WellViews],
    table: _Table,
    plan: BatchPlan,
    rows: npt.NDArray[np.int64],
    generator: torch.Generator,
) -> Batch:
    """Return this process's part of a batch of (B, 1) or (B, 2) rows."""
    share = len(rows) // plan.world_size
    part = slice(plan.rank * share, (plan.rank + 1) * share)
    later = None
    if rows.shape[1] > 1:
        later = _of_day(views, table, plan, rows[:, 1], part, generator)
    first = _of_day(views, table, plan, rows[:, 0], part, generator)
    return first if later is None else replace(first, later=later, days_apart=later.day - first.day)


def _of_day(
    views: Sequence[WellViews],
    table: _Table,
    plan: BatchPlan,
    rows: npt.NDArray[np.int64],
    part: slice,
    generator: torch.Generator,
) -> Batch:
    """Draw for all rows, as every process does, and return the part of this one."""
    drawn = [
        _View(draw(preset(name), len(rows), generator), torch.rand(len(rows), generator=generator))
        for name in (plan.augment_first, plan.augment_second)
    ]
    mine = rows[part]
    if plan.kept:
        return _batch(
            table,
            mine,
            *_kept(
                table, plan, mine, torch.randint(2**31, (len(rows), 2), generator=generator)[part]
            ),
            None,
        )
    images = value_images(
        (
            views[plate].crops[row]
            for plate, row in zip(table.plate[mine], table.row[mine], strict=True)
        ),
        plan.side_px,
    )
    masks = _masks(views, table, plan, mine) if plan.mask_background > 0 else None
    first, second = (
        _augmented(images, masks, view, plan, part, views[0].background) for view in drawn
    )
    return _batch(table, mine, first, second, normalised(images, plan) if plan.clean else None)


def _batch(
    table: _Table, mine: npt.NDArray[np.int64], first: Tensor, second: Tensor, clean: Tensor | None
) -> Batch:
    return Batch(
        first=first,
        second=second,
        clean=clean,
        plate=torch.from_numpy(table.plate[mine]),
        well=torch.from_numpy(table.well[mine]),
        day=torch.from_numpy(table.day[mine]),
        label=torch.from_numpy(table.label[mine]),
        untreated=torch.from_numpy(table.untreated[mine]),
        measures=torch.from_numpy(table.measures[mine]),
        has_measures=torch.from_numpy(table.has_measures[mine]),
    )


def _kept(
    table: _Table, plan: BatchPlan, rows: npt.NDArray[np.int64], drawn: Tensor
) -> tuple[Tensor, Tensor]:
    """Return two (B, D): the features of two different variants of each image, or of the same where only one is kept."""
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
class _View:
    """What was drawn for one view of every image of a batch."""

    draw: Draw
    masked: Tensor  # (B,) 0…1


def _augmented(
    images: Tensor,
    masks: Tensor | None,
    view: _View,
    plan: BatchPlan,
    part: slice,
    background: float,
) -> Tensor:
    if masks is not None:
        kept = torch.where(
            (view.masked[part] < plan.mask_background)[:, None, None, None], masks, torch.ones(())
        )
        images = background + kept * (images - background)
    return normalised(augment(images, view.draw.rows(part), background), plan)


def normalised(images: Tensor, plan: BatchPlan) -> Tensor:
    """Return values of 0…1, (B, 3, s, s), as the network takes them."""
    return (images - torch.tensor(plan.mean).reshape(3, 1, 1)) / torch.tensor(plan.std).reshape(
        3, 1, 1
    )


def value_images(crops: Iterable[Bytes], side_px: int) -> Tensor:
    """Return kept crops, each (3, S, S), reduced to (B, 3, s, s) of 0…1."""
    values = [
        _reduced(np.moveaxis(crop, 0, -1).astype(np.float32) / np.float32(255), side_px)
        for crop in crops
    ]
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.stack(values), -1, 1)))


def _masks(
    views: Sequence[WellViews], table: _Table, plan: BatchPlan, rows: npt.NDArray[np.int64]
) -> Tensor:
    """Return (B, 1, s, s): 1 where tissue or debris is."""
    packed = (
        foregrounds(views[plate])[row]
        for plate, row in zip(table.plate[rows], table.row[rows], strict=True)
    )
    return torch.from_numpy(
        np.stack(
            [
                _reduced(np.unpackbits(each, axis=-1).astype(np.float32), plan.side_px)
                for each in packed
            ]
        )
    )[:, None]


def _reduced(pixels: npt.NDArray[np.float32], side_px: int) -> npt.NDArray[np.float32]:
    return np.asarray(
        cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_AREA), np.float32
    )
