"""Crops of virtual plates for training, with more varied cell lines and optics than real plates.

The true kill of a well is never stored. One death mechanism, :data:`HELD_OUT_MECHANISM`, one
microscope, :data:`HELD_OUT_OPTICS`, and plates of seeds below
:data:`training.data.seeds.FIRST_TRAINING_SEED` are left out of training, so that an encoder can be
evaluated on unseen conditions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError
from simulation.kinds import Mechanism, OpticsName
from simulation.optics import (
    OPTICS,
    RENDERER_VERSION,
    ImagingConditions,
    Optics,
    choose_imaging_conditions,
    render_planes,
)
from simulation.plate import (
    DOSED_ON_DAY,
    READOUT_DAY,
    VirtualPlate,
    WellPlan,
    plan_plate,
)
from simulation.scene import draw_scene
from simulation.tissue import FIELD_UM, CellLine, choose_cell_line, simulate_tissue
from training.data.crops import (
    Cropping,
    PlateCrops,
    PlateNote,
    WellCrop,
    crop_folder,
    crop_well_image,
    open_crops,
    write_crops,
)
from training.data.seeds import FIRST_TRAINING_SEED

HELD_OUT_MECHANISM = Mechanism.GROWTH_ARREST
HELD_OUT_OPTICS = OpticsName.PHASE_RIM

_STREAM = 7  # separates these random numbers from those of the plate
_SIZES_PX = (400, 512, 512, 640)
_VARIED_LINE_SHARE = 0.7  # share of plates whose cell line is varied beyond the simulated ones
_OTHER_DAYS = (3, 4, 5, 6, 8, 9)
_RADII_UM = 75.0, 300.0  # of untreated tissue on the dosing day


@dataclass(frozen=True)
class VirtualWells:
    """Number of imaged wells of a virtual plate, and the culture days of their images."""

    wells: int = 26
    days: tuple[int, ...] = (DOSED_ON_DAY, READOUT_DAY)  # culture days of every imaged well
    wells_on_other_days: int = 14  # number of wells with one image on another day


def crop_virtual_plate(
    seed: int, cache: Path, *, cropping: Cropping, wells: VirtualWells
) -> PlateCrops:
    """Return the PlateCrops of the virtual plate of a seed, from the cache or rendered.

    Raises
    ------
    ConfigError
        If the seed is reserved for tests and benchmarks, or no well is imaged.
    """
    if seed < FIRST_TRAINING_SEED:
        raise ConfigError(
            "seeds",
            f"has {seed}; expected {FIRST_TRAINING_SEED} or more, "
            "as plates of smaller seeds are reserved for tests and benchmarks",
        )
    plate = plan_plate(seed)
    note = PlateNote(plate.name, f"virtual {RENDERER_VERSION} {wells}", DOSED_ON_DAY)
    folder = crop_folder(cache, note, cropping)
    if folder.exists():
        return open_crops(folder)
    crops = write_crops(cache, note, cropping, _crop_wells(plate, cropping, wells))
    if crops is None:
        raise ConfigError("wells", f"is {wells.wells}; expected at least 1 well of a virtual plate")
    return crops


def _crop_wells(plate: VirtualPlate, cropping: Cropping, wells: VirtualWells) -> Iterator[WellCrop]:
    rng = np.random.default_rng([_STREAM, plate.seed])
    plate = replace(plate, growth=plate.growth.resized(float(rng.uniform(*_RADII_UM))))
    line = _vary_line(rng, choose_cell_line(plate))
    size_px = int(rng.choice(_SIZES_PX))
    conditions = _random_imaging_conditions(rng, plate)
    for plan, day in _choose_wells_and_days(rng, plate, wells):
        planes = _render_well(plate, plan, day, line, conditions, size_px)
        yield crop_well_image(
            planes,
            FIELD_UM / size_px,
            cropping,
            well=plan.well,
            day=day,
            group=plan.group.value,
            treatment=plan.treatment,
        )


def _choose_wells_and_days(
    rng: np.random.Generator, plate: VirtualPlate, wells: VirtualWells
) -> list[tuple[WellPlan, int]]:
    plans = [plan for plan in plate.wells if plan.mechanism is not HELD_OUT_MECHANISM]
    rng.shuffle(plans)
    plans = plans[: wells.wells]
    images = [(plan, day) for plan in plans for day in wells.days]
    return images + [
        (plan, int(rng.choice(_OTHER_DAYS))) for plan in plans[: wells.wells_on_other_days]
    ]


def _render_well(
    plate: VirtualPlate,
    plan: WellPlan,
    day: int,
    line: CellLine,
    conditions: ImagingConditions,
    size_px: int,
) -> npt.NDArray[np.uint16]:
    """Return the planes of a virtual well on a culture day, (3, H, W) uint16, white = 65535."""
    cv2.setNumThreads(1)  # several processes render plates at the same time
    counts = render_planes(
        draw_scene(simulate_tissue(plate, plan, day, line), size_px), plate, plan, day, conditions
    )
    return (counts.astype(np.uint32) * 65535 // conditions.white).astype(np.uint16)


def _vary_line(rng: np.random.Generator, line: CellLine) -> CellLine:
    if rng.random() >= _VARIED_LINE_SHARE:
        return line
    return replace(
        line,
        opacity=float(line.opacity * np.exp(rng.normal(0, 0.5))),
        rim=float(line.rim * np.exp(rng.normal(0, 0.3))),
        grain=float(line.grain * np.exp(rng.normal(0, 0.3))),
        outline=float(line.outline * np.exp(rng.normal(0, 0.3))),
        loose_cells=line.loose_cells * float(np.exp(rng.normal(0, 0.5))),
        debris=line.debris * float(np.exp(rng.normal(0, 0.5))),
    )


def _random_imaging_conditions(rng: np.random.Generator, plate: VirtualPlate) -> ImagingConditions:
    optics = random_optics(rng)
    # Gradient and clouds of the light stay as the default optics have them, because augmentation
    # adds a gradient.
    return replace(
        choose_imaging_conditions(plate, OPTICS[OpticsName.DEFAULT]),
        optics=optics,
        light=float(optics.light * rng.uniform(0.85, 1.1)),
    )


def random_optics(rng: np.random.Generator) -> Optics:
    """Return random optics over a range that is wider than the known microscopes have.

    In bending, rim and halo the range stays clearly below the held-out microscope.
    """
    return Optics(
        light=float(rng.uniform(0.15, 0.75)),
        tilt=float(rng.uniform(0, 0.35)),
        clouds=float(rng.uniform(0, 0.06)),
        blur_um=float(np.exp(rng.uniform(np.log(1.0), np.log(4.5)))),
        blur_per_defocus=float(rng.uniform(0.08, 0.2)),
        bending=float(np.exp(rng.uniform(np.log(0.007), np.log(0.018)))),
        rim=float(rng.uniform(0.6, 1.5)),
        halo=float(rng.uniform(0.02, 0.2)),
        photons=float(rng.uniform(3000, 12000)),
        read_noise=float(rng.uniform(0.001, 0.004)),
        focus_step_um=float(rng.uniform(25, 55)),
    )
