"""A virtual microscope with one plate: renders well images with their true masks and faults."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from simulation.kinds import Layout, Mechanism, OpticsName
from simulation.optics import ImagingConditions, choose_imaging_conditions, render_planes
from simulation.plate import VirtualPlate, WellPlan, plan_plate, select_wells
from simulation.random_numbers import RandomPurpose, random_generator
from simulation.scene import draw_scene, tissue_mask
from simulation.tissue import FIELD_UM, CellLine, Tissue, choose_cell_line, simulate_tissue

NO_MECHANISM = "untreated"
"""Entry of an untreated well in the column ``mechanism`` of ``truth.csv``."""


class Fault(StrEnum):
    """Fault of a well image."""

    BLURRED = "blurred"  # every plane is far out of focus
    CUT = "cut"  # the tissue extends beyond the border of the field
    EMPTY = "empty"  # no tissue
    TRUNCATED = "truncated"  # the file of one plane contains half of its bytes
    ZERO_BYTES = "zero_bytes"  # the file of one plane is empty
    NOT_AN_IMAGE = "not_an_image"  # the file of one plane contains text


IMAGE_FAULTS = (Fault.BLURRED, Fault.CUT, Fault.EMPTY)
FILE_FAULTS = (Fault.TRUNCATED, Fault.ZERO_BYTES, Fault.NOT_AN_IMAGE)


@dataclass(frozen=True)
class Truth:
    """True properties of one well on one day; the fields are the columns of ``truth.csv``."""

    plate: str
    well: str
    day: int
    mechanism: str
    kill: float  # 1 − viable fraction relative to the same well untreated
    exploded: int  # 0 or 1
    spread_um: float  # distance from the centre that contains 95 % of the tissue with its clumps
    area_px: int  # of the mask


@dataclass(frozen=True, eq=False)
class RenderedWell:
    """One well image with its true mask and properties."""

    planes: npt.NDArray[np.uint16]  # (3, H, W)
    mask: npt.NDArray[np.bool_]  # (H, W)
    truth: Truth


@dataclass(frozen=True, eq=False)
class VirtualMicroscope:
    """A virtual microscope and the plate on its stage."""

    plate: VirtualPlate
    size_px: int
    optics: OpticsName = OpticsName.DEFAULT

    @property
    def um_per_px(self) -> float:
        """Scale of the images; the field is the same at every size."""
        return FIELD_UM / self.size_px

    @cached_property
    def cell_line(self) -> CellLine:
        """Cell line of the plate."""
        return choose_cell_line(self.plate)

    @cached_property
    def conditions(self) -> ImagingConditions:
        """State of the microscope during the imaging of the plate."""
        return choose_imaging_conditions(self.plate, self.optics)

    def render(self, plan: WellPlan, day: int, fault: Fault | None = None) -> RenderedWell:
        """Return the RenderedWell (planes, mask, truth) of a planned well on a culture day.

        The pixels do not depend on the images that were rendered before.
        """
        tissue = self._tissue(plan, day, fault)
        scene = draw_scene(tissue, self.size_px)
        planes = render_planes(
            scene, self.plate, plan, day, self.conditions, blurred=fault is Fault.BLURRED
        )
        return RenderedWell(planes, scene.mask, self._truth(plan, day, tissue, scene.mask))

    def truth(self, plan: WellPlan, day: int) -> Truth:
        """Return the Truth of a planned well on a culture day without rendering its image."""
        tissue = self._tissue(plan, day, None)
        return self._truth(plan, day, tissue, tissue_mask(tissue, self.size_px))

    def _tissue(self, plan: WellPlan, day: int, fault: Fault | None) -> Tissue:
        """Return the state of a well's tissue; the faults EMPTY and CUT remove or move it."""
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
        """Return the true properties of a well with this tissue and mask, (H, W)."""
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
    wells: int = 60,
) -> tuple[VirtualMicroscope, ...]:
    """Return a VirtualMicroscope for each of the first ``plates`` plates of a seed.

    Without a mechanism each compound has a random one. With fewer than 60 wells, whole treatments
    are left out.
    """
    return tuple(
        VirtualMicroscope(
            select_wells(plan_plate(seed, index, mechanism=mechanism, layout=layout), wells),
            size_px,
            optics,
        )
        for index in range(1, plates + 1)
    )


def plan_faults(
    plate: VirtualPlate, days: Iterable[int], share: float, kinds: tuple[Fault, ...] = tuple(Fault)
) -> dict[tuple[str, int], Fault]:
    """Return random faults by (well, day), for a share of a plate's images on the given days."""
    faults = {}
    for plan in plate.wells:
        for day in days:
            rng = random_generator(plate.seed, RandomPurpose.FAULTS, plate.index, plan.key, day, 1)
            if rng.random() < share:
                faults[plan.well, day] = kinds[int(rng.integers(len(kinds)))]
    return faults
