"""A virtual microscope with one plate: renders well images with their true masks and faults."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from simulation.kinds import Layout, Mechanism, OpticsName
from simulation.optics import OPTICS, ImagingConditions, choose_imaging_conditions, render_planes
from simulation.plate import VirtualPlate, WellPlan, plan_plate
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


class PlateMicroscope(Protocol):
    """A virtual microscope with one plate, as the robot and the benchmarks use it."""

    @property
    def plate(self) -> VirtualPlate:
        """Plate on the stage."""
        ...

    @property
    def size_px(self) -> int:
        """Side of an image in pixels."""
        ...

    @property
    def um_per_px(self) -> float:
        """Scale of the images."""
        ...

    @property
    def conditions(self) -> ImagingConditions:
        """State of the microscope during the imaging of the plate."""
        ...

    def render(self, plan: WellPlan, day: int, fault: Fault | None = None) -> RenderedWell:
        """Return the RenderedWell of a planned well on a culture day, with an optional fault."""
        ...

    def truth(self, plan: WellPlan, day: int) -> Truth:
        """Return the Truth of a planned well on a culture day without recording its image."""
        ...


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
        return choose_imaging_conditions(self.plate, OPTICS[self.optics])

    def render(self, plan: WellPlan, day: int, fault: Fault | None = None) -> RenderedWell:
        """Return the RenderedWell (planes, mask, truth) of a planned well on a culture day.

        The pixels do not depend on the images that were rendered before.
        """
        tissue = self._tissue(plan, day, fault)
        scene = draw_scene(tissue, self.size_px)
        planes = render_planes(
            scene, self.plate, plan, day, self.conditions, blurred=fault is Fault.BLURRED
        )
        truth = true_properties(self.plate, plan, day, scene.mask, tissue.centre_um, FIELD_UM)
        return RenderedWell(planes, scene.mask, truth)

    def truth(self, plan: WellPlan, day: int) -> Truth:
        """Return the Truth of a planned well on a culture day without rendering its image."""
        tissue = self._tissue(plan, day, None)
        mask = tissue_mask(tissue, self.size_px)
        return true_properties(self.plate, plan, day, mask, tissue.centre_um, FIELD_UM)

    def _tissue(self, plan: WellPlan, day: int, fault: Fault | None) -> Tissue:
        """Return the state of a well's tissue; the faults EMPTY and CUT remove or move it."""
        tissue = simulate_tissue(self.plate, plan, day, self.cell_line)
        if fault is Fault.EMPTY:
            return replace(tissue, present=False)
        if fault is Fault.CUT:
            centre_um = centre_of_cut_tissue(self.plate, plan, day, tissue.radius_um, FIELD_UM)
            return replace(tissue, centre_um=centre_um)
        return tissue


def centre_of_cut_tissue(
    plate: VirtualPlate, plan: WellPlan, day: int, radius_um: float, field_um: float
) -> tuple[float, float]:
    """Return x and y in µm from the centre of a field of tissue that extends beyond its border."""
    rng = random_generator(plate.seed, RandomPurpose.FAULTS, plate.index, plan.key, day)
    across, along = (
        field_um / 2 - radius_um * rng.uniform(-0.4, 0.4),
        rng.uniform(-0.25, 0.25) * field_um,
    )
    sides = ((across, along), (-across, along), (along, across), (along, -across))
    return sides[int(rng.integers(4))]


def true_properties(
    plate: VirtualPlate,
    plan: WellPlan,
    day: int,
    mask: npt.NDArray[np.bool_],
    centre_um: tuple[float, float],
    field_um: float,
) -> Truth:
    """Return the Truth of a planned well from the mask, (H, W), and the centre of its tissue.

    The centre is x and y in µm from the centre of the square field with a side of ``field_um``.
    """
    um_per_px = field_um / len(mask)
    rows, columns = np.nonzero(mask)
    x, y = (centre / um_per_px + len(mask) / 2 - 0.5 for centre in centre_um)
    spread_px = float(np.quantile(np.hypot(columns - x, rows - y), 0.95)) if len(rows) else 0.0
    return Truth(
        plate=plate.name,
        well=plan.well,
        day=day,
        mechanism=plan.mechanism or NO_MECHANISM,
        kill=round(plan.kill(day), 4),
        exploded=int(plan.exploded(day)),
        spread_um=round(spread_px * um_per_px, 1),
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
    """Return a VirtualMicroscope for each of the first ``plates`` plates of a seed.

    Without a mechanism each compound has a random one.
    """
    return tuple(
        VirtualMicroscope(
            plan_plate(seed, index, mechanism=mechanism, layout=layout), size_px, optics
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
