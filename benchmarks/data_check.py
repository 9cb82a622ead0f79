"""Plant mistakes in virtual plates, and count which of them `spherorank train data check` finds.

    python -m benchmarks.data_check

In each trial, one mistake of each kind is planted into three plates, at random wells that no other
mistake of the trial concerns. A mistake is found if a doubt with a probability of 0.5 or more names
one of its images, or for a label one of its wells. The plates are rendered once, in some minutes.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from schemas.plate_map import Group
from simulation.kinds import OpticsName
from simulation.microscope import VirtualMicroscope
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, plan_plate, select_wells
from training.data.crops import (
    Cropping,
    PlateCrops,
    PlateNote,
    ReadingNotes,
    WellCrop,
    crop_folder,
    crop_well_image,
    open_crops,
    write_crops,
)
from training.data_check.check import check_data
from training.data_check.doubts import DataDoubt, DoubtKind, ImageName

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "data-check"
CROPPING = Cropping(side_px=128)
DAYS = (4, 5, 6, 7, 8, 9, 10)
WELLS, SIZE_PX = 36, 256
MIN_KILL = 0.5  # of a treatment whose wells exchange labels with untreated wells
PROBABLE = 0.5
OPTICS = (OpticsName.DEFAULT, OpticsName.TILTED)
"""Microscopes of the plates, in turn."""


def virtual_crops(seed: int, cache: Path, optics: OpticsName) -> PlateCrops:
    """Return the crops of all days of some wells of a virtual plate, from the cache or rendered."""
    plate = select_wells(plan_plate(seed), WELLS)
    note = PlateNote(plate.name, f"data check {optics} {DAYS} {SIZE_PX}", DOSED_ON_DAY)
    folder = crop_folder(cache, note, CROPPING)
    if folder.exists():
        return open_crops(folder)
    scope = VirtualMicroscope(plate, SIZE_PX, optics)
    write_crops(cache, note, CROPPING, _crop_wells(scope), ReadingNotes())
    return open_crops(folder)


def _crop_wells(scope: VirtualMicroscope) -> Iterator[WellCrop]:
    for plan in scope.plate.wells:
        for day in DAYS:
            counts = scope.render(plan, day).planes
            planes = (counts.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)
            yield crop_well_image(
                planes,
                scope.um_per_px,
                CROPPING,
                well=plan.well,
                day=day,
                group=plan.group.value,
                treatment=plan.treatment,
            )


@dataclass
class Rows:
    """All images of three plates as lists that mistakes are planted into, and a foreign plate."""

    plates: list[PlateCrops]
    foreign: PlateCrops
    kill: dict[tuple[str, str], float]  # by plate and well
    rng: np.random.Generator
    used: set[tuple[int, str]]  # number of the plate and well of the mistakes so far

    def free_well(self, plate: int, *, allowed: Callable[[str], bool] = lambda _well: True) -> str:
        """Return a random well of a plate that no mistake concerns, and mark it as used."""
        wells = sorted(
            well
            for well in set(self.plates[plate].wells)
            if (plate, well) not in self.used and allowed(well)
        )
        chosen = str(self.rng.choice(wells))
        self.used.add((plate, chosen))
        return chosen

    def row(self, plate: int, well: str, day: int) -> int:
        """Return the number of the image of a well on a day."""
        of = self.plates[plate]
        return next(
            row for row, each in enumerate(of.wells) if each == well and of.days[row] == day
        )

    def name(self, plate: int, well: str, day: int) -> ImageName:
        """Return the name of the image of a well on a day."""
        return ImageName(self.plates[plate].plate, well, day)

    def put(self, plate: int, row: int, source: PlateCrops, source_row: int) -> None:
        """Replace the image of a row by an image of another plate or row."""
        of = self.plates[plate]
        crops, measures = np.array(of.crops), of.measures.copy()
        crops[row], measures[row] = source.crops[source_row], source.measures[source_row]
        self.plates[plate] = replace(of, crops=crops, measures=measures)

    def exchange(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        """Exchange the images of two pairs (plate, row)."""
        before = list(self.plates)
        self.put(*one, before[other[0]], other[1])
        self.put(*other, before[one[0]], one[1])

    def relabel(self, plate: int, well: str, group: str, treatment: str) -> None:
        """Give all images of a well another label."""
        of = self.plates[plate]
        is_well = [each == well for each in of.wells]
        self.plates[plate] = replace(
            of,
            groups=tuple(
                group if yes else old for yes, old in zip(is_well, of.groups, strict=True)
            ),
            treatments=tuple(
                treatment if yes else old for yes, old in zip(is_well, of.treatments, strict=True)
            ),
        )

    def label(self, plate: int, well: str) -> tuple[str, str]:
        """Return group and treatment of a well."""
        row = self.plates[plate].wells.index(well)
        return self.plates[plate].groups[row], self.plates[plate].treatments[row]

    def is_untreated(self, plate: int, well: str) -> bool:
        """Return whether a well has the label untreated."""
        return self.label(plate, well)[0] == Group.UNTREATED

    def is_half_killed(self, plate: int, well: str) -> bool:
        """Return whether a treatment has killed half of the well or more."""
        return self.kill[self.plates[plate].plate, well] >= MIN_KILL


def plant_untreated(rows: Rows) -> tuple[ImageName, ...]:
    """Give an untreated well the label of a treatment that kills half of a well or more."""
    plate = int(rows.rng.integers(3))
    well = rows.free_well(plate, allowed=lambda each: rows.is_untreated(plate, each))
    other = rows.free_well(plate, allowed=lambda each: rows.is_half_killed(plate, each))
    rows.relabel(plate, well, *rows.label(plate, other))
    return (rows.name(plate, well, READOUT_DAY),)


def plant_exchanged_labels(rows: Rows) -> tuple[ImageName, ...]:
    """Exchange the labels of an untreated well and of one that is killed by half or more."""
    plate = int(rows.rng.integers(3))
    one = rows.free_well(plate, allowed=lambda each: rows.is_untreated(plate, each))
    other = rows.free_well(plate, allowed=lambda each: rows.is_half_killed(plate, each))
    of_one, of_other = rows.label(plate, one), rows.label(plate, other)
    rows.relabel(plate, one, *of_other)
    rows.relabel(plate, other, *of_one)
    return rows.name(plate, one, READOUT_DAY), rows.name(plate, other, READOUT_DAY)


def plant_copy(rows: Rows) -> tuple[ImageName, ...]:
    """Replace an image by a copy of another one, 5 % brighter and with the noise of compression."""
    plate, source = (int(rows.rng.integers(3)) for _ in range(2))
    well, other = rows.free_well(plate), rows.free_well(source)
    day, from_day = (int(each) for each in rows.rng.choice(DAYS, 2))
    row, source_row = rows.row(plate, well, day), rows.row(source, other, from_day)
    rows.put(plate, row, rows.plates[source], source_row)
    crops = np.array(rows.plates[plate].crops)
    noise = rows.rng.normal(0, 1.5, crops[row].shape)
    crops[row] = np.clip(crops[row] * 1.05 + noise, 0, 255).round()
    rows.plates[plate] = replace(rows.plates[plate], crops=crops)
    return rows.name(plate, well, day), rows.name(source, other, from_day)


def plant_exchanged_wells(rows: Rows) -> tuple[ImageName, ...]:
    """Exchange the images of two random wells on a random day."""
    plate, day = int(rows.rng.integers(3)), int(rows.rng.choice(DAYS))
    one, other = rows.free_well(plate), rows.free_well(plate)
    rows.exchange((plate, rows.row(plate, one, day)), (plate, rows.row(plate, other, day)))
    return rows.name(plate, one, day), rows.name(plate, other, day)


def plant_exchanged_days(rows: Rows) -> tuple[ImageName, ...]:
    """Exchange the images of a well on two random days that are at least two days apart."""
    plate, gap = int(rows.rng.integers(3)), int(rows.rng.integers(2, len(DAYS)))
    first = int(rows.rng.integers(len(DAYS) - gap))
    well, one, other = rows.free_well(plate), DAYS[first], DAYS[first + gap]
    rows.exchange((plate, rows.row(plate, well, one)), (plate, rows.row(plate, well, other)))
    return rows.name(plate, well, one), rows.name(plate, well, other)


def plant_wrong_day(rows: Rows) -> tuple[ImageName, ...]:
    """File an image under another day of its well, whose own image is missing."""
    plate = int(rows.rng.integers(3))
    well = rows.free_well(plate)
    day, filed = (int(each) for each in rows.rng.choice(DAYS, 2, replace=False))
    lost, moved = rows.row(plate, well, filed), rows.row(plate, well, day)
    of = rows.plates[plate]
    days = of.days.copy()
    days[moved] = filed
    kept = np.delete(np.arange(len(of)), lost)
    rows.plates[plate] = replace(
        of,
        wells=tuple(of.wells[row] for row in kept),
        groups=tuple(of.groups[row] for row in kept),
        treatments=tuple(of.treatments[row] for row in kept),
        days=days[kept],
        crops=of.crops[kept],
        measures=of.measures[kept],
    )
    return (rows.name(plate, well, filed),)


def plant_exchanged_plates(rows: Rows) -> tuple[ImageName, ...]:
    """Exchange the images of one day of wells of two plates."""
    one, other = (int(each) for each in rows.rng.choice(3, 2, replace=False))
    day = int(rows.rng.choice(DAYS))
    well, other_well = rows.free_well(one), rows.free_well(other)
    rows.exchange((one, rows.row(one, well, day)), (other, rows.row(other, other_well, day)))
    return rows.name(one, well, day), rows.name(other, other_well, day)


def plant_foreign(rows: Rows) -> tuple[ImageName, ...]:
    """Replace an image by one of a plate that is not in the archive, of the same day."""
    plate, day = int(rows.rng.integers(3)), int(rows.rng.choice(DAYS))
    well = rows.free_well(plate)
    choices = np.flatnonzero(rows.foreign.days == day)
    source = int(rows.rng.choice(choices))
    rows.put(plate, rows.row(plate, well, day), rows.foreign, source)
    return (rows.name(plate, well, day),)


MISTAKES: dict[str, tuple[Callable[[Rows], tuple[ImageName, ...]], DoubtKind]] = {
    "untreated among treated": (plant_untreated, DoubtKind.LABEL),
    "exchanged labels": (plant_exchanged_labels, DoubtKind.EXCHANGED_LABELS),
    "copy": (plant_copy, DoubtKind.DUPLICATE),
    "exchanged wells": (plant_exchanged_wells, DoubtKind.EXCHANGED_WELLS),
    "exchanged days": (plant_exchanged_days, DoubtKind.EXCHANGED_DAYS),
    "wrong day": (plant_wrong_day, DoubtKind.WRONG_DAY),
    "exchanged plates": (plant_exchanged_plates, DoubtKind.EXCHANGED_PLATES),
    "foreign image": (plant_foreign, DoubtKind.FOREIGN),
}


def run_trial(
    plates: list[PlateCrops], foreign: PlateCrops, kill: dict[tuple[str, str], float], seed: int
) -> tuple[dict[str, tuple[ImageName, ...]], list[DataDoubt]]:
    """Return the images of each planted mistake, and the doubts of the check."""
    rows = Rows(list(plates), foreign, kill, np.random.default_rng(seed), set())
    planted = {}
    # Missing images come last, because they change the number of rows.
    for name in sorted(MISTAKES, key=lambda each: each == "wrong day"):
        planted[name] = MISTAKES[name][0](rows)
    return planted, list(check_data(rows.plates).doubts)


def main() -> None:
    """Print the table of found mistakes and of false doubts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=4, default=(301, 302, 303, 304))
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--cache", type=Path, default=CACHE)
    arguments = parser.parse_args()
    *plates, foreign = (
        virtual_crops(seed, arguments.cache, OPTICS[seed % 2]) for seed in arguments.seeds
    )
    kill = {
        (plate.name, plan.well): plan.kill(READOUT_DAY)
        for plate in map(plan_plate, arguments.seeds)
        for plan in plate.wells
    }
    clean = check_data(plates)
    _print_false("clean plates", clean.images, list(clean.doubts))
    found, named, false = Counter[str](), Counter[str](), list[DataDoubt]()
    images = 0
    for trial in range(arguments.trials):
        planted, doubts = run_trial(plates, foreign, kill, trial)
        probable = [doubt for doubt in doubts if doubt.probability >= PROBABLE]
        concerned = {(image.plate, image.well) for each in planted.values() for image in each}
        for name, of_mistake in planted.items():
            hits = [doubt for doubt in probable if set(of_mistake) & set(doubt.images)]
            found[name] += bool(hits)
            named[name] += any(doubt.kind is MISTAKES[name][1] for doubt in hits)
        false += [
            doubt
            for doubt in doubts
            if not any((image.plate, image.well) in concerned for image in doubt.images)
        ]
        images += clean.images
    _print_false("other wells of the trials", images, false)
    print(f"\n{'mistake':26} planted   found  right kind")
    for name in MISTAKES:
        print(f"{name:26} {arguments.trials:7} {found[name]:7} {named[name]:11}")


def _print_false(where: str, images: int, doubts: list[DataDoubt]) -> None:
    probable = sum(doubt.probability >= PROBABLE for doubt in doubts)
    kinds = ", ".join(
        f"{kind} {count}" for kind, count in Counter(each.kind.value for each in doubts).items()
    )
    print(
        f"{where}: {images} images, {probable} false doubts of 0.5 or more, "
        f"{len(doubts)} of 0.1 or more{f' ({kinds})' if kinds else ''}"
    )


if __name__ == "__main__":
    main()
