"""Plates to train an encoder on that nobody had to grow: virtual wells, of tissue lines and through microscopes that vary more than real ones do.

The kill of a well is never kept. One mechanism, :data:`HELD_OUT_MECHANISM`, and one microscope, :data:`HELD_OUT_OPTICS`, are left out, and plates of
seeds below :data:`training.segmenter.views.FIRST_SEED` are for tests and benchmarks: what an encoder makes of these tells how it does on what it never saw.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError
from simulation.kinds import Mechanism, OpticsName
from simulation.optics import RENDERER_VERSION, Bench, Optics, bench_of, render
from simulation.plate import (
    DOSED_ON_DAY,
    READOUT_DAY,
    VirtualPlate,
    WellPlan,
    plan_plate,
)
from simulation.scene import draw
from simulation.tissue import FIELD_UM, Line, grow, line_of
from training.data.well_views import (
    Cropping,
    PlateNote,
    View,
    WellViews,
    folder_of,
    keep_views,
    open_views,
    view_of,
)
from training.segmenter.views import FIRST_SEED

HELD_OUT_MECHANISM = Mechanism.GROWTH_ARREST
HELD_OUT_OPTICS = OpticsName.PHASE_RIM

_STREAM = 7  # sets these random numbers apart from a plate's own
_SIZES_PX = (400, 512, 512, 640)
_LINE_VARIED = 0.7  # share of plates whose line is varied beyond what virtual plates have
_OTHER_DAYS = (3, 4, 5, 6, 8, 9)


@dataclass(frozen=True)
class VirtualWells:
    """Which wells of a plate are looked at, and on which days."""

    wells: int = 26
    days: tuple[int, ...] = (DOSED_ON_DAY, READOUT_DAY)  # of every well
    wells_on_other_days: int = 14  # each on one day more


def virtual_views(seed: int, cache: Path, *, cropping: Cropping, wells: VirtualWells) -> WellViews:
    """Return the views of the plate of a seed, rendered at the first time.

    Raises
    ------
    ConfigError
        If plates of the seed are kept for tests and benchmarks.
    """
    if seed < FIRST_SEED:
        raise ConfigError(
            "seeds",
            f"has {seed}; expected {FIRST_SEED} or more, as plates of smaller seeds are for tests and benchmarks",
        )
    plate = plan_plate(seed)
    note = PlateNote(plate.name, f"virtual {RENDERER_VERSION} {wells}", DOSED_ON_DAY)
    folder = folder_of(cache, note, cropping)
    if folder.exists():
        return open_views(folder)
    views = keep_views(cache, note, cropping, _views(plate, cropping, wells))
    if views is None:
        raise ConfigError("wells", f"is {wells.wells}; expected at least 1 well of a virtual plate")
    return views


def _views(plate: VirtualPlate, cropping: Cropping, wells: VirtualWells) -> Iterator[View]:
    rng = np.random.default_rng([_STREAM, plate.seed])
    line = _vary_line(rng, line_of(plate))
    size_px = int(rng.choice(_SIZES_PX))
    bench = _any_bench(rng, plate)
    for plan, day in _looks(rng, plate, wells):
        planes = _look(plate, plan, day, line, bench, size_px)
        yield view_of(
            planes,
            FIELD_UM / size_px,
            cropping,
            well=plan.well,
            day=day,
            group=plan.group.value,
            treatment=plan.treatment,
        )


def _looks(
    rng: np.random.Generator, plate: VirtualPlate, wells: VirtualWells
) -> list[tuple[WellPlan, int]]:
    plans = [plan for plan in plate.wells if plan.mechanism is not HELD_OUT_MECHANISM]
    rng.shuffle(plans)
    plans = plans[: wells.wells]
    looks = [(plan, day) for plan in plans for day in wells.days]
    return looks + [
        (plan, int(rng.choice(_OTHER_DAYS))) for plan in plans[: wells.wells_on_other_days]
    ]


def _look(
    plate: VirtualPlate, plan: WellPlan, day: int, line: Line, bench: Bench, size_px: int
) -> npt.NDArray[np.uint16]:
    """Return (3, H, W), white = 65535."""
    cv2.setNumThreads(1)  # plates are rendered side by side
    counts = render(draw(grow(plate, plan, day, line), size_px), plate, plan, day, bench)
    return (counts.astype(np.uint32) * 65535 // bench.white).astype(np.uint16)


def _vary_line(rng: np.random.Generator, line: Line) -> Line:
    if rng.random() >= _LINE_VARIED:
        return line
    return replace(
        line,
        radius_um=float(rng.uniform(110, 230)),
        opacity=float(line.opacity * np.exp(rng.normal(0, 0.5))),
        rim=float(line.rim * np.exp(rng.normal(0, 0.3))),
        grain=float(line.grain * np.exp(rng.normal(0, 0.3))),
        outline=float(line.outline * np.exp(rng.normal(0, 0.3))),
        loose_cells=line.loose_cells * float(np.exp(rng.normal(0, 0.5))),
        debris=line.debris * float(np.exp(rng.normal(0, 0.5))),
    )


def _any_bench(rng: np.random.Generator, plate: VirtualPlate) -> Bench:
    optics = any_optics(rng)
    # How the light tilts and clouds stays the default microscope's: augmentation tilts it further.
    return replace(
        bench_of(plate, OpticsName.DEFAULT),
        optics=optics,
        light=float(optics.light * rng.uniform(0.85, 1.1)),
    )


def any_optics(rng: np.random.Generator) -> Optics:
    """Return a microscope between the known ones and somewhat beyond, short of the one held out in all that sets that apart."""
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
