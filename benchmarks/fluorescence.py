"""Print the errors of live shares and viability from the stains of virtual plates.

    python -m benchmarks.fluorescence --plates 4 --seed 301

The stains are those of ``spherorank simulate --fluorescence``. An error is in percentage points.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from daemon.fluorescence.job import quantify
from simulation.fluorescence import true_cells, write_stained_plates
from simulation.microscope import VirtualMicroscope, virtual_microscopes
from simulation.robot import write_plate_map


def errors_of(scope: VirtualMicroscope, folder: Path) -> tuple[list[float], list[float], int]:
    """Return the errors of live shares and viability, and the number of wells that are left out."""
    name = scope.plate.name
    write_stained_plates(folder, [scope])
    write_plate_map(scope, folder / "drop")
    result = quantify(
        folder / "fluorescence" / name,
        folder / "drop" / name / f"{name}.plate.toml",
        folder / "fluorescence" / name / "fluorescence.toml",
        folder / "result",
    )
    truth = {plan.well: true_cells(scope, plan) for plan in scope.plate.wells}
    shares = [
        100 * (well.live_share - truth[well.well].live_share)
        for well in result.wells.values()
        if well.live_share is not None
    ]
    viability = [percent - 100 * truth[well].live for well, percent in result.assayed.items()]
    return shares, viability, sum(bool(well.left_out) for well in result.wells.values())


def main() -> int:
    """Quantify virtual plates and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plates", type=int, default=4)
    parser.add_argument("--seed", type=int, default=301)
    parser.add_argument("--size", type=int, default=256, help="side of an image in pixels")
    options = parser.parse_args()
    shares: list[float] = []
    viability: list[float] = []
    left_out = 0
    for scope in virtual_microscopes(options.plates, options.seed, options.size):
        with tempfile.TemporaryDirectory() as folder:
            of_plate = errors_of(scope, Path(folder))
        shares += of_plate[0]
        viability += of_plate[1]
        left_out += of_plate[2]
    print(f"{len(shares)} wells, {left_out} left out")
    for name, errors in (("live share", shares), ("viability from live", viability)):
        print(
            f"{name}: mean error {np.mean(errors):+.1f} points, standard deviation "
            f"{np.std(errors):.1f}, largest {np.abs(errors).max():.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
