"""Measure the difficulty of virtual plates: the correlation of the area change with the true kill.

    python -m benchmarks.virtual_plate --seeds 20

The area change is −(area on the readout day / area on the dosing day), from the simulated truth
without rendering. Each mechanism, and mixed mechanisms, have one row: the mean, lowest and highest
Spearman correlation over seeds, over the treated wells of a plate.
"""

import argparse

import numpy as np
from scipy.stats import spearmanr

from simulation.kinds import Mechanism
from simulation.microscope import VirtualMicroscope, virtual_microscopes
from simulation.optics import RENDERER_VERSION
from simulation.plate import DOSED_ON_DAY, READOUT_DAY


def area_against_kill(scope: VirtualMicroscope) -> float:
    """Return Spearman's correlation of the area change with the true kill on one virtual plate."""
    treated = [plan for plan in scope.plate.wells if plan.mechanism]
    area = np.array(
        [
            [scope.truth(plan, day).area_px for day in (DOSED_ON_DAY, READOUT_DAY)]
            for plan in treated
        ]
    )
    return float(
        spearmanr(-area[:, 1] / area[:, 0], [plan.kill(READOUT_DAY) for plan in treated]).statistic
    )


def main() -> None:
    """Print the correlations, one row per mechanism."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--size", type=int, default=512, help="side of an image in pixels")
    arguments = parser.parse_args()
    print(
        f"renderer {RENDERER_VERSION}, seeds 0–{arguments.seeds - 1}, {arguments.size} px, area "
        "alone, Spearman over treated wells"
    )
    print(f"{'mechanism':<14}{'mean':>7}{'lowest':>8}{'highest':>9}")
    for mechanism in (None, *Mechanism):
        found = [
            area_against_kill(virtual_microscopes(1, seed, arguments.size, mechanism=mechanism)[0])
            for seed in range(arguments.seeds)
        ]
        print(
            f"{mechanism or 'mixed':<14}{np.mean(found):>7.2f}{min(found):>8.2f}{max(found):>9.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
