"""A simulated laboratory and its plates, drawn from one seed.

from simulation.laboratories.laboratory import draw_laboratory

laboratory = draw_laboratory(17)
print(laboratory.description)
for scope in laboratory.plates(2, size_px=512):
    rendered = scope.render(scope.plate.wells[0], day=10)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simulation.growth import Growth, draw_growth
from simulation.kinds import DeathMechanism, HiddenMechanism, Layout, Mechanism, RendererName
from simulation.laboratories.coupling import Coupling, draw_coupling
from simulation.laboratories.growing_front import GrowingFront
from simulation.laboratories.packed_cells import PackedCells
from simulation.laboratories.renderer import DrawnField, Renderer
from simulation.laboratories.shaded_ball import ShadedBall
from simulation.laboratories.spheroid import Spheroid
from simulation.microscope import (
    Fault,
    RenderedWell,
    Truth,
    centre_of_cut_tissue,
    true_properties,
)
from simulation.optics import (
    ImagingConditions,
    Optics,
    choose_imaging_conditions,
    floor_of_well,
    record_planes,
)
from simulation.plate import (
    DOSED_ON_DAY,
    READOUT_DAY,
    VirtualPlate,
    WellPlan,
    plan_plate,
    select_wells,
)
from simulation.random_numbers import RandomPurpose, random_generator
from simulation.scene import Floats

_FLOOR_DEPTH_UM = 60.0  # of the plate's floor below the centre of the tissue
_FIELD_UM = (700.0, 1500.0)
_SMALLEST_FIELD = 2.8  # in median radii of untreated spheroids on the readout day
_HIDDEN_OF_A_LABORATORY = 2  # number of hidden mechanisms beside the visible ones
_RENDERERS: dict[RendererName, Callable[[np.random.Generator], Renderer]] = {
    RendererName.SHADED_BALL: lambda _rng: ShadedBall(),
    RendererName.PACKED_CELLS: PackedCells.drawn,
    RendererName.GROWING_FRONT: GrowingFront.drawn,
}


@dataclass(frozen=True)
class Appearance:
    """Appearance of the untreated tissue of one laboratory's cell line."""

    opacity: float  # natural-log optical density through the centre on the dosing day
    opacity_power: float  # exponent of the thickness
    rim: float  # darkness of the steep edge
    grain: float  # standard deviation of the texture, natural-log optical density
    core: float  # additional relative density of the core
    outline: float  # amplitude of the deviations from a round outline
    loose_cells: float  # mean number
    debris: float  # mean number


@dataclass(frozen=True)
class PlateEffects:
    """Differences between the plates of a laboratory, and between places on a plate.

    All are standard deviations of a natural logarithm.
    """

    plate: float  # of the density and the texture between plates
    slope: float  # of the radius between the first and the last column, and rows
    edge: float  # of the radius between the outer wells in use and the others


@dataclass(frozen=True)
class Laboratory:
    """A simulated laboratory; all its properties follow from ``seed`` and ``renderer_name``."""

    seed: int
    renderer_name: RendererName
    renderer: Renderer
    growth: Growth
    appearance: Appearance
    coupling: Coupling
    optics: Optics
    field_um: float  # side of the square field of view
    effects: PlateEffects
    mechanisms: tuple[DeathMechanism, ...]  # of the compounds of a plate with mixed mechanisms

    @property
    def description(self) -> str:
        """One line with the seed, the renderer, the growth and the mechanisms."""
        return (
            f"laboratory {self.seed}: {self.renderer_name}, field {self.field_um:.0f} µm, radius "
            f"{self.growth.day_7_um:.0f} µm on day 7, volume doubles in "
            f"{self.growth.doubling_days:.1f} days, {', '.join(self.mechanisms)}"
        )

    def plates(
        self,
        count: int,
        *,
        size_px: int = 512,
        mechanism: DeathMechanism | None = None,
        layout: Layout = Layout.SCREEN,
        first: int = 1,
        wells: int = 60,
    ) -> tuple["LaboratoryMicroscope", ...]:
        """Return a virtual microscope with each of ``count`` plates of this laboratory.

        Parameters
        ----------
        count
            Number of plates.
        size_px
            Side of an image in pixels.
        mechanism
            Death mechanism of every compound; without it the compounds have those of the
            laboratory in random order.
        layout
            Treatment groups of the wells.
        first
            Number of the first plate.
        wells
            Number of wells of each plate; with fewer than 60, whole treatments are left out.
        """
        planned = (
            plan_plate(
                self.seed,
                index,
                mechanism=mechanism,
                layout=layout,
                mechanisms=self.mechanisms,
                growth=self.growth,
            )
            for index in range(first, first + count)
        )
        return tuple(
            LaboratoryMicroscope(
                self,
                replace(select_wells(plate, wells), name=f"LAB-{self.seed:04d}-{plate.index:02d}"),
                size_px,
            )
            for plate in planned
        )


@dataclass(frozen=True, eq=False)
class LaboratoryMicroscope:
    """The microscope of a laboratory, and the plate on its stage."""

    laboratory: Laboratory
    plate: VirtualPlate
    size_px: int

    @property
    def um_per_px(self) -> float:
        """Scale of the images; the field is the same at every size."""
        return self.laboratory.field_um / self.size_px

    @cached_property
    def conditions(self) -> ImagingConditions:
        """State of the microscope during the imaging of the plate."""
        return choose_imaging_conditions(self.plate, self.laboratory.optics)

    def render(self, plan: WellPlan, day: int, fault: Fault | None = None) -> RenderedWell:
        """Return the RenderedWell (planes, mask, truth) of a planned well on a culture day.

        The pixels do not depend on the images that were rendered before.
        """
        spheroid = self.spheroid(plan, day, fault)
        drawn = self._draw(spheroid)
        floor = floor_of_well(self.plate, plan, self.conditions, self.size_px)

        def transmitted(z_um: float) -> Floats:
            depth = np.float32(np.clip(z_um, -90, 90) + _FLOOR_DEPTH_UM)
            return drawn.transmitted(z_um) * (1 - floor * depth)

        planes = record_planes(
            transmitted,
            self.size_px,
            self.plate,
            plan,
            day,
            self.conditions,
            blurred=fault is Fault.BLURRED,
        )
        return RenderedWell(planes, drawn.mask, self._truth(plan, day, spheroid, drawn))

    def truth(self, plan: WellPlan, day: int) -> Truth:
        """Return the Truth of a planned well on a culture day without recording its image."""
        spheroid = self.spheroid(plan, day)
        return self._truth(plan, day, spheroid, self._draw(spheroid))

    def spheroid(self, plan: WellPlan, day: int, fault: Fault | None = None) -> Spheroid:
        """Return the state of a well's tissue; the faults EMPTY and CUT remove or move it."""
        tissue = grow_spheroid(self.laboratory, self.plate, plan, day)
        if fault is Fault.EMPTY:
            return replace(tissue, present=False)
        if fault is Fault.CUT:
            field_um = self.laboratory.field_um
            return replace(
                tissue,
                centre_um=centre_of_cut_tissue(self.plate, plan, day, tissue.radius_um, field_um),
            )
        return tissue

    def _draw(self, spheroid: Spheroid) -> DrawnField:
        return self.laboratory.renderer.draw(spheroid, self.size_px, self.laboratory.optics)

    def _truth(self, plan: WellPlan, day: int, spheroid: Spheroid, drawn: DrawnField) -> Truth:
        return true_properties(
            self.plate, plan, day, drawn.mask, spheroid.centre_um, self.laboratory.field_um
        )


def grow_spheroid(
    laboratory: Laboratory, plate: VirtualPlate, plan: WellPlan, day: int
) -> Spheroid:
    """Return the Spheroid of a planned well of a laboratory's plate on a culture day.

    It grows as if untreated and is then changed by the kill of the day.
    """
    look, growth = laboratory.appearance, laboratory.growth
    rng = random_generator(plate.seed, RandomPurpose.GROWTH, plate.index, plan.key)
    size, pace, opacity, grain, outline, litter, coarseness = np.exp(  # factors of this well
        rng.normal(0, (growth.spread, 0.06, 0.06, 0.08, 0.2, 0.2, 0.06))
    )
    plate_factors, place = _plate_factors(laboratory, plate, plan)
    home = rng.normal(0, 0.03, 2) * laboratory.field_um
    moves = random_generator(plate.seed, RandomPurpose.MOVES, plate.index, plan.key, day)
    centre = home + moves.normal(0, 7, 2)
    radius = growth.radius_um(day, float(pace)) * float(size) * place
    room = max(0.0, 0.47 * laboratory.field_um - 1.1 * radius)
    centre *= min(1.0, room / max(1.0, float(np.hypot(*centre))))
    relative = radius / growth.radius_um(DOSED_ON_DAY)
    untreated = Spheroid(
        seed=plate.seed,
        plate_index=plate.index,
        well_key=plan.key,
        day=day,
        field_um=laboratory.field_um,
        centre_um=(float(centre[0]), float(centre[1])),
        radius_um=radius,
        whole_radius_um=radius,
        opacity=look.opacity * plate_factors[0] * float(opacity) * relative**look.opacity_power,
        opacity_power=look.opacity_power,
        rim=look.rim,
        grain=look.grain * plate_factors[1] * float(grain),
        coarseness=float(coarseness),
        core=look.core * min(1.5, relative),
        outline=look.outline * float(outline),
        roughness=0.01 + 0.1 * float(np.exp(-(day - 1) / 1.2)),
        burst=0.0,
        loose_cells=round(look.loose_cells * float(litter)),
        debris=round(look.debris * float(litter)),
        order={},
    )
    return laboratory.coupling.apply(untreated, plan.mechanism, plan.kill(day))


def _plate_factors(
    laboratory: Laboratory, plate: VirtualPlate, plan: WellPlan
) -> tuple[tuple[float, float], float]:
    """Return the factors of density and texture on a plate, and of the radius at a well."""
    effects = laboratory.effects
    rng = random_generator(plate.seed, RandomPurpose.LABORATORY, plate.index, 1)
    opacity, grain = rng.normal(0, effects.plate, 2)
    across, along = rng.normal(0, effects.slope, 2)
    edge = rng.normal(0, effects.edge)
    outer = plan.row in (2, 7) or plan.column in (2, 11)
    shift = across * (plan.column - 6.5) / 9 + along * (plan.row - 4.5) / 5 + edge * outer
    place = float(np.exp(shift)) * plate.place_factor(plan)
    return (float(np.exp(opacity)), float(np.exp(grain))), place


def draw_laboratory(seed: int, renderer_name: RendererName | None = None) -> Laboratory:
    """Return the Laboratory of a seed.

    With ``renderer_name`` it has this renderer instead of a random one; all else is the same.
    """
    rng = random_generator(seed, RandomPurpose.LABORATORY)
    growth = draw_growth(rng)
    appearance = _draw_appearance(rng)
    optics = _draw_optics(rng)
    field_um = max(float(rng.uniform(*_FIELD_UM)), _SMALLEST_FIELD * growth.radius_um(READOUT_DAY))
    effects = PlateEffects(
        plate=float(rng.uniform(0.03, 0.12)),
        slope=float(rng.uniform(0.0, 0.012)),
        edge=float(rng.uniform(0.0, 0.01)),
    )
    coupling = draw_coupling(rng)
    names = list(RendererName)
    drawn_name = names[int(rng.integers(len(names)))]
    renderer = _RENDERERS[renderer_name or drawn_name](
        random_generator(seed, RandomPurpose.LABORATORY, 2)
    )
    hidden = list(rng.permutation(len(HiddenMechanism)))[:_HIDDEN_OF_A_LABORATORY]
    return Laboratory(
        seed=seed,
        renderer_name=renderer_name or drawn_name,
        renderer=renderer,
        growth=growth,
        appearance=appearance,
        coupling=coupling,
        optics=optics,
        field_um=field_um,
        effects=effects,
        mechanisms=(
            *Mechanism,
            *(
                mechanism
                for number, mechanism in enumerate(HiddenMechanism)
                if number in hidden and mechanism in renderer.hidden_mechanisms
            ),
        ),
    )


def _draw_appearance(rng: np.random.Generator) -> Appearance:
    """Return the random appearance of a laboratory's cell line."""
    return Appearance(
        opacity=float(np.exp(rng.uniform(np.log(0.4), np.log(1.8)))),
        opacity_power=float(rng.uniform(0.5, 1.0)),
        rim=float(rng.uniform(0.5, 1.5)),
        grain=float(rng.uniform(0.05, 0.13)),
        core=float(max(0.0, rng.uniform(-0.3, 0.6))),
        outline=float(rng.uniform(0.015, 0.05)),
        loose_cells=float(rng.uniform(5, 60)),
        debris=float(rng.uniform(3, 35)),
    )


def _draw_optics(rng: np.random.Generator) -> Optics:
    """Return the random optics of a laboratory's microscope."""
    return Optics(
        light=float(rng.uniform(0.25, 0.75)),
        tilt=float(rng.uniform(0.0, 0.25)),
        clouds=float(rng.uniform(0.0, 0.06)),
        blur_um=float(rng.uniform(1.2, 3.0)),
        blur_per_defocus=float(rng.uniform(0.08, 0.18)),
        bending=float(rng.uniform(0.008, 0.022)),
        rim=float(rng.uniform(0.6, 1.6)),
        halo=float(rng.uniform(0.02, 0.25)),
        photons=float(rng.uniform(4000, 12000)),
        read_noise=float(rng.uniform(0.001, 0.003)),
        focus_step_um=float(rng.uniform(25, 60)),
    )
