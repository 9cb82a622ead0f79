"""One virtual plate under one virtual microscope: a well and a day in, planes, mask and truth out; and the faults that real plates have."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from simulation.kinds import Layout, Mechanism, OpticsName
from simulation.optics import ImagingConditions, choose_imaging_conditions, render_planes
from simulation.plate import (
    RandomPurpose,
    VirtualPlate,
    WellPlan,
    plan_plate,
    random_generator,
)
from simulation.scene import draw_scene, tissue_mask
from simulation.tissue import FIELD_UM, CellLine, Tissue, choose_cell_line, simulate_tissue

NO_MECHANISM = "untreated"  # stands for the mechanism of an untreated well


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
class RenderedWell:
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
    def cell_line(self) -> CellLine:
        """The plate's tissue."""
        return choose_cell_line(self.plate)

    @cached_property
    def conditions(self) -> ImagingConditions:
        """How the microscope stands."""
        return choose_imaging_conditions(self.plate, self.optics)

    def render(self, plan: WellPlan, day: int, fault: Fault | None = None) -> RenderedWell:
        """Return the image of a well; the same pixels whatever else was looked at before."""
        tissue = self._tissue(plan, day, fault)
        scene = draw_scene(tissue, self.size_px)
        planes = render_planes(
            scene, self.plate, plan, day, self.conditions, blurred=fault is Fault.BLURRED
        )
        return RenderedWell(planes, scene.mask, self._truth(plan, day, tissue, scene.mask))

    def truth(self, plan: WellPlan, day: int) -> Truth:
        """Return what is known of a well without rendering it."""
        tissue = self._tissue(plan, day, None)
        return self._truth(plan, day, tissue, tissue_mask(tissue, self.size_px))

    def _tissue(self, plan: WellPlan, day: int, fault: Fault | None) -> Tissue:
        tissue = simulate_tissue(self.plate, plan, day, self.cell_line)
        if fault is Fault.EMPTY:
            return replace(tissue, present=False)
        if fault is Fault.CUT:
            rng = random_generator(
                self.plate.seed, RandomPurpose.FAULTS, self.plate.index, plan.key, day
            )
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
            mechanism=plan.mechanism or NO_MECHANISM,
            kill=round(plan.kill(day), 4),
            exploded=int(plan.exploded(day)),
            spread_um=round(spread_px * self.um_per_px, 1),
            area_px=len(rows),
        )


def virtual_microscopes(
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
            rng = random_generator(plate.seed, RandomPurpose.FAULTS, plate.index, plan.key, day, 1)
            if rng.random() < share:
                faults[plan.well, day] = kinds[int(rng.integers(len(kinds)))]
    return faults
