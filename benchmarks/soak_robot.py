"""The virtual robot of ``python -m benchmarks.soak``: a schedule of files with their faults.

Each plate is imaged on two days: on the dosing day 7 and on the readout day 8, 24 hours later. One
well image in three has a fault of :class:`ImageFault`. The robot records the digest of all pixels
that it has written completely.
"""

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.well_image import VisitKey, WellImage
from simulation.kinds import Mechanism
from simulation.microscope import VirtualMicroscope, virtual_microscopes
from simulation.plate import DOSED_ON_DAY, WellPlan
from simulation.robot import encode_tiff, write_assay
from tests.small_plates import with_few_wells

READOUT_DAY = DOSED_ON_DAY + 1
SIZE_PX = 96
_FIRST_SLOT_H, _SLOTS_H = 2.0, 17.0  # of a day; no plate is seeded or imaged over midnight
_ASSAYED = 1 / 3  # share of the plates with an assay


class ImageFault(StrEnum):
    """Faults of the delivery of one well image."""

    LATE = "late"  # hours after the other wells of the plate
    DUPLICATE = "duplicate"  # all files are written a second time
    REPLACED = "replaced"  # other pixels are written under the same names
    DAMAGED = "damaged"  # one file is cut, and written whole hours later


_FAULT_SHARE = 1 / 12  # of each fault


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens at a simulated hour after the start."""

    hour: float
    name: str
    act: Callable[[], None] = field(compare=False)


@dataclass
class Robot:
    """The drop folder, and a record of everything that was written into it.

    Attributes
    ----------
    root
        The drop folder; other code renames it while the share is gone.
    written
        The digests of the pixels of each (plate, well, day) in the order of writing.
    """

    root: Path
    start: datetime
    rng: random.Random
    written: defaultdict[tuple[str, str, int], list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )
    read_out: set[str] = field(default_factory=set)  # plates with images of the readout day
    assayed: set[str] = field(default_factory=set)
    faults: defaultdict[ImageFault, int] = field(default_factory=lambda: defaultdict(int))

    def schedule(self, hours: float, plates_a_day: int, seed: int) -> Iterator[Event]:
        """Yield the events of all plates that are imaged within a number of hours, in any order.

        Plates of the day before the start have their first images at hour 0.
        """
        days = [day for day in range(-1, int(hours // 24) + 1) if day * 24 < hours]
        plates = virtual_microscopes(
            len(days) * plates_a_day, seed, SIZE_PX, mechanism=Mechanism.SHRINKING
        )
        slots = [
            24 * day + _FIRST_SLOT_H + _SLOTS_H * slot / plates_a_day
            for day in days
            for slot in range(plates_a_day)
        ]
        for hour, scope in zip(slots, plates, strict=True):
            yield from self._plate(self._seeded(scope, hour), hour, hours)

    def _seeded(self, scope: VirtualMicroscope, hour: float) -> VirtualMicroscope:
        """Return a plate of 12 wells whose images of the dosing day begin at an hour."""
        small = with_few_wells(scope, untreated=7, single_dose=2, treatments=1)
        early = scope.plate.taken_at(small.plate.wells[0], 1) - scope.plate.seeded_at
        seeded = self.start + timedelta(hours=hour, days=1 - DOSED_ON_DAY) - early
        return replace(small, plate=replace(small.plate, seeded_at=seeded))

    def _plate(self, scope: VirtualMicroscope, hour: float, hours: float) -> Iterator[Event]:
        """Yield the events of one plate; images that would be later than the end are left out."""
        name = scope.plate.name
        first = max(0.0, hour)
        yield Event(first, f"{name} map", lambda: self._write_map(scope))
        last = first
        for day in (DOSED_ON_DAY, READOUT_DAY):
            for plan in scope.plate.wells:
                taken = (scope.plate.taken_at(plan, day) - self.start) / timedelta(hours=1)
                if taken < hours:
                    last = max(first, taken)
                    yield from self._image(scope, plan, day, last)
        if self.rng.random() < _ASSAYED:
            hour_of_assay = last + self.rng.uniform(2, 8)
            yield Event(hour_of_assay, f"{name} assay", lambda: self._write_assay(scope))

    def _image(
        self, scope: VirtualMicroscope, plan: WellPlan, day: int, hour: float
    ) -> Iterator[Event]:
        """Yield the events of one well image: its delivery, and a second one after some faults."""
        fault = next((each for each in ImageFault if self.rng.random() < _FAULT_SHARE), None)
        if fault is not None:
            self.faults[fault] += 1
        if fault is ImageFault.LATE:
            hour += self.rng.uniform(1, 10)
        is_damaged = fault is ImageFault.DAMAGED
        name = f"{scope.plate.name} {plan.well} day {day}"
        yield Event(hour, name, lambda: self._write_image(scope, plan, day, is_damaged=is_damaged))
        if fault in (ImageFault.DUPLICATE, ImageFault.REPLACED, ImageFault.DAMAGED):
            again = hour + self.rng.uniform(1, 6)
            added = 1 if fault is ImageFault.REPLACED else 0
            yield Event(
                again, f"{name} again", lambda: self._write_image(scope, plan, day, added=added)
            )

    def _write_image(
        self,
        scope: VirtualMicroscope,
        plan: WellPlan,
        day: int,
        *,
        added: int = 0,
        is_damaged: bool = False,
    ) -> None:
        """Write the planes of a well image in random order; ``added`` changes every pixel."""
        key = (scope.plate.name, plan.well, day)
        planes = np.minimum(scope.render(plan, day).planes, 65_535 - added) + np.uint16(added)
        taken_at = scope.plate.taken_at(plan, day)
        numbers = list(range(len(planes)))
        self.rng.shuffle(numbers)
        for number in numbers:
            content = encode_tiff(planes[number], taken_at, scope.um_per_px)
            if is_damaged and number == numbers[0]:
                content = content[: len(content) // 2]
            self._write(f"{key[0]}/day{day:02d}/{plan.well}_z{number + 1}.tif", content, taken_at)
        if not is_damaged:
            self.written[key].append(pixel_digest(planes))
        if day == READOUT_DAY:
            self.read_out.add(key[0])

    def _write(self, path: str, content: bytes, at: datetime) -> None:
        """Write a file, whose time grows with each writing."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        version = int(file.stat().st_mtime) + 1 if file.exists() else int(at.timestamp())
        file.write_bytes(content)
        os.utime(file, (version, version))

    def _write_map(self, scope: VirtualMicroscope) -> None:
        plate = scope.plate
        dosed_at = plate.taken_at(plate.wells[-1], DOSED_ON_DAY) + timedelta(hours=1)
        folder = self.root / plate.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{plate.name}.wells.csv").write_text(plate.plate_map_csv())
        (folder / f"{plate.name}.plate.toml").write_text(
            f'plate = "{plate.name}"\n'
            f"seeded_at = {plate.seeded_at.isoformat()}\n"
            f"dosed_on_day = {DOSED_ON_DAY}\n"
            f"dosed_at = {dosed_at.isoformat()}\n"
            f"readout_day = {READOUT_DAY}\n"
            f"um_per_px = {scope.um_per_px:.6g}\n"
        )

    def _write_assay(self, scope: VirtualMicroscope) -> None:
        write_assay(scope, self.root)
        self.assayed.add(scope.plate.name)


def pixel_digest(planes: npt.NDArray[np.uint16]) -> str:
    """Return the digest of the pixels, (planes, H, W), as a store has it."""
    image = WellImage(VisitKey("", "A01", ""), 1, None, (), planes, um_per_px=None, complete=True)
    return image.pixel_digest


def start_of_day(moment: datetime) -> datetime:
    """Return the midnight before a moment, in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
