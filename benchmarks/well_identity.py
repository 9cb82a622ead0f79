"""Measure how reliably a well that is unlike itself on the day before is reported.

    python -m benchmarks.well_identity --seeds 201-212

For each virtual plate, all wells are imaged from day 1 to day 10, and each day is compared with the
day before, as the microscope does during a run. The seeds go through all optics and mechanisms.

- compared: the wells of which the microscope could decide, of all wells of days 2 to 10;
- false reports: wells at their own place that are reported;
- reported: neighbouring wells that are shown instead of a well, and are reported.
"""

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from acquisition.microscope.day_comparison import FEWEST_COMPARED, Likeness, limit_of
from acquisition.microscope.pictures import WellPictures, day_likeness, make_picture
from acquisition.microscope.settings import WellOrder
from acquisition.microscope.well_order import ordered_places
from schemas.well import row_column, well_at
from simulation.kinds import Mechanism, OpticsName
from simulation.plate import READOUT_DAY
from simulation.world import A1_UM, SPACING_UM, World, WorldFile

PLANES_UM = (-45.0, 0.0, 45.0)
POSITION_ERROR_UM, FOCUS_ERROR_UM = 3.0, 5.0  # standard deviations, of each visit


@dataclass
class Counts:
    """The numbers of decisions on one plate or on several ones."""

    wells: int = 0
    compared: int = 0
    false_by_day: list[int] = field(default_factory=list)
    shown: int = 0  # neighbours that were shown instead of a well
    reported: int = 0

    def add(self, other: "Counts") -> None:
        """Add the counts of another plate."""
        self.wells += other.wells
        self.compared += other.compared
        self.false_by_day += other.false_by_day
        self.shown += other.shown
        self.reported += other.reported

    def row(self, name: str) -> str:
        """Return a row of the table."""
        return (
            f"| {name} | {self.compared} of {self.wells} | {sum(self.false_by_day)}, "
            f"at most {max(self.false_by_day)} per plate and day | "
            f"{self.reported} of {self.shown} ({self.reported / max(self.shown, 1):.1%}) |"
        )


def visited_wells(world: World, rng: np.random.Generator) -> dict[str, WellPictures]:
    """Return the pictures of all wells of the plate on the stage, in the order of visits."""
    plate = next(iter(world.scopes))
    by_well = {plan.well: plan for plan in world.scopes[plate].plate.wells}
    found: dict[str, WellPictures] = {}
    for row, column in ordered_places(by_well, WellOrder.ROW_WISE_SNAKE):
        plan = by_well[well_at(row, column)]
        x_um = A1_UM[0] + SPACING_UM * (column - 1) + rng.normal(0, POSITION_ERROR_UM)
        y_um = A1_UM[1] - SPACING_UM * (row - 1) + rng.normal(0, POSITION_ERROR_UM)
        z_um = world.focus_height_um(plan) + rng.normal(0, FOCUS_ERROR_UM)
        planes = [
            world.render_frame(x_um, y_um, z_um + dz, lamp=1.0, exposure_ms=10.0)
            for dz in PLANES_UM
        ]
        found[plan.well] = (make_picture(planes),)
    return found


def neighbours(well: str, wells: Iterable[str]) -> list[str]:
    """Return the wells that touch a well."""
    row, column = row_column(well)
    places = {each: row_column(each) for each in wells}
    return [
        each
        for each, (r, c) in places.items()
        if each != well and abs(r - row) <= 1 and abs(c - column) <= 1
    ]


def count_day(today: dict[str, WellPictures], before: dict[str, WellPictures]) -> Counts:
    """Return the counts of one day, on which wells are visited in the order of ``today``."""
    counts = Counts(wells=len(today))
    seen: list[Likeness] = []
    false = 0
    for well, pictures in today.items():
        stranger = next(other for other in before if other != well)
        own = Likeness(
            day_likeness(pictures, before[well]), day_likeness(pictures, before[stranger])
        )
        limit = limit_of(seen) if len(seen) >= FEWEST_COMPARED else None
        seen.append(own)
        if limit is None:
            continue
        counts.compared += 1
        false += own.own < limit
        for other in neighbours(well, before):
            counts.shown += 1
            counts.reported += day_likeness(today[other], before[well]) < limit
    counts.false_by_day.append(false)
    return counts


def count_plate(file: WorldFile) -> Counts:
    """Return the counts of the plate of a world from day 2 to the readout day."""
    counts = Counts()
    before: dict[str, WellPictures] = {}
    rng = np.random.default_rng(file.seed)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), file, lambda: datetime.now(UTC))
        for day in range(1, READOUT_DAY + 1):
            world.place_plate(next(iter(world.scopes)), day)
            today = visited_wells(world, rng)
            if before:
                counts.add(count_day(today, before))
            before = today
    return counts


def main() -> None:
    """Print one row for each plate, and the sum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="201-212", help="first and last seed")
    parser.add_argument("--size", type=int, default=256, help="side of a frame in pixels")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    optics, mechanisms = list(OpticsName), [None, *Mechanism]
    print("| plate | compared | false reports | reported |\n|---|---|---|---|")
    total = Counts()
    for number, seed in enumerate(range(int(first), int(last or first) + 1)):
        file = WorldFile(
            seed=seed,
            size_px=arguments.size,
            optics=optics[number % len(optics)],
            mechanism=mechanisms[(number + number // len(optics)) % len(mechanisms)],
        )
        counts = count_plate(file)
        print(counts.row(f"{seed}, {file.optics}, {file.mechanism or 'mixed'}"), flush=True)
        total.add(counts)
    print(total.row("all"))


if __name__ == "__main__":
    main()
