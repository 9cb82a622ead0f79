"""One virtual plate under one virtual microscope: a well and a day in, planes, mask and truth out; and the faults that real plates have."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from simulation.kinds import Layout, Mechanism, OpticsName
from simulation.optics import Bench, bench_of, render
from simulation.plate import (
    Stream,
    VirtualPlate,
    WellPlan,
    plan_plate,
    stream,
)
from simulation.scene import draw, tissue_mask
from simulation.tissue import FIELD_UM, Line, Tissue, grow, line_of

UNTREATED = "untreated"  # stands for the mechanism of an untreated well


class Fault(StrEnum):
    """What can be wrong with a well image."""

    BLURRED = "blurred"  # far out of focus in every plane
    CUT = "cut"  # the tissue lies across the border of the field
    EMPTY = "empty"  # no tissue
    TRUNCATED = "truncated"  # one plane's file ends half-way
    ZERO_BYTES = "zero_bytes"  # one plane's file holds nothing
    NOT_AN_IMAGE = "not_an_image"  # one plane's file holds text


IMAGE_FAULTS = (Fault.BLURRED, Fault.CUT, Fault.EMPTY)
FILE_FAULTS = (Fault.TRUNCATED, Fault.ZERO_BYTES, Fault.NOT_AN_IMAGE)


@dataclass(frozen=True)
class Truth:
    """What is known of one well on one day; the fields are the columns of ``truth.csv``."""

    plate: str
    well: str
    day: int
    mechanism: str
    kill: float  # 1 − viable fraction of the same well untreated
    exploded: int  # 0 or 1
    spread_um: (
        float  # 95 % of the tissue, spilled clumps too, lies within this distance of its centre
    )
    area_px: int  # of the mask


@dataclass(frozen=True, eq=False)
class WellView:
    """One well image with everything that is known about it."""

    planes: npt.NDArray[np.uint16]  # (3, H, W)
    mask: npt.NDArray[np.bool_]  # (H, W)
    truth: Truth


@dataclass(frozen=True, eq=False)
class VirtualMicroscope:
    """A plate and the microscope it stands under."""

    plate: VirtualPlate
    size_px: int
    optics: OpticsName = OpticsName.DEFAULT

    @property
    def um_per_px(self) -> float:
        """The field is the same at every size."""
        return FIELD_UM / self.size_px

    @cached_property
    def line(self) -> Line:
        """The plate's tissue."""
        return line_of(self.plate)

    @cached_property
    def bench(self) -> Bench:
        """How the microscope stands."""
        return bench_of(self.plate, self.optics)

    def look(self, plan: WellPlan, day: int, fault: Fault | None = None) -> WellView:
        """Return the image of a well; the same pixels whatever else was looked at before."""
        tissue = self._tissue(plan, day, fault)
        scene = draw(tissue, self.size_px)
        planes = render(scene, self.plate, plan, day, self.bench, blurred=fault is Fault.BLURRED)
        return WellView(planes, scene.mask, self._truth(plan, day, tissue, scene.mask))

    def truth(self, plan: WellPlan, day: int) -> Truth:
        """Return what is known of a well without rendering it."""
        tissue = self._tissue(plan, day, None)
        return self._truth(plan, day, tissue, tissue_mask(tissue, self.size_px))

    def _tissue(self, plan: WellPlan, day: int, fault: Fault | None) -> Tissue:
        tissue = grow(self.plate, plan, day, self.line)
        if fault is Fault.EMPTY:
            return replace(tissue, present=False)
        if fault is Fault.CUT:
            rng = stream(self.plate.seed, Stream.FAULTS, self.plate.index, plan.key, day)
            across, along = (
                FIELD_UM / 2 - tissue.radius_um * rng.uniform(-0.4, 0.4),
                rng.uniform(-0.25, 0.25) * FIELD_UM,
            )
            sides = ((across, along), (-across, along), (along, across), (along, -across))
            return replace(tissue, centre_um=sides[int(rng.integers(4))])
        return tissue

    def _truth(
        self, plan: WellPlan, day: int, tissue: Tissue, mask: npt.NDArray[np.bool_]
    ) -> Truth:
        rows, columns = np.nonzero(mask)
        x, y = (centre / self.um_per_px + self.size_px / 2 - 0.5 for centre in tissue.centre_um)
        spread_px = float(np.quantile(np.hypot(columns - x, rows - y), 0.95)) if len(rows) else 0.0
        return Truth(
            plate=self.plate.name,
            well=plan.well,
            day=day,
            mechanism=plan.mechanism or UNTREATED,
            kill=round(plan.kill(day), 4),
            exploded=int(plan.exploded(day)),
            spread_um=round(spread_px * self.um_per_px, 1),
            area_px=len(rows),
        )


def microscopes(
    plates: int,
    seed: int,
    size_px: int,
    *,
    mechanism: Mechanism | None = None,
    layout: Layout = Layout.SCREEN,
    optics: OpticsName = OpticsName.DEFAULT,
) -> tuple[VirtualMicroscope, ...]:
    """Plan this many plates of a seed and put each under a microscope; without a mechanism each compound has its own."""
    return tuple(
        VirtualMicroscope(
            plan_plate(seed, index, mechanism=mechanism, layout=layout), size_px, optics
        )
        for index in range(1, plates + 1)
    )


def plan_faults(
    plate: VirtualPlate, days: Iterable[int], share: float, kinds: tuple[Fault, ...] = tuple(Fault)
) -> dict[tuple[str, int], Fault]:
    """Choose which well images go wrong, by (well, day): this share of them, all kinds alike."""
    faults = {}
    for plan in plate.wells:
        for day in days:
            rng = stream(plate.seed, Stream.FAULTS, plate.index, plan.key, day, 1)
            if rng.random() < share:
                faults[plan.well, day] = kinds[int(rng.integers(len(kinds)))]
    return faults
