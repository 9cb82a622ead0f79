"""Choice of the images of each batch of an epoch, from a table of all images of all plates."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError
from schemas.plate_map import Group
from training.data.batch_plan import (
    MAX_MEASURE_SPREADS,
    UNKNOWN_LABEL,
    BatchPlan,
    DayPairs,
)
from training.data.crops import PlateCrops
from training.data.labels import LabelKind
from training.data.presets import get_preset
from training.data.records import RecordEncoder, make_records


@dataclass(frozen=True, eq=False)
class ImageTable:
    """One row for each of the n images of all plates."""

    plate: npt.NDArray[np.int64]  # (n,) index of the plate
    row: npt.NDArray[np.int64]  # (n,) index of the image in its plate
    repeat: npt.NDArray[np.int64]  # (n,) number of times that the image is in an epoch
    well: npt.NDArray[np.int64]  # (n,) number of the well, unique over all plates
    day: npt.NDArray[np.int64]  # (n,) culture day; 0 if unknown
    dosed_on_day: npt.NDArray[np.int64]  # (n,) dosing day of the plate; 0 if unknown
    label: npt.NDArray[np.int64]  # (n,) UNKNOWN_LABEL if unknown
    untreated: npt.NDArray[np.bool_]  # (n,)
    measures: npt.NDArray[np.float32]  # (n, M) standardised; 0 if unknown
    has_measures: npt.NDArray[np.bool_]  # (n,)
    record_words: npt.NDArray[np.int64]  # (n, L) numbers of words; L = 0 without records
    record_numbers: npt.NDArray[np.float32]  # (n, K) facts of the records; K = 0 without records


def check_plan(plates: Sequence[PlateCrops], plan: BatchPlan) -> None:
    """Raise ConfigError unless the batch plan fits the crops of the plates."""
    if not plates:
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
    sides = {plate.side_px for plate in plates}
    if len(sides) > 1 or plan.side_px > max(sides):
        raise ConfigError(
            "side_px",
            f"is {plan.side_px} with crops of {sorted(sides)} pixels; "
            f"expected crops of one size that is at least {plan.side_px}",
        )
    for name in (plan.augment_first, plan.augment_second):
        get_preset(name)
    if len({plate.background for plate in plates}) > 1:
        raise ConfigError(
            "data",
            "has crops of different background levels; expected one level for all crops",
        )


def make_table(plates: Sequence[PlateCrops], plan: BatchPlan) -> ImageTable:
    """Return an ImageTable of all images of the plates, with labels and standardised measures."""
    wells = [(plate.plate, well) for plate in plates for well in plate.wells]
    labels = label_names(plates, plan.label)
    counts = [len(plate) for plate in plates]
    measures = plan.scale.standardise(plates)
    words, numbers = _encode_records(plates, measures, plan.records)
    has_measures = np.asarray(np.isfinite(measures).all(axis=1))
    return ImageTable(
        plate=np.repeat(np.arange(len(plates)), counts),
        row=np.concatenate([np.arange(count) for count in counts]),
        repeat=np.repeat([plate.repeat for plate in plates], counts),
        well=_number_names(wells),
        day=np.concatenate([plate.days for plate in plates]),
        dosed_on_day=np.repeat([plate.dosed_on_day for plate in plates], counts),
        label=np.where(np.array(labels) == "", UNKNOWN_LABEL, _number_names(labels)),
        untreated=np.array(
            [group == Group.UNTREATED for plate in plates for group in plate.groups]
        ),
        measures=np.where(has_measures[:, None], measures, 0)
        .clip(-MAX_MEASURE_SPREADS, MAX_MEASURE_SPREADS)
        .astype(np.float32),
        has_measures=has_measures,
        record_words=words,
        record_numbers=numbers,
    )


def _encode_records(
    plates: Sequence[PlateCrops],
    measures: npt.NDArray[np.float32],
    encoder: RecordEncoder | None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return words and numbers of the records of all images; arrays of width 0 without encoder."""
    if encoder is None:
        return np.zeros((len(measures), 0), np.int64), np.zeros((len(measures), 0), np.float32)
    records = make_records(plates, measures, encoder.content)
    return encoder.words(records), encoder.numbers(records)


def label_names(plates: Sequence[PlateCrops], kind: LabelKind) -> list[str]:
    """Return the label of each image of all plates as text; "" if it is unknown."""
    return [
        _label_name(*row, kind)
        for plate in plates
        for row in zip(plate.groups, plate.treatments, strict=True)
    ]


def _label_name(group: str, treatment: str, kind: LabelKind) -> str:
    """Return the treatment or the group as the label of a well; "" if it is unknown.

    Untreated wells have their group as label even if they contain a vehicle.
    """
    is_treated = group not in (Group.UNTREATED, Group.BLANK)
    return treatment if kind is LabelKind.TREATMENT and is_treated else group


def _number_names(names: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Return for each name its place in the sorted list of distinct names."""
    numbers = {name: number for number, name in enumerate(sorted(set(names), key=repr))}
    return np.array([numbers[name] for name in names], np.int64)


def choose_batches(
    table: ImageTable, plan: BatchPlan, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return for each batch of an epoch its table row numbers, (B, 1), or (B, 2) for pairs of days.

    Images that do not fill a batch are left out of this epoch. If there are fewer images than a
    batch has, they are one smaller batch.

    Raises
    ------
    ConfigError
        If no batch of at least two images, or of two for each process, can be made.
    """
    items = (
        pair_days(table, plan.day_pairs, rng)
        if plan.day_pairs is not DayPairs.NONE
        else np.arange(len(table.plate))[:, None]
    )
    items = _shuffle(items, table.repeat[items[:, 0]], rng)
    groups = (
        [items[table.plate[items[:, 0]] == plate] for plate in np.unique(table.plate)]
        if plan.within_plate
        else [items]
    )
    chosen: list[npt.NDArray[np.int64]] = []
    for group in groups:
        size = min(plan.size, len(group) - len(group) % plan.world_size)
        if size >= 2 * plan.world_size:  # an objective needs two images to compare
            chosen += [group[at : at + size] for at in range(0, len(group) - size + 1, size)]
    if not chosen:
        unit = "images" if plan.day_pairs is DayPairs.NONE else f"pairs of days ({plan.day_pairs})"
        where = " of any one plate" if plan.within_plate else ""
        raise ConfigError(
            "data",
            f"has {len(items)} {unit}; expected at least two{where}, "
            "and two for each of several processes",
        )
    return [chosen[at] for at in rng.permutation(len(chosen))]


def _shuffle(
    items: npt.NDArray[np.int64], repeat: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return the items in random order, each as often as it is repeated.

    Each r-th of the epoch has one of the r copies of an item, because objectives treat two copies
    in one batch as two different images.
    """
    rows = np.repeat(np.arange(len(items)), repeat)
    copy = np.arange(len(rows)) - np.searchsorted(rows, rows)  # 0 … r − 1
    return items[rows[np.argsort((copy + rng.random(len(rows))) / repeat[rows])]]


def pair_days(table: ImageTable, kind: DayPairs, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return table rows (K, 2): an image and a later image of the same well, or the image twice.

    The later image is of a random day, or for CONSECUTIVE of the next day.
    """
    by_well: defaultdict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(
        (table.day > 0) & (table.untreated | (kind is not DayPairs.UNTREATED))
    ):
        by_well[int(table.well[index])].append(int(index))
    pairs = []
    for members in by_well.values():
        for first in members:
            later = [other for other in members if table.day[other] > table.day[first]]
            if kind is DayPairs.CONSECUTIVE:
                later = _next_without_drug(table, later)
            if later and (
                kind is not DayPairs.SINCE_DOSING or table.day[first] == table.dosed_on_day[first]
            ):
                pairs.append((first, later[int(rng.integers(len(later)))]))
    alone = np.empty(0, np.int64)
    if kind is DayPairs.SINCE_DOSING:
        alone = np.flatnonzero(~np.isin(table.well, table.well[[first for first, _ in pairs]]))
    elif kind is DayPairs.CONSECUTIVE:
        alone = np.flatnonzero(~np.isin(np.arange(len(table.well)), np.array(pairs, np.int64)))
    pairs += zip(alone.tolist(), alone.tolist(), strict=True)
    return np.array(pairs, np.int64).reshape(-1, 2)


def _next_without_drug(table: ImageTable, later: list[int]) -> list[int]:
    """Return the rows of the next day among ``later`` rows of a well, if no drug was added before.

    The day of dosing is without a drug: most plates are imaged before they are dosed.
    """
    next_day = min((int(table.day[row]) for row in later), default=0)
    return [
        row
        for row in later
        if table.day[row] == next_day
        and (table.untreated[row] or next_day <= table.dosed_on_day[row])
    ]
