"""Measure the error of software focus on virtual wells of every optics, mechanism and culture day.

    python -m benchmarks.focus [--wells 60] [--seed 7]

For each optics, the table has the share of wells within 8 µm of the true focus and the 95th
percentile of the error. The scan covers ±90 µm in steps of 15 µm; the true focus lies up to 30 µm
or up to 80 µm from its middle. Further columns are the share reported at the edge, or not found,
when the true focus lies 40…90 µm beyond the scan, and the share of empty wells and of dark frames
in which a focus is found. The last line is the CPU time to evaluate 13 planes of 2048².
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.microscope.focus import FocusResult, find_focus
from simulation.kinds import Mechanism, OpticsName
from simulation.microscope import virtual_microscopes
from simulation.optics import compute_transmission, expose_camera, illumination, transmitted_light
from simulation.scene import draw_scene
from simulation.tissue import simulate_tissue

HEIGHTS_UM = tuple(float(z) for z in range(-90, 91, 15))
SIZE_PX = 512
WITHIN_UM = 8.0


def focus_scan(
    rng: np.random.Generator,
    optics: OpticsName,
    focus_um: float,
    *,
    tissue: bool = True,
    lamp: float = 1.0,
) -> npt.NDArray[np.uint16]:
    """Return a focus scan (n, H, W) of a random well under an optics; its focus is ``focus_um``."""
    mechanism = list(Mechanism)[int(rng.integers(len(Mechanism)))]
    (scope,) = virtual_microscopes(
        1, int(rng.integers(10_000)), SIZE_PX, mechanism=mechanism, optics=optics
    )
    plan = scope.plate.wells[int(rng.integers(len(scope.plate.wells)))]
    grown = simulate_tissue(scope.plate, plan, int(rng.integers(1, 11)), scope.cell_line)
    field = compute_transmission(
        draw_scene(grown if tissue else replace(grown, present=False), SIZE_PX),
        scope.plate,
        plan,
        scope.conditions,
    )
    light = illumination(scope.plate, plan, scope.conditions, SIZE_PX, 1.0) * np.float32(lamp)
    return np.stack(
        [
            expose_camera(
                transmitted_light(field, scope.conditions.optics, z_um - focus_um) * light,
                scope.conditions,
                rng.standard_normal(light.shape, dtype=np.float32),
            )
            for z_um in HEIGHTS_UM
        ]
    )


def focus_results(
    rng: np.random.Generator,
    optics: OpticsName,
    offsets_um: Sequence[float],
    *,
    tissue: bool = True,
    lamp: float = 1.0,
) -> list[FocusResult]:
    """Return the FocusResult of a scan under an optics per true focus height in ``offsets_um``."""
    return [
        find_focus(focus_scan(rng, optics, offset, tissue=tissue, lamp=lamp), HEIGHTS_UM)
        for offset in offsets_um
    ]


def cpu_s() -> float:
    """Return the CPU time in seconds to find the focus in 13 planes of 2048²."""
    rng = np.random.default_rng(0)
    planes = np.stack(
        [cv2.resize(plane, (2048, 2048)) for plane in focus_scan(rng, OpticsName.DEFAULT, 10.0)]
    )
    began = time.process_time()
    find_focus(planes, HEIGHTS_UM)
    return time.process_time() - began


def main() -> None:
    """Print the focus errors, one row per optics."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wells", type=int, default=60, help="for each optics and column")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    print(
        "| optics | ±30 µm: within 8 µm | p95 µm | ±80 µm: within 8 µm | p95 µm | beyond: at edge "
        "or not found | empty: found | dark: found |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for number, optics in enumerate(OpticsName):
        rng = np.random.default_rng([arguments.seed, number])
        cells = []
        for reach in (30.0, 80.0):
            offsets = rng.uniform(-reach, reach, arguments.wells)
            errors = np.abs(
                [
                    focus.z_um - offset
                    for focus, offset in zip(
                        focus_results(rng, optics, list(offsets)), offsets, strict=True
                    )
                ]
            )
            cells += [f"{np.mean(errors <= WITHIN_UM):.1%}", f"{np.quantile(errors, 0.95):.1f}"]
        beyond = rng.uniform(130, 180, arguments.wells) * rng.choice([-1, 1], arguments.wells)
        outside = focus_results(rng, optics, list(beyond))
        empty = focus_results(rng, optics, [0.0] * arguments.wells, tissue=False)
        dark = focus_results(rng, optics, [0.0] * (arguments.wells // 4), lamp=0.0)
        cells += [
            f"{np.mean([focus.at_edge or not focus.found for focus in outside]):.1%}",
            f"{np.mean([focus.found for focus in empty]):.1%}",
            f"{np.mean([focus.found for focus in dark]):.1%}",
        ]
        print(f"| {optics} | {' | '.join(cells)} |", flush=True)
    print(f"\n13 planes of 2048²: {cpu_s():.2f} s of CPU")


if __name__ == "__main__":
    main()
